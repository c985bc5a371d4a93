"""The HorizontalPodAutoscaler: as many replicas as keep cpu and memory at their target (Kubernetes' algorithm)."""
