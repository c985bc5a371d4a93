"""`python -m modelport.local.node --dir DIR`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path

import modelport
from modelport.kube.client import Client
from modelport.local import program
from modelport.local.folder import Folder
from modelport.local.node.agent import Node

log = logging.getLogger("modelport.node")


async def _run(folder: Folder) -> int:
    settings = folder.settings()
    if settings is None:
        log.error("%s: no platform here; run: modelport up", folder.path)
        return 2
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.call_later(program.SETTLED_S, program.give_back)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Client.from_kubeconfig(folder.kubeconfig, socket=folder.api_socket) as client:
        node = Node(client, folder, settings, modelport.__version__)
        running = asyncio.create_task(node.run())
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if running in done:
            running.result()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        if folder.stopping.exists():
            await node.shut()
    return 0


def main() -> int:
    """Runs the node until SIGTERM. Where the platform is going down its pods' processes end; else they go on."""
    parser = argparse.ArgumentParser(prog="modelport.local.node")
    parser.add_argument("--dir", type=Path, required=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return asyncio.run(_run(Folder(parser.parse_args().dir)))


if __name__ == "__main__":
    sys.exit(main())
