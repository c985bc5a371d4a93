"""GET with watch: changes as they happen, a JSON line each, until the time is up or the client is too slow."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from modelport.kube.errors import ApiError, gone
from modelport.kube.resource import Object
from modelport.local.apiserver.answer import include
from modelport.local.apiserver.call import Call
from modelport.local.apiserver.fanout import CutOff, Ended, Event, Watcher, frame
from modelport.local.apiserver.ledger import Compacted
from modelport.local.apiserver.list import too_large
from modelport.local.apiserver.options import number, truth
from modelport.local.apiserver.select import Selection, selection
from modelport.local.apiserver.store import Future
from modelport.local.apiserver.table import IncludeObject, partial, row, table

log = logging.getLogger(__name__)

SHORTEST_S, LONGEST_S = 1800, 3600
"""A watch that names no end gets one at random between them."""
BOOKMARK_EVERY_S = 60.0
BOOKMARK_BEFORE_END_S = 2.0
INITIAL_EVENTS_END = "k8s.io/initial-events-end"
_encode, _decode = msgspec.json.encode, msgspec.json.decode


async def watch(call: Call) -> Response:
    """A stream of events. ApiError 400, 410, 422, 504 where it cannot begin."""
    wanted = selection(call)
    initial = _initial(call)
    asked = number(call.query, "resourceVersion")
    # Without a version, or with 0, a watch begins with what there is, unless it is told not to.
    if initial is None:
        initial = not asked
        after = None if initial else asked
    else:
        after = None if initial else asked or call.api.store.version
    timeout_s = number(call.query, "timeoutSeconds")
    if not timeout_s:
        timeout_s = call.api.random.randint(SHORTEST_S, LONGEST_S)
    stream = _Stream(call, wanted, timeout_s)
    try:
        await stream.begin(after, told=truth(call.query, "sendInitialEvents"))
    except Compacted as error:
        raise gone(f"too old resource version: {after} ({error})") from None
    except Future as error:
        raise too_large(str(after), str(error)) from None
    return stream


def _initial(call: Call) -> bool | None:
    """`sendInitialEvents`, checked as Kubernetes does: with resourceVersionMatch, bookmarks. None if not given."""
    match = call.query.get("resourceVersionMatch", "")
    if "sendInitialEvents" not in call.query:
        if match:
            raise _unprocessable(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            )
        return None
    if match != "NotOlderThan":
        raise _unprocessable(
            "resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        )
    initial = truth(call.query, "sendInitialEvents")
    if initial and not truth(call.query, "allowWatchBookmarks"):
        raise _unprocessable(
            "allowWatchBookmarks", "sendInitialEvents requires setting allowWatchBookmarks to true"
        )
    return initial


def _unprocessable(field: str, message: str) -> ApiError:
    cause = {"reason": "FieldValueForbidden", "message": f"Forbidden: {message}", "field": field}
    return ApiError(
        422,
        "Invalid",
        f'ListOptions.meta.k8s.io "" is invalid: {field}: Forbidden: {message}',
        details={"group": "meta.k8s.io", "kind": "ListOptions", "causes": [cause]},
    )


class _Stream(Response):
    """The answer: written by a task that is cancelled when the watcher is cut off, even in the midst of a write."""

    def __init__(self, call: Call, wanted: Selection, timeout_s: float) -> None:
        media = "application/json" + (
            f";as=Table;v={call.form.version};g=meta.k8s.io" if call.form.kind else ""
        )
        super().__init__(media_type=media, headers={"Cache-Control": "no-cache, private"})
        self.raw_headers = [item for item in self.raw_headers if item[0] != b"content-length"]
        self._call = call
        self._wanted = wanted
        served = call.served
        self._as_it_is = not (call.form.kind or served.read_anew or served.stored)
        """Whether a line is what the store holds, the same for all such watchers."""
        self._timeout_s = timeout_s
        self._bookmarks = truth(call.query, "allowWatchBookmarks")
        self._last = 0
        self._heads = True
        self._first: bytes = b""
        self._watcher: Watcher | None = None
        self._past: AsyncGenerator[Event] | None = None
        if call.form.kind == "Table":
            self._include: IncludeObject = include(call)

    async def begin(self, after: int | None, *, told: bool) -> None:
        """Joins, so that nothing from now on is missed. Raises Compacted and Future."""
        resource = self._call.served.resource.qualified
        if after is not None:
            self._watcher, self._past = await self._call.api.store.watch(resource, after)
            self._last = after
            return
        async with self._call.api.store.snapshot() as snapshot:
            self._watcher, self._past = await self._call.api.store.watch(resource, snapshot.version)
            self._last = snapshot.version
            rows = snapshot.rows(resource, self._wanted.namespace)
            frames = [self._frame("ADDED", row.value) async for row in rows if self._wanted.has(row)]
        if told:
            frames.append(self._bookmark({INITIAL_EVENTS_END: "true"}))
        self._first = b"".join(frames)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watcher = self._watcher
        assert watcher is not None  # noqa: S101
        try:
            writing = asyncio.ensure_future(self._write(send))
            leaving = asyncio.ensure_future(_disconnected(receive))
            cut = asyncio.ensure_future(watcher.cut.wait())
            try:
                await asyncio.wait({writing, leaving, cut}, return_when=asyncio.FIRST_COMPLETED)
                if cut.done() and not writing.done():
                    # Time for the last words, if the client reads at all.
                    await asyncio.wait({writing}, timeout=1.0)
            finally:
                for task in (writing, leaving, cut):
                    task.cancel()
                await asyncio.gather(writing, leaving, cut, return_exceptions=True)
            if not writing.cancelled():
                writing.result()
        finally:
            watcher.close()

    async def _write(self, send: Send) -> None:
        watcher, past = self._watcher, self._past
        assert watcher is not None and past is not None  # noqa: S101, PT018
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        # The empty chunk sends the head at once: clients wait for it.
        await _chunk(send, self._first)
        self._first = b""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._timeout_s
        try:
            async for event in past:
                await self._tell(send, [event])
            # The last one comes just before the end, for whoever goes on from there.
            last_mark = end - min(BOOKMARK_BEFORE_END_S, self._timeout_s / 10)
            mark = min(loop.time() + BOOKMARK_EVERY_S, last_mark)
            while (now := loop.time()) < end:
                events = await watcher.take(max(0.0, (mark if self._bookmarks else end) - now))
                if events:
                    await self._tell(send, events)
                elif self._bookmarks and mark <= (now := loop.time()) < end:
                    # Nothing waits, so that all until this version has been told.
                    self._last = max(self._last, self._call.api.store.version)
                    await _chunk(send, self._bookmark({}))
                    mark = end if now >= last_mark else min(now + BOOKMARK_EVERY_S, last_mark)
        except CutOff:
            log.warning(
                "%s: a watcher that did not keep up was cut off", self._call.served.resource.qualified
            )
            await self._end(
                send, gone("too slow: events have been dropped. Watch again from the last version.")
            )
            return
        except Compacted as error:
            await self._end(send, gone(f"too old resource version: {self._last} ({error})"))
            return
        except Ended:
            pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _end(self, send: Send, error: ApiError) -> None:
        body = frame("ERROR", _encode(error.to_status()))
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _tell(self, send: Send, events: list[Event]) -> None:
        frames: list[bytes] = []
        for event in events:
            if event.version <= self._last:
                continue
            self._last = event.version
            told = self._told(event)
            if told:
                frames.append(told)
        if frames:
            await _chunk(send, b"".join(frames))

    def _told(self, event: Event) -> bytes:
        """The event as this watcher sees it: an object that comes to fit is added, one that no longer fits is gone."""
        wanted = self._wanted
        if not wanted.covers(event.row):
            return b""
        if wanted.labels.everything and wanted.fields.everything:
            return event.frame if self._as_it_is else self._frame(event.type, event.row.value)
        before = event.old is not None and wanted.matches(event.old)
        after = not event.row.deleted and wanted.matches(event.object)
        if after:
            return self._frame("MODIFIED" if before else "ADDED", event.row.value)
        if not before:
            return b""
        if event.row.deleted:
            return self._frame("DELETED", event.row.value)
        # What it was when it last fitted, with the version at which it ceased to.
        old = event.old or {}
        last = old | {"metadata": old["metadata"] | {"resourceVersion": str(event.version)}}
        return self._frame("DELETED", _encode(last))

    def _frame(self, type: str, value: bytes) -> bytes:  # noqa: A002 - the field's word
        call = self._call
        if not call.form.kind:
            return frame(type, call.served.shown(value))
        obj: Object = call.served.given(_decode(value))
        if call.form.kind != "Table":
            return frame(type, _encode(partial(obj, call.form.version)))
        columns = call.served.columns
        meta = {"resourceVersion": obj["metadata"]["resourceVersion"]}
        shown = [row(obj, columns, self._include, call.api.clock())]
        content = table(shown, columns, meta, heads=self._heads, version=call.form.version)
        self._heads = False
        return frame(type, _encode(content))

    def _bookmark(self, annotations: dict[str, str]) -> bytes:
        resource, form = self._call.served.resource, self._call.form
        meta: Object = {"resourceVersion": str(self._last), "creationTimestamp": None}
        if annotations:
            meta["annotations"] = annotations
        obj: Object = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": meta}
        if form.kind == "Table":
            shown: Object = {"cells": [], "object": partial(obj, form.version)}
            obj = table([shown], self._call.served.columns, {"resourceVersion": str(self._last)}, heads=False)
        elif form.kind:
            obj = partial(obj, form.version)
        return frame("BOOKMARK", _encode(obj))


async def _chunk(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _disconnected(receive: Receive) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        while (await receive())["type"] != "http.disconnect":
            pass
