"""The `scale` subresource: replicas alone, as `autoscaling/v1` Scale."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from modelport.kube.errors import ApiError, Cause, bad_request, invalid_value
from modelport.kube.patch import json_patch, merge_patch
from modelport.kube.resource import Object
from modelport.kube.selector import from_object
from modelport.local.apiserver.accept import JSON, YAML, parse, parse_json, unsupported
from modelport.local.apiserver.answer import plain
from modelport.local.apiserver.api import decode
from modelport.local.apiserver.body import read_body
from modelport.local.apiserver.call import Call
from modelport.local.apiserver.options import write_options
from modelport.local.apiserver.part import part
from modelport.local.apiserver.patch import JSON_PATCH, MERGE, STRATEGIC
from modelport.local.apiserver.update import update


async def answer(call: Call) -> Response:
    """GET, PUT and PATCH of an object's Scale. ApiError 400, 404, 405, 409, 422."""
    match call.verb:
        case "get":
            row = call.api.row(call.served, call.namespace, call.name)
            return plain(_scale(decode(row)), call.form)
        case "update" | "patch":
            return plain(await _write(call), call.form)
        case _:
            raise ApiError(
                405, "MethodNotAllowed", f"{call.served.resource.plural}/scale is read or set, no more"
            )


async def _write(call: Call) -> Object:
    options = write_options(call.query, call.request.headers.get("user-agent", ""))
    media = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    content = await read_body(call.request)
    # A Scale has no lists: strategic merge patches are merge patches here.
    if call.verb == "patch" and media not in (JSON_PATCH, MERGE, STRATEGIC):
        raise unsupported(media, JSON_PATCH, MERGE)
    if call.verb == "update" and media not in ("", JSON, YAML):
        raise unsupported(media, JSON, YAML)
    body = parse_json(content) if call.verb == "patch" else await parse(content, media)

    def next_state(live: Object, old: Object) -> Object:
        del old
        wanted: Any = body
        if call.verb == "patch":
            wanted = (json_patch if media == JSON_PATCH else merge_patch)(_scale(live), body)
        replicas, version = _read(wanted, call.name)
        live.setdefault("spec", {})["replicas"] = replicas
        if version:
            live["metadata"]["resourceVersion"] = version
        return live

    value = await update(
        call.api, call.served.kept, call.namespace, call.name, next_state, options, subresource="scale"
    )
    return _scale(msgspec.json.decode(value))


def _read(scale: Any, name: str) -> tuple[int, str]:
    """Replicas and the version that the writer has seen. ApiError 400 and 422."""
    if not isinstance(scale, dict):
        raise bad_request("the body must be an object of kind Scale")
    replicas = part(scale, "spec").get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise bad_request(f"spec.replicas: must be a whole number, got {replicas!r}")
    if replicas < 0:
        cause: Cause = invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
        raise ApiError(
            422,
            "Invalid",
            f'Scale.autoscaling "{name}" is invalid: {cause.field}: {cause.message}',
            details={
                "name": name,
                "group": "autoscaling",
                "kind": "Scale",
                "causes": [msgspec.to_builtins(cause)],
            },
        )
    return replicas, str(part(scale, "metadata").get("resourceVersion") or "")


def _scale(obj: Object) -> Object:
    meta, spec = obj["metadata"], part(obj, "spec")
    names = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status: Object = {"replicas": part(obj, "status").get("replicas", 0)}
    if spec.get("selector"):
        status["selector"] = str(from_object(spec["selector"]))
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: meta[name] for name in names if name in meta},
        "spec": {"replicas": spec.get("replicas", 1)},
        "status": status,
    }
