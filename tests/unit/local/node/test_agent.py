"""A real node in a test's own event loop, beside a real API server: what happens when it cannot do its part."""

from __future__ import annotations

import asyncio
import signal
import threading
from pathlib import Path

import pytest

from modelport.kube.resource import POD
from modelport.local import supervisor
from modelport.local.folder import Folder, Settings
from modelport.local.node import forks
from modelport.local.node.agent import Node
from modelport.local.process import Process
from modelport.wire.fork import Reply, Request, Start, Started


def pod(name: str) -> dict:
    container = {"name": "c", "image": "x", "command": ["sleep", "1000"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": "local", "containers": [container]},
    }


def test_a_pod_that_the_node_could_not_begin_begins_once_it_can(embedded, tmp_path: Path):
    """Without it, one moment of a full disk, or of too many pods, would leave a pod dead until it is deleted."""
    folder = Folder(tmp_path / "platform")
    folder.make()

    async def run() -> None:
        async with embedded() as api:
            node = Node(
                api.client, folder, Settings(gateway_port=1, api_port=1, pod_network="127.98"), "test"
            )
            address = node.addresses.give()
            node.addresses._used |= set(_all())
            task = api.run(node.run())
            await api.client.create(POD, pod("late"))

            async def condition(kind: str) -> dict:
                found = await api.client.get(POD, "default", "late")
                listed = found.get("status", {}).get("conditions") or []
                return next((one for one in listed if one["type"] == kind), {})

            async def told() -> bool:
                return "all addresses" in (await condition("PodScheduled")).get("message", "")

            async def ready() -> bool:
                return (await condition("Ready")).get("status") == "True"

            await api.until(told)
            node.addresses.free(address)
            await api.until(ready, 60.0)
            assert (await condition("PodScheduled"))["status"] == "True"
            await api.client.delete(POD, "default", "late", grace_s=0)
            await api.until(lambda: not list(folder.pods.iterdir()))
            await api.kill(task)

    def _all() -> list[str]:
        return [f"127.98.{third}.{fourth}" for third in range(1, 250) for fourth in range(1, 255)]

    try:
        asyncio.run(run())
    finally:
        supervisor.stop(folder)


@pytest.mark.parametrize("order", ["the container's", "the relay's"])
def test_a_pod_that_is_deleted_while_its_process_starts_leaves_none(
    embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str
):
    """It would go on listening at an address that the next pod gets, which then never starts."""
    folder = Folder(tmp_path / "platform")
    folder.make()
    started: list[Started] = []
    heard = threading.Event()
    ask = forks._ask

    def late(path: Path, request: Request, descriptor: int | None = None) -> Reply:
        """A fork server that is slow to say what it has started."""
        reply = ask(path, request, descriptor)
        if isinstance(request, Start) and isinstance(reply, Started):
            started.append(reply)
            if (request.title == "relay") == (order == "the relay's"):
                assert heard.wait(60)
        return reply

    monkeypatch.setattr(forks, "_ask", late)

    async def run() -> None:
        async with embedded() as api:
            node = Node(
                api.client, folder, Settings(gateway_port=1, api_port=1, pod_network="127.98"), "test"
            )
            if order == "the relay's" and not (await node._surroundings.means()).kind:
                pytest.skip("no namespaces here: pods have no relay")
            wanted = 2 if order == "the container's" and (await node._surroundings.means()).kind else 1
            task = api.run(node.run())
            await api.client.create(POD, pod("short"))
            await api.until(lambda: len(started) == wanted, 60.0)
            worker = next(iter(node._workers.values()))
            await api.client.delete(POD, "default", "short", grace_s=0)
            await api.until(lambda: worker._gone)
            await asyncio.sleep(0.1)  # what would give up at once has given up
            assert all(Process(one.pid, one.start).alive for one in started)
            heard.set()
            await api.until(lambda: not list(folder.pods.iterdir()))
            assert not any(Process(one.pid, one.start).alive for one in started)
            await api.kill(task)

    try:
        asyncio.run(run())
    finally:
        heard.set()
        for one in started:
            Process(one.pid, one.start).signal(signal.SIGKILL)
        supervisor.stop(folder)
