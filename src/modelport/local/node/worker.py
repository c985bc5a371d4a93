"""One pod from its first process to its last: a task that brings processes and status to what the API asks for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from modelport.kube.client import Unreachable
from modelport.kube.errors import ApiError
from modelport.kube.meta import timestamp
from modelport.kube.part import mapping, objects, texts
from modelport.kube.resource import POD, Object
from modelport.local.folder import write
from modelport.local.node import image, volumes
from modelport.local.node.container import Ended, State, back_off_s, pod_status, reason_of, restarts_again
from modelport.local.node.fetching import FetchFailed, initialize
from modelport.local.node.forks import ForkFailed
from modelport.local.node.launch import Launch, NotPossible, plan
from modelport.local.node.memory import watch as watch_memory
from modelport.local.node.prober import Prober
from modelport.local.node.variables import Missing, environment
from modelport.local.process import Process
from modelport.wire import fork

if TYPE_CHECKING:
    from modelport.local.node.agent import Node

log = logging.getLogger(__name__)
UNROUTED = "internal.modelport.io/unrouted"
UNROUTED_LIMIT_S = 10.0
AGAIN_S = 1.0
"""Between tries to start what something is missing for."""
EXIT_LIMIT_S = 2.0
"""So long the exit code of a dead process may take to be written down."""


class Kept(msgspec.Struct, kw_only=True):
    """What is written to disk of a pod."""

    namespace: str
    name: str
    uid: str
    ip: str
    started_at: str
    containers: dict[str, State]
    fetched: dict[str, str] = msgspec.field(default_factory=dict[str, str])


class Worker:
    """Runs one pod."""

    def __init__(self, node: Node, pod: Object) -> None:
        self._node = node
        self.pod = pod
        meta = pod["metadata"]
        self._folder = node.folder.pod(meta["namespace"], meta["name"], meta["uid"])
        self._changed = asyncio.Event()
        self._dirty = asyncio.Event()
        self._problem = ""
        self._places: dict[str, Path] = {}
        self._environments: dict[str, dict[str, str]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = False
        self._gone = False
        self._told: Object = {}
        self._kept = self._load() or Kept(
            namespace=meta["namespace"],
            name=meta["name"],
            uid=meta["uid"],
            ip="",
            started_at=timestamp(datetime.now(UTC)),
            containers={},
        )
        if self._kept.ip:
            node.addresses.take(self._kept.ip)

    # What the agent tells

    def update(self, pod: Object) -> None:
        """The pod's object has changed."""
        self.pod = pod
        self._changed.set()

    def gone(self) -> None:
        """The pod's object is gone: its processes are to go, at once."""
        self._gone = True
        self._changed.set()

    # The life

    async def run(self) -> None:
        """From begin to end."""
        telling = asyncio.create_task(self._tell_loop())
        life = asyncio.create_task(self._live())
        try:
            while not self._gone and not self.pod["metadata"].get("deletionTimestamp"):
                self._changed.clear()
                await self._changed.wait()
            self._stopping = True
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)
            await self._stop(hurry=self._gone)
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            await self._bury()
        except asyncio.CancelledError:
            for task in (life, telling, *self._tasks.values()):
                task.cancel()
            await asyncio.gather(life, telling, *self._tasks.values(), return_exceptions=True)
            raise

    async def shut(self) -> None:
        """Stops the processes, and leaves the API's object alone: the platform is going down."""
        self._stopping = True
        for task in self._tasks.values():
            task.cancel()
        await self._stop(hurry=False, routed=False)
        self._save()

    async def _live(self) -> None:
        try:
            await self._begin()
            for container in objects(self.pod["spec"].get("initContainers")):
                if not await self._initialize(container):
                    return
            for container in objects(self.pod["spec"]["containers"]):
                self._tasks[container["name"]] = asyncio.create_task(self._keep(container))
            if self._tasks:
                await asyncio.gather(*self._tasks.values())
        except asyncio.CancelledError:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            raise
        except Exception as error:
            log.exception("pod %s", self._kept.name)
            self._problem = f"the node failed: {error}"
            self._dirty.set()

    async def _begin(self) -> None:
        if not self._kept.ip:
            self._kept.ip = self._node.addresses.give()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Downward API and probes see the address before the API server has it.
        self.pod = self.pod | {"status": self.pod.get("status", {}) | {"podIP": self._kept.ip}}
        while True:
            try:
                find = await self._finder()
                self._places = volumes.make(
                    self.pod, self._folder / "volumes", self._node.folder.volumes, find
                )
            except (Missing, OSError) as error:
                for container in self._all():
                    self._wait_for(container["name"], "CreateContainerConfigError", str(error))
                await asyncio.sleep(AGAIN_S)
                continue
            break
        self._save()
        self._dirty.set()

    def _all(self) -> list[Object]:
        spec = self.pod["spec"]
        return [*objects(spec.get("initContainers")), *objects(spec["containers"])]

    async def _finder(self) -> Callable[..., Object | None]:
        while True:
            try:
                return await self._node.finder(self.pod)
            except Unreachable:  # the control program is being restarted: the pod's life goes on after it
                await asyncio.sleep(AGAIN_S)

    def _state(self, name: str) -> State:
        return self._kept.containers.setdefault(name, State())

    def _wait_for(self, name: str, reason: str, message: str) -> None:
        state = self._state(name)
        if (state.waiting, state.message) != (reason, message):
            state.waiting, state.message = reason, message
            self._dirty.set()

    # Init containers

    async def _initialize(self, container: Object) -> bool:
        """Runs an init container to its good end; False where it has failed for good."""
        name = container["name"]
        state = self._state(name)
        if state.done and state.ended is not None:
            return state.ended.code == 0
        policy = self.pod["spec"].get("restartPolicy", "Always")
        while True:
            began = datetime.now(UTC)
            if image.is_initializer(container):
                code, message, transient = await self._fetch(container)
            else:
                code, message = await self._run_once(container)
                transient = True
            if code == 0:
                return True
            ran_s = (datetime.now(UTC) - began).total_seconds()
            if not restarts_again(policy, code, init=True):
                return False
            state.done = False
            pause_s = max(back_off_s(state, ran_s), 0.5 if transient else 5.0)
            state.waiting, state.message = "CrashLoopBackOff", message
            state.restarts += 1
            state.run += 1
            self._save()
            self._dirty.set()
            await asyncio.sleep(pause_s)

    async def _fetch(self, container: Object) -> tuple[int, str, bool]:
        """Carries the storage initializer out."""
        name = container["name"]
        state = self._state(name)
        log_file = self._folder / name / f"{state.run}.log"
        log_file.parent.mkdir(parents=True, exist_ok=True)
        started = timestamp(datetime.now(UTC))
        if not state.ended:
            self._wait_for(name, "Fetching", f"fetching {', '.join(texts(container.get('args'))[::2])}")

        def say(text: str) -> None:
            with log_file.open("a") as file:
                file.write(text + "\n")

        loop = asyncio.get_running_loop()

        def tell(progress: object) -> None:
            loop.call_soon_threadsafe(self._progress, name, progress)

        code, message, transient = 0, "", False
        try:
            find = await self._finder()
            variables = environment(self.pod, container, find)
            found = await initialize(
                container,
                variables,
                self.pod,
                find,
                await self._node.mirrors(),
                self._node.cache,
                lambda claim: volumes.claim_folder(self._node.folder.volumes, self._kept.namespace, claim),
                self._folder,
                say,
                tell,
            )
            self._kept.fetched |= {target: str(path) for target, path in found.items()}
        except (FetchFailed, Missing) as error:
            code, message = 1, str(error)
            transient = error.transient if isinstance(error, FetchFailed) else True
            say(f"error: {message}")
        state.ended = Ended(
            code=code,
            reason="Completed" if code == 0 else "Error",
            message=message,
            started_at=started,
            finished_at=timestamp(datetime.now(UTC)),
        )
        state.done = code == 0
        state.ready = code == 0
        self._save()
        self._dirty.set()
        return code, message, transient

    def _progress(self, name: str, progress: object) -> None:
        done, total = getattr(progress, "bytes_done", 0), getattr(progress, "bytes_total", None)
        phase = getattr(progress, "phase", "")
        if phase == "done":
            return
        share = f" of {total}" if total else ""
        note = getattr(progress, "note", "")
        self._wait_for(name, "Fetching", f"{phase}: {done}{share} bytes{' · ' + note if note else ''}")

    # Containers

    async def _run_once(self, container: Object) -> tuple[int, str]:
        """One run of a container, to its end."""
        if not await self._start(container):
            return 1, self._state(container["name"]).message
        await self._until_end(container)
        state = self._state(container["name"])
        assert state.ended is not None  # noqa: S101
        state.done = state.ended.code == 0
        return state.ended.code, state.ended.message

    async def _keep(self, container: Object) -> None:
        """A container's runs, one after the other."""
        name = container["name"]
        state = self._state(name)
        policy = self.pod["spec"].get("restartPolicy", "Always")
        while not state.done:
            if not state.running and not await self._start(container):
                await asyncio.sleep(AGAIN_S)
                continue
            began = asyncio.get_running_loop().time()
            await self._until_end(container)
            ended = state.ended
            assert ended is not None  # noqa: S101
            if not restarts_again(policy, ended.code, init=False):
                state.done = True
                self._save()
                self._dirty.set()
                return
            pause_s = back_off_s(state, asyncio.get_running_loop().time() - began)
            state.restarts += 1
            state.run += 1
            words = f"back-off {pause_s:g} s restarting failed container={name} pod={self._kept.name}"
            state.waiting = "CrashLoopBackOff" if pause_s else "ContainerCreating"
            state.message = f"{ended.message or words}" if pause_s else ""
            self._save()
            self._dirty.set()
            await asyncio.sleep(pause_s)

    async def _start(self, container: Object) -> bool:
        """Starts a process; False, with the reason in the state, where that is not possible now."""
        name = container["name"]
        problem = image.problem(container)
        if problem is not None:
            self._wait_for(name, "ErrImageNotKnown", problem)
            return False
        try:
            find = await self._finder()
            variables = environment(self.pod, container, find)
        except Missing as error:
            self._wait_for(name, "CreateContainerConfigError", str(error))
            return False
        try:
            launch = plan(
                self.pod,
                container,
                variables,
                self._places,
                {target: Path(path) for target, path in self._kept.fetched.items()},
                self._folder / name,
                self._kept.ip,
                self._node.settings,
            )
            launch = await self._node.furnish(self.pod, container, launch, self._kept.ip)
        except NotPossible as error:
            self._wait_for(name, error.reason, str(error))
            return False
        self._environments[name] = launch.start.environment
        return await self._launch(container, launch)

    async def _launch(self, container: Object, launch: Launch) -> bool:
        name = container["name"]
        state = self._state(name)
        for path in (launch.termination_log,):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
        try:
            started = await self._node.forks.start(
                launch.python, launch.start, self._folder / name / f"{state.run}.log"
            )
        except ForkFailed as error:
            state.ended = Ended(
                code=128,
                reason="StartError",
                message=str(error),
                finished_at=timestamp(datetime.now(UTC)),
            )
            self._wait_for(name, "RunContainerError", str(error))
            return False
        state.pid, state.start = started.pid, started.start
        state.started_at = timestamp(datetime.now(UTC))
        state.waiting, state.message = "", ""
        state.ready = False
        state.started = "startupProbe" not in container
        self._save()
        self._dirty.set()
        return True

    async def _until_end(self, container: Object) -> None:
        """Watches a running process: probes, memory, and its end."""
        name = container["name"]
        state = self._state(name)
        process = Process(state.pid, state.start)
        prober = Prober(
            container,
            self._kept.ip,
            self._environments.get(name, {}),
            is_ready=lambda ready: self._set_ready(name, ready),
            is_started=lambda: self._set_started(name),
        )
        ended = asyncio.create_task(_end_of(process))
        probing = asyncio.create_task(prober.run())
        memory = asyncio.create_task(watch_memory(container, process))
        out_of_memory = unhealthy = False
        try:
            while not ended.done():
                await asyncio.wait({ended, probing, memory}, return_when=asyncio.FIRST_COMPLETED)
                if ended.done():
                    break
                if memory.done() and memory.result():
                    out_of_memory = True
                    _kill_group(process, signal.SIGKILL)
                elif probing.done():
                    unhealthy = True
                    await self._terminate(container, process)
                await asyncio.wait({ended})
        finally:
            for task in (ended, probing, memory):
                task.cancel()
        how = await self._exit_of(process)
        code, reason = reason_of(how, killed_for_memory=out_of_memory)
        state.pid = state.start = 0
        state.ready = state.started = False
        state.ended = Ended(
            code=code,
            signal=how.signal if how else None,
            reason=reason,
            message=self._last_words(container, code, prober.failure if unhealthy else "", out_of_memory),
            started_at=state.started_at,
            finished_at=timestamp(datetime.now(UTC)),
        )
        self._save()
        self._dirty.set()

    def _set_ready(self, name: str, ready: bool) -> None:
        state = self._state(name)
        if state.ready != ready:
            state.ready = ready
            if ready:
                state.failures = 0 if state.restarts == 0 else state.failures
            self._save()
            self._dirty.set()

    def _set_started(self, name: str) -> None:
        self._state(name).started = True
        self._dirty.set()

    async def _exit_of(self, process: Process) -> fork.Exit | None:
        path = fork.exit_file(self._node.folder.exits, process.pid, process.start)
        until = asyncio.get_running_loop().time() + EXIT_LIMIT_S
        while (how := fork.read_exit(path)) is None:
            if asyncio.get_running_loop().time() > until:
                return None
            await asyncio.sleep(0.01)
        path.unlink(missing_ok=True)
        return how

    def _last_words(self, container: Object, code: int, unhealthy: str, out_of_memory: bool) -> str:
        """What the container left for whoever asks why it ended."""
        name = container["name"]
        if out_of_memory:
            limit = container.get("resources", {}).get("limits", {}).get("memory")
            return (
                f"container {name} used more than its memory limit of {limit}. Raise resources.limits.memory."
            )
        if unhealthy:
            return f"container {name} failed its liveness probe: {unhealthy}"
        with contextlib.suppress(OSError):
            said = (self._folder / name / "termination-log").read_text(errors="replace").strip()
            if said:
                return said[:4096]
        wants_log = container.get("terminationMessagePolicy") == "FallbackToLogsOnError"
        if code != 0 and (wants_log or not image.is_own(container)):
            with contextlib.suppress(OSError):
                path = self._folder / name / f"{self._state(name).run}.log"
                return "\n".join(path.read_text(errors="replace").splitlines()[-20:])[-2048:]
        return ""

    # The end

    async def _terminate(self, container: Object, process: Process) -> None:
        """SIGTERM, and after the grace period SIGKILL."""
        grace_s = float(self.pod["spec"].get("terminationGracePeriodSeconds") or 30)
        _kill_group(process, signal.SIGTERM, leader_only=image.is_own(container))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_end_of(process), grace_s)
        _kill_group(process, signal.SIGKILL)

    async def _stop(self, *, hurry: bool, routed: bool = True) -> None:
        """Ends all processes; first waits until no request comes any more."""
        meta = self.pod["metadata"]
        running = [
            (container, Process(state.pid, state.start))
            for container in self._all()
            if (state := self._kept.containers.get(container["name"])) is not None and state.running
        ]
        grace_s = 0.0 if hurry else float(meta.get("deletionGracePeriodSeconds") or 0)
        if not routed:
            grace_s = min(30.0, float(self.pod["spec"].get("terminationGracePeriodSeconds") or 30))
        if running and grace_s and routed:
            await self._until_unrouted()
        for container, process in running:
            hook = container.get("lifecycle", {}).get("preStop")
            if hook and grace_s:
                await self._hook(hook, container, grace_s)
            _kill_group(
                process,
                signal.SIGTERM if grace_s else signal.SIGKILL,
                leader_only=image.is_own(container) and grace_s > 0,
            )
        ends = [asyncio.create_task(_end_of(process)) for _, process in running]
        if ends:
            await asyncio.wait(ends, timeout=grace_s or 5.0)
            for _, process in running:
                _kill_group(process, signal.SIGKILL)
            await asyncio.wait(ends, timeout=5.0)
            for task in ends:
                task.cancel()
        for container, process in running:
            state = self._state(container["name"])
            fork.exit_file(self._node.folder.exits, process.pid, process.start).unlink(missing_ok=True)
            state.pid = state.start = 0
            state.ready = state.started = False

    async def _hook(self, hook: Object, container: Object, limit_s: float) -> None:
        from modelport.local.node import probe

        with contextlib.suppress(TimeoutError, OSError, ValueError):
            async with asyncio.timeout(limit_s):
                if "exec" in hook:
                    await probe.command(
                        texts(hook["exec"].get("command")), self._environments.get(container["name"], {})
                    )
                elif "httpGet" in hook:
                    await probe.http(hook["httpGet"], container, self._kept.ip)
                elif "sleep" in hook:
                    await asyncio.sleep(float(hook["sleep"].get("seconds") or 0))

    async def _until_unrouted(self) -> None:
        """Waits until the gateway no longer sends requests here."""
        until = asyncio.get_running_loop().time() + UNROUTED_LIMIT_S
        while not self._gone and mapping(self.pod["metadata"].get("annotations")).get(UNROUTED) != "true":
            left = until - asyncio.get_running_loop().time()
            if left <= 0:
                log.warning(
                    "pod %s: the gateway has not let go of it in %.0f s", self._kept.name, UNROUTED_LIMIT_S
                )
                return
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)

    async def _bury(self) -> None:
        """Tells the API that the pod is gone, and removes what it left."""
        meta = self.pod["metadata"]
        if not self._gone:
            try:
                await self._node.client.delete(
                    POD, meta["namespace"], meta["name"], uid=meta["uid"], grace_s=0
                )
            except ApiError as error:
                if error.code not in (404, 409):
                    raise
        self._node.addresses.free(self._kept.ip)
        await self._node.vacate(self.pod)
        await asyncio.to_thread(volumes.clear, self._folder)

    # Telling

    async def _tell_loop(self) -> None:
        """Writes the status whenever it has changed."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self._tell()
            except ApiError as error:
                if error.code == 404:
                    return
                await asyncio.sleep(0.05)
                self._dirty.set()
            except Exception as error:  # noqa: BLE001 - the API server may be away: the pod goes on
                log.debug("pod %s: %s", self._kept.name, error)
                await asyncio.sleep(0.5)
                self._dirty.set()

    async def _tell(self) -> None:
        found = pod_status(
            self.pod,
            self._kept.containers,
            self._kept.ip,
            self._kept.started_at,
            datetime.now(UTC),
            self._problem,
        )
        if found == self._told:
            return
        meta = {k: v for k, v in self.pod["metadata"].items() if k != "resourceVersion"}
        await self._node.client.replace(
            POD, self.pod | {"metadata": meta, "status": found}, subresource="status"
        )
        self._told = found
        self.pod = self.pod | {"status": found}

    # On disk

    def _load(self) -> Kept | None:
        try:
            return msgspec.json.decode((self._folder / "state.json").read_bytes(), type=Kept)
        except (OSError, msgspec.DecodeError):
            return None

    def _save(self) -> None:
        if self._folder.is_dir():
            write(self._folder / "state.json", msgspec.json.encode(self._kept))


async def _end_of(process: Process) -> None:
    """Returns once a process has ended, whoever its parent is."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if not process.alive:
            return
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        loop.add_reader(descriptor, done.set)
        try:
            await done.wait()
        finally:
            loop.remove_reader(descriptor)
    finally:
        os.close(descriptor)


def _kill_group(process: Process, number: int, *, leader_only: bool = False) -> None:
    """Signals a process and what it has started; our own server passes signals on by itself."""
    if leader_only:
        process.signal(number)
        return
    if process.alive:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
