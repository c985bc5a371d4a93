"""PodSpecs: what Kubernetes fills into them, and what is wrong with them. For pods and for templates of pods."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from modelport.kube import container as checks
from modelport.kube.container import PROBES
from modelport.kube.errors import Cause, duplicate, forbidden, invalid_value, not_supported, required
from modelport.kube.name import check_label
from modelport.kube.resource import Object
from modelport.local.apiserver.part import part, parts

GROUPS = ("initContainers", "containers")
PROBE_DEFAULTS = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
FILE_MODE = 0o644
TOKEN_LIFE_S = 3600
CREATING = ("configMap", "secret", "projected", "downwardAPI")
"""Volumes whose files are made with a mode."""


def fill_pod_spec(spec: Object) -> None:
    """Fills in what Kubernetes fills in. Anything odd is left for validation."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    # The old name of the field; clients read either.
    if spec.get("serviceAccountName"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    elif spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"]
    for group in GROUPS:
        for container in parts(spec, group):
            _fill_container(container)
    for volume in parts(spec, "volumes"):
        _fill_volume(volume)


def _fill_container(container: Object) -> None:
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    image = container.get("image")
    if isinstance(image, str):
        container.setdefault("imagePullPolicy", "Always" if _is_latest(image) else "IfNotPresent")
    container.setdefault("resources", {})
    limits = part(container, "resources", "limits")
    if limits:
        # Who limits a resource and asks for none of it asks for the limit.
        container["resources"]["requests"] = limits | part(container, "resources", "requests")
    for port in parts(container, "ports"):
        port.setdefault("protocol", "TCP")
    for name in PROBES:
        probe = container.get(name)
        if isinstance(probe, dict):
            for field, value in PROBE_DEFAULTS.items():
                cast("Object", probe).setdefault(field, value)
            _fill_handler(cast("Object", probe))
    for hook in ("postStart", "preStop"):
        _fill_handler(part(container, "lifecycle", hook))
    for variable in parts(container, "env"):
        if part(variable, "valueFrom", "fieldRef"):
            variable["valueFrom"]["fieldRef"].setdefault("apiVersion", "v1")


def _is_latest(image: str) -> bool:
    if "@" in image:
        return False
    tag = image.rpartition("/")[2].partition(":")[2]
    return tag in ("", "latest")


def _fill_handler(handler: Object) -> None:
    http, grpc = handler.get("httpGet"), handler.get("grpc")
    if isinstance(http, dict):
        cast("Object", http).setdefault("path", "/")
        cast("Object", http).setdefault("scheme", "HTTP")
    if isinstance(grpc, dict):
        cast("Object", grpc).setdefault("service", "")


def _fill_volume(volume: Object) -> None:
    if set(volume) <= {"name"}:
        volume["emptyDir"] = {}
    for kind in CREATING:
        if isinstance(volume.get(kind), dict):
            volume[kind].setdefault("defaultMode", FILE_MODE)
    for source in parts(part(volume, "projected"), "sources"):
        # kubectl describe crashes on a token without it.
        if token := part(source, "serviceAccountToken"):
            token.setdefault("expirationSeconds", TOKEN_LIFE_S)
    if isinstance(volume.get("hostPath"), dict):
        volume["hostPath"].setdefault("type", "")


def quality(spec: Object) -> str:
    """The quality of service class that a pod's requests and limits make."""
    wanted = [
        (part(container, "resources", "requests"), part(container, "resources", "limits"))
        for group in GROUPS
        for container in parts(spec, group)
    ]
    if not any(requests or limits for requests, limits in wanted):
        return "BestEffort"
    guaranteed = all(
        name in limits and requests.get(name) == limits[name]
        for requests, limits in wanted
        for name in ("cpu", "memory")
    )
    return "Guaranteed" if guaranteed else "Burstable"


def check_pod_spec(spec: Any, at: str) -> list[Cause]:
    """What is wrong with a PodSpec beyond its schema."""
    if not isinstance(spec, dict):
        return [required(at)]
    body = cast("Object", spec)
    causes: list[Cause] = []
    if not body.get("containers"):
        causes.append(required(f"{at}.containers"))
    if body.get("restartPolicy") not in ("Always", "OnFailure", "Never"):
        causes.append(
            not_supported(f"{at}.restartPolicy", body.get("restartPolicy"), ("Always", "Never", "OnFailure"))
        )
    if (body.get("terminationGracePeriodSeconds") or 0) < 0:
        causes.append(
            invalid_value(
                f"{at}.terminationGracePeriodSeconds",
                body["terminationGracePeriodSeconds"],
                "must be greater than or equal to 0",
            )
        )
    volumes, found = _check_volumes(body, at)
    causes += found
    names: set[str] = set()
    for path, container in _containers(body, at):
        causes += _check_name(container.get("name"), f"{path}.name", names)
        if not container.get("image"):
            causes.append(required(f"{path}.image"))
        causes += checks.check_ports(container, path)
        causes += checks.check_amounts(container, path)
        causes += checks.check_bounds(container, path)
        causes += _check_mounts(container, path, volumes)
        causes += _check_variables(container, path)
        for probe in PROBES:
            causes += _check_probe(container.get(probe), f"{path}.{probe}")
        causes += checks.check_handlers(container, path)
        causes += _check_role(container, path, initializes=path.startswith(f"{at}.initContainers"))
    return causes + checks.check_sizes(body, at)


def _check_role(container: Object, at: str, *, initializes: bool) -> list[Cause]:
    """What only containers may say that serve: the main ones, and of those that initialize the ones that stay."""
    policy = container.get("restartPolicy")
    if not initializes:
        return [forbidden(f"{at}.restartPolicy", "may not be set for non-init containers")] if policy else []
    if policy not in (None, "Always"):
        return [not_supported(f"{at}.restartPolicy", policy, ("Always",))]
    return [
        forbidden(f"{at}.{name}", "may not be set for init containers without restartPolicy=Always")
        for name in ("lifecycle", *PROBES)
        if container.get(name) and policy is None
    ]


def _containers(spec: Object, at: str) -> Iterator[tuple[str, Object]]:
    for group in GROUPS:
        for index, container in enumerate(parts(spec, group)):
            yield f"{at}.{group}[{index}]", container


def _check_name(name: Any, at: str, seen: set[str]) -> list[Cause]:
    if not name:
        return [required(at)]
    if name in seen:
        return [duplicate(at, name)]
    seen.add(name)
    return [invalid_value(at, name, problem) for problem in check_label(name)]


def _check_volumes(spec: Object, at: str) -> tuple[set[str], list[Cause]]:
    names: set[str] = set()
    causes: list[Cause] = []
    for index, volume in enumerate(parts(spec, "volumes")):
        causes += _check_name(volume.get("name"), f"{at}.volumes[{index}].name", names)
        sources = [name for name in volume if name != "name"]
        if len(sources) > 1:
            causes.append(
                forbidden(f"{at}.volumes[{index}].{sources[1]}", "may not specify more than 1 volume type")
            )
    return names, causes


def _check_mounts(container: Object, at: str, volumes: set[str]) -> list[Cause]:
    causes: list[Cause] = []
    paths: set[str] = set()
    for index, mount in enumerate(parts(container, "volumeMounts")):
        path = f"{at}.volumeMounts[{index}]"
        if not mount.get("name"):
            causes.append(required(f"{path}.name"))
        elif mount["name"] not in volumes:
            causes.append(
                Cause(f"{path}.name", "FieldValueNotFound", f'Not found: "{mount["name"]}": no such volume')
            )
        where = mount.get("mountPath")
        if not where:
            causes.append(required(f"{path}.mountPath"))
        elif where in paths:
            causes.append(invalid_value(f"{path}.mountPath", where, "must be unique"))
        else:
            paths.add(where)
        causes += _check_sub_path(mount, path)
    return causes


def _check_sub_path(mount: Object, at: str) -> list[Cause]:
    causes: list[Cause] = []
    for field in ("subPath", "subPathExpr"):
        given = str(mount.get(field) or "")
        if given.startswith("/"):
            causes.append(invalid_value(f"{at}.{field}", given, "must be a relative path"))
        if ".." in given.split("/"):
            causes.append(invalid_value(f"{at}.{field}", given, "must not contain '..'"))
    if mount.get("subPath") and mount.get("subPathExpr"):
        causes.append(
            invalid_value(
                f"{at}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive"
            )
        )
    return causes


def _check_variables(container: Object, at: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, variable in enumerate(parts(container, "env")):
        path = f"{at}.env[{index}]"
        name = variable.get("name")
        if not name:
            causes.append(required(f"{path}.name"))
        elif "=" in name:
            causes.append(invalid_value(f"{path}.name", name, "must not contain '='"))
        if variable.get("value") and variable.get("valueFrom"):
            causes.append(
                invalid_value(f"{path}.valueFrom", "", "may not be specified when `value` is not empty")
            )
    return causes


def _check_probe(probe: Any, at: str) -> list[Cause]:
    if not isinstance(probe, dict):
        return []
    body = cast("Object", probe)
    handlers = [name for name in ("exec", "httpGet", "tcpSocket", "grpc") if body.get(name) is not None]
    causes: list[Cause] = []
    if not handlers:
        causes.append(required(at, "must specify a handler type"))
    causes += [forbidden(f"{at}.{name}", "may not specify more than 1 handler type") for name in handlers[1:]]
    causes += [
        invalid_value(f"{at}.{name}", body[name], "must be greater than or equal to 0")
        for name in ("initialDelaySeconds", *PROBE_DEFAULTS)
        if (body.get(name) or 0) < 0
    ]
    return causes
