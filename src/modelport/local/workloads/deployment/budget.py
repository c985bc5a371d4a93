"""How many pods a rollout may have too many, and how many may be missing. Pure."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from modelport.kube.resource import Object
from modelport.local.workloads.part import number, part

QUARTER = "25%"


class Budget(msgspec.Struct, frozen=True):
    """For one Deployment, as numbers of pods."""

    replicas: int
    """`spec.replicas`."""
    surge: int
    """Pods beyond `replicas`. 0 unless updates roll."""
    unavailable: int
    """Pods that may be missing. 0 unless updates roll."""

    @property
    def most(self) -> int:
        """Pods at any time."""
        return self.replicas + self.surge

    @property
    def fewest_available(self) -> int:
        """Available pods at any time."""
        return self.replicas - self.unavailable


def is_rolling(deployment: Object) -> bool:
    """Whether new pods come before old ones go."""
    return (part(deployment, "spec", "strategy").get("type") or "RollingUpdate") == "RollingUpdate"


def budget(deployment: Object) -> Budget:
    """Surge rounds up, unavailable rounds down: 25% of one replica is one more pod and none less. Were both 0,
    nothing could ever move: then one may be missing."""
    replicas = number(deployment["spec"].get("replicas"), 1)
    if not is_rolling(deployment):
        return Budget(replicas, 0, 0)
    rolling = part(deployment, "spec", "strategy", "rollingUpdate")
    surge = math.ceil(_of(rolling.get("maxSurge"), replicas))
    unavailable = math.floor(_of(rolling.get("maxUnavailable"), replicas))
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Budget(replicas, surge, min(unavailable, replicas))


def _of(amount: Any, replicas: int) -> float:
    """A number, or a percentage of the replicas."""
    text = QUARTER if amount is None else str(amount)
    return int(text.removesuffix("%")) * replicas / 100 if text.endswith("%") else int(text)
