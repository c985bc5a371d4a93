"""`pods/log`: what a container has written, from the node's files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from starlette.responses import PlainTextResponse, Response, StreamingResponse

from modelport.kube.errors import bad_request
from modelport.kube.resource import Object
from modelport.local.apiserver.api import decode
from modelport.local.apiserver.call import Call
from modelport.local.apiserver.options import number, truth

CHUNK = 64 << 10
POLL_S = 0.1
LogFiles = Callable[[Object, str, bool], Path | None]


async def log(call: Call, files: LogFiles) -> Response:
    """The log, or its tail, or a stream of it. ApiError 400, 404."""
    pod = decode(call.api.row(call.served, call.namespace, call.name))
    container = _container(pod, call.query.get("container", ""))
    previous = truth(call.query, "previous")
    path = files(pod, container, previous)
    if path is None or not path.exists():
        if previous:
            raise bad_request(f'previous terminated container "{container}" in pod "{call.name}" not found')
        if truth(call.query, "follow") and path is not None:
            return StreamingResponse(_follow(call, path, 0), media_type="text/plain")
        waits = _waits(pod, container)
        raise bad_request(f'container "{container}" in pod "{call.name}" is waiting to start: {waits}')
    start = await asyncio.to_thread(_start, path, number(call.query, "tailLines"))
    if truth(call.query, "follow"):
        return StreamingResponse(_follow(call, path, start), media_type="text/plain")
    content = await asyncio.to_thread(_read, path, start, number(call.query, "limitBytes"))
    return PlainTextResponse(content)


def _container(pod: Object, asked: str) -> str:
    spec = pod["spec"]
    mine = [one["name"] for one in spec.get("containers", [])]
    names = [one["name"] for one in spec.get("initContainers", [])] + mine
    if not asked:
        if len(mine) == 1:
            return mine[0]
        default = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
        if default in names:
            return default
        raise bad_request(
            f"a container name must be specified for pod {pod['metadata']['name']}, choose one of: {names}"
        )
    if asked not in names:
        raise bad_request(f"container {asked} is not valid for pod {pod['metadata']['name']}")
    return asked


def _waits(pod: Object, container: str) -> str:
    status = pod.get("status", {})
    for one in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        if one["name"] == container:
            return (one.get("state", {}).get("waiting") or {}).get("reason") or "PodInitializing"
    return "ContainerCreating"


def _start(path: Path, tail: int | None) -> int:
    """Where the last `tail` lines begin."""
    if tail is None:
        return 0
    with path.open("rb") as file:
        position = file.seek(0, 2)
        if tail == 0:
            return position
        found = 0
        while position > 0:
            size = min(CHUNK, position)
            position -= size
            file.seek(position)
            block = file.read(size)
            end = len(block)
            while (newline := block.rfind(b"\n", 0, end)) >= 0:
                # The newline that ends the last line begins none.
                at_end = found == 0 and position + newline == path.stat().st_size - 1
                if not at_end:
                    found += 1
                    if found == tail:
                        return position + newline + 1
                end = newline
        return 0


def _read(path: Path, start: int, limit: int | None) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(-1 if limit is None else limit)


async def _follow(call: Call, path: Path, start: int) -> AsyncGenerator[bytes]:
    """What is written from now on, until the pod is gone or the client leaves."""
    position = start
    while True:
        size = path.stat().st_size if path.exists() else 0
        if size < position:  # rotated
            position = 0
        if size > position:
            content = await asyncio.to_thread(_read, path, position, CHUNK)
            position += len(content)
            yield content
            continue
        found = call.api.find(call.served, call.namespace, call.name)
        phase = decode(found).get("status", {}).get("phase") if found is not None else None
        if phase in (None, "Succeeded", "Failed"):
            return
        await asyncio.sleep(POLL_S)
