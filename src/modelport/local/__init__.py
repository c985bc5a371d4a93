"""A one-machine Kubernetes: `apiserver`, `node`, `workloads`, `gateway`. The four never import each other: they meet
through the API. `platform` composes them. Imports control and below; `node` also storage.
"""
