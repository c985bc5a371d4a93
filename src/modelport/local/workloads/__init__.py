"""The controllers of Kubernetes' own kinds: Deployment, ReplicaSet, Service, garbage. Imports control and kube.

Each is a pure decision (objects in, writes out) and a thin loop that reads from `View`s, which know at once what was
written through them. A loop can be killed at any moment: the next one begins with what the API server has.
Never imports apiserver, node or gateway: they meet through the API.
"""
