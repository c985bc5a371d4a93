"""`modelport gateway`: the data plane's front, which the platform starts. Not for people: no help lists it."""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
from typing import TYPE_CHECKING

from modelport.cli import Mistake

if TYPE_CHECKING:
    from modelport.cli import Commands

DESCRIPTION = """\
Routes requests to model servers by a table of routes, on listening sockets that it inherits.
SIGTERM drains it, a second one ends it; SIGHUP opens the access log anew.
"""


def register(commands: Commands) -> None:
    """Adds the command."""
    gateway = commands.add_parser(
        "gateway", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    gateway.set_defaults(command=run)
    flag = gateway.add_argument
    flag(
        "--listen-fd",
        type=_descriptors,
        required=True,
        metavar="N[,M…]",
        help="listening sockets for clients",
    )
    flag(
        "--internal-fd",
        type=_descriptors,
        default=[],
        metavar="N[,M…]",
        help="listening sockets where internal routes are served too, without TLS",
    )
    flag("--table", required=True, metavar="FILE", help="the route table, JSON")
    flag("--admin", required=True, metavar="SOCK", help="Unix socket for the control plane")
    flag("--handover", metavar="SOCK", help="Unix socket that hands the listening sockets over (SCM_RIGHTS)")
    flag("--tls-certificate", metavar="FILE", help="PEM chain for --listen-fd; read again when it changes")
    flag("--tls-key", metavar="FILE", help="PEM private key")
    flag("--access-log", metavar="FILE", help="append a JSON line a request")
    flag(
        "--trust-forwarded",
        action="store_true",
        help="a proxy of ours is in front: keep its X-Forwarded-Proto and X-Forwarded-Host",
    )
    flag("--threads", type=int, default=1, metavar="N", help="threads that serve (default 1)")
    flag("--max-connections", type=int, default=10_000, metavar="N", help="of each listener (default 10,000)")
    flag(
        "--max-header-size",
        type=int,
        default=64 << 10,
        metavar="BYTES",
        help="largest head, 8 KiB to 1 MiB (default 64 KiB)",
    )
    flag(
        "--max-body-size",
        type=int,
        default=1 << 30,
        metavar="BYTES",
        help="largest request body (default 1 GiB)",
    )
    flag(
        "--retry-body-size",
        type=int,
        default=1 << 20,
        metavar="BYTES",
        help="bodies up to this size are kept, to be sent again when their endpoint dies (default 1 MiB)",
    )
    flag("--header-timeout", type=float, default=30.0, metavar="S", help="for a head to come (default 30)")
    flag(
        "--idle-timeout",
        type=float,
        default=600.0,
        metavar="S",
        help="close a connection that has been silent for so long (default 600)",
    )
    flag("--body-timeout", type=float, default=60.0, metavar="S", help="for a kept body to come (default 60)")
    flag("--connect-timeout", type=float, default=2.0, metavar="S", help="to an endpoint (default 2)")
    flag(
        "--drain-delay",
        type=float,
        default=0.3,
        metavar="S",
        help="on SIGTERM, HTTP/1.1 clients have so long for a last request (default 0.3)",
    )
    flag(
        "--drain-timeout",
        type=float,
        default=30.0,
        metavar="S",
        help="on SIGTERM, finish requests for so long (default 30)",
    )


def run(options: argparse.Namespace) -> int:
    """Runs the command."""
    from modelport._dataplane import gateway

    if (options.tls_certificate is None) != (options.tls_key is None):
        raise Mistake("--tls-certificate and --tls-key belong together", "give both, or none")
    tls = (options.tls_certificate, options.tls_key) if options.tls_certificate else None
    descriptors = [*options.listen_fd, *options.internal_fd]
    if len(descriptors) > 16:
        raise Mistake(f"--listen-fd, --internal-fd: at most 16 together, got {len(descriptors)}")
    for descriptor in descriptors:
        _check(descriptor)
        os.set_inheritable(descriptor, False)
    _raise_descriptor_limit()
    try:
        ended = gateway(
            listen_fds=options.listen_fd,
            internal_fds=options.internal_fd,
            table=options.table,
            admin=options.admin,
            handover=options.handover,
            tls=tls,
            access_log=options.access_log,
            trust_forwarded=options.trust_forwarded,
            threads=options.threads,
            max_connections=options.max_connections,
            header_bytes=options.max_header_size,
            body_bytes=options.max_body_size,
            retry_body_bytes=options.retry_body_size,
            header_timeout_s=options.header_timeout,
            idle_timeout_s=options.idle_timeout,
            body_timeout_s=options.body_timeout,
            connect_timeout_s=options.connect_timeout,
            drain_delay_s=options.drain_delay,
            drain_timeout_s=options.drain_timeout,
        )
    except (OSError, ValueError, OverflowError) as error:
        raise Mistake(f"the gateway cannot run: {error}") from error
    if ended != "drained":
        print("modelport: some requests were still running", file=sys.stderr)
    return 0


def _descriptors(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def _check(descriptor: int) -> None:
    """The extension takes any number for a socket; this says it in words where it is none."""
    try:
        copy = socket.socket(fileno=os.dup(descriptor))
    except OSError as error:
        raise Mistake(
            f"descriptor {descriptor} is no socket: {error.strerror}", "pass listening sockets to the process"
        ) from error
    with copy:
        listening = copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if not listening:
        raise Mistake(f"descriptor {descriptor} is a socket that does not listen")


def _raise_descriptor_limit() -> None:
    """A connection takes a descriptor here and one to the endpoint; the usual soft limit is 1024."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
