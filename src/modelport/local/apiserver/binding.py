"""`pods/binding`: what a scheduler would ask."""

from __future__ import annotations

from typing import Any, cast

from starlette.responses import Response

from modelport.kube.errors import ApiError, bad_request, conflict
from modelport.kube.resource import Object
from modelport.local.apiserver.accept import parse
from modelport.local.apiserver.answer import plain, success
from modelport.local.apiserver.api import decode
from modelport.local.apiserver.body import read_body
from modelport.local.apiserver.call import Call
from modelport.local.apiserver.options import write_options
from modelport.local.apiserver.update import update


async def bind(call: Call) -> Response:
    """Gives a pod to a node. ApiError 409 where it has one: all pods are born with the only node there is."""
    body = await body_of(call)
    target = body.get("target")
    node = str(cast("Object", target).get("name") or "") if isinstance(target, dict) else ""
    if not node:
        raise bad_request("target.name: name the node that the pod is to run on")

    def next_state(live: Object, old: Object) -> Object:
        bound = old["spec"].get("nodeName")
        if bound:
            raise conflict(
                call.served.resource, call.name, f"pod {call.name} is already assigned to node {bound!r}"
            )
        live["spec"]["nodeName"] = node
        return live

    options = write_options(call.query, call.request.headers.get("user-agent", ""))
    await update(call.api, call.served, call.namespace, call.name, next_state, options, subresource="binding")
    return plain(success({"name": call.name, "kind": "pods"}), call.form, 201)


async def body_of(call: Call) -> Object:
    """The Binding or Eviction that was posted. ApiError 400, 404, 405."""
    if call.verb != "create":
        raise ApiError(405, "MethodNotAllowed", f"pods/{call.subresource} is written by POST")
    # Fails with 404 before the body is looked at.
    decode(call.api.row(call.served, call.namespace, call.name))
    body: Any = await parse(await read_body(call.request), call.request.headers.get("content-type", ""))
    if not isinstance(body, dict):
        raise bad_request(
            f"the body must be an object of kind {'Binding' if call.subresource == 'binding' else 'Eviction'}"
        )
    return cast("Object", body)
