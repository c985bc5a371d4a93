"""The node: a worker for each pod that the API server gives to this machine."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from modelport.control.cache import Cache, Change
from modelport.kube.client import Client, Unreachable
from modelport.kube.condition import is_true
from modelport.kube.errors import ApiError
from modelport.kube.meta import controller_of, timestamp
from modelport.kube.part import mapping, objects
from modelport.kube.quantity import to_bytes
from modelport.kube.resource import CONFIG_MAP, NODE, POD, SECRET, SERVICE, SERVICE_ACCOUNT, Object, Resource
from modelport.local.folder import Folder, Settings
from modelport.local.node import environments, leftover, volumes
from modelport.local.node.address import Addresses
from modelport.local.node.fetching import SETTINGS, rules_of
from modelport.local.node.forks import Forks
from modelport.local.node.launch import Launch
from modelport.local.node.logs import LIMIT_BYTES, Watch
from modelport.local.node.record import Record
from modelport.local.node.refreshing import Sources
from modelport.local.node.surroundings import Surroundings
from modelport.local.node.worker import Worker
from modelport.local.process import Process, mark
from modelport.storage import Cache as StorageCache
from modelport.storage.settings import PlatformSettings

log = logging.getLogger(__name__)
NAME = "local"
PRUNE_EVERY_S = 24 * 3600.0
FORGET_EVERY_S, FORGOTTEN_S = 600.0, 60.0
"""How a process ended is forgotten so long afterwards, where no pod waits for it; looked at so often."""
CORRECTED_S = 10.0
"""So long may the pods of a time before take to be told as they are now."""
AWAY_S = 1.0
"""Between tries to reach the API server."""


class Node:
    """What all pods share."""

    def __init__(self, client: Client, folder: Folder, settings: Settings, version: str) -> None:
        self.client = client
        self.folder = folder
        self.settings = settings
        self.forks = Forks(folder)
        self.cache = StorageCache(folder.cache)
        self.environments = environments.Environments(folder.environments)
        self.log_watch = Watch()
        self.sources = Sources(client)
        self.addresses = Addresses(settings.pod_network)
        self._version = version
        self._workers: dict[str, Worker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._pods = Cache(client, POD, fields=f"spec.nodeName={NAME}")
        self._pods.subscribe(self._changed)
        self._services = Cache(client, SERVICE)
        self._services.subscribe(lambda change: self._surroundings.rename(self._services.all()))
        self._surroundings = Surroundings(folder, settings, self.forks)
        self._settling: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Until cancelled; the pods' processes live on."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._sweep())
                group.create_task(self._services.run())
                group.create_task(self._pods.run())
                group.create_task(self._register())
                group.create_task(self._warm())
                group.create_task(self._prune())
                group.create_task(self._forget())
        finally:
            await self.sources.close()

    async def _warm(self) -> None:
        """The first model should not wait for an interpreter. Where nothing is served yet, scikit-learn is likely."""
        await self._pods.synced.wait()
        known = importlib.util.find_spec("sklearn") is not None
        await self.forks.preload(sys.executable, ["sklearn", "joblib"] if known else [])

    async def _prune(self) -> None:
        """Environments that no pod has asked for in a week go, so that nobody has to think of them."""
        while True:
            dropped = await asyncio.to_thread(environments.prune, self.folder, now=datetime.now(UTC))
            if dropped:
                log.info("%d unused Python environments dropped", dropped)
            await asyncio.sleep(PRUNE_EVERY_S)

    async def _forget(self) -> None:
        """Notes of ends that nobody waits for go, so that they do not fill the disk."""
        while True:
            await asyncio.sleep(FORGET_EVERY_S)
            before = datetime.now(UTC) - timedelta(seconds=FORGOTTEN_S)
            await asyncio.to_thread(leftover.forget_ends, self.folder, before)

    async def settled(self) -> None:
        """Returns once no order of a node before this one is under way any more."""
        if self._settling is None:
            self._settling = asyncio.create_task(self.forks.settle())
        await asyncio.shield(self._settling)

    async def _sweep(self) -> None:
        """Pods that were deleted while no node ran leave processes and folders."""
        found, began = list(self.folder.pods.glob("*")), datetime.now(UTC)
        await self._pods.synced.wait()
        known = {pod["metadata"]["uid"] for pod in self._pods.all()}
        await self.settled()
        await asyncio.to_thread(leftover.sweep, self.folder, found, known, began)

    def leads(self, record: Record) -> bool:
        """Whether a pod speaks for those that the same object controls: the first by name of the ready ones. Where
        none is ready, each speaks for itself."""
        owner = (controller_of(record.pod) or {}).get("uid")
        ready = (
            pod["metadata"]["name"]
            for pod in self._pods.all()
            if (controller_of(pod) or {}).get("uid") == owner and is_true(pod, "Ready")
        )
        return min(ready, default=record.name) == record.name

    async def relay_of(self, pod: Object) -> Process | None:
        """The process that carries a pod's connections; None for a pod without a network of its own."""
        return await self._surroundings.relay_of(pod)

    async def shut(self) -> None:
        """Stops all pods' processes: the platform is going down."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await asyncio.gather(*(worker.shut() for worker in self._workers.values()), return_exceptions=True)
        ready = _ready("False", "KubeletNotReady", "the platform is stopped")
        with contextlib.suppress(ApiError, Unreachable):
            await self.client.patch(
                NODE, None, NAME, {"status": {"conditions": [ready]}}, subresource="status"
            )

    def _changed(self, change: Change) -> None:
        uid = change.object["metadata"]["uid"]
        worker = self._workers.get(uid)
        if change.new is None:
            if worker is not None:
                worker.gone()
        elif change.old is not None and change.old["metadata"]["uid"] != uid:
            old = self._workers.get(change.old["metadata"]["uid"])
            if old is not None:
                old.gone()
            self._begin(uid, change.new)
        elif worker is not None:
            worker.update(change.new)
        else:
            self._begin(uid, change.new)

    def _begin(self, uid: str, pod: Object) -> None:
        worker = Worker(self, pod)
        self._workers[uid] = worker
        task = asyncio.create_task(worker.run(), name=pod["metadata"]["name"])
        self._tasks[uid] = task
        task.add_done_callback(lambda done: self._ended(uid, done))

    def _ended(self, uid: str, task: asyncio.Task[None]) -> None:
        self._tasks.pop(uid, None)
        if task.cancelled():
            return
        self._workers.pop(uid, None)
        error = task.exception()
        if error is not None:
            log.error("pod %s: %s", task.get_name(), error, exc_info=error)
            # Whatever it was, the pod is looked at again.
            found = next((p for p in self._pods.all() if p["metadata"]["uid"] == uid), None)
            if found is not None:
                asyncio.get_running_loop().call_later(1.0, self._begin, uid, found)

    async def finder(self, pod: Object) -> Callable[[Resource, str], Object | None]:
        """Looks up the Secrets, ConfigMaps and the ServiceAccount that a pod names; waits while nobody answers."""
        while True:
            try:
                return await self._find(pod)
            except Unreachable:  # the control program is being restarted: the pod's life goes on after it
                await asyncio.sleep(AWAY_S)

    async def _find(self, pod: Object) -> Callable[[Resource, str], Object | None]:
        namespace = pod["metadata"]["namespace"]
        wanted = _named(pod)
        found: dict[tuple[str, str], Object | None] = {}
        for kind, name in wanted:
            found[kind.kind, name] = await self.client.find(kind, namespace, name)
        account = found.get((SERVICE_ACCOUNT.kind, pod["spec"].get("serviceAccountName") or "default"))
        for one in objects((account or {}).get("secrets")):
            found[SECRET.kind, one["name"]] = await self.client.find(SECRET, namespace, one["name"])
        return lambda kind, name: found.get((kind.kind, name))

    async def storage_rules(self) -> PlatformSettings:
        """What the platform's configuration says of models. Raises FetchFailed where it cannot be read."""
        found = rules_of(await self._settings())
        self.cache.limit_bytes = found.limit_bytes
        return found

    async def setting(self, key: str) -> str | None:
        """A value of the platform's own ConfigMap."""
        return mapping((await self._settings() or {}).get("data")).get(key)

    async def log_limit_bytes(self) -> int:
        """How much of a run's log is kept."""
        given = await self.setting("logLimit")
        try:
            return to_bytes(given) if given else LIMIT_BYTES
        except ValueError as error:
            log.warning("ConfigMap %s/%s: logLimit: %s", *SETTINGS, error)
            return LIMIT_BYTES

    async def _settings(self) -> Object | None:
        while True:
            try:
                return await self.client.find(CONFIG_MAP, *SETTINGS)
            except Unreachable:
                await asyncio.sleep(AWAY_S)

    async def furnish(self, pod: Object, launch: Launch, ip: str) -> tuple[Launch, str]:
        """Gives a process that believes itself alone the surroundings that it expects, and says what they lack."""
        return await self._surroundings.furnish(pod, launch, ip, self._services.all())

    async def vacate(self, pod: Object) -> None:
        """Takes away what a pod's surroundings needed."""
        await self._surroundings.vacate(pod)

    async def _register(self) -> None:
        """Keeps the Node object true. It is Ready once all that is said of its pods is of this node's time."""
        await self._pods.synced.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CORRECTED_S):
                for worker in list(self._workers.values()):
                    await worker.corrected()
        while True:
            try:
                await self._tell()
                return
            except (ApiError, Unreachable) as error:
                log.debug("registering: %s", error)
                await asyncio.sleep(0.2)

    async def _tell(self) -> None:
        labels = {
            "kubernetes.io/hostname": NAME,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": platform.machine(),
        }
        item: Object = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": NAME, "labels": labels},
            "spec": {},
        }
        await self.client.apply(NODE, item, field_manager="modelport-node")
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        amounts = {"cpu": str(os.cpu_count() or 1), "memory": f"{memory // 1024}Ki", "pods": "1000"}
        status: Object = {
            "capacity": amounts,
            "allocatable": amounts,
            "addresses": [
                {"type": "InternalIP", "address": "127.0.0.1"},
                {"type": "Hostname", "address": platform.node()},
            ],
            "nodeInfo": {
                "kubeletVersion": f"modelport-{self._version}",
                "kernelVersion": platform.release(),
                "osImage": platform.platform(),
                "operatingSystem": "linux",
                "architecture": platform.machine(),
                "containerRuntimeVersion": "process://1",
                "machineID": "",
                "systemUUID": "",
                "bootID": mark(Process.of(os.getpid())),
                "kubeProxyVersion": "",
            },
            "conditions": [_ready("True", "NodeReady", "the node starts pods")],
        }
        await self.client.patch(NODE, None, NAME, {"status": status}, subresource="status")


def _ready(status: str, reason: str, message: str) -> Object:
    now = timestamp(datetime.now(UTC))
    return {
        "type": "Ready",
        "status": status,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }


def _named(pod: Object) -> set[tuple[Resource, str]]:
    """All Secrets, ConfigMaps and ServiceAccounts that a pod's spec names."""
    spec = pod["spec"]
    found: set[tuple[Resource, str]] = {(SERVICE_ACCOUNT, spec.get("serviceAccountName") or "default")}
    for container in [*(objects(spec.get("initContainers"))), *spec["containers"]]:
        for source in objects(container.get("envFrom")):
            for field, kind in (("secretRef", SECRET), ("configMapRef", CONFIG_MAP)):
                if field in source:
                    found.add((kind, source[field]["name"]))
        for variable in objects(container.get("env")):
            source = mapping(variable.get("valueFrom"))
            for field, kind in (("secretKeyRef", SECRET), ("configMapKeyRef", CONFIG_MAP)):
                if field in source:
                    found.add((kind, source[field]["name"]))
            if variable["name"] in ("STORAGE_CONFIG_SECRET", "STORAGE_SECRET_NAME") and variable.get("value"):
                found.add((SECRET, variable["value"]))
    return found | volumes.sources(pod)
