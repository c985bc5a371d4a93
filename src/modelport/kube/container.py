"""What Kubernetes refuses in a container's amounts and ports, in its words. For pods and for whatever becomes one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from modelport.kube.errors import Cause, duplicate, invalid_value, not_supported, required
from modelport.kube.part import mapping, objects
from modelport.kube.quantity import RULE, Quantity, less
from modelport.kube.resource import Object

PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
HOOKS = ("postStart", "preStop")
PROTOCOLS = ("SCTP", "TCP", "UDP")
LONGEST_NAME = 15
_ZERO = Quantity.parse("0")


def check_amounts(container: Object, at: str) -> list[Cause]:
    """Requests and limits, each by itself."""
    return [
        cause
        for kind in ("limits", "requests")
        for name, given in mapping(mapping(container.get("resources")).get(kind)).items()
        for cause in check_amount(given, f"{at}.resources.{kind}[{name}]")
    ]


def check_amount(given: Any, at: str) -> list[Cause]:
    """One amount."""
    try:
        amount = Quantity.parse(given if isinstance(given, int | float) else str(given))
    except ValueError:
        return [invalid_value(at, given, RULE)]
    return [invalid_value(at, given, "must be greater than or equal to 0")] if amount < _ZERO else []


def check_bounds(container: Object, at: str) -> list[Cause]:
    """Requests beyond their limits. What is no amount is `check_amounts`' to tell."""
    resources = mapping(container.get("resources"))
    limits = mapping(resources.get("limits"))
    causes: list[Cause] = []
    for name, asked in mapping(resources.get("requests")).items():
        if name in limits and less(limits[name], asked):
            words = f"must be less than or equal to {name} limit of {Quantity.parse(limits[name])}"
            causes.append(invalid_value(f"{at}.resources.requests", asked, words))
    return causes


def check_ports(container: Object, at: str) -> list[Cause]:
    """The ports that it says it listens on."""
    causes: list[Cause] = []
    names: set[str] = set()
    for index, port in enumerate(objects(container.get("ports"))):
        path = f"{at}.ports[{index}]"
        causes += check_port(port.get("containerPort"), f"{path}.containerPort")
        if port.get("hostPort"):
            causes += check_port(port["hostPort"], f"{path}.hostPort")
        if port.get("protocol", "TCP") not in PROTOCOLS:
            causes.append(not_supported(f"{path}.protocol", port.get("protocol"), PROTOCOLS))
        name = port.get("name")
        if not name:
            continue
        causes += [invalid_value(f"{path}.name", name, words) for words in name_problems(str(name))]
        if name in names:
            causes.append(duplicate(f"{path}.name", name))
        names.add(name)
    return causes


def check_port(number: Any, at: str) -> list[Cause]:
    """What is wrong with a port's number."""
    if number is None:
        return [required(at)]
    if not isinstance(number, int) or not 1 <= number <= 65535:
        return [invalid_value(at, number, "must be between 1 and 65535, inclusive")]
    return []


def check_handlers(container: Object, at: str) -> list[Cause]:
    """The ports that probes and hooks ask, by number or name."""
    return [
        cause
        for path, handler in _handlers(container, at)
        for kind in ("httpGet", "tcpSocket")
        if "port" in mapping(handler.get(kind))
        for cause in _check_target(handler[kind]["port"], f"{path}.{kind}.port")
    ]


def _handlers(container: Object, at: str) -> Iterator[tuple[str, Object]]:
    for name in PROBES:
        yield f"{at}.{name}", mapping(container.get(name))
    for name in HOOKS:
        yield f"{at}.lifecycle.{name}", mapping(mapping(container.get("lifecycle")).get(name))


def _check_target(port: Any, at: str) -> list[Cause]:
    if isinstance(port, str):
        return [invalid_value(at, port, words) for words in name_problems(port)]
    return check_port(port, at)


def name_problems(name: str) -> list[str]:
    """What is wrong with a port's name."""
    found: list[str] = []
    if len(name) > LONGEST_NAME:
        found.append(f"must be no more than {LONGEST_NAME} characters")
    if not re.fullmatch(r"[-a-z0-9]+", name):
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search(r"[a-z]", name):
        found.append("must contain at least one letter (a-z)")
    if "--" in name:
        found.append("must not contain consecutive hyphens")
    if name.startswith("-") or name.endswith("-"):
        found.append("must not begin or end with a hyphen")
    return found


def check_sizes(spec: Object, at: str) -> list[Cause]:
    """The sizes of a pod's empty folders."""
    causes: list[Cause] = []
    for index, volume in enumerate(objects(spec.get("volumes"))):
        folder = mapping(volume.get("emptyDir"))
        if folder.get("sizeLimit") is not None:
            causes += check_amount(folder["sizeLimit"], f"{at}.volumes[{index}].emptyDir.sizeLimit")
    return causes
