"""The runs of a pod's containers: started, watched to their end, and started again as the restart policy says."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from modelport.kube.meta import timestamp
from modelport.kube.resource import Object
from modelport.kube.sidecar import is_sidecar
from modelport.local.node import image, initializer, interpreter, leftover, listener, logs, stopping
from modelport.local.node.container import (
    Ended,
    back_off_s,
    in_a_line,
    reason_of,
    restarts_again,
)
from modelport.local.node.ending import end_of, exit_of, kill_group
from modelport.local.node.forks import ForkFailed
from modelport.local.node.launch import Launch, NotPossible, plan
from modelport.local.node.memory import watch as watch_memory
from modelport.local.node.prober import REFUSED, Prober
from modelport.local.node.record import Record
from modelport.local.node.stopping import termination_grace_s
from modelport.local.node.variables import Missing, environment
from modelport.local.process import Process

if TYPE_CHECKING:
    from modelport.local.node.agent import Node

AGAIN_S = 1.0
"""Between tries to start what something is missing for."""
IN_USE = "Address already in use"
PORT_OF_SERVICES = (
    ". In a pod's network port 80 leads to the other services, and each other port is free for one process: listen on "
    "another, and name it under ports"
)
"""What whoever meets a port in use has to know of a network of a pod's own."""


class Runner:
    """Runs the containers of one pod."""

    def __init__(self, node: Node, record: Record) -> None:
        self._node = node
        self._record = record
        self.places: dict[str, Path] = {}
        """The pod's volumes, by name."""
        self.environments: dict[str, dict[str, str]] = {}
        """What the running containers find, for probes and hooks that are commands."""
        self._dismissed: set[str] = set()
        """Containers that are not started again."""
        self._started = asyncio.Event()
        """Some container has started."""

    # Containers that initialize

    async def initialize(self, container: Object) -> bool:
        """Runs an init container to its good end; False where it has failed for good."""
        state = self._record.state(container["name"])
        if state.done and state.ended is not None:
            return state.ended.code == 0
        policy = self._record.pod["spec"].get("restartPolicy", "Always")
        while True:
            began = datetime.now(UTC)
            if image.is_initializer(container):
                code, message, transient = await initializer.run(self._node, self._record, container)
            else:
                code, message = await self._once(container)
                transient = True
            if code == 0:
                return True
            ran_s = (datetime.now(UTC) - began).total_seconds()
            if not restarts_again(policy, code, init=True):
                state.done = True
                self._record.change()
                return False
            state.done = False
            pause_s = max(back_off_s(state, ran_s), 0.5 if transient else 5.0)
            state.waiting, state.message = "CrashLoopBackOff", message
            state.restarts += 1
            state.run += 1
            self._record.change()
            if not image.is_initializer(container):  # which tells its troubles by itself
                await self._tell_back_off(container["name"], state.ended)
            await asyncio.sleep(pause_s)

    async def _tell_back_off(self, name: str, ended: Ended | None) -> None:
        """One event with a count, however long the pause is by now, and of one line, for kubectl shows no more."""
        words = f"back-off restarting failed container={name} pod={self._record.name}"
        if ended is not None:
            words += f": {in_a_line(ended)}"
        await interpreter.tell(self._node, self._record, "Warning", "BackOff", words)

    async def _once(self, container: Object) -> tuple[int, str]:
        """One run of a container, to its end: its exit code and last words."""
        state = self._record.state(container["name"])
        if not state.running and not await self._start(container):
            return 1, state.message
        await self._until_end(container)
        assert state.ended is not None  # noqa: S101
        state.done = state.ended.code == 0
        state.ready = state.done
        self._record.change()
        return state.ended.code, state.ended.message

    # Containers that serve

    async def until_started(self, container: Object) -> None:
        """Returns once a container runs, and its startup probe, where it has one, has succeeded; or has ended for good."""
        state = self._record.state(container["name"])
        while not (state.done or (state.running and state.started)):
            self._started.clear()
            await self._started.wait()

    async def dismiss(self, container: Object) -> None:
        """Ends a container for good."""
        name = container["name"]
        state = self._record.state(name)
        self._dismissed.add(name)
        if state.running:
            process = Process(state.pid, state.start)
            grace_s = termination_grace_s(self._record.pod)
            await stopping.end(container, process, self.environments.get(name, {}), self._record, grace_s)

    async def keep(self, container: Object) -> None:
        """A container's runs, one after the other."""
        name = container["name"]
        state = self._record.state(name)
        policy = (
            "Always" if is_sidecar(container) else self._record.pod["spec"].get("restartPolicy", "Always")
        )
        while not state.done and name not in self._dismissed:
            if not state.running and not await self._start(container):
                await asyncio.sleep(AGAIN_S)
                continue
            began = asyncio.get_running_loop().time()
            await self._until_end(container)
            ended = state.ended
            assert ended is not None  # noqa: S101
            if name in self._dismissed or not restarts_again(policy, ended.code, init=False):
                state.done = True
                self._record.change()
                return
            pause_s = back_off_s(state, asyncio.get_running_loop().time() - began)
            state.restarts += 1
            state.run += 1
            words = f"back-off {pause_s:g} s restarting failed container={name} pod={self._record.name}"
            state.waiting = "CrashLoopBackOff" if pause_s else "ContainerCreating"
            state.message = f"{ended.message or words}" if pause_s else ""
            self._record.change()
            if pause_s:
                await self._tell_back_off(name, ended)
            await asyncio.sleep(pause_s)

    # One run

    async def _start(self, container: Object) -> bool:
        """Starts a process; False, with the reason in the state, where that is not possible now."""
        name = container["name"]
        record, node = self._record, self._node
        problem = image.problem(container)
        if problem is not None:
            await self.wait_for(name, "ErrImageNotKnown", problem)
            return False
        try:
            python = record.kept.pythons[name] = await interpreter.choose(node, record, container)
            launch = await self._plan(container, python)
            launch, lacking = await node.furnish(record.pod, launch, record.kept.ip)
        except Missing as error:
            await self.wait_for(name, "CreateContainerConfigError", str(error))
            return False
        except NotPossible as error:
            await self.wait_for(name, error.reason, str(error))
            return False
        if lacking and lacking != record.kept.lacking:
            await interpreter.tell(node, record, "Warning", "NoNamespaces", lacking)
        record.kept.lacking = lacking or record.kept.lacking
        self.environments[name] = launch.start.environment
        return await self._launch(container, launch)

    async def wait_for(self, name: str, reason: str, message: str, event: str = "Failed") -> None:
        """Says why a container is not started: in the pod's status, and in an event, for `kubectl describe pod` shows a
        waiting container's reason alone."""
        state = self._record.state(name)
        news = (state.waiting, state.message) != (reason, message)
        self._record.wait_for(name, reason, message)
        if news:
            await interpreter.tell(self._node, self._record, "Warning", event, f"container {name}: {message}")

    async def _plan(self, container: Object, python: str) -> Launch:
        """The process for a container. Raises Missing, NotPossible."""
        record = self._record
        return plan(
            record.pod,
            container,
            environment(record.pod, container, await self._node.finder(record.pod)),
            self.places,
            {target: Path(path) for target, path in record.kept.fetched.items()},
            record.folder / container["name"],
            record.kept.ip,
            self._node.settings,
            python,
        )

    async def _know(self, container: Object) -> None:
        """What a process finds that a node before this one has started: its probes and hooks need it."""
        name = container["name"]
        python = self._record.kept.pythons.get(name)
        if name not in self.environments and python is not None:
            with contextlib.suppress(Missing, NotPossible):
                self.environments[name] = (await self._plan(container, python)).start.environment

    async def _launch(self, container: Object, launch: Launch) -> bool:
        name = container["name"]
        state = self._record.state(name)
        launch.termination_log.parent.mkdir(parents=True, exist_ok=True)
        launch.termination_log.unlink(missing_ok=True)
        try:
            note = self._record.folder / name / leftover.PROCESS
            note.unlink(missing_ok=True)
            start = msgspec.structs.replace(launch.start, pid_file=str(note))
            started = await self._node.forks.start(launch.python, start, self._record.log_file(name))
        except ForkFailed as error:
            state.ended = Ended(
                code=128,
                reason="StartError",
                message=str(error),
                finished_at=timestamp(datetime.now(UTC)),
            )
            await self.wait_for(name, "RunContainerError", str(error))
            return False
        state.pid, state.start = started.pid, started.start
        state.started_at = timestamp(datetime.now(UTC))
        state.waiting, state.message = "", ""
        state.ready, state.unready = False, ""
        state.started = "startupProbe" not in container
        self._started.set()
        self._record.change()
        return True

    async def _until_end(self, container: Object) -> None:
        """Watches a running process: probes, memory, and its end."""
        name = container["name"]
        state = self._record.state(name)
        process = Process(state.pid, state.start)
        await self._know(container)
        prober = Prober(
            container,
            self._record.kept.ip,
            self.environments.get(name, {}),
            process.pid,
            is_ready=lambda ready: self._set_ready(name, ready),
            is_started=lambda: self._set_started(name),
            is_unready=lambda words: self._set_unready(name, words),
            stranger=await self._stranger(container, process),
        )
        ended = asyncio.create_task(end_of(process))
        probing = asyncio.create_task(prober.run())
        memory = asyncio.create_task(watch_memory(container, process))
        logged = asyncio.create_task(self._keep_log(self._record.log_file(name)))
        lost = asyncio.create_task(self._network_lost(container))
        out_of_memory = unhealthy = cut_off = False
        try:
            while not ended.done():
                await asyncio.wait({ended, probing, memory, lost}, return_when=asyncio.FIRST_COMPLETED)
                if ended.done():
                    break
                if memory.done() and memory.result():
                    out_of_memory = True
                    kill_group(process, signal.SIGKILL)
                elif lost.done():
                    cut_off = True
                    kill_group(process, signal.SIGKILL)
                elif probing.done():
                    unhealthy = True
                    words = f"container {name}: {prober.failure}; it is started again"
                    await interpreter.tell(self._node, self._record, "Warning", "Unhealthy", words)
                    grace_s = prober.grace_s
                    if grace_s is None:
                        grace_s = termination_grace_s(self._record.pod)
                    variables = self.environments.get(name, {})
                    await stopping.end(container, process, variables, self._record, grace_s)
                await asyncio.wait({ended})
        finally:
            for task in (ended, probing, memory, logged, lost):
                task.cancel()
            await asyncio.gather(logged, return_exceptions=True)
        failure = f"failed its {prober.failure}" if unhealthy else ""
        if cut_off:
            failure = "lost its network: the process that carries the pod's connections has ended"
        if not image.is_own(container):
            kill_group(process, signal.SIGKILL)  # what it has left behind would hold its ports
            await asyncio.to_thread(leftover.end_strays, self._record.folder, name)
        how = await exit_of(self._node.folder.exits, process)
        code, reason = reason_of(how, killed_for_memory=out_of_memory)
        state.pid = state.start = 0
        state.ready = state.started = False
        state.unready = ""
        state.ended = Ended(
            code=code,
            signal=how.signal if how else None,
            reason=reason,
            message=self._last_words(container, code, failure, out_of_memory),
            started_at=state.started_at,
            finished_at=timestamp(datetime.now(UTC)),
        )
        self._record.change()

    async def _keep_log(self, path: Path) -> None:
        logs.forget(path.parent, int(path.stem))
        await logs.keep(self._node.log_watch, path, await self._node.log_limit_bytes())

    def _set_ready(self, name: str, ready: bool) -> None:
        state = self._record.state(name)
        if state.ready != ready:
            state.ready = ready
            if ready:
                state.failures = 0 if state.restarts == 0 else state.failures
                state.unready = ""
            self._record.change()

    async def _set_unready(self, name: str, words: str) -> None:
        self._record.state(name).unready = words.removeprefix(REFUSED)
        self._record.dirty.set()
        await interpreter.tell(self._node, self._record, "Warning", "Unhealthy", f"container {name}: {words}")

    async def _stranger(self, container: Object, process: Process) -> Callable[[int], str | None]:
        """Tells who else than the pod answers at one of its ports."""
        relay = None if image.is_own(container) else await self._node.relay_of(self._record.pod)
        kept = self._record.kept

        def look(port: int) -> str | None:
            leaders = {process.pid, *(state.pid for state in kept.containers.values() if state.pid)}
            return listener.stranger(
                kept.ip, port, leaders | ({relay.pid} if relay else set()), self._record.folder
            )

        return look

    def _set_started(self, name: str) -> None:
        self._record.state(name).started = True
        self._started.set()
        self._record.dirty.set()

    async def _network_lost(self, container: Object) -> None:
        """Returns once nothing can reach the container any more: it begins anew with another network."""
        relay = None if image.is_own(container) else await self._node.relay_of(self._record.pod)
        await (asyncio.Event().wait() if relay is None else end_of(relay))

    def _last_words(self, container: Object, code: int, failure: str, out_of_memory: bool) -> str:
        """What the container left for whoever asks why it ended."""
        name = container["name"]
        if out_of_memory:
            limit = container.get("resources", {}).get("limits", {}).get("memory")
            return (
                f"container {name} used more than its memory limit of {limit}. Raise resources.limits.memory."
            )
        if failure:
            return f"container {name} {failure}"
        with contextlib.suppress(OSError):
            said = (self._record.folder / name / "termination-log").read_text(errors="replace").strip()
            if said:
                return said[:4096]
        wants_log = container.get("terminationMessagePolicy") == "FallbackToLogsOnError"
        # Our own server writes what hinders it to the file, unless it ends before it can: by a wrong flag, say.
        if code != 0 and (wants_log or not image.is_own(container) or code < 128):
            lacking = self._record.kept.lacking
            with contextlib.suppress(OSError):
                said = logs.tail(self._record.log_file(name), 20)[-2048:]
                if lacking:
                    return f"{said} ({lacking})"
                taken = not image.is_own(container) and IN_USE in said
                return f"{said.rstrip()}{PORT_OF_SERVICES}" if taken else said
        return ""
