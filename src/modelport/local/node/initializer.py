"""One run of the container `storage-initializer`, which is no process here: the node fetches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from modelport.kube.meta import timestamp
from modelport.kube.part import texts
from modelport.kube.resource import CONFIG_MAP, Object
from modelport.local.node import interpreter, logs, volumes
from modelport.local.node.container import Ended
from modelport.local.node.fetching import SETTINGS, FetchFailed, found_words, initialize
from modelport.local.node.record import Record
from modelport.local.node.variables import Missing, environment
from modelport.storage import Fetched, Progress
from modelport.storage.settings import PlatformSettings
from modelport.storage.space import size

if TYPE_CHECKING:
    from modelport.local.node.agent import Node

SHOWN_EVERY_S = 2.0
"""Each moment that is shown is a write to the API server."""
WORDS: Final = {
    "resolve": "asking for",
    "authenticate": "asking for",
    "list": "listing",
    "wait": "another pod fetches",
    "read": "fetching",
    "write": "writing",
    "verify": "verifying",
    "unpack": "unpacking",
}


async def run(node: Node, record: Record, container: Object) -> tuple[int, str, bool]:
    """Fetches. Exit code, the words for a failure, and whether trying again soon may help."""
    name = container["name"]
    state = record.state(name)
    log_file = record.log_file(name)
    started = timestamp(datetime.now(UTC))
    if not state.ended:
        record.wait_for(name, "Fetching", f"fetching {', '.join(texts(container.get('args'))[::2])}")

    def say(text: str) -> None:
        logs.append(log_file, text)

    loop = asyncio.get_running_loop()
    telling: set[asyncio.Task[None]] = set()

    def warn(words: str) -> None:
        task = loop.create_task(interpreter.tell(node, record, "Warning", "FetchRetried", words))
        telling.add(task)
        task.add_done_callback(telling.discard)

    seen = _Seen(record, name, warn)

    def tell(progress: Progress) -> None:
        loop.call_soon_threadsafe(seen.show, progress)

    code, message, transient = 0, "", False
    conflicts: list[str] = []

    async def fetch(rules: PlatformSettings) -> dict[str, Fetched]:
        find = await node.finder(record.pod)
        conflicts.clear()
        return await initialize(
            container,
            environment(record.pod, container, find),
            record.pod,
            find,
            rules,
            node.cache,
            lambda claim: volumes.claim_folder(node.folder.volumes, record.kept.namespace, claim),
            record.folder,
            say,
            tell,
            conflicts.append,
        )

    try:
        found = await _by_the_rules(node, record, fetch, say)
        message = "; ".join(found_words(one) for one in found.values())
        await interpreter.tell(node, record, "Normal", "ModelFetched", message)
        for words in conflicts:
            await interpreter.tell(node, record, "Warning", "CredentialConflict", words)
        record.kept.fetched |= {target: str(one.path) for target, one in found.items()}
        record.kept.digests |= {target: one.digest for target, one in found.items()}
    except (FetchFailed, Missing) as error:
        code, message = 1, str(error)
        transient = error.transient if isinstance(error, FetchFailed) else True
        say(f"error: {message}")
    finally:
        await asyncio.gather(*telling)
    state.ended = Ended(
        code=code,
        reason="Completed" if code == 0 else "Error",
        message=message,
        started_at=started,
        finished_at=timestamp(datetime.now(UTC)),
    )
    state.done = state.ready = code == 0
    record.change()
    return code, message, transient


async def _by_the_rules(
    node: Node,
    record: Record,
    fetch: Callable[[PlatformSettings], Coroutine[None, None, dict[str, Fetched]]],
    say: Callable[[str], None],
) -> dict[str, Fetched]:
    """Fetches, and begins anew when the platform's rules change meanwhile: a mirror that was missing helps at once, and
    not after minutes of asking a store that is away."""
    changed = asyncio.Event()
    asking = f"{record.kept.uid}, its fetch"
    node.sources.follow(asking, {(CONFIG_MAP.kind, *SETTINGS)}, changed.set)
    try:
        while True:
            rules = await node.storage_rules()
            fetching = asyncio.create_task(fetch(rules))
            try:
                while await _first(fetching, changed):
                    changed.clear()
                    if await node.storage_rules() != rules:
                        break
                else:
                    return fetching.result()
            finally:
                fetching.cancel()
                await asyncio.gather(fetching, return_exceptions=True)
            say("the platform's storage rules have changed: fetching anew")
    finally:
        node.sources.leave(asking)


async def _first(fetching: asyncio.Task[dict[str, Fetched]], changed: asyncio.Event) -> bool:
    """Waits for either; whether it was the change alone."""
    change = asyncio.create_task(changed.wait())
    try:
        await asyncio.wait({fetching, change}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        change.cancel()
    return not fetching.done()


class _Seen:
    """What is shown of a fetch under way: each phase, and every two seconds how far it is; `warn` hears of each trouble once."""

    def __init__(self, record: Record, name: str, warn: Callable[[str], None]) -> None:
        self._record = record
        self._name = name
        self._warn = warn
        self._warned: set[str] = set()
        self._last = ("", "", "")
        self._at = 0.0

    def show(self, progress: Progress) -> None:
        """Puts a moment into the pod's status, if it is news."""
        words, now = sentence(progress), time.monotonic()
        new = (progress.uri, progress.phase, progress.note) != self._last
        if words is None or not (new or now - self._at >= SHOWN_EVERY_S):
            return
        self._last, self._at = (progress.uri, progress.phase, progress.note), now
        self._record.wait_for(self._name, "Fetching", words)
        if progress.is_trouble and progress.note not in self._warned:
            self._warned.add(progress.note)
            self._warn(f"{progress.uri}: {progress.note}")


def sentence(progress: Progress) -> str | None:
    """What `kubectl describe` shows of a fetch under way; None where it is over."""
    if progress.phase == "done":
        return None
    parts = [f"{WORDS[progress.phase]} {progress.uri}"]
    total = progress.bytes_total
    if progress.bytes_done or total:
        parts.append(size(progress.bytes_done) + (f" of {size(total)}" if total else ""))
    if progress.bytes_per_second and progress.phase == "read":
        parts.append(f"{size(progress.bytes_per_second)}/s")
    if progress.note:
        parts.append(progress.note)
    return " · ".join(parts)
