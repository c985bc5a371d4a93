"""The controllers of Kubernetes' own kinds: Deployment, ReplicaSet, Service, garbage. Imports control and kube."""
