"""`hf://owner/name[:revision]`: the Hugging Face hub, by its HTTP API.

The official client brings its own cache, locks and downloader, which would lie beside ours; what is needed of the
hub is one listing, which tells every file's digest, and files with ranges.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

from modelport.kube.part import mapping, objects
from modelport.storage.failure import StorageError
from modelport.storage.ranged import reader
from modelport.storage.source import Context, Found, Listing, RemoteFile
from modelport.storage.transport import Answer, bad_status
from modelport.storage.transport import of as transport_of
from modelport.storage.uri import safe_path

HUB = "https://huggingface.co"


def resolve(uri: str, context: Context) -> Found:
    """Asks the hub what a revision is: one request."""
    repository, revision = parse(uri, "hf")
    given = context.credentials
    hub = (given.get("HF_ENDPOINT") or HUB).rstrip("/")
    token = given.get("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
    source = given.source("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
    credential = f"the token of {source}" if token else ""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    transport = transport_of(context)

    def told(answer: Answer) -> StorageError | None:
        return words(answer, repository, revision, credential)

    ask = f"{hub}/api/models/{quote(repository)}/revision/{quote(revision, safe='')}?blobs=true"
    with transport.request("GET", ask, secret_headers=headers) as answer:
        if answer.status != 200:
            raise told(answer) or bad_status(answer, "resolve", credential, repository)
        found: dict[str, Any] = json.loads(answer.text())
    commit = found["sha"]

    def file(sibling: dict[str, Any]) -> RemoteFile:
        path = safe_path(sibling["rfilename"])
        large = mapping(sibling.get("lfs"))
        digest = large.get("sha256") or large.get("oid")
        return RemoteFile(
            path,
            reader(
                transport,
                f"{hub}/{quote(repository)}/resolve/{commit}/{quote(path)}",
                secret_headers=lambda: headers,
                credential=credential,
                name=path,
                told=told,
            ),
            size=large.get("size", sibling.get("size")),
            version=digest or sibling.get("blobId") or commit,
            sha256=digest,
        )

    return Listing(
        files=tuple(file(sibling) for sibling in objects(found.get("siblings"))),
        origin=f"{hub}/{repository}",
        credential=credential,
        unpack=False,
    )


def parse(uri: str, scheme: str) -> tuple[str, str]:
    """Repository and revision. Raises StorageError in KServe's words."""
    rest = uri.removeprefix(f"{scheme}://")
    matched = re.fullmatch(r"([^/:@]+)/([^/:@]+)(?:[:@](.+))?", rest.rstrip("/"))
    if matched is None:
        raise StorageError(
            "resolve",
            f"it must be {scheme}://OWNER/MODEL, with :REVISION behind it if you like",
            "Write the repository's two names as the hub's page shows them",
            reason="InvalidURI",
        )
    return f"{matched[1]}/{matched[2]}", matched[3] or ("main" if scheme == "hf" else "master")


def words(answer: Answer, repository: str, revision: str, credential: str) -> StorageError | None:
    """The hub says in a header what is wrong."""
    code = answer.header("X-Error-Code")
    if code == "GatedRepo":
        return StorageError(
            "authenticate",
            f"{repository} is gated: its owner wants you to agree to a licence first",
            "Agree on its page, and use a token of the account that did"
            if credential
            else "Agree on its page, and give a token: HF_TOKEN",
            reason="PermissionDenied",
            credential=credential,
        )
    if code == "RevisionNotFound":
        return StorageError(
            "resolve",
            f"{repository} has no revision {revision}",
            "Give a branch, tag or commit of its page",
            reason="NotFound",
        )
    if code == "RepoNotFound" or (answer.status == 401 and not credential and not code):
        return StorageError(
            "resolve",
            f"there is no repository {repository}, or it is private",
            "Check the name; for a private one give a token that may read it: HF_TOKEN",
            reason="NotFound",
            credential=credential,
        )
    return None
