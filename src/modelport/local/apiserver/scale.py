"""The `scale` subresource: replicas alone, as `autoscaling/v1` Scale."""

from __future__ import annotations

from typing import cast

import msgspec

from modelport.kube.errors import bad_request
from modelport.kube.patch import json_patch, merge_patch
from modelport.kube.resource import Object
from modelport.kube.selector import from_object
from modelport.local.apiserver.accept import parse, parse_json
from modelport.local.apiserver.api import Api, decode
from modelport.local.apiserver.call import Call
from modelport.local.apiserver.options import write_options
from modelport.local.apiserver.update import update


def read_scale(api: Api, call: Call) -> Object:
    """An object's Scale. ApiError 404."""
    return _scale(decode(api.row(call.served, call.namespace, call.name)))


async def write_scale(api: Api, call: Call, content: bytes) -> Object:
    """Sets the replicas by PUT or PATCH. ApiError 400, 404, 409."""
    options = write_options(call.query, call.request.headers.get("user-agent", ""))
    media = call.request.headers.get("content-type", "").partition(";")[0].strip()
    body = parse_json(content) if call.verb == "patch" else await parse(content, media)

    def next_state(live: Object, old: Object) -> Object:
        del old
        scale = body
        if call.verb == "patch":
            edit = json_patch if media == "application/json-patch+json" else merge_patch
            scale = edit(_scale(live), body)
        spec = cast("Object", scale).get("spec") if isinstance(scale, dict) else None
        replicas = cast("Object", spec).get("replicas", 0) if isinstance(spec, dict) else None
        if not isinstance(replicas, int) or isinstance(replicas, bool):
            raise bad_request(f"spec.replicas: must be a whole number, got {replicas!r}")
        live["spec"]["replicas"] = replicas
        live["metadata"].pop("resourceVersion", None)
        version = cast("Object", scale).get("metadata", {}).get("resourceVersion")
        if version and call.verb != "patch":
            live["metadata"]["resourceVersion"] = version
        return live

    value = await update(api, call.served, call.namespace, call.name, next_state, options)
    return _scale(msgspec.json.decode(value))


def _scale(obj: Object) -> Object:
    meta = obj["metadata"]
    names = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: meta[name] for name in names if name in meta},
        "spec": {"replicas": obj["spec"].get("replicas", 1)},
        "status": {
            "replicas": obj.get("status", {}).get("replicas", 0),
            "selector": str(from_object(obj["spec"].get("selector"))),
        },
    }
