"""From a request to a resource to the verb that carries it out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from modelport.kube.errors import ApiError, bad_request
from modelport.kube.resource import NAMESPACE, POD
from modelport.local.apiserver import binding, eviction, logs, namespaces, pod_metrics, scale
from modelport.local.apiserver.accept import PROTOBUF, parse
from modelport.local.apiserver.answer import one
from modelport.local.apiserver.body import read_body
from modelport.local.apiserver.call import Address, Call
from modelport.local.apiserver.connect import check
from modelport.local.apiserver.create import create
from modelport.local.apiserver.delete import delete_one
from modelport.local.apiserver.delete_collection import delete_collection
from modelport.local.apiserver.discovery import unknown_path
from modelport.local.apiserver.duplicate import duplicates
from modelport.local.apiserver.get import get
from modelport.local.apiserver.list import list_objects
from modelport.local.apiserver.not_here import not_here
from modelport.local.apiserver.options import truth, write_options
from modelport.local.apiserver.patch import patch
from modelport.local.apiserver.replace import replace
from modelport.local.apiserver.watch import watch


async def dispatch(call: Call) -> Response:
    """Carries out a request that is allowed. ApiError."""
    resource = call.served.resource
    if resource.group == pod_metrics.GROUP and not call.subresource:
        return await pod_metrics.answer(call)
    if resource.namespaced and not call.namespace and (call.name or call.verb == "create"):
        raise bad_request("an empty namespace may not be set when a resource name is provided")
    if call.namespace and not resource.namespaced:
        raise unknown_path()
    if call.subresource and not (call.subresource == "status" and "status" in resource.subresources):
        return await _subresource(call)
    if call.verb not in call.served.verbs or (
        call.subresource and call.verb not in ("get", "update", "patch")
    ):
        raise not_allowed(call)
    match call.verb:
        case "watch":
            return await watch(call)
        case "list":
            return await list_objects(call)
        case "get":
            return await get(call)
        case "deletecollection":
            return await delete_collection(call)
        case "delete":
            return await delete_one(call)
        case _:
            return await _write(call)


def not_allowed(call: Call) -> ApiError:
    """405: the resource has no such verb."""
    why = f". {call.served.read_only}" if call.served.read_only else ""
    return ApiError(
        405,
        "MethodNotAllowed",
        f'the server does not allow "{call.verb}" on {call.served.resource.qualified}'
        f"{'/' + call.subresource if call.subresource else ''}{why}",
        details={"group": call.served.resource.group, "kind": call.served.resource.plural},
    )


async def _write(call: Call) -> Response:
    request = call.request
    options = write_options(call.query, request.headers.get("user-agent", ""))
    media, content = request.headers.get("content-type", ""), await read_body(request)
    if options.field_validation != "Ignore" and not media.startswith(PROTOBUF):
        options.written = duplicates(content)
    new = False
    if call.verb == "patch":
        value, new = await patch(
            call.api,
            call.served,
            call.namespace,
            call.name,
            content,
            media,
            options,
            subresource=call.subresource,
        )
    else:
        body = await parse(content, media)
        if call.verb == "create":
            value, new = await create(call.api, call.served, call.namespace, body, options), True
        else:
            value, new = await replace(
                call.api,
                call.served,
                call.namespace,
                call.name,
                body,
                options,
                subresource=call.subresource,
            )
    call.warnings += dict.fromkeys(options.warnings)
    return one(call, value, 201 if new else 200)


async def _subresource(call: Call) -> Response:
    resource, name = call.served.resource, call.subresource
    if name == "scale" and "scale" in resource.subresources:
        return await scale.answer(call)
    if resource == POD and name == "log":
        return await logs.log(call)
    if resource == POD and name == "binding":
        return await binding.bind(call)
    if resource == POD and name == "eviction":
        return await eviction.evict(call)
    if resource == NAMESPACE and name == "finalize":
        return await namespaces.finalize(call)
    if resource == POD and name in ("exec", "portforward"):
        # kubectl asks in this way again where a WebSocket was refused: the same reason first.
        check(call.api, call.query, call.address)
    raise (None if resource.group else not_here(resource.plural, name)) or unknown_path()


def verb_of(request: Request, address: Address) -> str:
    """Kubernetes' word for what a method asks. ApiError 400 and 405."""
    named = bool(address.name)
    if request.method in ("GET", "HEAD"):
        if not address.subresource and truth(request.query_params, "watch"):
            return "watch"
        return "get" if named else "list"
    found = {
        ("POST", False): "create",
        ("POST", True): "create" if address.subresource else "",
        ("PUT", True): "update",
        ("PATCH", True): "patch",
        ("DELETE", True): "delete",
        ("DELETE", False): "deletecollection",
    }.get((request.method, named))
    if not found:
        raise ApiError(405, "MethodNotAllowed", f"{request.method} is not allowed on {request.url.path}")
    return found
