"""The API server's file: an append-only log in SQLite whose row number is the resourceVersion.

A row is an object as it became, or as it last was where it was deleted, with the number of the row before it.
`current` names the newest row of each object that exists. Compaction removes rows that were superseded long ago,
never a newest one. `state_file` opens it. Everything here blocks; `store` has the threads.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from modelport.kube.resource import Object
from modelport.local.apiserver import high_water
from modelport.local.apiserver.high_water import HighWater
from modelport.local.apiserver.state_file import (
    StoreError,
    WriteError,
    connect,
    damaged,
    lock,
    open_file,
)

ROWS_NOW = """
SELECT log.id, previous, deleted, log.resource, log.namespace, log.name, value
FROM current JOIN log ON log.id = current.id
WHERE current.resource = :resource AND (current.namespace, current.name) > (:namespace, :name)
  AND current.namespace <= :last
ORDER BY current.namespace, current.name LIMIT :limit
"""
ROWS_THEN = """
SELECT id, previous, deleted, resource, namespace, name, value FROM log
WHERE id IN (SELECT max(id) FROM log WHERE resource = :resource AND id <= :at GROUP BY namespace, name)
  AND NOT deleted AND (namespace, name) > (:namespace, :name) AND namespace <= :last
ORDER BY namespace, name LIMIT :limit
"""
LAST = chr(0x10FFFF)
"""Sorts behind every namespace."""
_encode = msgspec.json.encode


class Refused(Exception):
    """A change that does not fit what the store holds. Nothing was written."""


class Exists(Refused):
    """There is such an object already."""


class Missing(Refused):
    """There is no such object (any more)."""


class Changed(Refused):
    """The object has another version than the one that the change was made for."""


class Homeless(Refused):
    """The namespace is not there (any more)."""


class Occupied(Refused):
    """The namespace still holds objects."""


class Compacted(Exception):
    """The version asked for is older than what the log still holds. The message is the oldest that it holds."""


class Key(NamedTuple):
    """Where an object is found: `plural.group`, namespace (empty for cluster-wide objects), name."""

    resource: str
    namespace: str
    name: str


class Row(NamedTuple):
    """One row of the log."""

    version: int
    previous: int
    """Version of the row before it of the same object; 0 where the object came into being."""
    deleted: bool
    resource: str
    namespace: str
    name: str
    value: bytes
    """The object's JSON, `metadata.resourceVersion` included."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to write."""

    key: Key
    body: Object
    """The object as it is to be, or as it last was. Its resourceVersion is set by the writer: hand over a copy."""
    before: Row | None
    """The object as it is now, which somebody else must not have changed; None: there must be none."""
    deleted: bool = False
    home: Key | None = None
    """This object, a namespace, must exist."""
    empties: str = ""
    """No object may lie in this namespace."""

    @property
    def expect(self) -> int:
        """The version that the object must have."""
        return self.before.version if self.before else 0


class Ledger:
    """The file, for one writer. Raises StoreError; `close` it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = lock(path)
        try:
            self._connection = open_file(path)
            self.version: int = self._number("SELECT seq FROM sqlite_sequence WHERE name = 'log'")
            self.compacted: int = self._number("SELECT value FROM number WHERE name = 'compacted'")
            self._high_water = self._surveyed()
        except BaseException:
            os.close(self._lock)
            raise

    def _surveyed(self) -> HighWater:
        """The number that tells the next start how far this one has come. Raises StoreError."""
        try:
            opened = HighWater(self.path)
        except OSError as error:
            self._connection.close()
            raise StoreError(f"{high_water.place(self.path)}: cannot be written: {error.strerror}") from error
        opened.rise(self.version)
        return opened

    def close(self) -> None:
        """Lets go of the file. SQLite moves what is in the write-ahead log into it."""
        self._connection.close()
        self._high_water.close()
        os.close(self._lock)

    def reader(self) -> Reader:
        """Another connection, for reading beside the writer. Close it."""
        return Reader(connect(self.path, read_only=True), self.path)

    def commit(self, changes: Sequence[Change], now_ms: int) -> list[Row | Refused]:
        """Writes what fits, all in one transaction that is on disk when this returns; an answer a change."""
        connection = self._connection
        version = self.version
        answers: list[Row | Refused] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for change in changes:
                refused = self._refuses(change)
                if refused is not None:
                    answers.append(refused)
                    continue
                version += 1
                answers.append(self._write(change, version, now_ms))
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise WriteError(
                f"{self.path}: cannot be written: {error}. Nothing was changed. Free space on that disk, or "
                "check that it may be written, then try again."
            ) from error
        self.version = version
        self._high_water.rise(version)
        return answers

    def _refuses(self, change: Change) -> Refused | None:
        found = self._connection.execute(
            "SELECT id FROM current WHERE resource = ? AND namespace = ? AND name = ?", change.key
        ).fetchone()
        version: int = found[0] if found else 0
        if version != change.expect:
            return Exists() if change.expect == 0 else Changed() if version else Missing()
        if change.home is not None and not self._exists(
            "SELECT 1 FROM current WHERE resource = ? AND namespace = ? AND name = ?", change.home
        ):
            return Homeless()
        if change.empties and self._exists(
            "SELECT 1 FROM current WHERE namespace = ? LIMIT 1", (change.empties,)
        ):
            return Occupied()
        return None

    def _exists(self, query: str, values: Sequence[str]) -> bool:
        return self._connection.execute(query, values).fetchone() is not None

    def _write(self, change: Change, version: int, now_ms: int) -> Row:
        change.body["metadata"]["resourceVersion"] = str(version)
        value = _encode(change.body)
        key = change.key
        self._connection.execute(
            "INSERT INTO log (id, previous, at_ms, deleted, resource, namespace, name, value)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (version, change.expect, now_ms, change.deleted, *key, value),
        )
        if change.deleted:
            self._connection.execute(
                "DELETE FROM current WHERE resource = ? AND namespace = ? AND name = ?", key
            )
        else:
            self._connection.execute("INSERT OR REPLACE INTO current VALUES (?, ?, ?, ?)", (*key, version))
        return Row(version, change.expect, change.deleted, *key, value)

    def compact(self, *, keep_rows: int, keep_ms: int, now_ms: int) -> int:
        """Forgets superseded rows that are neither among the last `keep_rows` nor younger than `keep_ms`.

        However young, no more than ten times `keep_rows` stay. Returns the oldest version that lists and watches
        may still ask for.
        """
        connection = self._connection
        young = self._number("SELECT min(id) FROM log WHERE at_ms > ?", now_ms - keep_ms) or self.version + 1
        target = max(min(self.version - keep_rows, young - 1), self.version - 10 * keep_rows)
        if target <= self.compacted:
            return self.compacted
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                "DELETE FROM log WHERE id IN (SELECT previous FROM log WHERE previous > 0 AND id <= ?)",
                (target,),
            )
            connection.execute("DELETE FROM log WHERE deleted AND id <= ?", (target,))
            connection.execute("UPDATE number SET value = ? WHERE name = 'compacted'", (target,))
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise StoreError(f"{self.path}: cannot be compacted: {error}") from error
        self.compacted = target
        return target

    def _number(self, query: str, *values: int) -> int:
        found = self._connection.execute(query, values).fetchone()
        return (found[0] or 0) if found else 0


class Reader:
    """Reads beside the writer. Between `begin` and `end` it sees the store as it was at `begin`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def close(self) -> None:
        """Lets go of the file."""
        self._connection.close()

    def begin(self) -> tuple[int, int]:
        """Freezes the view; the newest version in it, and the oldest that may be asked for."""
        self._connection.execute("BEGIN")
        try:
            version = self._connection.execute(
                "SELECT seq FROM sqlite_sequence WHERE name = 'log'"
            ).fetchone()
            compacted = self._connection.execute(
                "SELECT value FROM number WHERE name = 'compacted'"
            ).fetchone()
        except sqlite3.Error as error:
            raise damaged(self._path, error) from error
        return (version[0] if version else 0), compacted[0]

    def end(self) -> None:
        """Thaws it."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def get(self, key: Key) -> Row | None:
        """One object."""
        try:
            found = self._connection.execute(
                "SELECT log.id, previous, deleted, log.resource, log.namespace, log.name, value"
                " FROM current JOIN log ON log.id = current.id"
                " WHERE current.resource = ? AND current.namespace = ? AND current.name = ?",
                key,
            ).fetchone()
        except sqlite3.Error as error:
            raise damaged(self._path, error) from error
        return Row._make(found) if found else None

    def rows(
        self, resource: str, namespace: str | None, after: tuple[str, str], limit: int, at: int | None = None
    ) -> list[Row]:
        """Objects in the order of namespace and name, those after `after`; as they were `at` that version."""
        values = {
            "resource": resource,
            "last": LAST if namespace is None else namespace,
            "limit": limit,
            "at": at,
        }
        values["namespace"], values["name"] = after if namespace is None else max(after, (namespace, ""))
        query = ROWS_NOW if at is None else ROWS_THEN
        try:
            return [Row._make(found) for found in self._connection.execute(query, values)]
        except sqlite3.Error as error:
            raise damaged(self._path, error) from error

    def count(
        self, resource: str, namespace: str | None, after: tuple[str, str], at: int | None = None
    ) -> int:
        """How many objects `rows` would return without a limit."""
        if at is not None:
            return len(self.rows(resource, namespace, after, -1, at))
        query = "SELECT count(*) FROM current WHERE resource = ? AND (namespace, name) > (?, ?)"
        values: tuple[str, ...] = (resource, *after)
        if namespace is not None:
            query, values = query + " AND namespace = ?", (*values, namespace)
        return self._connection.execute(query, values).fetchone()[0]

    def changes(self, resource: str, after: int, limit: int) -> list[tuple[Row, bytes | None]]:
        """Rows of the log after a version, oldest first, each with the object as it was before."""
        found = self._connection.execute(
            "SELECT l.id, l.previous, l.deleted, l.resource, l.namespace, l.name, l.value, p.value"
            " FROM log l LEFT JOIN log p ON p.id = l.previous"
            " WHERE l.resource = ? AND l.id > ? ORDER BY l.id LIMIT ?",
            (resource, after, limit),
        )
        return [(Row._make(row[:7]), row[7]) for row in found]

    def resources(self) -> Iterator[str]:
        """Resources of which there are objects."""
        return (row[0] for row in self._connection.execute("SELECT DISTINCT resource FROM current"))
