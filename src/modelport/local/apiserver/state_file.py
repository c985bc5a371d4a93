"""The file of the API server's store: made, opened, checked, brought up to date, locked, and copied.

What lies in it is the `ledger`'s affair. Everything here blocks.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from pathlib import Path

import msgspec

from modelport.local.apiserver import high_water

FORMAT = 2
"""Version of the tables. A file with a higher one is refused; one with a lower one is brought up to date."""
APPLICATION_ID = 0x4D50_4F52
"""Says in the file's header that it is ours."""
JOURNAL_LIMIT_BYTES = 16 << 20
"""What the write-ahead log is cut back to after a burst."""
TABLES = """
CREATE TABLE log (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  previous INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  deleted INTEGER NOT NULL,
  resource TEXT NOT NULL,
  namespace TEXT NOT NULL,
  name TEXT NOT NULL,
  value BLOB NOT NULL
);
CREATE INDEX log_by_resource ON log (resource, id);
CREATE TABLE current (
  resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, id INTEGER NOT NULL,
  PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE number (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO number VALUES ('compacted', 0);
"""
"""Format 1."""
MIGRATIONS = {
    # Whether a namespace is empty was a look at every object of the platform.
    1: "CREATE INDEX current_by_namespace ON current (namespace);",
}
"""What brings a file of a format to the next one."""
LEAP = 1_000_000_000
"""How far a restored file's versions jump ahead: whoever saw later ones than it has must not take them for its own."""


class StoreError(Exception):
    """The file cannot be opened, read or written. The message says where, why and what to do."""


class WriteError(StoreError):
    """A change could not be written: the disk is full, or refuses. Nothing was changed; reading goes on."""


class Contents(msgspec.Struct, frozen=True):
    """What a file holds."""

    format: int
    version: int
    """The newest resourceVersion."""
    objects: int


def open_file(path: Path) -> sqlite3.Connection:
    """The file, checked and of this format; a new one where there is none. Raises StoreError.

    Before a file of an older format is changed, it is copied to `PATH.format-N`: the way back to the older modelport.
    """
    examine(path)
    # Only its owner may read it: Secrets lie in it.
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise _closed(path, error.strerror) from error
    connection = connect(path)
    try:
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_LIMIT_BYTES}")
        # macOS: fsync alone does not reach the disk.
        connection.execute("PRAGMA fullfsync = ON")
        _bring_up_to_date(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise damaged(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def examine(path: Path) -> None:
    """Raises StoreError unless what is there is ours, whole, and reaches what was acknowledged.

    It is only read, so that what is refused stays as it is for whoever can save more of it: a connection that may write
    takes what it believes of the write-ahead log into the file when it closes, and deletes the log.
    """
    acknowledged = high_water.read(path)
    try:
        os.close(os.open(path, os.O_RDWR))
        empty = path.stat().st_size == 0
    except FileNotFoundError:
        empty = True
    except OSError as error:
        raise _closed(path, error.strerror) from error
    version = 0 if empty else contents(path).version
    if version < acknowledged:
        raise lost(path, version, acknowledged)


def _closed(path: Path, why: object) -> StoreError:
    return StoreError(f"{path}: cannot be opened: {why}. Check that it may be read and written.")


def _bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    known = _number(connection, "PRAGMA user_version")
    if known == FORMAT:
        return
    if known:
        keep = path.with_name(f"{path.name}.format-{known}")
        keep.unlink(missing_ok=True)
        copy(path, keep)
    else:
        connection.executescript(
            f"BEGIN; {TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1; COMMIT;"
        )
    for step in range(max(known, 1), FORMAT):
        connection.executescript(f"BEGIN; {MIGRATIONS[step]} PRAGMA user_version = {step + 1}; COMMIT;")


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode; whoever uses it takes care that one thread at a time does."""
    address = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
    try:
        connection = sqlite3.connect(
            address, uri=True, isolation_level=None, check_same_thread=False, timeout=30
        )
    except sqlite3.Error as error:
        raise _closed(path, error) from error
    try:
        connection.execute("PRAGMA cache_size = -4000")
    except sqlite3.Error as error:
        connection.close()
        raise damaged(path, error) from error
    return connection


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Raises StoreError unless the file is ours, of a version that we know, and whole."""
    try:
        version = _number(connection, "PRAGMA user_version")
        if version == 0 and _number(connection, "SELECT count(*) FROM sqlite_master") == 0:
            return  # a crash came before the first transaction
        application = _number(connection, "PRAGMA application_id")
        if application != APPLICATION_ID:
            raise StoreError(
                f"{path}: is not the state of a modelport platform (application id {application:#x}). "
                "Choose another folder with --dir, or move the file away."
            )
        if version > FORMAT:
            raise StoreError(
                f"{path}: was written by a newer modelport (format {version}; this one knows {FORMAT}). "
                f"Use that version, or another folder with --dir.{_older(path)}"
            )
        problems = [row[0] for row in connection.execute("PRAGMA quick_check(3)")]
        if problems != ["ok"]:
            raise damaged(path, "; ".join(problems).replace("\n", " "))
        rowless = _number(
            connection,
            "SELECT count(*) FROM current LEFT JOIN log ON log.id = current.id WHERE log.id IS NULL",
        )
        if rowless:
            raise damaged(path, f"{rowless} objects have no row in the log")
    except sqlite3.Error as error:
        raise damaged(path, error) from error


def _older(path: Path) -> str:
    kept = path.with_name(f"{path.name}.format-{FORMAT}")
    if not kept.exists():
        return ""
    return f" What it was before that version came is in {kept.name}: modelport restore --force {kept}"


def damaged(path: Path, error: object) -> StoreError:
    """The words for a file that is not whole, with the way back."""
    kept = copies(path)
    if kept:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(kept[0].stat().st_mtime))
        way = f"go back to its copy of {when}: modelport restore --force {kept[0]}"
    else:
        way = "restore a backup of yours: modelport restore --force FILE"
    return StoreError(
        f"{path}: is damaged: {error}. Stop the platform, then {way} (or move away all of {path.name}* to start "
        "with an empty platform)."
    )


def lost(path: Path, version: int, acknowledged: int) -> StoreError:
    """The words for a file that ends before what was acknowledged."""
    return damaged(path, f"it ends with version {version}, and {acknowledged} had been acknowledged")


def folder_of_copies(path: Path) -> Path:
    """Where the copies of a state file are kept."""
    return path.with_name("copies")


def copies(path: Path) -> list[Path]:
    """The copies that are kept of a state file, the newest first."""
    return sorted(folder_of_copies(path).glob(f"{path.stem}-*{path.suffix}"), reverse=True)


def copy(source: Path, target: Path) -> Contents:
    """A whole and compact copy, as of one moment, also while a server writes. Raises StoreError; then none is left.

    `target` must not exist.
    """
    acknowledged = high_water.read(source)
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        connection = connect(source, read_only=True)
        try:
            connection.execute("VACUUM INTO ?", (str(target),))
        finally:
            connection.close()
        sync(target)
        found = contents(target)
        if found.version < acknowledged:
            raise lost(source, found.version, acknowledged)
        return found
    except FileExistsError as error:
        raise StoreError(f"{target}: is there already") from error
    except (OSError, sqlite3.Error) as error:
        target.unlink(missing_ok=True)
        raise StoreError(
            f"{target}: the copy of {source} cannot be written: {error}. Free space on that disk, or choose "
            "another place."
        ) from error
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def contents(path: Path) -> Contents:
    """What a file holds that nobody writes to, once it is found whole and of a known format. Raises StoreError."""
    connection = connect(path, read_only=True)
    try:
        check(connection, path)
        known = _number(connection, "PRAGMA user_version")
        if known == 0:
            return Contents(0, 0, 0)
        return Contents(
            format=known,
            version=_number(
                connection, "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'log'"
            ),
            objects=_number(connection, "SELECT count(*) FROM current"),
        )
    except sqlite3.Error as error:
        raise damaged(path, error) from error
    finally:
        connection.close()


def leap(path: Path, above: int) -> None:
    """Makes a restored file's versions higher than any that its server may have told anybody since the copy, so that
    watchers list anew instead of waiting for numbers that come again: those up to `above` at least. Raises StoreError."""
    connection = connect(path)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "INSERT INTO sqlite_sequence (name, seq) SELECT 'log', 0"
            " WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'log')"
        )
        connection.execute(
            "UPDATE sqlite_sequence SET seq = max(seq, ?) + ? WHERE name = 'log'", (above, LEAP)
        )
        connection.execute(
            "UPDATE number SET value = (SELECT seq FROM sqlite_sequence WHERE name = 'log')"
            " WHERE name = 'compacted'"
        )
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise damaged(path, error) from error
    finally:
        connection.close()


def lock(path: Path) -> int:
    """One server a file: two would each have a resourceVersion of their own. Close what it returns. StoreError."""
    held = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.read(held, 20).decode(errors="replace").strip()
        os.close(held)
        raise StoreError(
            f"{path}: is in use by another API server (process {owner or 'unknown'}). End that one first, or "
            "choose another folder with --dir."
        ) from error
    # In place and of one length, as a full disk has no room for another block; it is for the message alone.
    with contextlib.suppress(OSError):
        os.pwrite(held, f"{os.getpid():<19}\n".encode(), 0)
    return held


def sync(path: Path) -> None:
    """Has a file on disk, and its name."""
    for one, flags in ((path, os.O_RDONLY), (path.parent, os.O_RDONLY | os.O_DIRECTORY)):
        descriptor = os.open(one, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])
