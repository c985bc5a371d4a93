"""Which credentials a fetch may use, each value with the name of where it came from."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from modelport.storage.secret import Secret


@dataclass(frozen=True)
class Setting:
    """One value, and who gave it."""

    value: Secret
    source: str
    """As people know it: `Secret default/s3-creds`, `environment`."""


@dataclass(frozen=True)
class Credentials:
    """Values by the names of KServe's storage initializer: AWS_ACCESS_KEY_ID, HF_TOKEN, HDFS_NAMENODE…

    A credential that KServe mounts as a file is here by content, under its file's or variable's name. Values are
    never printed: not by repr, not in errors, which say sources only.
    """

    settings: Mapping[str, Setting] = field(default_factory=dict[str, Setting])
    conflicts: tuple[str, ...] = ()
    """Sentences about values that were given twice; the last one holds."""

    def get(self, name: str, *others: str) -> str | None:
        """The value of the first of these names that has one."""
        for one in (name, *others):
            if (setting := self.settings.get(one)) is not None and setting.value:
                return setting.value.reveal()
        return None

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean; everything but 0, false, no and off is true."""
        text = self.get(name)
        return default if text is None else text.strip().lower() not in ("0", "false", "no", "off")

    def source(self, *names: str) -> str:
        """Where the first of these names that has a value came from; empty: nowhere."""
        for name in names:
            if (setting := self.settings.get(name)) is not None and setting.value:
                return setting.source
        return ""

    def over(self, weaker: Credentials) -> Credentials:
        """These, and beneath them others."""
        return Credentials({**weaker.settings, **self.settings}, weaker.conflicts + self.conflicts)

    def fingerprint(self, salt: bytes) -> str:
        """Tells credentials apart without giving them away: keyed, so that it cannot be guessed from outside."""
        digest = hmac.new(salt, digestmod=hashlib.sha256)
        for name, setting in sorted(self.settings.items()):
            digest.update(f"{name}\0{setting.value.reveal()}\0".encode())
        return digest.hexdigest()[:16]


def of(values: Mapping[str, str], source: str) -> Credentials:
    """Credentials that all come from one place."""
    return Credentials({name: Setting(Secret(value), source) for name, value in values.items() if value})


def merge(parts: Iterable[Credentials]) -> Credentials:
    """Several, the last one strongest."""
    merged = Credentials()
    for part in parts:
        merged = part.over(merged)
    return merged


def conflicts(found: Sequence[Credentials]) -> list[str]:
    """Sentences about values that two of these give differently; the last one of them holds."""
    twice: dict[tuple[str, str], list[str]] = {}
    for earlier, later in ((a, b) for place, a in enumerate(found) for b in found[place + 1 :]):
        for name in sorted(set(earlier.settings) & set(later.settings)):
            one, other = earlier.settings[name], later.settings[name]
            names = twice.setdefault((one.source, other.source), [])
            if one.value != other.value and name not in names:
                names.append(name)
    return [
        f"{one} and {other} both give {' and '.join(names)}; what {other} says is used"
        for (one, other), names in twice.items()
        if names
    ]
