"""Init containers that stay beside the others (`restartPolicy: Always`), instead of ending before they start."""

from __future__ import annotations

from modelport.kube.part import mapping, objects
from modelport.kube.resource import Object


def is_sidecar(container: Object) -> bool:
    """Whether an init container stays. Other containers have no policy of their own: the API server refuses one."""
    return container.get("restartPolicy") == "Always"


def sidecars(pod: Object) -> list[Object]:
    """Those of a pod, in the order of their start."""
    return [one for one in objects(mapping(pod.get("spec")).get("initContainers")) if is_sidecar(one)]
