"""What a pod's containers use, as whoever runs them tells the API server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from modelport.kube.resource import Object


class ContainerUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a container uses."""

    cores: float
    memory_bytes: int
    window_s: float
    """Over which the cores are an average."""


Measure = Callable[[list[Object]], Awaitable[list[dict[str, ContainerUsage]]]]
"""Of each of these pods, by container; nothing of those that do not run."""
