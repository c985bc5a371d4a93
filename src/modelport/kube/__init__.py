"""Kubernetes' own vocabulary, shared by every room above: resources, `Status` errors, selectors, quantities,
patches and server-side apply, conditions, and the client.

For `kinds`, `render`, `control`, `local`, `storage` and `cli`. Imports nothing of ours. `client` is the only file
that imports a Kubernetes client library; `kinds`, `render`, `scale` and `rollout` never import it.
"""
