"""Copies of the state, taken now and then while the server runs: the way back where the file is damaged one day."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from modelport.local.apiserver import state_file
from modelport.local.apiserver.state_file import StoreError
from modelport.local.apiserver.store import Store

log = logging.getLogger(__name__)

FIRST_AFTER_S, EVERY_S = 60.0, 3600.0
NEWEST, DAYS = 3, 3
"""What is kept: the newest ones, and the last one of each of so many days before those."""
SPARE_BYTES = 64 << 20
"""What must be free beside the copy itself: models and logs need the disk more."""


async def keep_copies(store: Store) -> None:
    """Takes a copy an hour, where anything has changed, until cancelled."""
    copied = -1
    await asyncio.sleep(FIRST_AFTER_S)
    while True:
        version = store.version
        if version != copied:
            try:
                await asyncio.to_thread(take, store.path, datetime.now(UTC))
                copied = version
            except StoreError as error:
                log.error("no copy of the state is taken: %s", error)
        await asyncio.sleep(EVERY_S)


def take(path: Path, now: datetime) -> Path | None:
    """Copies the state file, and lets go of copies that are too many. None where the disk is too full. StoreError."""
    folder = state_file.folder_of_copies(path)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for left in folder.glob("*.part*"):
            left.unlink(missing_ok=True)
        if shutil.disk_usage(folder).free < 2 * path.stat().st_size + SPARE_BYTES:
            log.warning("%s: the disk is nearly full; no copy of the state is taken", folder)
            return None
        target = folder / f"{path.stem}-{now:%Y%m%dT%H%M%SZ}{path.suffix}"
        part = target.with_name(target.name + ".part")
        state_file.copy(path, part)
        part.replace(target)
        for old in spare(state_file.copies(path)):
            old.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror}") from error
    return target


def spare(copies: Sequence[Path]) -> list[Path]:
    """Those that may go, of copies in the order of newest first."""
    kept_days: set[str] = set()
    found: list[Path] = []
    for one in copies[NEWEST:]:
        day = one.stem.rpartition("-")[2][:8]
        if day in kept_days or len(kept_days) == DAYS:
            found.append(one)
        kept_days.add(day)
    return found
