"""Objects to problems: what is inconsistent in a plan, whoever made it. Run over every golden, and in `modelport plan`.

A golden can freeze a bug; this cannot be updated away.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from modelport.kinds.problem import Problem
from modelport.kube.name import check_label, check_label_value, check_subdomain
from modelport.kube.part import mapping, objects, texts
from modelport.kube.resource import DEPLOYMENT, HTTP_ROUTE, SERVICE, Object
from modelport.kube.schema import prune, schema_of, validate

KINDS = {"Deployment": DEPLOYMENT, "Service": SERVICE, "HTTPRoute": HTTP_ROUTE}


def check(plan: Sequence[Object]) -> list[Problem]:
    """What is wrong with a service's objects, each with the object and the field."""
    problems = [*_names(plan)]
    for item in plan:
        problems += _schema(item)
        for kind, look in (("Deployment", _deployment), ("Service", _service), ("HTTPRoute", _route)):
            if item["kind"] == kind:
                problems += [_problem(item, field, words) for field, words in look(item, plan)]
    return problems


def _problem(item: Object, field: str, words: str) -> Problem:
    where = f"{item['kind']} {mapping(item.get('metadata')).get('name')}: {field}"
    return Problem(where, words, reason="InvalidPlan")


def _names(plan: Sequence[Object]) -> Iterator[Problem]:
    seen: set[tuple[str, str]] = set()
    spaces = {mapping(item.get("metadata")).get("namespace") for item in plan}
    if len(spaces) > 1:
        yield Problem("metadata.namespace", f"differs between objects: {sorted(map(str, spaces))}")
    for item in plan:
        meta = mapping(item.get("metadata"))
        name = str(meta.get("name", ""))
        if (item["kind"], name) in seen:
            yield _problem(item, "metadata.name", "there are two of them")
        seen.add((item["kind"], name))
        rule: Callable[[str], list[str]] = check_subdomain if item["kind"] == "HTTPRoute" else check_label
        for words in rule(name):
            yield _problem(item, "metadata.name", f"{words}, got {name!r} ({len(name)} characters)")
        for key, value in mapping(meta.get("labels")).items():
            for words in check_label_value(str(value)):
                yield _problem(item, f"metadata.labels[{key}]", f"{words}, got {value!r}")


def _schema(item: Object) -> Iterator[Problem]:
    schema = schema_of(KINDS[item["kind"]]) if item["kind"] in KINDS else None
    if schema is None:
        return
    pruned, unknown = prune(schema, item)
    for path in unknown:
        yield _problem(item, path, "is no field of it")
    for cause in validate(schema, pruned):
        yield _problem(item, cause.field, cause.message)


def _deployment(item: Object, plan: Sequence[Object]) -> Iterator[tuple[str, str]]:
    del plan
    spec = mapping(item.get("spec"))
    template = mapping(spec.get("template"))
    labels = mapping(mapping(template.get("metadata")).get("labels"))
    selector = mapping(mapping(spec.get("selector")).get("matchLabels"))
    if not selector or not selector.items() <= labels.items():
        yield "spec.selector", f"must match the pods' labels, got {selector}"
    pod = mapping(template.get("spec"))
    volumes = [str(one.get("name")) for one in objects(pod.get("volumes"))]
    yield from _twice("spec.template.spec.volumes", volumes)
    containers = [*objects(pod.get("initContainers")), *objects(pod.get("containers"))]
    yield from _twice("spec.template.spec.containers", [str(one.get("name")) for one in containers])
    for one in containers:
        at = f"container {one.get('name')}"
        for words in check_label(str(one.get("name", ""))):
            yield at, words
        for mount in objects(one.get("volumeMounts")):
            if mount.get("name") not in volumes:
                yield at, f"mounts volume {mount.get('name')!r}, which is not there"
        yield from _twice(
            f"{at}, mounts", [str(m.get("mountPath")) for m in objects(one.get("volumeMounts"))]
        )
        ports = [str(port.get("name")) for port in objects(one.get("ports")) if port.get("name")]
        yield from _twice(f"{at}, ports", ports)


def _service(item: Object, plan: Sequence[Object]) -> Iterator[tuple[str, str]]:
    spec = mapping(item.get("spec"))
    selector = mapping(spec.get("selector"))
    pods = [
        mapping(mapping(one.get("spec")).get("template"))
        for one in plan
        if one["kind"] == "Deployment"
        and selector.items()
        <= mapping(
            mapping(mapping(mapping(one.get("spec")).get("template")).get("metadata")).get("labels")
        ).items()
    ]
    if not selector or not pods:
        yield "spec.selector", f"matches no Deployment's pods, got {selector}"
    ports = objects(spec.get("ports"))
    if not ports:
        yield "spec.ports", "there is none"
    yield from _twice("spec.ports", [str(port.get("port")) for port in ports])
    yield from _twice("spec.ports, names", [str(port.get("name")) for port in ports])
    declared = {
        port.get("containerPort")
        for pod in pods
        for one in objects(mapping(pod.get("spec")).get("containers"))
        for port in objects(one.get("ports"))
    }
    for port in ports:
        if declared and port.get("targetPort") not in declared:
            yield (
                "spec.ports",
                f"targetPort {port.get('targetPort')} is no port of a container ({sorted(map(str, declared))})",
            )


def _route(item: Object, plan: Sequence[Object]) -> Iterator[tuple[str, str]]:
    spec = mapping(item.get("spec"))
    if not objects(spec.get("parentRefs")):
        yield "spec.parentRefs", "there is none"
    yield from _twice("spec.hostnames", texts(spec.get("hostnames")))
    services = {
        one["metadata"]["name"]: {port.get("port") for port in objects(mapping(one.get("spec")).get("ports"))}
        for one in plan
        if one["kind"] == "Service"
    }
    for number, rule in enumerate(objects(spec.get("rules"))):
        at = f"spec.rules[{number}]"
        if not objects(rule.get("backendRefs")):
            yield at, "leads nowhere"
        for backend in objects(rule.get("backendRefs")):
            name = str(backend.get("name"))
            if name not in services:
                yield at, f"leads to Service {name!r}, which is not there"
            elif backend.get("port") not in services[name]:
                yield (
                    at,
                    f"leads to port {backend.get('port')} of Service {name}, which has {sorted(map(str, services[name]))}",
                )
        for match in objects(rule.get("matches")):
            path = mapping(match.get("path"))
            if path.get("type") == "RegularExpression":
                try:
                    re.compile(str(path.get("value")))
                except re.error as error:
                    yield at, f"{path.get('value')!r} is no pattern: {error}"


def _twice(where: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in sorted({one for one in names if names.count(one) > 1}):
        yield where, f"{name} is there twice"
