"""The rules of Kubernetes' own kinds, a file a family."""
