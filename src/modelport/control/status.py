"""An InferenceService's status out of its plan and what is seen of it. Pure: `now` is given.

KServe's conditions and words, and where KServe leaves the reader alone, the cause and the next step.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from modelport.control.failure import Failure
from modelport.control.observed import UNANSWERED, Component, Observed
from modelport.kinds.inferenceservice.spec import InferenceService
from modelport.kube.condition import find_condition, remove_condition, set_condition
from modelport.kube.meta import timestamp
from modelport.kube.part import mapping, objects
from modelport.kube.resource import Object
from modelport.render.pod import MODEL
from modelport.render.render import STOP
from modelport.render.rendered import Rendered
from modelport.render.storage import INITIALIZER

Truth = Literal["True", "False", "Unknown"]
CONDITIONS = {"predictor": "PredictorReady", "transformer": "TransformerReady", "explainer": "ExplainerReady"}
LATEST = "LatestDeploymentReady"
FETCHED = "ModelFetched"
"""A condition of ours: which content the newest pods have, by its digest."""


def status(
    service: InferenceService, before: Object, rendered: Rendered, observed: Observed, now: datetime
) -> Object:
    """The whole status, as it is to be written."""
    conditions: list[Object] = objects(before.get("conditions"))
    found: Object = {
        "observedGeneration": service.metadata.generation,
        "deploymentMode": before.get("deploymentMode") or "Standard",
    }
    observed = _remembering(observed, before, service)
    if rendered.stopped:
        return found | {"conditions": _stopped(conditions, service.metadata.name, now)}
    conditions = _set(conditions, "Stopped", "False", "", "", now)
    conditions = _components(conditions, rendered, observed, service.metadata.name, now)
    conditions = _ingress(conditions, rendered, observed, now)
    conditions = _latest(conditions, rendered, observed, service.metadata.name, now)
    conditions = _fetched(conditions, rendered, observed, now)
    conditions = _ignored(conditions, rendered, now)
    conditions = _ready(conditions, now)
    if rendered.runtime:
        found["clusterServingRuntimeName" if rendered.cluster_runtime else "servingRuntimeName"] = (
            rendered.runtime
        )
    url = rendered.url or before.get("url")
    ingress = find_condition(conditions, "IngressReady")
    # An address that was given out stays: its route is there while pods come and go.
    if url and (before.get("url") or (ingress is not None and ingress["status"] == "True")):
        found["url"] = url
        found["address"] = {"url": rendered.address or mapping(before.get("address")).get("url", "")}
    known = mapping(before.get("components"))
    found["components"] = (
        known
        if rendered.problems
        else {
            name: {"url": rendered.component_urls[name]}
            for name, component in observed.components.items()
            if name in rendered.component_urls and (component.available or name in known)
        }
    )
    found["modelStatus"] = _model(rendered, observed, before, now)
    found["conditions"] = conditions
    return found


def _remembering(observed: Observed, before: Object, service: InferenceService) -> Observed:
    """A container that ends again and again runs for a moment now and then: that is no news, and the reason why it
    ended stays until it answers, or until it says something else."""
    seen = observed.components.get("predictor")
    model = mapping(before.get("modelStatus"))
    info = mapping(model.get("lastFailureInfo"))
    same = before.get("observedGeneration") == service.metadata.generation
    blocked = model.get("transitionStatus") == "BlockedByFailedLoad" and info.get("exitCode") is not None
    if seen is None or seen.failure is not None or seen.latest or not (same and blocked and seen.exists):
        return observed
    if UNANSWERED not in seen.message:
        return observed
    failure = Failure(
        message=str(info.get("message", "")),
        reason=str(info.get("reason", "")),
        pod=str(info.get("location", "")),
        container=MODEL,
        time=str(info.get("time", "")),
        exit_code=info.get("exitCode"),
    )
    known = {**observed.components, "predictor": msgspec.structs.replace(seen, failure=failure)}
    return msgspec.structs.replace(observed, components=known)


def _set(
    conditions: list[Object],
    kind: str,
    truth: Truth,
    reason: str,
    message: str,
    now: datetime,
    severity: str = "",
) -> list[Object]:
    return set_condition(conditions, kind, truth, reason, message, now, severity=severity)


def _stopped(conditions: list[Object], name: str, now: datetime) -> list[Object]:
    words = f"stopped by the annotation {STOP} · next: kubectl annotate isvc {name} {STOP}-"
    for kind in ("PredictorReady", "IngressReady", "Ready"):
        conditions = _set(conditions, kind, "False", "Stopped", words, now)
    for kind in ("TransformerReady", "ExplainerReady", "FieldsIgnored", FETCHED, LATEST):
        conditions = remove_condition(conditions, kind)
    return _set(conditions, "Stopped", "True", "Stopped", words, now)


def _components(
    conditions: list[Object], rendered: Rendered, observed: Observed, name: str, now: datetime
) -> list[Object]:
    wanted = {part.component for part in rendered.parts} | {"predictor"}
    for component, kind in CONDITIONS.items():
        seen = observed.components.get(component)
        if component not in wanted and not (rendered.problems and seen is not None and seen.exists):
            conditions = remove_condition(conditions, kind)
            continue
        truth, reason, message = _truth(component, seen or Component(), rendered)
        conditions = _set(conditions, kind, truth, reason, message, now)
    return conditions


def _truth(component: str, seen: Component, rendered: Rendered) -> tuple[Truth, str, str]:
    if seen.available:
        return "True", "", ""
    if rendered.problems:
        first = rendered.problems[0]
        if component == "predictor" or first.field.startswith(f"spec.{component}"):
            return "False", first.reason, str(first)
    if seen.failure is not None:
        return "False", seen.failure.reason, seen.failure.message
    if not seen.exists:
        return "Unknown", "Creating", "its Deployment is being made"
    return "False", seen.reason or "MinimumReplicasUnavailable", seen.message or "its pods are starting"


def _ingress(conditions: list[Object], rendered: Rendered, observed: Observed, now: datetime) -> list[Object]:
    kind = "IngressReady"
    present = find_condition(conditions, kind)
    if rendered.problems:
        # What serves goes on; what never did has no way in.
        if (
            present is not None
            and present["status"] == "True"
            and observed.components.get("predictor", Component()).exists
        ):
            return conditions
        return _set(
            conditions, kind, "False", "Predictor ingress not created", str(rendered.problems[0]), now
        )
    for component, words in (
        ("predictor", "Predictor"),
        ("transformer", "Transformer"),
        ("explainer", "Explainer"),
    ):
        if any(part.component == component for part in rendered.parts):
            seen = observed.components.get(component, Component())
            if not seen.available:
                why = seen.failure.message if seen.failure is not None else seen.message
                return _set(conditions, kind, "False", f"{words} Deployment NotReady", why, now)
    for name, waits in observed.routes.items():
        if waits is not None:
            return _set(conditions, kind, "False", "HttpRouteNotReady", f"HTTPRoute {name}: {waits}", now)
    return _set(conditions, kind, "True", "", "", now)


def _latest(
    conditions: list[Object], rendered: Rendered, observed: Observed, name: str, now: datetime
) -> list[Object]:
    """Whether the newest spec serves: what Ready does not tell while the previous version keeps serving."""
    after = _what_serves(observed, name, spec=bool(rendered.problems))
    if rendered.problems:
        problem = rendered.problems[0]
        return _set(conditions, LATEST, "False", problem.reason, f"{problem}{after}", now)
    for called, component in observed.components.items():
        if component.failure is not None and not component.latest:
            found = component.failure
            who = "" if called == "predictor" else f"{called}: "
            if (
                not after
                and found.container
                and found.exit_code is not None
                and found.container != INITIALIZER
            ):
                after = f" · next: modelport logs {name}"
            return _set(conditions, LATEST, "False", found.reason, f"{who}{found.message}{after}", now)
    if all(component.latest for component in observed.components.values()) and observed.components:
        return _set(conditions, LATEST, "True", "", "", now)
    return _set(conditions, LATEST, "Unknown", "InProgress", "pods of the newest spec are starting", now)


def _what_serves(observed: Observed, name: str, *, spec: bool) -> str:
    """What goes on in spite of a failure, and the next step. `spec`: nothing newer was even begun."""
    seen = observed.components.values()
    if not all(component.available for component in seen) or not observed.components:
        return ""
    if spec or any(component.older_pods for component in seen):
        return f" · the previous version keeps serving · next: modelport rollout undo {name}"
    return f" · other replicas keep serving · next: modelport logs {name}"


def _fetched(conditions: list[Object], rendered: Rendered, observed: Observed, now: datetime) -> list[Object]:
    if rendered.problems:
        return conditions  # what serves is what was fetched before
    truths: dict[str, Truth] = {"Fetched": "True", "Fetching": "Unknown", "FetchFailed": "False"}
    found = {name: seen.fetched for name, seen in observed.components.items() if seen.fetched is not None}
    if not found:
        return remove_condition(conditions, FETCHED)
    worst = max((one.state for one in found.values()), key=list(truths).index)
    several = len(found) > 1
    words = "; ".join(f"{name}: {one.message}" if several else one.message for name, one in found.items())
    return _set(conditions, FETCHED, truths[worst], worst, words, now, "Info")


def _ignored(conditions: list[Object], rendered: Rendered, now: datetime) -> list[Object]:
    if not rendered.ignored:
        return remove_condition(conditions, "FieldsIgnored")
    words = f"accepted, but not carried out yet: {', '.join(rendered.ignored)}"
    return _set(conditions, "FieldsIgnored", "True", "NotCarriedOut", words, now, "Info")


def _ready(conditions: list[Object], now: datetime) -> list[Object]:
    for kind in ("PredictorReady", "IngressReady"):
        found = find_condition(conditions, kind) or {"status": "Unknown"}
        if found["status"] != "True":
            return _set(
                conditions, "Ready", found["status"], found.get("reason", ""), found.get("message", ""), now
            )
    return _set(conditions, "Ready", "True", "", "", now)


def _model(rendered: Rendered, observed: Observed, before: Object, now: datetime) -> Object:
    seen = observed.components.get("predictor", Component())
    active = "Loaded" if seen.ready_pods else ""
    model: Object = {"copies": {"failedCopies": seen.failed_pods, "totalCopies": seen.ready_pods}}
    if rendered.problems:
        problem = rendered.problems[0]
        model["transitionStatus"] = "InvalidSpec"
        model["states"] = {"activeModelState": active, "targetModelState": "FailedToLoad"}
        model["lastFailureInfo"] = _info(
            before, {"reason": problem.reason, "message": str(problem)}, timestamp(now)
        )
        return model
    if seen.latest:
        model["transitionStatus"] = "UpToDate"
        model["states"] = {"activeModelState": "Loaded", "targetModelState": "Loaded"}
        return model
    if seen.failure is not None:
        found = seen.failure
        info: Object = {"reason": found.reason, "message": found.message, "location": found.pod}
        if found.exit_code is not None:
            info["exitCode"] = found.exit_code
        model["transitionStatus"] = "BlockedByFailedLoad"
        model["states"] = {"activeModelState": active, "targetModelState": "FailedToLoad"}
        model["lastFailureInfo"] = _info(before, info, found.time or timestamp(now))
        return model
    model["transitionStatus"] = "InProgress"
    model["states"] = {
        "activeModelState": active,
        "targetModelState": "Loading" if seen.started else "Pending",
    }
    return model


def _info(before: Object, info: Object, time: str) -> Object:
    """With the time at which it was first seen."""
    known = mapping(mapping(before.get("modelStatus")).get("lastFailureInfo"))
    same = known.get("message") == info["message"] and known.get("reason") == info["reason"]
    return info | {"time": known.get("time", time) if same else time}
