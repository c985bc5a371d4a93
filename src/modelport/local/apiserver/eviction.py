"""`pods/eviction`: a deletion that asks the pod's disruption budget first."""

from __future__ import annotations

from typing import cast

from starlette.responses import Response

from modelport.kube.condition import is_true
from modelport.kube.errors import ApiError, bad_request
from modelport.kube.resource import POD_DISRUPTION_BUDGET, Object
from modelport.kube.selector import from_object
from modelport.local.apiserver.answer import plain, success
from modelport.local.apiserver.api import Api, decode
from modelport.local.apiserver.binding import body_of
from modelport.local.apiserver.call import Call
from modelport.local.apiserver.delete import delete
from modelport.local.apiserver.options import DeleteOptions, WriteOptions, delete_options
from modelport.local.apiserver.part import part
from modelport.local.apiserver.update import update

AGAIN_S = 10


async def evict(call: Call) -> Response:
    """Deletes a pod that may be missed. ApiError 404, 429 where it may not."""
    body = await body_of(call)
    named = body.get("metadata")
    if isinstance(named, dict) and cast("Object", named).get("name", call.name) != call.name:
        raise bad_request(f"metadata.name: must be that of the pod ({call.name})")
    options = delete_options(call.query, body.get("deleteOptions"))
    pod = decode(call.api.row(call.served, call.namespace, call.name))
    if not pod["metadata"].get("deletionTimestamp"):
        await _ask(call.api, pod, options)
    await delete(call.api, call.served, call.namespace, call.name, options)
    return plain(success({"name": call.name, "kind": "pods"}), call.form, 201)


async def _ask(api: Api, pod: Object, options: DeleteOptions) -> None:
    """Takes one of the disruptions that the pod's budget allows. ApiError 429 where there is none."""
    if part(pod, "status").get("phase") in ("Pending", "Succeeded", "Failed"):
        return
    meta = pod["metadata"]
    found = [
        budget
        for budget in api.related.list(POD_DISRUPTION_BUDGET, meta["namespace"])
        if part(budget, "spec").get("selector") is not None
        and from_object(budget["spec"]["selector"]).matches(meta.get("labels"))
    ]
    if len(found) > 1:
        raise ApiError(
            500,
            "InternalError",
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        )
    if not found:
        return
    budget = found[0]
    name, status = budget["metadata"]["name"], part(budget, "status")
    healthy, wanted = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
    if not is_true(pod, "Ready"):
        always = part(budget, "spec").get("unhealthyPodEvictionPolicy") == "AlwaysAllow"
        if always or (healthy >= wanted and healthy > 0):
            return  # it is none of those that the budget counts
    fresh = status.get("observedGeneration", 0) >= budget["metadata"].get("generation", 1)
    if not fresh or status.get("disruptionsAllowed", 0) < 1:
        words = (
            f"The disruption budget {name} needs {wanted} healthy pods and has {healthy} currently"
            if fresh
            else f"The disruption budget {name} is still being processed by the server."
        )
        raise ApiError(
            429,
            "TooManyRequests",
            "Cannot evict pod as it would violate the pod's disruption budget.",
            details={"causes": [{"reason": "DisruptionBudget", "message": words}]},
            retry_after_s=AGAIN_S if not fresh else None,
        )
    if not options.dry_run:
        await _take(api, budget)


async def _take(api: Api, budget: Object) -> None:
    meta = budget["metadata"]

    def next_state(live: Object, old: Object) -> Object:
        allowed = part(old, "status").get("disruptionsAllowed", 0)
        if allowed < 1:
            raise ApiError(
                429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget."
            )
        live["status"] = part(live, "status") | {"disruptionsAllowed": allowed - 1}
        return live

    served = api.registry.of(POD_DISRUPTION_BUDGET)
    options = WriteOptions(field_manager="modelport")
    await update(api, served, meta["namespace"], meta["name"], next_state, options, subresource="status")
