"""A whole platform for tests of pods: started by the command line, asked over its API, looked at by /proc."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from modelport.kube.client import Client
from modelport.kube.errors import ApiError
from modelport.kube.resource import CONFIG_MAP, EVENT, POD, Object, Resource
from modelport.local import process
from modelport.local.process import Process

PATIENCE_S = float(os.environ.get("MODELPORT_PATIENCE_S", "120"))


class Platform:
    """One platform, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def modelport(self, *words: str) -> str:
        """What a command prints."""
        done = subprocess.run(
            [sys.executable, "-m", "modelport", *words, "--dir", str(self.folder)],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S * 2,
        )
        assert done.returncode == 0, (
            f"modelport {' '.join(words)}:\n{done.stdout}\n{done.stderr}\n{self.logs()}"
        )
        return done.stdout

    def start(self, *flags: str) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        self.modelport("up", "--detach", "--port", str(port), *flags)

    def ask(self, what: Callable[[Client], Any]) -> Any:
        """One call of the API, or several."""

        async def call() -> Any:
            async with Client.from_kubeconfig(self.folder / "kubeconfig") as client:
                return await what(client)

        return asyncio.run(call())

    def create(self, resource: Resource, body: Object) -> None:
        self.ask(lambda client: client.create(resource, body))

    def apply(self, resource: Resource, body: Object) -> None:
        self.ask(lambda client: client.apply(resource, body, field_manager="test"))

    def delete(self, name: str, grace_s: int | None = None) -> None:
        with contextlib.suppress(ApiError):
            self.ask(lambda client: client.delete(POD, "default", name, grace_s=grace_s))

    def pod(self, name: str) -> Object | None:
        return self.ask(lambda client: client.find(POD, "default", name))

    def pods(self) -> list[Object]:
        return self.ask(lambda client: client.list(POD, "default")).items

    def events(self, name: str) -> dict[str, str]:
        """What was told about an object: reason to message."""
        found = self.ask(lambda client: client.list(EVENT, "default")).items
        return {one["reason"]: one["message"] for one in found if one["involvedObject"]["name"] == name}

    def log(self, pod: str, container: str = "c", **more: str) -> str:
        async def read(client: Client) -> str:
            lines = client.log("default", pod, {"container": container} | more)
            return "\n".join([line async for line in lines])

        return self.ask(read)

    def until(self, what: str, holds: Callable[[], Any]) -> Any:
        """Waits until something holds; returns it. Errors on the way are the last try's alone."""
        end = time.monotonic() + PATIENCE_S
        while True:
            failure: object = None
            try:
                if found := holds():
                    return found
            except Exception as error:  # noqa: BLE001 - the API server may be away
                failure = error
            assert time.monotonic() < end, f"{what} did not come ({failure})\n{self.state()}\n{self.logs()}"
            time.sleep(0.05)

    def until_ready(self, *names: str) -> None:
        for name in names:
            self.until(f"pod {name} Ready", lambda name=name: is_ready(self.pod(name)))

    def program(self, role: str) -> Process | None:
        """One of the platform's programs."""
        return process.read(self.folder / "run" / f"{role}.json")

    def fork_servers(self) -> list[Process]:
        found = (process.read(path) for path in (self.folder / "run").glob("forkserver-*.json"))
        return [one for one in found if one is not None and one.alive]

    def processes(self) -> dict[int, str]:
        """Everything on this machine that belongs to this platform, by its folder."""
        found: dict[int, str] = {}
        mark = str(self.folder).encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes()
                place = str((entry / "cwd").readlink())
                if mark in words or place.startswith(str(self.folder)):
                    found[int(entry.name)] = f"{words.replace(bytes(1), b' ').decode()} in {place}"
        return found

    def containers(self) -> dict[int, str]:
        """Those that are pods' processes or relays."""
        inside = f" in {self.folder / 'pods'}"
        return {pid: words for pid, words in self.processes().items() if inside in words or "relay" in words}

    def state(self) -> str:
        try:
            listed = [(pod["metadata"], pod.get("status", {})) for pod in self.pods()]
        except Exception as error:  # noqa: BLE001 - it is for people who look at a failure
            return f"pods: {error}"
        return json.dumps(listed, indent=1)[:20_000] + "\n" + json.dumps(self.processes(), indent=1)

    def logs(self) -> str:
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}"
            for path in sorted((self.folder / "logs").glob("*.log"))
        )


@contextlib.contextmanager
def running(folder: Path, *flags: str) -> Iterator[Platform]:
    """A platform, with these flags of `modelport up`, until the end of the block; nothing of it may be left then."""
    found = Platform(folder)
    try:
        found.start(*flags)
        yield found
    finally:
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            found.modelport("down")
        # What has been told to end may take a moment on a busy machine; what stays is a leak.
        end = time.monotonic() + 15
        while (left := found.processes()) and time.monotonic() < end:
            time.sleep(0.1)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
    assert left == {}, f"modelport down leaves processes: {left}"


def pod(name: str, *containers: Object, **spec: Any) -> Object:
    """A pod of this machine."""
    given = [{"name": "c", "image": "x"} | one for one in containers]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"} | spec.pop("metadata", {}),
        "spec": {"nodeName": "local", "containers": given, "terminationGracePeriodSeconds": 5} | spec,
    }


def config(name: str, data: dict[str, str]) -> Object:
    """A ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"},
        "data": data,
    }


def is_ready(pod: Object | None) -> bool:
    """Whether all of its containers are."""
    conditions = (pod or {}).get("status", {}).get("conditions") or []
    return any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)


def container(pod: Object | None, name: str = "c") -> Object:
    """A container's status."""
    status = (pod or {}).get("status", {})
    listed = (status.get("initContainerStatuses") or []) + (status.get("containerStatuses") or [])
    return next((one for one in listed if one["name"] == name), {})


__all__ = ["CONFIG_MAP", "POD", "Platform", "config", "container", "is_ready", "pod", "running"]
