"""An OCI registry's HTTP API: who asks, manifests, blobs."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from modelport.kube.part import mapping
from modelport.storage.credentials import Credentials
from modelport.storage.failure import StorageError
from modelport.storage.machine import json_object
from modelport.storage.transport import Answer, Transport, bad_status

ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.artifact.manifest.v1+json",
    )
)


@dataclass(frozen=True)
class Reference:
    """Which manifest of which repository."""

    host: str
    repository: str
    what: str
    """A tag, or a digest with its algorithm."""

    @property
    def digest(self) -> str | None:
        """The digest, if it is one."""
        return self.what if ":" in self.what else None

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}{'@' if self.digest else ':'}{self.what}"


def parse(text: str) -> Reference:
    """`registry/repository[:tag][@digest]`, with Docker Hub's short forms. Raises StorageError."""
    bare, _, digest = text.partition("@")
    head, slash, last = bare.rpartition("/")
    name, _, tag = last.partition(":")
    path = f"{head}{slash}{name}"
    first, _, rest = path.partition("/")
    if "." in first or ":" in first or first == "localhost":
        host, repository = first, rest
    else:
        host, repository = "docker.io", path if "/" in path else f"library/{path}"
    if not re.fullmatch(r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*", repository) or (
        digest and not re.fullmatch(r"[a-z0-9]+:[0-9a-f]{32,}", digest)
    ):
        raise StorageError(
            "resolve",
            f"{text!r} is no reference of an image",
            "Write oci://REGISTRY/REPOSITORY:TAG, in lower case",
            reason="InvalidURI",
        )
    return Reference(host, repository, digest or tag or "latest")


def known(algorithm: str) -> str:
    """An algorithm of digests that OCI registers. What cannot be verified is refused."""
    if algorithm not in ("sha256", "sha512"):
        raise StorageError(
            "verify",
            f"the digest's algorithm {algorithm[:40]!r} is none that can be verified",
            "Push it with sha256",
            reason="Unsupported",
        )
    return algorithm


class Registry:
    """One repository of a registry, as whoever the credentials say."""

    def __init__(self, reference: Reference, given: Credentials, transport: Transport) -> None:
        self.reference = reference
        self._transport = transport
        self._user, self._password, self._identity, self.credential = _login(reference, given)
        self._elsewhere = "" if self.credential else _helper(reference.host, given)
        host = "registry-1.docker.io" if reference.host == "docker.io" else reference.host
        local = re.match(r"(localhost|127\.|\[::1\])", host) is not None
        plain = local or given.flag("KSERVE_OCI_INSECURE_REGISTRY")
        self.base = f"{'http' if plain else 'https'}://{host}/v2/{reference.repository}"
        self._authorization: dict[str, str] = {}
        self._challenge = ""
        self._lock = threading.Lock()

    def headers(self) -> Mapping[str, str]:
        """What proves who asks, so far."""
        return self._authorization

    def renew(self) -> bool:
        """Another token, after the registry has said 401: tokens last for minutes. False where there is none to get."""
        with self._lock:
            if not self._challenge:
                return False
            self._authorization = self._answer(self._challenge)
            return True

    def manifest(self, what: str) -> dict[str, Any]:
        """A manifest; one that is named by its digest is verified. Raises StorageError."""
        url = f"{self.base}/manifests/{what}"
        answer = self._open(url, {"Accept": ACCEPT})
        try:
            if answer.status != 200:
                raise self.words(answer) or bad_status(
                    answer, "resolve", self.credential, str(self.reference)
                )
            body = answer.text(8 << 20)
        finally:
            answer.close()
        algorithm = what.partition(":")[0] if ":" in what else ""
        digest = f"{algorithm}:{hashlib.new(known(algorithm), body).hexdigest()}" if algorithm else what
        if what != digest:
            raise StorageError(
                "verify",
                f"the manifest {what} came with the digest {digest}",
                "The registry is damaged",
                reason="Corrupt",
            )
        return json.loads(body)

    def words(self, answer: Answer) -> StorageError | None:
        """Registries' usual answers."""
        used = self.credential
        if answer.status in (401, 403):
            return StorageError(
                "authenticate",
                f"{self.reference.host} does not let {used or 'anybody'} pull {self.reference.repository}",
                "Check the pull secret's registry, user and password, and the user's rights"
                if used
                else "Give a pull secret: kubectl create secret docker-registry, and imagePullSecrets"
                + (f". {self._elsewhere}" if self._elsewhere else ""),
                reason="PermissionDenied" if answer.status == 403 or used else "Unauthenticated",
                credential=used,
            )
        if answer.status == 404:
            return StorageError(
                "resolve",
                f"{self.reference.host} has no {str(self.reference).partition('/')[2]}",
                "Check the repository and the tag",
                reason="NotFound",
                credential=used,
            )
        return None

    def _open(self, url: str, headers: Mapping[str, str]) -> Answer:
        answer = self._transport.open("GET", url, headers, secret_headers=self._authorization)
        challenge = answer.header("WWW-Authenticate")
        if answer.status == 401 and challenge and not self._authorization:
            answer.close()
            self._challenge = challenge
            self.renew()
            answer = self._transport.open("GET", url, headers, secret_headers=self._authorization)
        return answer

    def _answer(self, challenge: str) -> dict[str, str]:
        """What a challenge asks for: the password itself, or a token for it."""
        kind, _, rest = challenge.partition(" ")
        basic = base64.b64encode(f"{self._user}:{self._password}".encode()).decode() if self._user else ""
        if kind.lower() == "basic":
            return {"Authorization": f"Basic {basic}"} if basic else {}
        fields = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        realm = fields.get("realm", "")
        if self.base.startswith("https:") and not realm.startswith("https:"):
            raise StorageError(
                "authenticate",
                f"{self.reference.host} wants the password sent to {realm[:200]!r}, which is not encrypted",
                "Correct the registry's configuration: its token service needs https",
                reason="Refused",
                credential=self.credential,
            )
        query = {
            "service": fields.get("service", ""),
            "scope": fields.get("scope") or f"repository:{self.reference.repository}:pull",
        }
        if self._identity:
            form = {
                **query,
                "grant_type": "refresh_token",
                "client_id": "modelport",
                "refresh_token": self._identity,
            }
            answer = self._transport.open(
                "POST",
                realm,
                {"Content-Type": "application/x-www-form-urlencoded"},
                body=urlencode(form).encode(),
                step="authenticate",
            )
        else:
            secret = {"Authorization": f"Basic {basic}"} if basic else {}
            answer = self._transport.open(
                "GET", f"{realm}?{urlencode(query)}", secret_headers=secret, step="authenticate"
            )
        try:
            if answer.status != 200:
                raise self.words(answer) or bad_status(answer, "authenticate", self.credential, realm)
            found = json.loads(answer.text(1 << 20))
        finally:
            answer.close()
        return {"Authorization": f"Bearer {found.get('token') or found.get('access_token', '')}"}


def _config(given: Credentials) -> tuple[dict[str, Any], str]:
    """A Docker configuration, and where it is from."""
    text, source = given.get(".dockerconfigjson"), given.source(".dockerconfigjson")
    if text is None and (path := given.get("KSERVE_OCI_DOCKER_CONFIG")):
        try:
            text, source = Path(path).read_text(), path
        except OSError as error:
            raise StorageError(
                "authenticate",
                f"the Docker configuration {path} cannot be read: {error.strerror}",
                "Correct KSERVE_OCI_DOCKER_CONFIG",
                reason="Unauthenticated",
            ) from error
    return json_object(text or "") or {}, source


def _helper(host: str, given: Credentials) -> str:
    """The program that keeps a registry's password, where `docker login` gave it to one: it is not run."""
    config, source = _config(given)
    name = mapping(config.get("credHelpers")).get(host) or config.get("credsStore")
    return f"{source} says that docker-credential-{name} keeps it, which is not run here" if name else ""


def _login(reference: Reference, given: Credentials) -> tuple[str, str, str, str]:
    """User, password, identity token and name, out of a Docker configuration: a pull secret, or the user's own."""
    config, source = _config(given)
    entries: dict[str, Any] = mapping(config.get("auths"))
    hosts = [reference.host, f"https://{reference.host}", f"http://{reference.host}"]
    if reference.host == "docker.io":
        hosts += ["https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io"]
    longest = [f"{reference.host}/{reference.repository}"]
    while "/" in longest[-1]:
        longest.append(longest[-1].rpartition("/")[0])
    for host in (*longest, *hosts, *(f"{host}/v1/" for host in hosts), *(f"{host}/v2/" for host in hosts)):
        entry = mapping(entries.get(host))
        user, password, identity = (
            str(entry.get(name, "")) for name in ("username", "password", "identitytoken")
        )
        packed = entry.get("auth")
        if packed and not user:
            try:
                user, _, password = base64.b64decode(str(packed)).decode(errors="replace").partition(":")
            except ValueError as error:
                raise StorageError(
                    "authenticate",
                    f"`auth` of {host} in {source} is not base64",
                    "Write it anew: docker login, or kubectl create secret docker-registry",
                    reason="Unauthenticated",
                ) from error
        if user or identity:
            return user, password, identity, f"{source}, for {host}"
    return "", "", "", ""
