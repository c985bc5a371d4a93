"""The storage settings of a user of this machine, a YAML file, and those of the platform, in its configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from modelport.storage.mirror import Mirror
from modelport.storage.policy import Policy
from modelport.storage.signature import Signer


class Signature(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Who must have signed every model."""

    public_key: str = ""
    """PEM file of an elliptic-curve key."""
    identity: str = ""
    """With `issuer`: whom Sigstore vouches for."""
    issuer: str = ""


class Rules(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What may be said in both."""

    limit: str = ""
    """Most that the cache holds, as in `200Gi`; empty: no limit."""
    mirrors: dict[str, str] = {}
    """Prefixes of URIs, and what they begin with instead."""
    unsafe: Literal["allow", "warn", "deny"] = "warn"
    """What to do about pickles from sources that are not trusted."""
    trusted: tuple[str, ...] = ()
    """Prefixes of URIs that are."""
    signature: Signature | None = None
    """Refuse models without this signature."""

    @property
    def table(self) -> list[Mirror]:
        """The mirrors as `fetch` takes them."""
        return [Mirror(prefix, target) for prefix, target in self.mirrors.items()]

    @property
    def policy(self) -> Policy:
        """What may be loaded, as `fetch` takes it."""
        signed = self.signature
        signer = signed and Signer(
            Path(signed.public_key).expanduser() if signed.public_key else None,
            signed.identity,
            signed.issuer,
        )
        return Policy(unsafe=self.unsafe, trusted=self.trusted, signer=signer)

    @property
    def limit_bytes(self) -> int | None:
        """The limit in bytes. Raises ValueError."""
        if not self.limit:
            return None
        from modelport.kube.quantity import Quantity  # with fractions and decimal, for who has a limit

        return Quantity.parse(self.limit).whole()


class Settings(Rules, kw_only=True, forbid_unknown_fields=True):
    """What the user's file may say."""

    cache: str = ""
    """Folder of the cache; empty: `cache` in the platform's folder, which it then shares."""


class PlatformSettings(Rules, kw_only=True, forbid_unknown_fields=True):
    """What the platform's configuration may say."""

    poll: str = ""
    """How often models are looked for again where a service does not say, as in `5m`; empty: never."""

    def words(self) -> list[str]:
        """What holds, a line each, for a person."""
        lines = [
            f"the cache holds {f'at most {self.limit}' if self.limit else 'whatever the disk has room for'}",
            f"a URI is looked at again {f'every {self.poll}' if self.poll else 'when a pod starts'}",
            f"pickles from untrusted sources: {self.unsafe}",
        ]
        if self.trusted:
            lines.append(f"trusted sources: {', '.join(self.trusted)}")
        if (signed := self.signature) is not None:
            lines.append(f"models must be signed by {signed.identity or signed.public_key}")
        lines += [f"mirror: {prefix} is fetched from {target}" for prefix, target in self.mirrors.items()]
        return lines


def of_platform(text: str, mirrors: str = "") -> PlatformSettings:
    """The platform's, out of YAML; `mirrors` is a table of its own, as JSON. Raises ValueError with words."""
    if not (text.strip() or mirrors):
        return PlatformSettings()  # as for nearly everybody: no parser of YAML is kept in memory for it

    import yaml

    key = "storage"
    try:
        found = msgspec.convert(yaml.safe_load(text) or {}, PlatformSettings)
        _ = found.limit_bytes
        key = "mirrors"
        if mirrors:
            found.mirrors = msgspec.json.decode(mirrors, type=dict[str, str]) | found.mirrors
    except (msgspec.DecodeError, yaml.YAMLError, ValueError) as error:
        raise ValueError(f"key {key}: {error}") from error
    return found


def default_file(environment: Mapping[str, str]) -> Path:
    """MODELPORT_STORAGE_SETTINGS, else modelport/storage.yaml in the user's folder of configuration."""
    if given := environment.get("MODELPORT_STORAGE_SETTINGS"):
        return Path(given).expanduser()
    base = environment.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "modelport" / "storage.yaml"


def load(path: Path | None = None) -> Settings:
    """Reads the file; a default one that is not there says nothing. Raises ValueError with words."""
    place = path or default_file(os.environ)
    try:
        text = place.read_text()
    except FileNotFoundError:
        if path is not None or os.environ.get("MODELPORT_STORAGE_SETTINGS"):
            raise ValueError(f"{place}: there is no such file") from None
        return Settings()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{place}: it cannot be read: {error}") from error
    import yaml

    try:
        found = msgspec.convert(yaml.safe_load(text) or {}, Settings)
        _ = found.limit_bytes
    except (msgspec.ValidationError, yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{place}: {error}") from error
    return found
