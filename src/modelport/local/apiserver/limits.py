"""LimitRanges at the door: what containers ask for by default, and what pods and claims must keep to."""

from __future__ import annotations

from modelport.kube.errors import ApiError
from modelport.kube.part import mapping, objects
from modelport.kube.quantity import Quantity
from modelport.kube.quota import Usage, parsed, usage_of
from modelport.kube.resource import LIMIT_RANGE, PERSISTENT_VOLUME_CLAIM, POD, Object, Resource
from modelport.local.apiserver.part import part, parts
from modelport.local.apiserver.strategies.template import GROUPS
from modelport.local.apiserver.strategy import Related

TOLD = "kubernetes.io/limit-ranger"
"""Annotation that says which defaults a pod was given."""


def keep_to_limits(resource: Resource, obj: Object, related: Related) -> None:
    """Gives a new pod's containers their namespace's defaults, then checks the bounds. ApiError 403."""
    if resource not in (POD, PERSISTENT_VOLUME_CLAIM):
        return
    ranges = related.list(LIMIT_RANGE, obj["metadata"].get("namespace"))
    if not ranges or not isinstance(obj.get("spec"), dict):
        return
    wrong: list[str] = []
    for found in ranges:
        if resource == POD:
            _fill(obj, found)
        wrong += _check_pod(obj, found) if resource == POD else _check_claim(obj, found)
    if wrong:
        name = str(obj["metadata"].get("name") or "")
        words = wrong[0] if len(wrong) == 1 else f"[{', '.join(wrong)}]"
        raise ApiError(
            403,
            "Forbidden",
            f'{resource.qualified} "{name}" is forbidden: {words}',
            details={"name": name, "kind": resource.plural},
        )


def _fill(pod: Object, found: Object) -> None:
    told: list[str] = []
    for limit in _of_type(found, "Container"):
        for group in GROUPS:
            for container in parts(pod, "spec", group):
                told += _fill_container(
                    container, limit, "init container" if group[0] == "i" else "container"
                )
    if told:
        notes: Object = pod["metadata"].setdefault("annotations", {})
        notes[TOLD] = "LimitRanger plugin set: " + "; ".join(told)


def _fill_container(container: Object, limit: Object, word: str) -> list[str]:
    told: list[str] = []
    resources: Object = container.setdefault("resources", {})
    for side, field, said in (("requests", "defaultRequest", "request"), ("limits", "default", "limit")):
        given = part(resources, side)
        lacking = {k: v for k, v in mapping(limit.get(field)).items() if k not in given}
        if lacking:
            resources[side] = given | lacking
            told.append(f"{', '.join(sorted(lacking))} {said} for {word} {container.get('name')}")
    return told


def _check_pod(pod: Object, found: Object) -> list[str]:
    wrong: list[str] = []
    for limit in _of_type(found, "Container"):
        for group in reversed(GROUPS):
            for container in parts(pod, "spec", group):
                asked, most = (parsed(part(container, "resources", side)) for side in ("requests", "limits"))
                wrong += _check("Container", limit, asked, most)
    for limit in _of_type(found, "Pod"):
        used = usage_of(POD, pod)
        asked, most = (
            {name.removeprefix(f"{side}."): v for name, v in used.items() if name.startswith(f"{side}.")}
            for side in ("requests", "limits")
        )
        wrong += _check("Pod", limit, asked, most)
    return wrong


def _check_claim(claim: Object, found: Object) -> list[str]:
    asked = parsed(part(claim, "spec", "resources", "requests"))
    wrong: list[str] = []
    for limit in _of_type(found, "PersistentVolumeClaim"):
        for name, bound in _bounds(limit, "min"):
            wrong += _least("PersistentVolumeClaim", name, bound, asked, {})
        for name, bound in _bounds(limit, "max"):
            if name not in asked:
                wrong.append(
                    f"maximum {name} usage per PersistentVolumeClaim is {bound}.  No request is specified"
                )
            elif asked[name] > bound:
                wrong.append(
                    f"maximum {name} usage per PersistentVolumeClaim is {bound}, but request is {asked[name]}"
                )
    return wrong


def _check(kind: str, limit: Object, asked: Usage, most: Usage) -> list[str]:
    """Kubernetes' words for each bound that is not kept."""
    wrong: list[str] = []
    for name, bound in _bounds(limit, "min"):
        wrong += _least(kind, name, bound, asked, most)
    for name, bound in _bounds(limit, "max"):
        head = f"maximum {name} usage per {kind} is {bound}"
        if name not in most:
            wrong.append(f"{head}.  No limit is specified")
        elif most[name] > bound:
            wrong.append(f"{head}, but limit is {most[name]}")
        elif name in asked and asked[name] > bound:
            wrong.append(f"{head}, but request is {asked[name]}")
    for name, bound in _bounds(limit, "maxLimitRequestRatio"):
        head = f"{name} max limit to request ratio per {kind} is {bound}"
        if not asked.get(name):
            wrong.append(f"{head}, but no request is specified or request is 0")
        elif not most.get(name):
            wrong.append(f"{head}, but no limit is specified or limit is 0")
        elif (ratio := most[name].amount / asked[name].amount) > bound.amount:
            wrong.append(f"{head}, but provided ratio is {float(ratio):f}")
    return wrong


def _least(kind: str, name: str, bound: Quantity, asked: Usage, most: Usage) -> list[str]:
    head = f"minimum {name} usage per {kind} is {bound}"
    if name not in asked:
        return [f"{head}.  No request is specified"]
    if asked[name] < bound:
        return [f"{head}, but request is {asked[name]}"]
    if name in most and most[name] < bound:
        return [f"{head}, but limit is {most[name]}"]
    return []


def _bounds(limit: Object, field: str) -> list[tuple[str, Quantity]]:
    return sorted(parsed(mapping(limit.get(field))).items())


def _of_type(found: Object, kind: str) -> list[Object]:
    return [one for one in objects(part(found, "spec").get("limits")) if one.get("type") == kind]
