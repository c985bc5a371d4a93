"""Amounts and ports of what will be a pod, told when it is applied, in the words that the Deployment would get later.

Only what no runtime, no default and no merge can mend; what was there before and has not changed is let pass.
"""

from __future__ import annotations

from collections.abc import Iterable

from modelport.kinds.problem import Problem
from modelport.kube import container as check
from modelport.kube.errors import Cause
from modelport.kube.part import mapping, objects
from modelport.kube.resource import Object

LISTS = ("initContainers", "containers")
RUNTIME = "spec"
SINGLE = ("model", "art")
"""Fields of a component that are a container themselves."""


def new_ones(now: Iterable[tuple[str, Object]], before: Iterable[tuple[str, Object]]) -> list[Problem]:
    """What is wrong with pod specs, with their paths, and was not before."""
    known = {(cause.field, cause.message) for path, spec in before for cause in _causes(path, spec)}
    return [
        Problem(cause.field, cause.message, reason=cause.reason)
        for path, spec in now
        for cause in _causes(path, spec)
        if (cause.field, cause.message) not in known
    ]


def _causes(path: str, spec: Object) -> list[Cause]:
    causes = check.check_sizes(spec, path)
    for at, container in _containers(path, spec):
        causes += check.check_amounts(container, at)
        causes += check.check_ports(container, at)
        causes += check.check_handlers(container, at)
        if path != RUNTIME:  # of a runtime's an InferenceService may yet change one side
            causes += check.check_bounds(container, at)
    if isinstance(spec.get("workerSpec"), dict):
        causes += _causes(f"{path}.workerSpec", mapping(spec["workerSpec"]))
    return causes


def _containers(path: str, spec: Object) -> list[tuple[str, Object]]:
    found = [
        (f"{path}.{name}", mapping(spec.get(name))) for name in SINGLE if isinstance(spec.get(name), dict)
    ]
    found += [
        (f"{path}.{name}[{index}]", one)
        for name in LISTS
        for index, one in enumerate(objects(spec.get(name)))
    ]
    return found
