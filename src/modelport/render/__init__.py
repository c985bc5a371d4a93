"""Specs to Kubernetes objects, purely: a file a component. Same input, same objects; errors are values.

For `control` and `modelport plan`. Imports kinds and kube (never its client): no I/O, no clock, no randomness.
"""
