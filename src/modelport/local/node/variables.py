"""A container's environment: values, Secrets, ConfigMaps, the pod's own fields, and `$(NAME)` in them. Pure."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping

from modelport.kube.part import mapping, objects
from modelport.kube.quantity import to_bytes, to_cores
from modelport.kube.resource import CONFIG_MAP, SECRET, Object, Resource

Find = Callable[[Resource, str], Object | None]
"""A Secret or ConfigMap of the pod's namespace by name."""
_REFERENCE = re.compile(r"\$(\$|\(([^()$]+)\))")
_ANNOTATION = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class Missing(Exception):
    """Something that the environment needs is not there. The message names it and what to do."""


def environment(pod: Object, container: Object, find: Find) -> dict[str, str]:
    """The container's variables. Raises Missing."""
    found: dict[str, str] = {}
    for source in objects(container.get("envFrom")):
        prefix = source.get("prefix", "")
        for field, kind in (("configMapRef", CONFIG_MAP), ("secretRef", SECRET)):
            reference = source.get(field)
            if reference:
                values = _all(find, kind, reference, container)
                found |= {prefix + name: value for name, value in values.items()}
    for variable in objects(container.get("env")):
        name = variable["name"]
        if "valueFrom" in variable:
            value = _from(pod, container, variable, find)
            if value is not None:
                found[name] = value
        else:
            found[name] = expand(str(variable.get("value") or ""), found)
    return found


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` becomes the variable's value, where there is one; `$$` is a dollar."""

    def replace(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return variables.get(match[2], match[0])

    return _REFERENCE.sub(replace, text)


def add_or_choose(values: Iterable[str]) -> str:
    """What to do where a key is missing."""
    keys = ", ".join(sorted(values))
    return f"Add it, or name one of its keys: {keys}." if keys else "It has none. Add it."


def decoded(kind: Resource, item: Object) -> dict[str, bytes]:
    """The content of a Secret or ConfigMap."""
    if kind is SECRET:
        return {k: base64.b64decode(v or "") for k, v in mapping(item.get("data")).items()}
    plain = {k: str(v).encode() for k, v in mapping(item.get("data")).items()}
    return plain | {k: base64.b64decode(v) for k, v in mapping(item.get("binaryData")).items()}


def _all(find: Find, kind: Resource, reference: Object, container: Object) -> dict[str, str]:
    item = find(kind, reference["name"])
    if item is None:
        if reference.get("optional"):
            return {}
        raise Missing(
            f"{kind.kind} {reference['name']!r}, which container {container['name']} takes its environment from, does not exist. Create it."
        )
    where = f"environment of container {container['name']}"
    return {
        name: _text(value, f"{where}: {kind.kind} {reference['name']!r}: key {name!r}")
        for name, value in decoded(kind, item).items()
    }


def _text(value: bytes, where: str) -> str:
    """A value as an environment can hold it. Raises Missing."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise Missing(f"{where} is not text, which a variable has to be. Mount it as a file of a volume.")
    return text


def _from(pod: Object, container: Object, variable: Object, find: Find) -> str | None:
    source: Object = variable["valueFrom"]
    where = f"env {variable['name']} of container {container['name']}"
    for field, kind in (("secretKeyRef", SECRET), ("configMapKeyRef", CONFIG_MAP)):
        reference = source.get(field)
        if not reference:
            continue
        item = find(kind, reference["name"])
        values = decoded(kind, item) if item is not None else {}
        if reference["key"] in values:
            named = f"{where}: {kind.kind} {reference['name']!r}: key {reference['key']!r}"
            return _text(values[reference["key"]], named)
        if reference.get("optional"):
            return None
        if item is None:
            raise Missing(f"{where}: {kind.kind} {reference['name']!r} does not exist. Create it.")
        raise Missing(
            f"{where}: {kind.kind} {reference['name']!r} has no key {reference['key']!r}. {add_or_choose(values)}"
        )
    if "fieldRef" in source:
        return field_of(pod, source["fieldRef"]["fieldPath"], where)
    if "resourceFieldRef" in source:
        reference = source["resourceFieldRef"]
        return resource_of(pod, reference.get("containerName") or container["name"], reference)
    raise Missing(f"{where}: {next(iter(source), 'valueFrom')} is not carried out on one machine.")


def field_of(pod: Object, path: str, where: str) -> str:
    """A field of the pod by the downward API. Raises Missing."""
    named = _ANNOTATION.fullmatch(path)
    if named:
        return str(mapping(pod["metadata"].get(named[1])).get(named[2], ""))
    known = {
        "metadata.name": pod["metadata"]["name"],
        "metadata.namespace": pod["metadata"]["namespace"],
        "metadata.uid": pod["metadata"]["uid"],
        "spec.nodeName": pod["spec"].get("nodeName", ""),
        "spec.serviceAccountName": pod["spec"].get("serviceAccountName", "default"),
        "status.podIP": pod.get("status", {}).get("podIP", ""),
        "status.podIPs": pod.get("status", {}).get("podIP", ""),
        "status.hostIP": "127.0.0.1",
        "status.hostIPs": "127.0.0.1",
    }
    if path in known:
        return str(known[path])
    if path in ("metadata.labels", "metadata.annotations"):
        values = mapping(pod["metadata"].get(path.partition(".")[2]))
        quoted = {name: json.dumps(str(value), ensure_ascii=False) for name, value in values.items()}
        return "\n".join(f"{name}={value}" for name, value in sorted(quoted.items()))
    names = ", ".join([*sorted(known), "metadata.labels['NAME']", "metadata.annotations['NAME']"])
    raise Missing(f"{where}: fieldPath {path!r} is not known. Known: {names}.")


def resource_of(pod: Object, name: str, reference: Object) -> str:
    """An amount that a container asks for or is limited to. Without a limit it may have all that this machine has."""
    groups = (pod["spec"]["containers"], pod["spec"].get("initContainers"))
    container = next((c for group in groups for c in objects(group) if c["name"] == name), None)
    kind, _, amount = reference["resource"].partition(".")
    given = mapping(mapping(mapping(container).get("resources")).get(kind)).get(amount)
    if given is None:
        given = _whole_machine(amount) if kind == "limits" else "0"
    read = to_cores if amount == "cpu" else to_bytes
    return str(-int(-read(given) // (read(reference.get("divisor") or "1") or 1)))


def _whole_machine(amount: str) -> str:
    if amount == "cpu":
        return str(os.cpu_count() or 1)
    return str(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) if amount == "memory" else "0"
