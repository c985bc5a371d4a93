"""URI to local path: a scheme a file, a content-addressed cache, credentials, verification. Imports kinds and kube."""
