"""Which Python a container runs by: the one that an annotation names, one with what its model asks for, or ours."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from modelport.control.events import record as tell_event
from modelport.kube.part import mapping, objects, texts
from modelport.kube.resource import Object
from modelport.local.node import image, logs, requirements
from modelport.local.node.environments import EnvironmentFailed
from modelport.local.node.launch import NotPossible, sees
from modelport.local.node.record import Record
from modelport.local.node.requirements import Wanted
from modelport.storage.policy import Policy

if TYPE_CHECKING:
    from modelport.local.node.agent import Node

PYTHON = "serving.modelport.io/python"
"""Annotation: a virtual environment, or an interpreter, for the pod's processes."""
REQUIREMENTS = "serving.modelport.io/requirements"
"""Annotation: `ignore` leaves the model's requirements.txt alone."""
SETTING = "requirements"
"""Key of the platform's ConfigMap: prefixes of URIs whose requirements are installed; `*` for all, `none` for none."""
COMPONENT = "modelport-node"


async def choose(node: Node, record: Record, container: Object) -> str:
    """The interpreter; builds an environment where need be. Raises NotPossible."""
    named = of_annotation(record.pod)
    if named is not None:
        return named
    if mapping(record.pod["metadata"].get("annotations")).get(REQUIREMENTS) == "ignore":
        return sys.executable
    found = _wanted(record, container)
    if found is None or requirements.satisfied(found[0]):
        return sys.executable
    wanted, uri = found
    python = node.environments.known(wanted)
    if python is not None:
        return python
    setting = await node.setting(SETTING)
    if not trusted(uri, setting):
        await tell(
            node,
            record,
            "Warning",
            "RequirementsIgnored",
            f"{wanted.source} is not installed: installing runs code, and this source is not trusted with that. "
            f"Name it under the key `{SETTING}` of ConfigMap kserve/modelport-config, or set the annotation "
            f"{REQUIREMENTS}: ignore.",
        )
        return sys.executable
    return await _build(node, record, container, wanted)


async def _build(node: Node, record: Record, container: Object, wanted: Wanted) -> str:
    name = container["name"]
    initializers = [one["name"] for one in record.containers() if image.is_initializer(one)]
    log_file = record.log_file(initializers[0] if initializers else name)

    refused = node.environments.refusal(wanted)
    if refused is not None:
        raise NotPossible("CreateContainerError", refused)

    def hear(line: str) -> None:
        logs.append(log_file, f"{wanted.source}: {line}")
        record.wait_for(name, "BuildingEnvironment", f"building an environment by {wanted.source}: {line}")

    await tell(
        node, record, "Normal", "BuildingEnvironment", f"an environment of its own, by {wanted.source}"
    )
    record.wait_for(name, "BuildingEnvironment", f"building an environment by {wanted.source}")
    try:
        python = await node.environments.provide(wanted, hear)
    except EnvironmentFailed as error:
        await tell(node, record, "Warning", "EnvironmentFailed", str(error))
        raise NotPossible("CreateContainerError", str(error)) from error
    await tell(node, record, "Normal", "EnvironmentBuilt", f"{wanted.source}: {python}")
    return python


def of_annotation(pod: Object) -> str | None:
    """The interpreter that a pod's annotation names. Raises NotPossible."""
    given = mapping(pod["metadata"].get("annotations")).get(PYTHON)
    if not given:
        return None
    path = Path(given)
    found = path / "bin" / "python" if path.is_dir() else path
    if not os.access(found, os.X_OK):
        raise NotPossible(
            "CreateContainerConfigError",
            f"annotation {PYTHON}: {given}: no interpreter there. Name a virtual environment or a python.",
        )
    return str(found)


def trusted(uri: str, setting: str | None) -> bool:
    """Whether packages may be installed because a model says so: files of this machine, and what the setting names."""
    words = (setting or "").split()
    if "none" in words:
        return False
    return "*" in words or Policy(trusted=tuple(words)).trusts(uri)


def uris(pod: Object) -> dict[str, str]:
    """Where each folder of models comes from: target to URI, as the initializer's arguments have it."""
    found: dict[str, str] = {}
    for container in objects(pod["spec"].get("initContainers")):
        if image.is_initializer(container):
            given = texts(container.get("args"))
            found |= {target.rstrip("/"): uri for uri, target in zip(given[::2], given[1::2], strict=False)}
    return found


def _wanted(record: Record, container: Object) -> tuple[Wanted, str] | None:
    """What the model that the container sees asks for, and the model's URI. Raises NotPossible."""
    mounted = [str(mount["mountPath"]).rstrip("/") for mount in objects(container.get("volumeMounts"))]
    origins = uris(record.pod)
    for target, path in record.kept.fetched.items():
        if not sees(target, mounted) or not Path(path).is_dir():
            continue
        uri = origins.get(target, path)
        try:
            found = requirements.find(Path(path), uri)
        except (OSError, ValueError) as error:
            raise NotPossible("CreateContainerConfigError", f"what {uri} requires: {error}") from error
        if found is not None:
            return found, uri
    return None


async def tell(node: Node, record: Record, kind: str, reason: str, message: str) -> None:
    """An event about the pod."""
    about = {"apiVersion": "v1", "kind": "Pod"} | record.pod
    await tell_event(node.client, about, kind, reason, message, datetime.now(UTC), COMPONENT)
