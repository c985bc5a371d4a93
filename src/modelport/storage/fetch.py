"""From a URI to a folder of this machine: once, whole, and with words where it cannot be."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from modelport.storage import cache as disk
from modelport.storage import listed, lock, mirror, prune, scheme
from modelport.storage.cache import Cache, Entry
from modelport.storage.credentials import Credentials
from modelport.storage.failure import Changed, StorageError
from modelport.storage.fill import Filled, fill
from modelport.storage.lock import Lock
from modelport.storage.mirror import Mirror
from modelport.storage.packed import Limits
from modelport.storage.pattern import Patterns
from modelport.storage.policy import Policy
from modelport.storage.progress import Progress, Reporter
from modelport.storage.retry import Budget, Retry
from modelport.storage.signature import verify, verify_once
from modelport.storage.source import Claims, Context, InPlace, Known, Listing, Unchanged
from modelport.storage.space import disk as disk_error
from modelport.storage.uri import pin as pin_of
from modelport.storage.uri import redact

CHANGES = 5
"""So often a model may change while it is fetched."""


@dataclass(frozen=True)
class Fetched:
    """A model on this machine."""

    path: Path
    """A read-only folder in the cache, or where the model lies already (file:, pvc:, paths)."""
    digest: str
    """`sha256:…` of its contents; for models in place `stat:…` of names, sizes and times."""
    uri: str
    """What was asked for, without secrets."""
    mirrored_from: str | None = None
    """Where it was really fetched from, if a mirror stands for it."""
    bytes: int = 0
    """Size of the model."""
    from_cache: bool = False
    """Nothing had to be transferred."""
    fetched_bytes: int = 0
    """So much was transferred."""
    credential: str = ""
    """Name of the credential that was used."""
    warnings: tuple[str, ...] = ()
    """Sentences that a person should read: unsafe formats, a store that did not answer."""
    lease: Lock | None = field(default=None, compare=False, repr=False)
    """Keeps it in the cache until it is released, or the process ends. `Cache.pin` outlives the process."""


def fetch(
    uri: str,
    *,
    cache: Cache,
    credentials: Credentials | None = None,
    mirrors: Iterable[Mirror] = (),
    policy: Policy | None = None,
    patterns: Patterns | None = None,
    sha256: str | None = None,
    digest: str | None = None,
    claims: Claims | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
    retry: Retry | None = None,
    limits: Limits | None = None,
    pin: Path | None = None,
) -> Fetched:
    """Makes a model a folder of this machine. Blocks; may be called from any thread.

    `sha256` (or `#sha256=…` in the URI) is what the one file, or the model as a whole, must have. `digest` names
    what this URI was before: if the cache still has it, the store is not asked. `claims` gives pvc:// its folders.
    `cancel` ends it, with Cancelled; what was fetched stays for the next try. `pin` keeps the result in the cache
    while that path exists. Raises StorageError.
    """
    bare, pinned = pin_of(uri)
    target = mirror.rewrite(bare, mirrors)
    one = _Fetch(
        uri=bare,
        target=target,
        cache=cache,
        context=Context(
            credentials=credentials or Credentials(),
            patterns=patterns or Patterns(),
            claims=claims,
            limits=limits or Limits(),
            cancel=cancel or threading.Event(),
        ),
        policy=policy or Policy(),
        expected=(sha256 or pinned or "").lower().removeprefix("sha256:"),
        retry=retry or Retry(),
        limits=limits or Limits(),
        reporter=Reporter(redact(bare), progress),
    )
    shown = redact(bare)
    if target != bare:
        one.reporter.note(f"fetched from {redact(target)}, its mirror")
        shown = f"{shown} (mirror: {redact(target)})"
    try:
        fetched = one.run(digest)
        if pin is not None and fetched.digest.startswith("sha256:"):
            cache.pin(fetched.digest, pin)
    except StorageError as error:
        raise error.about(shown, one.credential) from error.__cause__
    except OSError as error:
        raise disk_error(error, cache.folder).about(shown, one.credential) from error
    one.reporter.enter("done")
    return fetched


@dataclass
class _Fetch:
    """One call of `fetch`: what it was given, and what it has found out."""

    uri: str
    target: str
    cache: Cache
    context: Context
    policy: Policy
    expected: str
    retry: Retry
    limits: Limits
    reporter: Reporter
    credential: str = ""
    lingering: list[threading.Thread] = field(default_factory=list[threading.Thread])

    def run(self, digest: str | None) -> Fetched:
        patterns = self.context.patterns
        key = disk.key_of(self.target, repr(patterns) if patterns else "")
        who = self.context.credentials.fingerprint(self.cache.salt())
        if digest is not None and digest.startswith("sha256:") and (had := self._had(key, who, digest)):
            return had
        local = scheme.in_place(self.target, self.context)
        if local is not None:
            return self._in_place(local)
        began = disk.now()
        held = lock.acquire(
            self.cache.locks / key, cancel=self.context.cancel, waiting=lambda: self._wait(key)
        )
        try:
            entry = self.cache.entry(key, who)
            if entry is not None and entry.checked_at > began and (hit := self._hit(entry)):
                return hit  # whoever held the lock has just asked, with the same credentials
            return self._ask(key, who, entry)
        finally:
            _release(held, self.lingering)

    def _had(self, key: str, who: str, digest: str) -> Fetched | None:
        entry = self.cache.entry(key, who)
        return self._hit(entry) if entry is not None and entry.digest == digest else None

    def _wait(self, key: str) -> None:
        """Somebody else fetches it: show how far they are."""
        with contextlib.suppress(OSError, msgspec.DecodeError):
            there = msgspec.json.decode(
                (self.cache.partial / key / "progress.json").read_bytes(), type=Progress
            )
            self.reporter.set(
                done=there.bytes_done,
                total=there.bytes_total,
                cached=there.bytes_cached,
                files_done=there.files_done,
                files_total=there.files_total,
            )
        if self.reporter.now.phase != "wait":
            self.reporter.enter("wait")
        self.reporter.tell()

    def _ask(self, key: str, who: str, entry: Entry | None) -> Fetched:
        """Asks the store what the URI is now, and fetches what the cache has not."""
        budget = Budget(self.retry, self.reporter, self.context.cancel)
        lease = self._lease(entry)
        known = Known(entry.validator) if entry is not None and lease is not None else None
        changes = 0
        while True:
            self.reporter.enter("resolve")
            try:
                found = scheme.resolve(self.target, replace(self.context, known=known))
                if isinstance(found, InPlace):
                    return self._in_place(found)
                if isinstance(found, Unchanged):
                    if entry is None or lease is None:
                        raise StorageError(
                            "resolve", "the store says that nothing changed, and nothing is here"
                        )
                    return self._again(key, who, entry, lease)
                self.credential = found.credential
                listing = listed.wanted(found, self.context.patterns)
                budget.succeeded()
                if entry is not None and lease is not None and listed.same(entry, listing):
                    return self._again(key, who, entry, lease)
                return self._fill(key, who, listing, budget)
            except Changed:
                changes += 1
                if changes >= CHANGES:
                    raise StorageError(
                        "read",
                        f"the model changed {changes} times while it was read",
                        "Upload to a new place, and change the URI",
                        reason="Failed",
                    ) from None
            except StorageError as error:
                if not error.transient:
                    raise
                try:
                    budget.failed(error)
                except StorageError:
                    if entry is not None and lease is not None:
                        return self._stale(entry, lease, error)
                    raise

    def _fill(self, key: str, who: str, listing: Listing, budget: Budget) -> Fetched:
        siblings = [entry for entry in self.cache.entries(key) if entry.origin == listing.origin]
        filled = fill(
            self.cache,
            key,
            listing,
            siblings,
            limits=self.limits,
            expected=self.expected,
            budget=budget,
            reporter=self.reporter,
            cancel=self.context.cancel,
            lingering=self.lingering,
        )
        moment = disk.now()
        entry = Entry(
            uri=redact(self.target),
            digest=filled.digest,
            origin=listing.origin,
            identity=listed.identity(listing),
            validator=listing.validator,
            credential=listing.credential,
            files=filled.sources,
            bytes=filled.tree.bytes,
            fetched_at=moment,
            checked_at=moment,
        )
        fetched = self._fetched(entry, filled.lease, filled)
        self.cache.remember(key, who, entry)
        if self.cache.limit_bytes is not None:
            prune.prune(self.cache, self.cache.limit_bytes)
        else:
            prune.abandoned(self.cache)
        return fetched

    def _lease(self, entry: Entry | None) -> Lock | None:
        """Holds what the cache has, if it is well."""
        if entry is None:
            return None
        lease = self.cache.lease(entry.digest)
        if lease is not None and self.cache.healthy(entry.digest, self.context.cancel) is None:
            lease.release()
            return None
        return lease

    def _hit(self, entry: Entry) -> Fetched | None:
        lease = self._lease(entry)
        return None if lease is None else self._fetched(entry, lease, None)

    def _again(self, key: str, who: str, entry: Entry, lease: Lock) -> Fetched:
        fetched = self._fetched(entry, lease, None)
        self.cache.remember(key, who, msgspec.structs.replace(entry, checked_at=disk.now()))
        return fetched

    def _stale(self, entry: Entry, lease: Lock, error: StorageError) -> Fetched:
        """The store does not answer: what it last said it had is better than no model."""
        fetched = self._fetched(entry, lease, None)
        warning = f"{error.problem}; what was fetched before is used"
        return replace(fetched, warnings=(*fetched.warnings, warning))

    def _fetched(self, entry: Entry, lease: Lock, filled: Filled | None) -> Fetched:
        path = self.cache.model(entry.digest)
        tree = filled.tree if filled is not None else self.cache.tree(entry.digest)
        paths = [file.path for file in tree.files] if tree is not None else []
        self.credential = self.credential or entry.credential
        if self.expected:
            _check_pin(self.expected, entry)
        if self.policy.signer is not None:
            self.reporter.enter("verify")
            verify_once(path, self.policy.signer)
        warnings = self.policy.check(self.target, path, paths)
        if filled is None:
            self.reporter.set(
                done=entry.bytes,
                total=entry.bytes,
                cached=entry.bytes,
                files_done=len(paths),
                files_total=len(paths),
            )
        return Fetched(
            path=path,
            digest=entry.digest,
            uri=redact(self.uri),
            mirrored_from=redact(self.target) if self.target != self.uri else None,
            bytes=entry.bytes,
            from_cache=filled is None or filled.transferred == 0,
            fetched_bytes=0 if filled is None else filled.transferred,
            credential=entry.credential,
            warnings=warnings,
            lease=lease,
        )

    def _in_place(self, local: InPlace) -> Fetched:
        path = local.path
        digest, size, paths = scheme.survey(path, self.context.cancel)
        if self.expected:
            actual = disk.sha256(path, self.context.cancel) if path.is_file() else ""
            if actual != self.expected:
                raise StorageError(
                    "verify",
                    f"its SHA-256 should be {self.expected}, and it has {actual or 'none, being a folder'}",
                    "Correct the pin, or the file",
                    reason="Corrupt",
                )
        if self.policy.signer is not None:
            verify(path, self.policy.signer)
        warnings = self.policy.check(self.target, path, paths)
        return Fetched(
            path=path,
            digest=digest,
            uri=redact(self.uri),
            mirrored_from=redact(self.target) if self.target != self.uri else None,
            bytes=size,
            from_cache=True,
            warnings=warnings,
        )


def _check_pin(expected: str, entry: Entry) -> None:
    single = entry.files[0].sha256 if len(entry.files) == 1 else ""
    if expected not in (single, entry.digest.removeprefix("sha256:")):
        raise StorageError(
            "verify",
            f"its SHA-256 should be {expected}, and it has {single or entry.digest.removeprefix('sha256:')}",
            "If the model was changed on purpose, change the pin; else do not use it",
            reason="Corrupt",
        )


def _release(held: Lock, lingering: list[threading.Thread]) -> None:
    """Lets go once no worker writes any more: one may sit in a read for some seconds after a cancellation."""
    alive = [thread for thread in lingering if thread.is_alive()]
    if not alive:
        held.release()
        return

    def later() -> None:
        for thread in alive:
            thread.join()
        held.release()

    threading.Thread(target=later, name="fetch-release", daemon=True).start()
