"""ResourceQuotas: what each object counts for, and what a quota counts. Pure; the API server and the loop share it.

usage_of(SERVICE, service) == {"services": Quantity.parse("1"), "count/services": Quantity.parse("1")}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from modelport.kube.meta import parse_time
from modelport.kube.part import mapping, objects, texts
from modelport.kube.quantity import Quantity
from modelport.kube.resource import PERSISTENT_VOLUME_CLAIM, POD, SERVICE, Object, Resource
from modelport.kube.sidecar import is_sidecar

Usage = dict[str, Quantity]
"""Name, as in `spec.hard`, to amount."""

OLD_NAMES = (
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
)
"""Core kinds that are counted under their own name as well as under `count/NAME`."""
COMPUTE = ("cpu", "memory", "ephemeral-storage")
MUST_BE_SAID = ("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory")
"""What each container must name where a quota limits it, unless the pod says it as a whole."""
BY_CLASS = ".storageclass.storage.k8s.io/"
HUGE = "hugepages-"
ONE, NONE = Quantity.parse(1), Quantity.parse(0)


def usage_of(resource: Resource, obj: Object, now: datetime | None = None) -> Usage:
    """What one object counts for. A pod that has ended counts as an object only; so does one whose grace is over `now`."""
    used: Usage = {f"count/{resource.qualified}": ONE}
    if resource == POD:
        if not _ended(obj, now):
            used |= _pod(mapping(obj.get("spec")))
    elif resource == SERVICE:
        used |= _service(mapping(obj.get("spec")))
    elif resource == PERSISTENT_VOLUME_CLAIM:
        used |= _claim(obj)
    elif not resource.group and resource.plural in OLD_NAMES:
        used[resource.plural] = ONE
    return used


def total(usages: Iterable[Usage]) -> Usage:
    """The sum, name by name."""
    found: Usage = {}
    for usage in usages:
        for name, amount in usage.items():
            found[name] = found[name] + amount if name in found else amount
    return found


def parsed(amounts: Mapping[str, object]) -> Usage:
    """`spec.hard`, or a container's requests, as quantities; what is no quantity is left out."""
    found: Usage = {}
    for name, text in amounts.items():
        if isinstance(text, str | int | float):
            try:
                found[name] = Quantity.parse(text)
            except ValueError:
                continue
    return found


def is_counted(name: str, counted: Iterable[str]) -> bool:
    """Whether a name of `spec.hard` means anything: `counted` are the kinds served, as `plural.group`."""
    if name.startswith("count/"):
        return name.removeprefix("count/") in counted
    return is_standard(name) or name.endswith(
        (f"{BY_CLASS}requests.storage", f"{BY_CLASS}persistentvolumeclaims")
    )


def is_standard(name: str) -> bool:
    """Whether Kubernetes itself knows what it counts, without `count/` and without a storage class."""
    others = ("services.nodeports", "services.loadbalancers", "requests.storage")
    return name in OLD_NAMES or name in others or is_compute(name)


def is_compute(name: str) -> bool:
    """Whether it counts what pods' containers ask for."""
    if name in COMPUTE or name.startswith((HUGE, f"requests.{HUGE}")):
        return True
    if name in {f"{side}.{one}" for side in ("requests", "limits") for one in COMPUTE}:
        return True
    # Extended resources are counted by their requests alone.
    return name.startswith("requests.") and "/" in name


def fits_scopes(spec: Object, resource: Resource, obj: Object) -> bool:
    """Whether a quota with that spec counts this object. Scopes are about pods: with any, nothing else is counted."""
    wanted = [(name, "Exists", list[str]()) for name in texts(spec.get("scopes"))]
    wanted += [
        (str(one.get("scopeName")), str(one.get("operator")), texts(one.get("values")))
        for one in objects(mapping(spec.get("scopeSelector")).get("matchExpressions"))
    ]
    if not wanted:
        return True
    return resource == POD and all(_in_scope(name, how, values, obj) for name, how, values in wanted)


def missing(hard: Iterable[str], pod: Object) -> list[tuple[str, list[str]]]:
    """Amounts that each container must name since the quota limits them, with the containers that do not."""
    found: list[tuple[str, list[str]]] = []
    spec = mapping(pod.get("spec"))
    containers = [*objects(spec.get("containers")), *objects(spec.get("initContainers"))]
    if _container(mapping(spec.get("resources"))):
        return found
    for name in sorted(one for one in hard if one in MUST_BE_SAID):
        lacking = sorted(
            str(one.get("name"))
            for one in containers
            if name not in _container(mapping(one.get("resources")))
        )
        if lacking:
            found.append((name, lacking))
    return found


def _container(resources: Object) -> Usage:
    """What one container counts for."""
    used: Usage = {}
    for name, amount in parsed(mapping(resources.get("requests"))).items():
        used[f"requests.{name}"] = amount
        if name in COMPUTE or name.startswith(HUGE):
            used[name] = amount
    used |= {
        f"limits.{name}": amount
        for name, amount in parsed(mapping(resources.get("limits"))).items()
        if name in COMPUTE
    }
    return used


def _pod(spec: Object) -> Usage:
    """Containers add up; of those that start one after the other the largest counts, beside sidecars that stay."""
    running = total(_container(mapping(one.get("resources"))) for one in objects(spec.get("containers")))
    staying: Usage = {}
    most: Usage = {}
    for one in objects(spec.get("initContainers")):
        own = _container(mapping(one.get("resources")))
        if is_sidecar(one):
            staying = total((staying, own))
            own = staying
        else:
            own = total((staying, own))
        most = {name: max(most.get(name, NONE), own.get(name, NONE)) for name in {*most, *own}}
    both = total((running, staying))
    used = {name: max(both.get(name, NONE), most.get(name, NONE)) for name in {*both, *most}}
    overhead = parsed(mapping(spec.get("overhead")))
    extra = {f"requests.{name}": amount for name, amount in overhead.items()}
    extra |= {name: amount for name, amount in overhead.items() if name in COMPUTE}
    # A pod may say what it takes as a whole.
    whole = _container(mapping(spec.get("resources")))
    return total((used | whole, extra)) | {"pods": ONE}


def _service(spec: Object) -> Usage:
    used: Usage = {"services": ONE}
    ports = objects(spec.get("ports"))
    if spec.get("type") == "NodePort":
        used["services.nodeports"] = Quantity.parse(len(ports))
    elif spec.get("type") == "LoadBalancer":
        if spec.get("allocateLoadBalancerNodePorts") is False:
            ports = [port for port in ports if port.get("nodePort")]
        used["services.loadbalancers"] = ONE
        used["services.nodeports"] = Quantity.parse(len(ports))
    return used


def _claim(obj: Object) -> Usage:
    spec = mapping(obj.get("spec"))
    used: Usage = {"persistentvolumeclaims": ONE}
    annotations = mapping(mapping(obj.get("metadata")).get("annotations"))
    kept = spec.get("storageClassName") or annotations.get("volume.beta.kubernetes.io/storage-class")
    if kept:
        used[f"{kept}{BY_CLASS}persistentvolumeclaims"] = ONE
    asked = parsed(mapping(mapping(spec.get("resources")).get("requests"))).get("storage")
    if asked is not None:
        used["requests.storage"] = asked
        if kept:
            used[f"{kept}{BY_CLASS}requests.storage"] = asked
    return used


def _ended(pod: Object, now: datetime | None) -> bool:
    if mapping(pod.get("status")).get("phase") in ("Failed", "Succeeded"):
        return True
    meta = mapping(pod.get("metadata"))
    marked, grace_s = meta.get("deletionTimestamp"), meta.get("deletionGracePeriodSeconds")
    if now is None or not marked or grace_s is None:
        return False
    return now > parse_time(str(marked)) + timedelta(seconds=int(grace_s))


def _in_scope(name: str, how: str, values: list[str], pod: Object) -> bool:
    spec = mapping(pod.get("spec"))
    if name in ("Terminating", "NotTerminating"):
        # Of a pod that runs for so long and no longer.
        bounded = (spec.get("activeDeadlineSeconds") or -1) >= 0
        return bounded == (name == "Terminating")
    if name in ("BestEffort", "NotBestEffort"):
        best_effort = mapping(pod.get("status")).get("qosClass") == "BestEffort"
        return best_effort == (name == "BestEffort")
    if name == "PriorityClass":
        given = str(spec.get("priorityClassName") or "")
        return {
            "Exists": bool(given),
            "DoesNotExist": not given,
            "In": given in values,
            "NotIn": given not in values,
        }.get(how, False)
    if name == "CrossNamespacePodAffinity":
        affinity = mapping(spec.get("affinity"))
        return any(
            mapping(term.get("podAffinityTerm") or term).keys() & {"namespaces", "namespaceSelector"}
            for side in ("podAffinity", "podAntiAffinity")
            for when in (
                "requiredDuringSchedulingIgnoredDuringExecution",
                "preferredDuringSchedulingIgnoredDuringExecution",
            )
            for term in objects(mapping(affinity.get(side)).get(when))
        )
    return False
