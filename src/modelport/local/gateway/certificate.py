"""Which certificates listeners show: Secrets that `tls.certificateRefs` names, by the name that clients ask for. Pure.

A Secret that cannot be used is told by its listener, which goes on with the certificate that it had, if any. Private keys
go into `Certificates.files` alone, which are for a folder of the gateway's, never into words or the table.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import msgspec

from modelport.kube.part import mapping, objects
from modelport.kube.resource import Object
from modelport.local.gateway.attach import Gateways, unserved
from modelport.local.gateway.backend import Failure
from modelport.local.gateway.grant import is_granted
from modelport.local.gateway.spec import Listener, SecretRef, Verdict
from modelport.wire.table import Certificate, TlsName

Name = tuple[str, str]
TYPE = "kubernetes.io/tls"
INVALID, NOT_PERMITTED = "InvalidCertificateRef", "RefNotPermitted"
PLAIN = (
    "The platform's port speaks plain HTTP, and so do this listener's routes: no certificate is shown. For TLS start "
    "the platform with modelport up --tls-certificate FILE --tls-key FILE."
)
MEMORY = 1024


class Certificates(msgspec.Struct):
    """What follows."""

    names: list[TlsName] = []
    files: dict[str, bytes] = {}
    """Chains with their keys, by the names under which the table has them."""
    said: dict[Name, dict[str, list[Verdict]]] = {}
    """Of Gateways, by their listeners' names: conditions that differ from what is said of any listener."""
    next_at: int | None = None
    """When one comes to be valid or expires: then all this is to be looked at again."""


class Pair(msgspec.Struct, frozen=True):
    """A Secret's chain and key that can be shown."""

    content: bytes
    file: str
    until: int
    fits: bool
    """Clients that ask for the listener's hostname take it."""


def referenced(gateways: Iterable[Object]) -> set[Name]:
    """Namespace and name of all Secrets that listeners refer to, as far as that can be read."""
    found: set[Name] = set()
    for item in gateways:
        own = item["metadata"]["namespace"]
        for listener in objects(mapping(item.get("spec")).get("listeners")):
            for ref in objects(mapping(listener.get("tls")).get("certificateRefs")):
                found.add((str(ref.get("namespace") or own), str(ref.get("name"))))
    return found


def certificates(
    gateways: Gateways,
    secrets: Iterable[Object],
    grants: Iterable[Object],
    kept: Mapping[str, list[Certificate]],
    now: datetime | None,
    *,
    tls: bool,
) -> Certificates:
    """Of all listeners. `kept`: what those of the last table have, by the listener; `tls`: the platform's port speaks it."""
    found = Certificates()
    view = _Secrets(secrets, list(grants), now)
    taken: dict[str, TlsName] = {}
    for key in gateways.by_age():
        spec = gateways.specs[key]
        for listener in spec.listeners:
            if listener.protocol != "HTTPS" or unserved(listener, spec):
                continue
            name = f"{key[0]}/{key[1]}/{listener.name}"
            shown = _Shown(listener, key[0], view, kept.get(name, []))
            verdicts = found.said.setdefault(key, {}).setdefault(listener.name, [shown.resolved(tls=tls)])
            if not tls:
                verdicts.append(_invalid(PLAIN))
                continue
            if not shown.certificates:
                if shown.refs:
                    verdicts.append(_invalid(f"{shown.words} {shown.consequence}"))
                continue
            wanted = TlsName(listener=name, host=shown.host, certificates=shown.certificates)
            other = taken.setdefault(shown.host, wanted)
            if other.certificates != wanted.certificates:
                words = f'Listener {other.listener} has hostname "{shown.host}" already, and its certificate is shown.'
                verdicts += [
                    Verdict("Conflicted", good=True, reason="HostnameConflict", message=words),
                    _invalid(words),
                ]
            elif other is wanted:
                found.names.append(wanted)
                found.files |= shown.files
    found.next_at = view.next_at
    return found


def _invalid(words: str) -> Verdict:
    return Verdict("Programmed", good=False, reason="Invalid", message=words)


class _Shown:
    """What one listener shows, and why not what it should."""

    def __init__(self, listener: Listener, own: str, view: _Secrets, old: list[Certificate]) -> None:
        self.host = (listener.hostname or "*").lower()
        self.refs = listener.tls.certificate_refs if listener.tls else []
        self.certificates: list[Certificate] = []
        self.files: dict[str, bytes] = {}
        self._failures: list[Failure] = []
        self._good: list[str] = []
        for index, ref in enumerate(self.refs):
            secret = f"{ref.namespace or own}/{ref.name}"
            pair = view.pair(ref, own, self.host, f"tls.certificateRefs[{index}]")
            if isinstance(pair, Pair):
                self.certificates.append(Certificate(secret=secret, file=pair.file))
                self.files[pair.file] = pair.content
                self._good.append(_about(secret, pair, self.host))
                continue
            self._failures.append(pair)
            if pair.reason != NOT_PERMITTED:  # whose permission is withdrawn is shown no longer
                self.certificates += [one for one in old if one.secret == secret][:1]
        if self._failures and not self.certificates:
            # The Gateway may have been changed before the Secret was made.
            self.certificates = [one for one in old if view.is_permitted(own, *one.secret.split("/", 1))]
        self.consequence = (
            "Until then the certificate from before stays in force."
            if self.certificates
            else "Until then clients are shown the platform's own certificate."
        )

    @property
    def words(self) -> str:
        """What is wrong."""
        return " ".join(one.message for one in self._failures)

    def resolved(self, *, tls: bool) -> Verdict:
        """Whether all references lead to certificates that can be shown."""
        if self._failures:
            words = f"{self.words} {self.consequence}" if tls else self.words
            return Verdict("ResolvedRefs", good=False, reason=self._failures[0].reason, message=words)
        words = " ".join(self._good) or "It names no certificate: clients are shown the platform's own."
        return Verdict("ResolvedRefs", good=True, reason="ResolvedRefs", message=words)


def _about(secret: str, pair: Pair, host: str) -> str:
    until = datetime.fromtimestamp(pair.until, UTC)
    words = f"Secret {secret} is valid until {until:%Y-%m-%d %H:%M} UTC"
    if pair.fits:
        return f"{words}."
    return f'{words}, but not for "{host}": clients that look at names refuse it.'


class _Secrets:
    """The Secrets that there are, and who may refer to them."""

    def __init__(self, secrets: Iterable[Object], grants: list[Object], now: datetime | None) -> None:
        self._secrets = {(one["metadata"]["namespace"], one["metadata"]["name"]): one for one in secrets}
        self._grants, self._now = grants, int(now.timestamp()) if now else None
        self.next_at: int | None = None

    def is_permitted(self, own: str, namespace: str, name: str) -> bool:
        """Whether Gateways of namespace `own` may use it."""
        return namespace == own or is_granted(self._grants, ("Gateway", own), ("Secret", namespace, name))

    def pair(self, ref: SecretRef, own: str, host: str, where: str) -> Pair | Failure:
        """The certificate and its key that a Gateway of namespace `own` refers to."""
        if (ref.group or "", ref.kind or "Secret") != ("", "Secret"):
            kind = f"{ref.kind}.{ref.group}" if ref.group else f"{ref.kind}"
            return Failure(INVALID, f"{where}: must be a Secret, got {kind}.")
        namespace = ref.namespace or own
        if not self.is_permitted(own, namespace, ref.name):
            return Failure(
                NOT_PERMITTED,
                f"{where}: Secret {namespace}/{ref.name} is in another namespace, and no ReferenceGrant there allows "
                f"Gateways of {own} to use it. Make one, or put the Secret into namespace {own}.",
            )
        secret = self._secrets.get((namespace, ref.name))
        if secret is None:
            return Failure(
                INVALID,
                f'{where}: no Secret "{ref.name}" in namespace {namespace}. Make it: kubectl create secret tls '
                f"{ref.name} -n {namespace} --cert FILE --key FILE.",
            )
        at = f"{where}: Secret {namespace}/{ref.name}"
        if secret.get("type") != TYPE:
            return Failure(
                INVALID,
                f'{at}: type must be {TYPE}, got "{secret.get("type")}". Delete it, and make it with kubectl create '
                "secret tls.",
            )
        try:
            chain, key = (_entry(secret, name) for name in ("tls.crt", "tls.key"))
            return self._checked(chain, key, host)
        except ValueError as error:
            return Failure(INVALID, f"{at}, {error}")

    def _checked(self, chain: bytes, key: bytes, host: str) -> Pair:
        content = chain.rstrip() + b"\n" + key.rstrip() + b"\n"
        file = hashlib.sha256(content).hexdigest()
        since, until, fits = _read(file, chain, key, content, host)
        if self._now is None:
            return Pair(content, file, until, fits)
        for moment in (since, until + 1):
            if moment > self._now and (self.next_at is None or moment < self.next_at):
                self.next_at = moment
        if until < self._now:
            raise ValueError(f"tls.crt: expired on {_day(until)}. Put a new certificate and its key there.")
        if since > self._now:
            raise ValueError(f"tls.crt: is not valid before {_day(since)}. Look at this machine's clock.")
        return Pair(content, file, until, fits)


def _day(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M} UTC"


def _entry(secret: Object, name: str) -> bytes:
    try:
        found = base64.b64decode(mapping(secret.get("data")).get(name) or "", validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise ValueError(f"{name}: is no base64.") from error
    if not found:
        raise ValueError(f"{name}: is missing or empty. Put PEM there.")
    return found


_known: dict[tuple[str, str], tuple[int, int, bool] | str] = {}
"""What has been found out of files already: all certificates are looked at whenever anything changes."""


def _read(file: str, chain: bytes, key: bytes, content: bytes, host: str) -> tuple[int, int, bool]:
    """From when until when it is valid, and whether for that host. ValueError."""
    found = _known.get((file, host))
    if found is None:
        from modelport._dataplane import read_certificate  # late: only who has certificates pays for it

        try:
            found = read_certificate(chain, key, host)
            # The gateway reads both from one file: an entry that holds the other's part as well must not confuse it.
            if read_certificate(content, content, host) != found:
                found = "tls.crt: another certificate lies in tls.key. Put certificates into tls.crt alone."
        except ValueError as error:
            found = str(error)
        if len(_known) >= MEMORY:
            _known.clear()
        _known[file, host] = found
    if isinstance(found, str):
        raise ValueError(found)
    return found
