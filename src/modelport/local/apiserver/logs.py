"""`pods/log`: what a container has written, from the file that the node keeps of each of its runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import msgspec
from starlette.responses import Response, StreamingResponse

from modelport.kube.errors import bad_request
from modelport.kube.meta import parse_time
from modelport.kube.resource import Object
from modelport.local.apiserver.api import decode
from modelport.local.apiserver.call import Call
from modelport.local.apiserver.log_file import BLOCK, LogFile, Since
from modelport.local.apiserver.options import number, truth
from modelport.local.apiserver.part import part, parts

POLL_S = 0.1
TEXT = "text/plain"


class _Asked(msgspec.Struct, frozen=True):
    """The request's parameters."""

    container: str
    follow: bool
    previous: bool
    timestamps: bool
    tail: int | None
    limit: int | None
    since: Since | None


async def log(call: Call) -> Response:
    """The log, its tail, or a stream of it. ApiError 400, 404."""
    pod = decode(call.api.row(call.served, call.namespace, call.name))
    asked = _asked(call, pod)
    path = call.api.log_files(pod, asked.container, asked.previous)
    if path is None or not path.exists():
        if asked.previous:
            raise bad_request(
                f'previous terminated container "{asked.container}" in pod "{call.name}" not found'
            )
        if not asked.follow or path is None:
            raise bad_request(
                f'container "{asked.container}" in pod "{call.name}" is waiting to start: '
                f"{_reason(pod, asked.container)}"
            )
    return StreamingResponse(_Reader(call, asked, path, pod).read(), media_type=TEXT)


def _asked(call: Call, pod: Object) -> _Asked:
    since: Since | None = None
    seconds, moment = number(call.query, "sinceSeconds"), call.query.get("sinceTime", "")
    if seconds is not None and moment:
        raise bad_request("at most one of sinceTime or sinceSeconds may be specified")
    if seconds is not None:
        since = call.api.clock() - timedelta(seconds=seconds)
    elif moment:
        try:
            since = parse_time(moment)
        except ValueError as error:
            raise bad_request(f"query parameter sinceTime: {error}") from error
    return _Asked(
        container=container_of(pod, call.query.get("container", "")),
        follow=truth(call.query, "follow"),
        previous=truth(call.query, "previous"),
        timestamps=truth(call.query, "timestamps"),
        tail=number(call.query, "tailLines"),
        limit=number(call.query, "limitBytes"),
        since=since,
    )


def container_of(pod: Object, asked: str) -> str:
    """The container that is meant; `asked` may be empty. ApiError 400."""
    name = pod["metadata"]["name"]
    mine = [str(one["name"]) for one in parts(pod, "spec", "containers")]
    names = [str(one["name"]) for one in parts(pod, "spec", "initContainers")] + mine
    if asked:
        if asked not in names:
            raise bad_request(f"container {asked} is not valid for pod {name}")
        return asked
    if len(mine) == 1:
        return mine[0]
    default = part(pod, "metadata", "annotations").get("kubectl.kubernetes.io/default-container")
    if default in names:
        return default
    raise bad_request(
        f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]"
    )


def _status(pod: Object, container: str) -> Object:
    listed = parts(pod, "status", "initContainerStatuses") + parts(pod, "status", "containerStatuses")
    return next((one for one in listed if one.get("name") == container), part(None))


def _reason(pod: Object, container: str) -> str:
    waiting = part(_status(pod, container), "state", "waiting")
    return str(waiting.get("reason") or "ContainerCreating")


class _Reader:
    """Reads one run's log; following, until that run has ended and all that it wrote is read."""

    def __init__(self, call: Call, asked: _Asked, path: Path | None, pod: Object) -> None:
        self._call = call
        self._asked = asked
        self._path = path
        self._uid = pod["metadata"]["uid"]
        state = part(_status(pod, asked.container), "state")
        begun = (part(state, "running") or part(state, "terminated")).get("startedAt")
        self._begun: str = begun or pod["metadata"]["creationTimestamp"]
        self._seen = 0
        self._over = False

    async def read(self) -> AsyncGenerator[bytes]:
        """The log's bytes."""
        left = self._asked.limit
        async for block in self._blocks():
            if left is not None:
                block = block[:left]
                left -= len(block)
            yield block
            if left == 0:
                return

    async def _blocks(self) -> AsyncGenerator[bytes]:
        if self._path is None:
            return
        file: LogFile | None = None
        while True:
            # Asked before reading: what is written before a run's end is read after it.
            over = not self._asked.follow or self._has_ended()
            if file is None and self._path.exists():
                file = await asyncio.to_thread(self._open, self._path)
            if file is not None:
                while block := await asyncio.to_thread(file.read, BLOCK):
                    yield block
            if over or self._call.api.store.ending.is_set():
                if file is not None:
                    rest = file.rest()
                    if rest:
                        yield rest
                    file.close()
                return
            await asyncio.sleep(POLL_S)

    def _open(self, path: Path) -> LogFile:
        asked = self._asked
        return LogFile(
            path,
            tail=asked.tail,
            since=asked.since,
            stamped=asked.timestamps,
            begun=parse_time(self._begun),
            clock=self._call.api.clock,
        )

    def _has_ended(self) -> bool:
        """Whether the run that is followed is over: the container has ended or runs anew, or the pod is gone."""
        call = self._call
        row = call.api.find(call.served, call.namespace, call.name)
        if row is None:
            return True
        if row.version != self._seen:
            self._seen = row.version
            pod = decode(row)
            state = part(_status(pod, self._asked.container), "state")
            self._over = (
                pod["metadata"]["uid"] != self._uid
                or part(pod, "status").get("phase") in ("Succeeded", "Failed")
                or "terminated" in state
                or call.api.log_files(pod, self._asked.container, self._asked.previous) != self._path
            )
        return self._over
