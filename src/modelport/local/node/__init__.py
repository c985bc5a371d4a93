"""Pods as processes on this machine. Imports control, storage, wire, kube."""
