"""`modelscope://owner/name[:revision]`: the ModelScope hub, by its HTTP API."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

from modelport.kube.part import mapping, objects
from modelport.storage.failure import StorageError
from modelport.storage.ranged import reader
from modelport.storage.scheme.hf import parse
from modelport.storage.source import Context, Found, Listing, RemoteFile
from modelport.storage.transport import bad_status
from modelport.storage.transport import of as transport_of
from modelport.storage.uri import safe_path

HUB = "https://www.modelscope.cn"


def resolve(uri: str, context: Context) -> Found:
    """Asks the hub for a revision's files: one request."""
    repository, revision = parse(uri, "modelscope")
    given = context.credentials
    hub = (given.get("MODELSCOPE_ENDPOINT") or HUB).rstrip("/")
    token = given.get("MODELSCOPE_API_TOKEN")
    credential = f"the token of {given.source('MODELSCOPE_API_TOKEN')}" if token else ""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    transport = transport_of(context)
    base = f"{hub}/api/v1/models/{quote(repository)}/repo"
    ask = f"{base}/files?{urlencode({'Revision': revision, 'Recursive': 'true'})}"
    with transport.request("GET", ask, secret_headers=headers) as answer:
        if answer.status == 404:
            raise StorageError(
                "resolve",
                f"there is no repository {repository} with a revision {revision}, or it is private",
                "Check the name; for a private one give a token: MODELSCOPE_API_TOKEN",
                reason="NotFound",
                credential=credential,
            )
        if answer.status != 200:
            raise bad_status(answer, "resolve", credential, f"{repository} of revision {revision}")
        found: dict[str, Any] = json.loads(answer.text())
    if not found.get("Success", True):
        raise StorageError(
            "resolve",
            f"the hub says: {str(found.get('Message') or 'no')[:300]}",
            "Open the repository's page; for a private one give a token: MODELSCOPE_API_TOKEN",
            reason="Failed",
            credential=credential,
        )

    def file(each: dict[str, Any]) -> RemoteFile:
        path = safe_path(each["Path"])
        query = urlencode({"Revision": revision, "FilePath": each["Path"]})
        return RemoteFile(
            path,
            reader(
                transport, f"{base}?{query}", secret_headers=lambda: headers, credential=credential, name=path
            ),
            size=each.get("Size"),
            version=each.get("Sha256") or each.get("Revision", ""),
            sha256=each.get("Sha256") or None,
        )

    listed = objects(mapping(found.get("Data")).get("Files"))
    return Listing(
        files=tuple(file(each) for each in listed if each.get("Type") != "tree"),
        origin=f"{hub}/{repository}",
        credential=credential,
        unpack=False,
    )
