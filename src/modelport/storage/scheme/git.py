"""`https://host/repository.git[@ref]` (also `git+https://`): a commit's files, by the git command."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from modelport.storage import clone, lfs
from modelport.storage.archive import refused
from modelport.storage.failure import Cancelled, StorageError, transient
from modelport.storage.pattern import Patterns
from modelport.storage.source import Context, Found, Listing, RemoteFile
from modelport.storage.transport import Transport, bad_status
from modelport.storage.transport import of as transport_of

ASK = "/info/refs?service=git-upload-pack"
"""What git asks first."""


def resolve(uri: str, context: Context) -> Found:
    """Asks which commit a branch or tag is; the default branch without one."""
    url, ref, user, password = parse(uri)
    given = context.credentials
    source = given.source("GIT_PASSWORD", "GIT_USERNAME")
    user = user or given.get("GIT_USERNAME") or ""
    password = given.get("GIT_PASSWORD") or password
    credential = f"the password of {source}" if source and password else "the user in the URI" if user else ""
    transport = transport_of(context)
    secret = _authorization(user, password)
    place = _settled(url, secret, transport, credential)
    known = secret if same_host(place, url) else {}
    environment = _environment(place, known)
    if re.fullmatch(r"[0-9a-f]{40}", ref):
        commit = ref
    else:
        told = _git(["ls-remote", "--", place, ref or "HEAD"], environment, context, url, credential)
        names = {name: commit for commit, name in (line.split("\t") for line in told.splitlines())}
        wanted = (f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"refs/heads/{ref}", "HEAD", ref)
        commit = next((names[name] for name in wanted if name in names), "")
        if not commit:
            raise StorageError(
                "resolve",
                f"{url} has no branch or tag {ref or 'at all'}",
                "git ls-remote lists them",
                reason="NotFound",
                credential=credential,
            )

    def checkout(folder: Path) -> tuple[RemoteFile, ...]:
        def run(*arguments: str) -> None:
            _git(["-C", str(folder), *arguments], environment, context, url, credential)

        run("init", "--quiet", "--template=")
        run("fetch", "--quiet", "--depth=1", "--no-tags", "--", place, commit)
        run("-c", "advice.detachedHead=false", "checkout", "--quiet", "FETCH_HEAD")
        clone.remove(folder / ".git")
        named = lfs.named(folder)  # before the patterns take .lfsconfig away
        pointers = _inspect(folder, context.patterns)
        if not pointers:
            return ()
        large = lfs.Server(
            transport,
            lfs.endpoint(named, place),
            lambda address: known if same_host(address, place) else {},
            credential,
            f"refs/heads/{ref}" if ref and ref != commit else "",
        )
        return large.files(pointers)

    return Listing(files=(), origin=url, credential=credential, checkout=checkout, version=commit)


def parse(uri: str) -> tuple[str, str, str, str]:
    """Address, ref, user and password of a URI."""
    text = uri.removeprefix("git+")
    if text.startswith("git://"):
        raise StorageError(
            "resolve", "git:// is not encrypted and knows no users", "Use https://", reason="Unsupported"
        )
    text, _, fragment = text.partition("#")
    matched = re.match(r"(.*?\.git)(?:@([^?]+))?(?:\?ref=(.+))?/?$", text)
    url, ref = (matched[1], matched[2] or matched[3] or fragment) if matched else (text, fragment)
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    if ref.startswith("-"):
        raise StorageError(
            "resolve", f"{ref!r} is no name of a branch or tag", "Correct it", reason="InvalidURI"
        )
    return (
        urlunsplit((parts.scheme, host, parts.path, "", "")),
        ref,
        unquote(parts.username or ""),
        unquote(parts.password or ""),
    )


def same_host(one: str, other: str) -> bool:
    """Whether what proves who asks may go to both."""
    first, second = urlsplit(one), urlsplit(other)
    return (first.scheme, first.netloc) == (second.scheme, second.netloc)


def _authorization(user: str, password: str) -> dict[str, str]:
    if not user and not password:
        return {}
    pair = base64.b64encode(f"{user or 'git'}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def _settled(url: str, secret: dict[str, str], transport: Transport, credential: str) -> str:
    """Where the repository really is. git would follow a redirect to anywhere, and show the password there."""
    with transport.request("GET", url + ASK, secret_headers=secret) as answer:
        if answer.status == 200 and answer.url.endswith(ASK):
            return answer.url.removesuffix(ASK)
        if answer.status in (401, 403):
            raise _words("Authentication failed", url, credential)
        if answer.status in (200, 404, 410):
            raise _words("not found", url, credential)
        raise bad_status(answer, "resolve", credential)


def _environment(url: str, secret: dict[str, str]) -> dict[str, str]:
    """git without anybody's configuration, hooks, prompts or other protocols. The password is never an argument."""
    settings = {
        "core.hooksPath": "/dev/null",
        "protocol.allow": "never",
        "protocol.https.allow": "always",
        "protocol.http.allow": "always",
        "http.followRedirects": "false",
        "credential.helper": "",
        "core.fsmonitor": "false",
        "core.protectNTFS": "true",
    }
    if secret:
        settings[f"http.{url}.extraHeader"] = f"Authorization: {secret['Authorization']}"
    kept = (
        "PATH",
        "HOME",
        "http_proxy",
        "https_proxy",
        "HTTPS_PROXY",
        "no_proxy",
        "NO_PROXY",
        "SSL_CERT_FILE",
        "GIT_SSL_CAINFO",
    )
    return {
        **{name: value for name in kept if (value := os.environ.get(name))},
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "GIT_CONFIG_COUNT": str(len(settings)),
        **{f"GIT_CONFIG_KEY_{place}": name for place, name in enumerate(settings)},
        **{f"GIT_CONFIG_VALUE_{place}": value for place, value in enumerate(settings.values())},
    }


def _git(
    arguments: list[str], environment: dict[str, str], context: Context, url: str, credential: str
) -> str:
    program = shutil.which("git")
    if program is None:
        raise StorageError(
            "resolve", "the git command is not installed", "Install git on this machine", reason="Unsupported"
        )
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603 (no shell; the address is checked and stands behind --)
            [program, *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=errors, env=environment
        )
        try:
            while True:
                try:
                    process.wait(0.1)
                    break
                except subprocess.TimeoutExpired:
                    if context.cancel.is_set():
                        raise Cancelled from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        out.seek(0)
        errors.seek(0)
        if process.returncode == 0:
            return out.read().decode(errors="replace")
        raise _words(errors.read(1 << 16).decode(errors="replace"), url, credential)


def _words(text: str, url: str, credential: str) -> StorageError:
    said = next(
        (line for line in reversed(text.splitlines()) if line.startswith(("fatal:", "error:"))), text[-300:]
    )
    said = said.removeprefix("fatal: ").removeprefix("error: ").strip()
    host = urlsplit(url).netloc
    if any(
        word in text
        for word in ("Authentication failed", "could not read Username", "error: 401", "error: 403")
    ):
        return StorageError(
            "authenticate",
            f"{host} does not accept the credential" if credential else f"{host} wants to know who asks",
            "Give GIT_USERNAME and GIT_PASSWORD (a token) in a Secret or the environment",
            reason="Unauthenticated",
            credential=credential,
        )
    if "not found" in text or "404" in text:
        return StorageError(
            "resolve",
            f"there is no repository {url}, or it is private",
            "Check its address",
            reason="NotFound",
        )
    if "couldn't find remote ref" in text or "not our ref" in text or "no such remote ref" in text:
        return StorageError(
            "resolve", f"{url}: {said}", "git ls-remote lists branches and tags", reason="NotFound"
        )
    if any(
        word in text
        for word in (
            "Could not resolve",
            "Failed to connect",
            "timed out",
            "RPC failed",
            "early EOF",
            "error: 5",
        )
    ):
        return transient("read", f"{host}: {said}", "Check the network")
    return StorageError("read", f"{host}: {said}", reason="Failed")


def _inspect(folder: Path, patterns: Patterns) -> list[lfs.Pointer]:
    """Leaves what is wanted, whose links stay inside. Gives the large files that are only pointed at."""
    root = folder.resolve()
    pointers: list[lfs.Pointer] = []
    kept = False
    for parent, folders, files in os.walk(folder):
        for name in folders + files:
            path = Path(parent) / name
            shown = path.relative_to(folder).as_posix()
            if path.is_symlink():
                if not path.resolve().is_relative_to(root):
                    raise refused(shown, f"is a link to {str(path.readlink())!r}, outside the repository")
            elif not path.is_file():
                continue
            elif not patterns.wants(shown):
                path.unlink()
                continue
            elif (found := lfs.pointer(path, shown)) is not None:
                pointers.append(found)
            kept = True
    if not kept:
        raise StorageError(
            "list",
            "there is no model: the repository has no files, or the patterns want none of them",
            "Check STORAGE_ALLOW_PATTERNS and STORAGE_IGNORE_PATTERNS",
            reason="NotFound",
        )
    return pointers
