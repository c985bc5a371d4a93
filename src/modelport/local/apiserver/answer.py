"""Answers: an object or a status, in the form that the client wants."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from starlette.responses import Response

from modelport.kube.errors import ApiError, bad_request
from modelport.kube.resource import Object
from modelport.local.apiserver.accept import JSON, YAML, Form
from modelport.local.apiserver.call import Call
from modelport.local.apiserver.table import IncludeObject, partial, row, table

PLAIN = Form()
WARNING_LIMIT = 4096
"""Most bytes of one answer's warnings."""


def one(call: Call, value: bytes, code: int = 200) -> Response:
    """One object, given as JSON."""
    form, value = call.form, call.served.shown(value)
    if form.kind == "Table":
        obj: Object = msgspec.json.decode(value)
        rows = [row(obj, call.served.columns, include(call), call.api.clock())]
        meta = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        value = msgspec.json.encode(table(rows, call.served.columns, meta, version=form.version))
    elif form.kind == "PartialObjectMetadata":
        value = msgspec.json.encode(partial(msgspec.json.decode(value), form.version))
    return raw(value, form, code, call.warnings)


def include(call: Call) -> IncludeObject:
    """How much of each object a Table is to hold. ApiError 400."""
    wanted = call.query.get("includeObject") or "Metadata"
    if wanted not in ("None", "Metadata", "Object"):
        raise bad_request(f"query parameter includeObject: must be None, Metadata or Object, got {wanted!r}")
    return wanted


def raw(value: bytes, form: Form = PLAIN, code: int = 200, warnings: Iterable[str] = ()) -> Response:
    """JSON that is ready, as it is or as YAML."""
    media = JSON
    if form.media == YAML:
        from modelport.local.apiserver.yaml_text import dumped  # late: few ask for YAML

        value, media = dumped(msgspec.json.decode(value)), YAML
    answer = Response(value, code, media_type=media, headers={"Cache-Control": "no-cache, private"})
    size = 0
    for text in warnings:
        line = _warning(text)
        size += len(line)
        if size > WARNING_LIMIT:
            break
        answer.raw_headers.append((b"warning", line))
    return answer


def plain(content: Any, form: Form = PLAIN, code: int = 200) -> Response:
    """Plain data."""
    return raw(msgspec.json.encode(content), form, code)


def status(error: ApiError) -> Response:
    """A refusal. The one place that writes them."""
    content = error.to_status()
    answer = plain(content, code=error.code)
    if error.retry_after_s is not None:
        answer.headers["Retry-After"] = str(error.retry_after_s)
    if error.code == 401:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="modelport"'
    return answer


def success(details: Object) -> Object:
    """A `Status` that says that all went well."""
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def _warning(text: str) -> bytes:
    quoted = "".join(c if c.isprintable() else " " for c in text).replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{quoted}"'.encode()
