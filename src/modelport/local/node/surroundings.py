"""What a command that believes itself alone in a container needs: a network and mounts of its own, and names."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from modelport.kube.part import objects
from modelport.kube.resource import Object
from modelport.kube.sidecar import sidecars
from modelport.local.folder import Folder, Settings
from modelport.local.node import image, leftover, listener, namespaces, volumes
from modelport.local.node.ending import exit_of
from modelport.local.node.forks import ForkFailed, Forks
from modelport.local.node.launch import Launch, NotPossible
from modelport.local.node.namespaces import Means
from modelport.local.node.relay import SERVICES, Identity
from modelport.local.process import Process, read
from modelport.wire.fork import Mount, Room, Start

log = logging.getLogger(__name__)
READY_LIMIT_S = 20.0
DEFAULT_PORT = 8080


class Surroundings:
    """Those of all pods of this node. Without the rights for namespaces, commands run on the machine itself."""

    def __init__(self, folder: Folder, settings: Settings, forks: Forks) -> None:
        self._folder, self._settings, self._forks = folder, settings, forks
        self._locks: dict[str, asyncio.Lock] = {}
        self._means: Means | None = None

    async def means(self) -> Means:
        """What this user may do. Tried once."""
        if self._means is None:
            self._means = await asyncio.to_thread(namespaces.find)
            log.info("namespaces for commands: %s", self._means.kind or self._means.missing)
        return self._means

    async def furnish(
        self, pod: Object, launch: Launch, ip: str, services: Iterable[Object]
    ) -> tuple[Launch, str]:
        """The process with its surroundings, and what they lack, in words. Raises NotPossible."""
        if launch.own:
            return launch, ""
        means = await self.means()
        if not means.kind:
            return _without(launch), lacks(means.missing)
        home = self._home(pod)
        meta = pod["metadata"]
        lock = self._locks.setdefault(meta["uid"], asyncio.Lock())
        async with lock:
            relay = await self._network(pod, home, ip, means)
        hosts = home / "hosts"
        hosts.write_text(names(services))
        mounts = [Mount(source=str(hosts), target="/etc/hosts")]
        for number, (target, place, read_only) in enumerate(reversed(launch.mounted)):
            source = _folder_of(place, home, number) if target in launch.models else place
            mounts.append(Mount(source=str(source), target=target, read_only=read_only))
        room = Room(user=relay.user, network=relay.network, mounts=tuple(mounts))
        return msgspec.structs.replace(launch, start=msgspec.structs.replace(launch.start, room=room)), ""

    async def _network(self, pod: Object, home: Path, ip: str, means: Means) -> Identity:
        """The relay that keeps the pod's network namespace."""
        path = home / leftover.RELAYS[0]
        known = _identity(path)
        if known is not None:
            return known
        # One that was started by a node that is gone may still be on its way: two would carry at one address.
        process = read(home / leftover.RELAYS[1])
        if process is None or not process.alive:
            path.unlink(missing_ok=True)
            process = await self._start_relay(pod, home, ip, means)
        until = asyncio.get_running_loop().time() + READY_LIMIT_S
        while (found := _identity(path)) is None:
            if not process.alive or asyncio.get_running_loop().time() > until:
                process.signal(signal.SIGKILL)
                said = (home / "relay.log").read_text(errors="replace").strip()
                held = (listener.holder(ip, port) for port in ports_of(pod))
                who = ", ".join(one for one in held if one)
                raise NotPossible(
                    "CreateContainerError",
                    f"the pod's network cannot be made: {said or 'no answer'}{who and f' (held by {who})'}",
                )
            await asyncio.sleep(0.01)
        return found

    async def _start_relay(self, pod: Object, home: Path, ip: str, means: Means) -> Process:
        gateway = "{}:{}".format(*self._settings.internal)
        ports = ",".join(str(port) for port in ports_of(pod))
        arguments = [sys.executable, "-m", "modelport.local.node.relay", "--ip", ip, "--ports", ports]
        arguments += ["--gateway", gateway, "--identity", str(home / leftover.RELAYS[0])]
        start = Start(
            arguments=[*arguments, "--user"] if means.kind == "user" else arguments,
            title="relay",
            environment={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            folder=str(home),
            pid_file=str(home / leftover.RELAYS[1]),
        )
        try:
            started = await self._forks.start(sys.executable, start, home / "relay.log")
        except ForkFailed as error:
            raise NotPossible("CreateContainerError", f"the pod's network: {error}") from error
        return Process(started.pid, started.start)

    async def relay_of(self, pod: Object) -> Process | None:
        """The process that carries a pod's connections; None where it has none."""
        return read(self._home(pod) / leftover.RELAYS[0]) if (await self.means()).kind else None

    async def vacate(self, pod: Object) -> None:
        """Ends a pod's relay."""
        self._locks.pop(pod["metadata"]["uid"], None)
        home = self._home(pod)
        relays = {found for name in leftover.RELAYS if (found := read(home / name)) is not None}
        for relay in relays:
            relay.signal(signal.SIGKILL)
        for relay in relays:
            await exit_of(self._folder.exits, relay)

    def _home(self, pod: Object) -> Path:
        meta = pod["metadata"]
        return self._folder.pod(meta["namespace"], meta["name"], meta["uid"])

    def rename(self, services: Iterable[Object]) -> None:
        """Services have come or gone: their names are told to all pods that have a hosts file of their own."""
        text = names(services)
        for hosts in self._folder.pods.glob("*/hosts"):
            if hosts.read_text() != text:
                hosts.write_text(text)  # in place: it is mounted


def lacks(missing: str) -> str:
    """What a command has to know that runs on the machine itself, and what would mend it."""
    return (
        f"no namespaces for custom containers here ({missing}): this one shares the machine's network and files. "
        "It must listen on the address in $POD_IP, not on 0.0.0.0, and take paths from its arguments and environment, "
        "for /mnt/models is not there. To have namespaces, run `modelport doctor` and follow its hint, or run as root."
    )


def _without(launch: Launch) -> Launch:
    """A process without surroundings: paths of the container become paths of this machine where they are named."""
    start = launch.start
    arguments = [volumes.rewrite(word, launch.mounted) for word in start.arguments]
    variables = {name: volumes.rewrite(value, launch.mounted) for name, value in start.environment.items()}
    return msgspec.structs.replace(
        launch, start=msgspec.structs.replace(start, arguments=arguments, environment=variables)
    )


def names(services: Iterable[Object]) -> str:
    """/etc/hosts: every Service by the names that it has in a cluster."""
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    for service in services:
        meta = service["metadata"]
        short = f"{meta['name']}.{meta['namespace']}"
        lines.append(f"{SERVICES} {short} {short}.svc {short}.svc.cluster.local")
    return "\n".join(lines) + "\n"


def ports_of(pod: Object) -> list[int]:
    """Where the pod's commands listen. Our own servers are not in its network: they listen outside themselves."""
    containers = [*sidecars(pod), *objects(pod["spec"]["containers"])]
    own = _declared(one for one in containers if image.is_own(one))
    foreign = [one for one in containers if not image.is_own(one)]
    return sorted((_declared(foreign) | {DEFAULT_PORT}) - own) if foreign else []


def _declared(containers: Iterable[Object]) -> set[int]:
    return {
        int(port["containerPort"])
        for container in containers
        for port in objects(container.get("ports"))
        if port.get("containerPort")
    }


def _identity(path: Path) -> Identity | None:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Identity)
    except (OSError, msgspec.DecodeError):
        return None
    return found if Process(found.pid, found.start).alive else None


def _folder_of(place: Path, home: Path, number: int) -> Path:
    """A folder to mount: a model that is one file gets one around it."""
    if not place.is_file():
        return place
    around = home / "around" / str(number)
    around.mkdir(parents=True, exist_ok=True)
    link = around / place.name
    if not link.is_symlink():
        link.symlink_to(place)
    return around
