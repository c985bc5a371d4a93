"""GET of a collection: at one version, whole or in chunks."""

from __future__ import annotations

import base64
import binascii

import msgspec
from starlette.responses import Response

from modelport.kube.errors import ApiError, bad_request, gone
from modelport.kube.resource import Object
from modelport.local.apiserver.answer import include, raw
from modelport.local.apiserver.call import Call
from modelport.local.apiserver.ledger import Compacted, Row
from modelport.local.apiserver.options import number
from modelport.local.apiserver.select import selection
from modelport.local.apiserver.store import Future
from modelport.local.apiserver.table import partial, row, table

_encode, _decode = msgspec.json.encode, msgspec.json.decode


class Continue(msgspec.Struct, frozen=True):
    """Where a list goes on: what the client hands back as `continue`."""

    version: int
    """0: the version is compacted; go on with the present one."""
    namespace: str
    name: str

    def __str__(self) -> str:
        return (
            base64.urlsafe_b64encode(_encode([self.version, self.namespace, self.name])).decode().rstrip("=")
        )

    @classmethod
    def parse(cls, text: str) -> Continue:
        """ApiError 400."""
        try:
            padded = text + "=" * (-len(text) % 4)
            return cls(*_decode(base64.urlsafe_b64decode(padded), type=tuple[int, str, str]))
        except (ValueError, binascii.Error, msgspec.DecodeError) as error:
            raise bad_request(f"continue key is not valid: {error}") from error


class TooOld(ApiError):
    """410 for a list in chunks, with the token to go on with all the same."""

    def __init__(self, token: Continue, message: str) -> None:
        super().__init__(410, "Expired", message)
        self._token = token

    def to_status(self) -> Object:
        """The `Status` object."""
        return super().to_status() | {"metadata": {"continue": str(self._token)}}


async def list_objects(call: Call) -> Response:
    """The objects that fit. ApiError 400, 410, 504."""
    wanted = selection(call)
    limit = number(call.query, "limit") or 0
    token = call.query.get("continue", "")
    at, after = _start(call, token)
    resource = call.served.resource.qualified
    rows: list[Row] = []
    try:
        async with call.api.store.snapshot(at) as snapshot:
            version = snapshot.version
            more: Continue | None = None
            remaining: int | None = None
            async for found in snapshot.rows(resource, wanted.namespace, after):
                if not wanted.has(found):
                    continue
                if limit and len(rows) == limit:
                    last = rows[-1]
                    more = Continue(version, last.namespace, last.name)
                    if wanted.everything:
                        remaining = snapshot.count(resource, wanted.namespace, (last.namespace, last.name))
                    break
                rows.append(found)
    except Compacted:
        raise _too_old(call.api.store.version, after if token else None) from None
    except Future as error:
        raise too_large(str(at), str(error)) from None
    meta: Object = {"resourceVersion": str(version)}
    if more is not None:
        meta["continue"] = str(more)
    if remaining is not None:
        meta["remainingItemCount"] = remaining
    return raw(_body(call, rows, meta), call.form)


def _start(call: Call, token: str) -> tuple[int | None, tuple[str, str]]:
    """The version to list at, None for the present one, and behind which object to begin."""
    match = call.query.get("resourceVersionMatch", "")
    asked = number(call.query, "resourceVersion")
    if match not in ("", "Exact", "NotOlderThan"):
        raise bad_request(
            f"query parameter resourceVersionMatch: must be Exact or NotOlderThan, got {match!r}"
        )
    if match and token:
        raise bad_request("resourceVersionMatch is forbidden when continue is provided")
    if match and asked is None:
        raise bad_request("resourceVersionMatch is forbidden unless resourceVersion is provided")
    if match == "Exact" and asked == 0:
        raise bad_request('resourceVersionMatch "Exact" is forbidden for resourceVersion "0"')
    if token:
        if asked:
            raise bad_request("specifying resource version is not allowed when using continue")
        start = Continue.parse(token)
        return start.version or None, (start.namespace, start.name)
    if match == "Exact":
        return asked, ("", "")
    if asked and asked > call.api.store.version:
        raise too_large(str(asked), str(call.api.store.version))
    # A chunked list without a match asks for exactly this version, for history's sake.
    exact = asked if asked and not match and call.query.get("limit") else None
    return exact, ("", "")


def _too_old(version: int, after: tuple[str, str] | None) -> ApiError:
    if after is None:
        return gone(f"The resourceVersion for the provided list is too old. The newest is {version}.")
    return TooOld(
        Continue(0, *after),
        "The provided continue parameter is too old to display a consistent list result. You can start a new "
        "list without the continue parameter, or use the continue token in this response to retrieve the "
        "remainder of the results. Continuing with the provided token results in an inconsistent list - "
        "objects that were created, modified, or deleted between the time the first chunk was returned and "
        "now may show up in the list.",
    )


def too_large(asked: str, newest: str) -> ApiError:
    """504: that version has not come to be yet."""
    return ApiError(
        504,
        "Timeout",
        f"Timeout: Too large resource version: {asked}, current: {newest}",
        details={
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        },
        retry_after_s=1,
    )


def _body(call: Call, rows: list[Row], meta: Object) -> bytes:
    form, resource = call.form, call.served.resource
    if form.kind == "Table":
        now, how, served = call.api.clock(), include(call), call.served
        shown = [row(served.given(_decode(found.value)), served.columns, how, now) for found in rows]
        return _encode(table(shown, call.served.columns, meta, version=form.version))
    if form.kind.startswith("PartialObjectMetadata"):
        return _encode(
            {
                "kind": "PartialObjectMetadataList",
                "apiVersion": f"meta.k8s.io/{form.version}",
                "metadata": meta,
                "items": [partial(_decode(found.value), form.version) for found in rows],
            }
        )
    head = _encode({"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": meta})
    return head[:-1] + b',"items":[' + b",".join(call.served.shown(found.value) for found in rows) + b"]}"
