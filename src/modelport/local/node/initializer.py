"""One run of the container `storage-initializer`, which is no process here: the node fetches."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from modelport.kube.meta import timestamp
from modelport.kube.part import texts
from modelport.kube.resource import Object
from modelport.local.node import logs, volumes
from modelport.local.node.container import Ended
from modelport.local.node.fetching import FetchFailed, initialize
from modelport.local.node.record import Record
from modelport.local.node.variables import Missing, environment
from modelport.storage import Progress

if TYPE_CHECKING:
    from modelport.local.node.agent import Node


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

    def tell(progress: Progress) -> None:
        loop.call_soon_threadsafe(_progress, record, name, progress)

    code, message, transient = 0, "", False
    try:
        find = await node.finder(record.pod)
        found = await initialize(
            container,
            environment(record.pod, container, find),
            record.pod,
            find,
            await node.mirrors(),
            node.cache,
            lambda claim: volumes.claim_folder(node.folder.volumes, record.kept.namespace, claim),
            record.folder,
            say,
            tell,
        )
        record.kept.fetched |= {target: str(one.path) for target, one in found.items()}
        record.kept.digests |= {target: one.digest for target, one in found.items()}
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
    state.done = state.ready = code == 0
    record.change()
    return code, message, transient


def _progress(record: Record, name: str, progress: Progress) -> None:
    words = sentence(progress)
    if words is not None:
        record.wait_for(name, "Fetching", words)


def sentence(progress: Progress) -> str | None:
    """What `kubectl describe` shows of a fetch under way; None where it is over."""
    if progress.phase == "done":
        return None
    share = f" of {progress.bytes_total}" if progress.bytes_total else ""
    note = f" · {progress.note}" if progress.note else ""
    return f"{progress.phase}: {progress.bytes_done}{share} bytes{note}"
