"""The control program: the API server, Kubernetes' own controllers, the gateway's translator, and our loops.

It composes; nothing is decided here. Each part speaks to the API server as it would on a cluster, but over
a Unix socket.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import modelport
from modelport.control import run as loops
from modelport.kinds.catalog import KINDS
from modelport.kube.client import Client
from modelport.kube.resource import Object
from modelport.local import program
from modelport.local.apiserver.app import build
from modelport.local.apiserver.execution import Execution, Find
from modelport.local.apiserver.kinds import declared
from modelport.local.apiserver.registry import Registry
from modelport.local.apiserver.serve import serve
from modelport.local.apiserver.standard import standard
from modelport.local.apiserver.state_file import StoreError
from modelport.local.apiserver.store import Store
from modelport.local.apiserver.tokens import Tokens
from modelport.local.execute import execution
from modelport.local.folder import Folder, Settings
from modelport.local.gateway import run as gateway
from modelport.local.usage import Usage
from modelport.local.workloads import run as workloads

log = logging.getLogger("modelport.control")


QUIET_S, QUIET_LIMIT_S = 0.15, 2.0
"""So long nothing is written once everybody has drawn their conclusions, and so long at most that is waited for."""


async def run(folder: Folder, settings: Settings, store: Store) -> None:
    """Everything, until cancelled."""
    registry = Registry([*standard(settings.pod_network), *declared(KINDS)])

    def log_file(pod: Object, container: str, previous: bool) -> Path | None:
        return folder.log_of(pod, container, previous=previous)

    def execute(pod: Object, container: str, command: Sequence[str], find: Find) -> Execution:
        return execution(pod, container, command, find, settings, folder)

    app = build(
        store, registry, tokens=Tokens(folder.tokens), log_files=log_file, execute=execute, measure=Usage().of
    )
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(
            serve(app, store, settings.api_port, folder.certificate, folder.key, ready, own=folder.api_socket)
        )
        await ready.wait()
        log.info("API server on 127.0.0.1:%d", settings.api_port)
        client = Client.from_kubeconfig(folder.kubeconfig, socket=folder.api_socket)
        group.create_task(loops.run(client, modelport.__version__, seed=True))
        tls, keys = settings.tls_certificate is not None, settings.require_keys
        group.create_task(gateway.run(client, folder, settings.host, require_keys=keys, tls=tls))
        group.create_task(workloads.run(client, [kind.resource for kind in KINDS]))


async def _quiet(store: Store) -> None:
    """Returns once nothing is written any more: what the node has said of its pods' end has reached the services, so
    that the next start finds none that calls itself ready."""
    async with asyncio.timeout(QUIET_LIMIT_S):
        known = -1
        while store.version != known:
            known = store.version
            await asyncio.sleep(QUIET_S)


def main() -> int:
    """`python -m modelport.local.control --dir DIR`."""
    parser = argparse.ArgumentParser(prog="modelport.local.control")
    parser.add_argument("--dir", type=Path, required=True)
    folder = Folder(parser.parse_args().dir)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # by which issuers of tokens are asked
    settings = folder.settings()
    if settings is None:
        log.error("%s: no platform here; run: modelport up", folder.path)
        return 2

    async def until_told() -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        loop = asyncio.get_running_loop()
        loop.call_later(program.SETTLED_S, program.give_back)
        store = Store(folder.database)
        leaving: list[asyncio.Task[None]] = []

        async def leave() -> None:
            if folder.stopping.exists():
                with contextlib.suppress(TimeoutError):
                    await _quiet(store)
            task.cancel()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: leaving.append(asyncio.create_task(leave())))
        await run(folder, settings, store)

    try:
        asyncio.run(until_told())
    except asyncio.CancelledError:
        return 0
    except StoreError as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
