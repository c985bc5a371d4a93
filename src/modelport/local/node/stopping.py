"""A pod's graceful stop: no new requests, then the hooks, SIGTERM, the grace period, and SIGKILL."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping

from modelport.kube.part import mapping, texts
from modelport.kube.resource import Object
from modelport.kube.sidecar import is_sidecar
from modelport.local.node import image, probe
from modelport.local.node.ending import terminate
from modelport.local.node.record import Record
from modelport.local.process import Process

log = logging.getLogger(__name__)
UNROUTED = "internal.modelport.io/unrouted"
"""Annotation: the gateway sends nothing here any more."""
UNROUTED_LIMIT_S = 10.0
GRACE_S, SHUTDOWN_GRACE_S = 30.0, 30.0
AFTER_HOOK_S = 2.0
"""What is left at least for SIGTERM, where the hook has taken all of the grace period. The kubelet's."""


def termination_grace_s(pod: Object) -> float:
    """What the pod's spec gives its processes between SIGTERM and SIGKILL."""
    given = pod["spec"].get("terminationGracePeriodSeconds")
    return GRACE_S if given is None else float(given)


def deletion_grace_s(pod: Object, *, hurry: bool, shutdown: bool) -> float:
    """The same at the pod's end. `hurry`: its object is gone already. `shutdown`: the whole platform ends."""
    if hurry:
        return 0.0
    if shutdown:
        return min(SHUTDOWN_GRACE_S, termination_grace_s(pod))
    return float(pod["metadata"].get("deletionGracePeriodSeconds") or 0)


async def stop(
    record: Record,
    environments: Mapping[str, dict[str, str]],
    is_gone: Callable[[], bool],
    *,
    hurry: bool,
    shutdown: bool = False,
) -> list[Process]:
    """Ends all processes of a pod, and returns those that ran."""
    running = [
        (container, Process(state.pid, state.start))
        for container in record.containers()
        if (state := record.kept.containers.get(container["name"])) is not None and state.running
    ]
    grace_s = deletion_grace_s(record.pod, hurry=hurry, shutdown=shutdown)
    if running and grace_s and not shutdown:
        await _until_unrouted(record, is_gone)
    until = asyncio.get_running_loop().time() + grace_s

    async def finish(container: Object, process: Process) -> None:
        left_s = max(0.0, until - asyncio.get_running_loop().time())
        await end(container, process, environments.get(container["name"], {}), record, left_s)

    await asyncio.gather(*(finish(*one) for one in running if not is_sidecar(one[0])))
    for one in reversed(running):  # what the others may need to their end goes last
        if is_sidecar(one[0]):
            await finish(*one)
    for container, _ in running:
        state = record.state(container["name"])
        state.pid = state.start = 0
        state.ready = state.started = False
    return [process for _, process in running]


async def end(
    container: Object, process: Process, environment: dict[str, str], record: Record, grace_s: float
) -> None:
    """A container's end within its grace period: its hook, SIGTERM, and SIGKILL."""
    began = asyncio.get_running_loop().time()
    hook = container.get("lifecycle", {}).get("preStop")
    left_s = grace_s
    if hook and grace_s:
        await _hook(hook, container, environment, process.pid, record, grace_s)
        left_s = max(AFTER_HOOK_S, grace_s - (asyncio.get_running_loop().time() - began))
    await terminate(process, left_s, leader_only=image.is_own(container))


async def _hook(
    hook: Object,
    container: Object,
    environment: dict[str, str],
    pid: int,
    record: Record,
    limit_s: float,
) -> None:
    """A preStop hook; one that fails or takes too long is told and passed over, as in Kubernetes."""
    failure: str | None = None
    try:
        async with asyncio.timeout(limit_s):
            if "exec" in hook:
                failure = await probe.command(texts(hook["exec"].get("command")), environment, pid)
            elif "httpGet" in hook:
                failure = await probe.http(hook["httpGet"], container, record.kept.ip)
            elif "sleep" in hook:
                await asyncio.sleep(float(hook["sleep"].get("seconds") or 0))
    except TimeoutError:
        failure = f"not done within {limit_s:g} s"
    except (OSError, ValueError) as error:
        failure = str(error)
    if failure is not None:
        log.warning("pod %s: container %s: preStop: %s", record.name, container["name"], failure)


async def _until_unrouted(record: Record, is_gone: Callable[[], bool]) -> None:
    """Waits until the gateway no longer sends requests here."""
    until = asyncio.get_running_loop().time() + UNROUTED_LIMIT_S
    while not is_gone() and mapping(record.pod["metadata"].get("annotations")).get(UNROUTED) != "true":
        left = until - asyncio.get_running_loop().time()
        if left <= 0:
            log.warning("pod %s: the gateway has not let go of it in %.0f s", record.name, UNROUTED_LIMIT_S)
            return
        record.updated.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(record.updated.wait(), left)
