"""The API server: verbs over one SQLite log, a file a verb. Imports kinds and kube."""
