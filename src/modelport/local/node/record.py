"""What the node knows of one pod: kept on disk, so that a node that was killed finds its processes again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from modelport.kube.meta import timestamp
from modelport.kube.part import objects
from modelport.kube.resource import Object
from modelport.local.folder import write
from modelport.local.node.container import State
from modelport.local.process import Process

FILE = "state.json"
STOPPED = "stopped with the platform, and starts with it again"


class Kept(msgspec.Struct, kw_only=True):
    """What is written to disk of a pod."""

    namespace: str
    name: str
    uid: str
    ip: str
    started_at: str
    containers: dict[str, State]
    fetched: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    """Where a folder of models comes to lie: target to place."""
    digests: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    """What lay there when it was fetched, by target."""
    pythons: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    """The interpreter of each container."""
    lacking: str = ""
    """What the pod's commands would expect and this machine does not give them."""


class Record:
    """A pod's object as the API has it, its containers' states, and word that either has changed."""

    def __init__(self, pod: Object, folder: Path) -> None:
        meta = pod["metadata"]
        self.pod = pod
        self.folder = folder
        self.updated = asyncio.Event()
        """The pod's object has changed."""
        self.dirty = asyncio.Event()
        """The status is to be told."""
        self.told = asyncio.Event()
        """The API server knows how the pod is: what it has kept of the time before may be wrong."""
        self.problem = ""
        """Why the node cannot carry the pod out at all."""
        known = load(folder)
        self.restored = known is not None
        """Whether a node before this one has begun with the pod."""
        self.kept = known or Kept(
            namespace=meta["namespace"],
            name=meta["name"],
            uid=meta["uid"],
            ip="",
            started_at=timestamp(datetime.now(UTC)),
            containers={},
        )

    @property
    def name(self) -> str:
        """The pod's name."""
        return self.kept.name

    def containers(self) -> Iterator[Object]:
        """All containers, those that initialize first."""
        spec = self.pod["spec"]
        yield from objects(spec.get("initContainers"))
        yield from objects(spec["containers"])

    def state(self, container: str) -> State:
        """A container's state."""
        return self.kept.containers.setdefault(container, State())

    def log_file(self, container: str) -> Path:
        """The log of a container's present or next run."""
        return self.folder / container / f"{self.state(container).run}.log"

    def wait_for(self, container: str, reason: str, message: str) -> None:
        """A container does not run yet: Kubernetes' word for why, and the sentence for people."""
        state = self.state(container)
        if (state.waiting, state.message) != (reason, message):
            state.waiting, state.message = reason, message
            self.dirty.set()

    def change(self) -> None:
        """States have changed: they are written down and told."""
        self.save()
        self.dirty.set()

    def correct(self) -> None:
        """Looks whether what is kept is still true: a machine may have ended meanwhile, with all processes."""
        for one in self.kept.containers.values():
            if one.running and not Process(one.pid, one.start).alive:
                one.ready = one.started = False
        self.dirty.set()

    def leave(self) -> None:
        """The platform goes down, and the pod's processes have ended with it."""
        for one in self.kept.containers.values():
            if not one.done:
                one.ready, one.unready, one.waiting, one.message = False, "", "", STOPPED
        self.save()

    def save(self) -> None:
        """Writes down what is known, where the pod has a folder."""
        if self.folder.is_dir():
            write(self.folder / FILE, msgspec.json.encode(self.kept))


def interpreters(pods: Path) -> Iterator[str]:
    """Those that the pods of a platform run by."""
    for folder in pods.glob("*"):
        kept = load(folder)
        if kept is not None:
            yield from kept.pythons.values()


def load(folder: Path) -> Kept | None:
    """What was written down of a pod; None where nothing was, or it is damaged."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=Kept)
    except (OSError, msgspec.DecodeError):
        return None
