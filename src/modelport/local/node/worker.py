"""One pod from its first process to its last: a task that brings processes and status to what the API asks for."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from modelport.kube.errors import ApiError
from modelport.kube.part import objects
from modelport.kube.resource import POD, Object
from modelport.kube.sidecar import is_sidecar
from modelport.local.node import image, leftover, polling, stopping, teller, volumes
from modelport.local.node.ending import exit_of
from modelport.local.node.record import Record
from modelport.local.node.runner import AGAIN_S, Runner
from modelport.local.node.variables import Find, Missing
from modelport.wire import fork

if TYPE_CHECKING:
    from modelport.local.node.agent import Node

log = logging.getLogger(__name__)
FAILED_AGAIN_S = 2.0
"""Until a pod is looked at again that the node itself has failed at."""


class Worker:
    """Runs one pod."""

    def __init__(self, node: Node, pod: Object) -> None:
        self._node = node
        meta = pod["metadata"]
        self._record = Record(pod, node.folder.pod(meta["namespace"], meta["name"], meta["uid"]))
        self._runner = Runner(node, self._record)
        self._tasks: list[asyncio.Task[None]] = []
        self._gone = False
        self._begun = asyncio.Event()
        self._stale = asyncio.Event()
        """What volumes are made from may have changed."""
        if self._record.kept.ip:
            node.addresses.take(self._record.kept.ip)

    # What the agent tells

    def update(self, pod: Object) -> None:
        """The pod's object has changed."""
        before, self._record.pod = self._record.pod["metadata"], pod
        self._record.updated.set()
        if any(before.get(field) != pod["metadata"].get(field) for field in ("labels", "annotations")):
            self._stale.set()  # they are files, too

    def gone(self) -> None:
        """The pod's object is gone: its processes are to go, at once."""
        self._gone = True
        self._record.updated.set()

    async def corrected(self) -> None:
        """Returns once the API server knows how the pod is now, whatever it had kept."""
        await self._record.told.wait()

    # The life

    async def run(self) -> None:
        """From begin to end."""
        if self._record.restored:
            await self._node.settled()
            leftover.adopt(self._record)
            self._record.correct()
        else:
            self._record.told.set()
        telling = asyncio.create_task(teller.run(self._node.client, self._record))
        refreshing = asyncio.create_task(self._refresh())
        life = asyncio.create_task(self._live())
        try:
            while not self._gone and not self._record.pod["metadata"].get("deletionTimestamp"):
                self._record.updated.clear()
                await self._record.updated.wait()
            await _cancel(life, refreshing, *self._tasks)
            await self._stop(hurry=self._gone)
            await _cancel(telling)
            await self._bury()
        except asyncio.CancelledError:
            await _cancel(life, telling, refreshing, *self._tasks)
            raise
        finally:
            self._node.sources.leave(self._record.kept.uid)

    async def shut(self) -> None:
        """Stops the processes, and leaves the API's object alone: the platform is going down."""
        await self._stop(hurry=False, shutdown=True)
        self._record.leave()
        await teller.last(self._node.client, self._record)
        await self._node.vacate(self._record.pod)

    async def _live(self) -> None:
        """The containers' lives; begun again after whatever the node could not do: a full disk, no free address."""
        while True:
            try:
                await self._carry_out()
                return
            except asyncio.CancelledError:
                await _cancel(*self._tasks)
                raise
            except Exception as error:
                log.exception("pod %s", self._record.name)
                self._record.problem = f"the node failed: {error}"
                self._record.dirty.set()
                await _cancel(*self._tasks)
                self._tasks.clear()
            await asyncio.sleep(FAILED_AGAIN_S)

    async def _carry_out(self) -> None:
        await self._begin()
        spec = self._record.pod["spec"]
        beside: list[Object] = []
        for container in objects(spec.get("initContainers")):
            if is_sidecar(container):
                beside.append(container)
                self._tasks.append(asyncio.create_task(self._runner.keep(container)))
                await self._runner.until_started(container)
            elif not await self._runner.initialize(container):
                break
        else:
            keeping = [asyncio.create_task(self._runner.keep(one)) for one in objects(spec["containers"])]
            self._tasks += [*keeping, asyncio.create_task(polling.follow(self._node, self._record))]
            await asyncio.gather(*keeping)
        # Where the others have ended for good, nobody needs what ran beside them.
        for container in reversed(beside):
            await self._runner.dismiss(container)

    async def _begin(self) -> None:
        """An address and volumes: what all containers share."""
        record = self._record
        if not record.kept.ip:
            record.kept.ip = self._node.addresses.give()
        record.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Downward API and probes see the address before the API server has it.
        record.pod = record.pod | {"status": record.pod.get("status", {}) | {"podIP": record.kept.ip}}
        while True:
            find = await self._node.finder(record.pod)
            try:
                self._runner.places = self._make(find)
            except (Missing, OSError) as error:
                for container in record.containers():
                    await self._runner.wait_for(
                        container["name"], "CreateContainerConfigError", str(error), event="FailedMount"
                    )
                await asyncio.sleep(AGAIN_S)
                continue
            break
        record.problem = ""
        record.change()
        self._begun.set()

    async def _refresh(self) -> None:
        """Makes the volumes anew whenever what they are made from has changed."""
        record = self._record
        if not any(volumes.is_projected(one) for one in objects(record.pod["spec"].get("volumes"))):
            return
        names = {(kind.kind, record.kept.namespace, name) for kind, name in volumes.sources(record.pod)}
        self._node.sources.follow(record.kept.uid, names, self._stale.set)
        await self._begun.wait()
        while True:
            await self._stale.wait()
            self._stale.clear()
            try:
                await asyncio.to_thread(self._make, await self._node.finder(record.pod))
            except (Missing, OSError, ApiError) as error:
                # As in Kubernetes, running containers keep what they have.
                log.warning("pod %s: its volumes stay as they are: %s", record.name, error)

    def _make(self, find: Find) -> dict[str, Path]:
        folder = self._record.folder / "volumes"
        return volumes.make(self._record.pod, folder, self._node.folder.volumes, find)

    # The end

    async def _stop(self, *, hurry: bool, shutdown: bool = False) -> None:
        leftover.adopt(self._record)  # what was just being started
        ended = await stopping.stop(
            self._record, self._runner.environments, lambda: self._gone, hurry=hurry, shutdown=shutdown
        )
        if not all(image.is_own(one) or image.is_initializer(one) for one in self._record.containers()):
            await asyncio.to_thread(leftover.end_strays, self._record.folder)
        exits = self._node.folder.exits
        if shutdown:  # whoever takes note of ends is ending, too; the next node sweeps up
            for process in ended:
                fork.exit_file(exits, process.pid, process.start).unlink(missing_ok=True)
        else:  # the note may be written a moment after the end
            await asyncio.gather(*(exit_of(exits, process) for process in ended))

    async def _bury(self) -> None:
        """Tells the API that the pod is gone, and removes what it left."""
        meta = self._record.pod["metadata"]
        if not self._gone:
            try:
                await self._node.client.delete(
                    POD, meta["namespace"], meta["name"], uid=meta["uid"], grace_s=0
                )
            except ApiError as error:
                if error.code not in (404, 409):
                    raise
        self._node.addresses.free(self._record.kept.ip)
        await self._node.vacate(self._record.pod)
        await asyncio.to_thread(volumes.clear, self._record.folder)


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
