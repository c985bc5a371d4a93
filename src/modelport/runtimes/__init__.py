"""Frameworks, a file each."""
