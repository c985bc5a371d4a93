"""A worker process: loads its models, serves them on sockets that it is given, and reports to its supervisor."""

from __future__ import annotations

import itertools
import logging
import os
import socket
import sys
import threading
import time
from typing import NoReturn, Protocol

import msgspec

from modelport import _dataplane
from modelport.server.memory import memory_bytes
from modelport.server.options import Plan, ServerOptions, Source
from modelport.server.ports import Sockets
from modelport.server.repository import Asked, Fingerprint, Repository, fingerprint
from modelport.server.runtime import LoadError

log = logging.getLogger("modelport")

STUCK = 86
"""Exit code of a process whose model did not return within the predict timeout (`crates/python/src/server.rs`)."""


class News(msgspec.Struct):
    """A line from the supervisor to a worker."""

    peers: list[str]
    """Control sockets of the other workers that serve."""
    asked: Asked


class Channel(Protocol):
    """The way to the supervisor; a process without one prints instead."""

    def report(self, event: str, text: str = "") -> None:
        """Tells the supervisor that something happened."""
        ...

    def when_stuck(self) -> tuple[int, bytes] | None:
        """Where to write what when a model does not return: it may hold the GIL, so that `report` is no way."""
        ...


def build_server(
    options: ServerOptions,
    sockets: Sockets,
    repository: _dataplane.RepositoryCallbacks,
    version: str,
    *,
    signals: bool,
    on_stuck: tuple[int, bytes] | None = None,
) -> _dataplane.Server:
    """A server for these options on these sockets."""
    tls = None
    if options.tls_certificate and options.tls_key:
        tls = (options.tls_certificate, options.tls_key, options.tls_client_ca)
    return _dataplane.Server(
        version=version,
        repository=repository,
        http_fd=sockets.http,
        grpc_fd=sockets.grpc,
        metrics_fd=sockets.metrics,
        control_fd=sockets.control,
        both_on_http=options.one_port,
        tls=tls,
        body_bytes=options.max_body_bytes,
        bodies_bytes=(options.max_bodies_bytes or memory_bytes() // 4) // options.workers,
        drain_timeout_s=options.drain_timeout_s,
        drain_delay_s=options.drain_delay_s,
        signals=signals,
        docs=options.docs,
        access_log=options.access_log,
        tracing=options.tracing,
        cloudevents=(options.ce_type, options.ce_source, options.ce_merge),
        max_connections=options.max_connections,
        on_stuck=on_stuck,
    )


def work(
    plan: Plan,
    sockets: Sockets,
    repository: Repository,
    channel: Channel,
    asked: Asked,
    version: str,
    commands: socket.socket | None = None,
) -> int:
    """Serves until told to stop; returns the exit code."""
    server = build_server(
        plan.server,
        sockets,
        repository,
        version,
        signals=True,
        on_stuck=channel.when_stuck(),
    )
    repository.attach(server)
    before = len(sys.modules)
    try:
        for servable in repository.start(asked):
            channel.report("loaded", servable.report)
    except LoadError as error:
        channel.report("failed", str(error))
        return 1
    repository.changed = lambda asked: channel.report("asked", msgspec.json.encode(asked).decode())
    if commands is not None:
        threading.Thread(
            target=_obey, args=(commands, repository, server), daemon=True, name="commands"
        ).start()
    if plan.server.watch:
        threading.Thread(target=watch, args=(repository,), daemon=True, name="watch").start()
    if commands is not None:
        # From the end: passing by a name writes to its page, and those of before are shared.
        new = list(itertools.islice(reversed(sys.modules), len(sys.modules) - before))
        channel.report("modules", msgspec.json.encode(new[::-1]).decode())
    if plan.repository is not None:
        threading.Thread(target=refresh, args=(repository,), daemon=True, name="refresh").start()
    channel.report("ready")
    ended = server.run()
    return STUCK if ended == "stuck" else 0


def _obey(commands: socket.socket, repository: Repository, server: _dataplane.Server) -> None:
    with commands.makefile("r", encoding="utf-8") as lines:
        for line in lines:
            news = msgspec.json.decode(line, type=News)
            repository.set_peers(news.peers)
            repository.catch_up(news.asked)
    server.stop()  # the supervisor is gone: end as after SIGTERM


def watch(repository: Repository, interval_s: float = 1.0) -> None:
    """Loads artifacts anew when they change, once they have been still for one interval."""
    seen: dict[Source, Fingerprint | None] = {}
    while True:
        time.sleep(interval_s)
        for source in repository.served():
            now = fingerprint(source)
            still = seen.get(source) == now
            seen[source] = now
            if not still or now is None or now == repository.loaded_from(source):
                continue
            try:
                log.warning("%s changed: %s", source.path, repository.reload(source))
            except LoadError as error:
                log.error(
                    "%s changed, but cannot be loaded; the previous one keeps serving: %s", source.path, error
                )


def refresh(repository: Repository, interval_s: float = 2.0) -> None:
    """Keeps the index true while folders come and go."""
    while True:
        time.sleep(interval_s)
        repository.refresh()


def exit_now(code: int) -> NoReturn:
    """Ends the process without waiting for threads of models that do not return."""
    logging.shutdown()
    os._exit(code)
