"""Deployments: a ReplicaSet for each version of the pod template, and the way from one to the next."""
