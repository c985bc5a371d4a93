"""Binding the ports, once, in the parent: workers share the listening sockets, so that none of them can
leave a connection in a queue that nobody accepts from."""

from __future__ import annotations

import errno
import os
import socket

import msgspec

from modelport.server.options import ServerOptions


class Sockets(msgspec.Struct, kw_only=True):
    """Bound and listening sockets, as descriptors that a server takes over."""

    http: int | None = None
    grpc: int | None = None
    metrics: int | None = None
    control: int | None = None


class PortError(Exception):
    """A port cannot be bound. The message says why and what to do."""


class Bound:
    """The sockets of a server, bound and listening."""

    def __init__(self, options: ServerOptions) -> None:
        self.http = _bind(options.host, options.http_port, "--http-port")
        self.grpc: socket.socket | None = None
        self.metrics: socket.socket | None = None
        try:
            if options.grpc_port is not None and not options.one_port:
                self.grpc = _bind(options.host, options.grpc_port, "--grpc-port")
            if options.metrics_port is not None:
                self.metrics = _bind(options.host, options.metrics_port, "--metrics-port")
        except PortError:
            self.close()
            raise

    @property
    def http_port(self) -> int:
        """The REST port, also where 0 was asked for."""
        return self.http.getsockname()[1]

    @property
    def grpc_port(self) -> int | None:
        """The gRPC port, if it has one of its own."""
        return None if self.grpc is None else self.grpc.getsockname()[1]

    @property
    def metrics_port(self) -> int | None:
        """The port of the metrics alone, if there is one."""
        return None if self.metrics is None else self.metrics.getsockname()[1]

    def copies(self) -> Sockets:
        """Descriptors of the same sockets, for a server to take over."""
        return Sockets(
            http=os.dup(self.http.fileno()),
            grpc=None if self.grpc is None else os.dup(self.grpc.fileno()),
            metrics=None if self.metrics is None else os.dup(self.metrics.fileno()),
        )

    def give_away(self) -> Sockets:
        """The sockets themselves, for a server in this process."""
        sockets = self.copies()
        self.close()
        return sockets

    def close(self) -> None:
        """Closes this process's copies."""
        for listener in (self.http, self.grpc, self.metrics):
            if listener is not None:
                listener.close()


def _bind(host: str, port: int, flag: str) -> socket.socket:
    if not 0 <= port <= 65535:  # the system would take the lower 16 bits
        raise PortError(f"{flag}: must be a port, 0 to 65535, got {port}")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise PortError(f"--host: {host!r} is no address of this machine ({error.strerror}).") from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(4096)
    except OSError as error:
        listener.close()
        raise PortError(_why(error, host, port, flag)) from error
    return listener


def _why(error: OSError, host: str, port: int, flag: str) -> str:
    if error.errno == errno.EADDRINUSE and host == os.environ.get("POD_IP"):
        # Whoever wrote its manifest chose no port, and cannot choose another.
        return (
            f"port {port} of this pod's address {host} is in use by another program, which ss -ltnp 'sport = :{port}' names."
            " Stop that; the pod is started again by itself."
        )
    if error.errno == errno.EADDRINUSE:
        return f"{flag}: port {port} is in use on {host}. Stop what listens there, or choose another: {flag} {port + 10}"
    if error.errno == errno.EACCES:
        return f"{flag}: port {port} needs privileges that user {os.getuid()} has not. Choose one above 1023."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host: {host} is no address of this machine."
    return f"{flag}: cannot listen on {host}:{port}: {error.strerror}."
