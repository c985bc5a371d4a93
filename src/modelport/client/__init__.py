"""Asking a server: small inference clients.

For notebooks, tests and the command line. It may import `protocol`; it never imports a server.
"""
