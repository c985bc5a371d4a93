"""What an image means on a machine without containers. Pure."""

from __future__ import annotations

import re

from modelport.kube.resource import Object

OWN_SERVERS = (
    "modelport/server",
    "kserve/sklearnserver",
    "kserve/xgbserver",
    "kserve/lgbserver",
    "kserve/predictiveserver",
)
"""Served by `modelport serve`, by the fork server."""
INITIALIZERS = ("modelport/storage-initializer", "kserve/storage-initializer")
"""Carried out by the node itself."""
_REGISTRY = re.compile(r"^(?:[\w.-]+\.[a-z]+(?::\d+)?|localhost(?::\d+)?|[\w.-]+:\d+)/")


def repository(image: str) -> str:
    """An image's name without registry, tag and digest."""
    name = image.partition("@")[0]
    name = _REGISTRY.sub("", name)
    head, _, last = name.rpartition("/")
    last = last.partition(":")[0]
    return f"{head}/{last}" if head else last


def is_own(container: Object) -> bool:
    """Whether a container is our own server."""
    return not container.get("command") and repository(str(container.get("image", ""))) in OWN_SERVERS


def is_initializer(container: Object) -> bool:
    """Whether a container only fetches models."""
    return repository(str(container.get("image", ""))) in INITIALIZERS


def problem(container: Object) -> str | None:
    """Why a container cannot run here, and what to do; None where it can."""
    if is_own(container) or container.get("command"):
        return None
    image = container.get("image", "")
    return (
        f"image {image!r} is not known on this machine, which runs processes, not containers. Give the container a"
        " `command:` to run here, or a runtime of this platform; on a cluster the image is used as it is."
    )
