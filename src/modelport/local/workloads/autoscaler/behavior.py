"""How fast a wanted number of replicas may be followed: `spec.behavior`. Pure: the history goes in and comes out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from modelport.kube.part import mapping, objects
from modelport.kube.resource import Object

DOWN_WINDOW_S, UP_WINDOW_S = 300, 0
UP_POLICIES: Sequence[Object] = (
    {"type": "Percent", "value": 100, "periodSeconds": 15},
    {"type": "Pods", "value": 4, "periodSeconds": 15},
)
DOWN_POLICIES: Sequence[Object] = ({"type": "Percent", "value": 100, "periodSeconds": 15},)
LONGEST_S = 3600
"""The longest window and period that are allowed."""


class Scaled(msgspec.Struct, frozen=True):
    """One change of replicas."""

    at: datetime
    by: int
    """Negative: fewer."""


class Memory(msgspec.Struct, frozen=True):
    """What an autoscaler remembers. A new one after a restart: it then waits a window before it scales down."""

    wanted: tuple[tuple[datetime, int], ...] = ()
    """What the metrics have asked for."""
    scaled: tuple[Scaled, ...] = ()


class Limited(msgspec.Struct, frozen=True):
    """How many there are to be, and what held it back."""

    replicas: int
    reason: str = ""
    """Of the condition ScalingLimited, where something did."""
    stabilized: bool = False


def limit(spec: Object, replicas: int, wanted: int, memory: Memory, now: datetime) -> tuple[Limited, Memory]:
    """The next number of replicas, from the present and the wanted one."""
    behavior = mapping(spec.get("behavior"))
    up, down = mapping(behavior.get("scaleUp")), mapping(behavior.get("scaleDown"))
    oldest = now - timedelta(seconds=LONGEST_S)
    if not memory.wanted:  # what there is was wanted by somebody
        memory = msgspec.structs.replace(memory, wanted=((now, replicas),))
    memory = Memory(
        wanted=(*(one for one in memory.wanted if one[0] > oldest), (now, wanted)),
        scaled=tuple(one for one in memory.scaled if one.at > oldest),
    )
    # The lowest wish of the window on the way up, the highest on the way down.
    highest = max([wanted, *_within(memory, now, _window(down, DOWN_WINDOW_S))])
    lowest = min([wanted, *_within(memory, now, _window(up, UP_WINDOW_S))])
    steady = max(min(replicas, highest), lowest)
    if steady > replicas:
        reached = min(steady, _most(up, replicas, memory, now))
    else:
        reached = max(steady, _least(down, replicas, memory, now))
    low, high = spec.get("minReplicas", 1), spec["maxReplicas"]
    bounded = max(low, min(reached, high))
    reason = ""
    if wanted > high:
        reason = "TooManyReplicas"
    elif wanted < low:
        reason = "TooFewReplicas"
    elif reached != steady:
        reason = "ScaleUpLimit" if steady > replicas else "ScaleDownLimit"
    if bounded != replicas:
        memory = msgspec.structs.replace(memory, scaled=(*memory.scaled, Scaled(now, bounded - replicas)))
    return Limited(bounded, reason, stabilized=steady != wanted), memory


def _window(rules: Object, default: int) -> int:
    found = rules.get("stabilizationWindowSeconds")
    return default if found is None else int(found)


def _within(memory: Memory, now: datetime, window_s: int) -> list[int]:
    since = now - timedelta(seconds=window_s)
    return [wish for at, wish in memory.wanted if at > since]


def _most(rules: Object, replicas: int, memory: Memory, now: datetime) -> int:
    found: list[int] = []
    for policy in objects(rules.get("policies")) or UP_POLICIES:
        grown = sum(one.by for one in _recent(policy, memory, now) if one.by > 0)
        start = replicas - grown
        more = policy["value"] if policy["type"] == "Pods" else math.ceil(start * policy["value"] / 100)
        found.append(start + more)
    return _chosen(rules, found, replicas, up=True)


def _least(rules: Object, replicas: int, memory: Memory, now: datetime) -> int:
    found: list[int] = []
    for policy in objects(rules.get("policies")) or DOWN_POLICIES:
        shrunk = -sum(one.by for one in _recent(policy, memory, now) if one.by < 0)
        start = replicas + shrunk
        fewer = (
            start - policy["value"] if policy["type"] == "Pods" else int(start * (1 - policy["value"] / 100))
        )
        found.append(fewer)
    return _chosen(rules, found, replicas, up=False)


def _recent(policy: Object, memory: Memory, now: datetime) -> list[Scaled]:
    since = now - timedelta(seconds=policy["periodSeconds"])
    return [one for one in memory.scaled if one.at > since]


def _chosen(rules: Object, found: list[int], replicas: int, *, up: bool) -> int:
    how = rules.get("selectPolicy") or "Max"
    if how == "Disabled":
        return replicas
    widest = (how == "Max") == up
    return max(found) if widest else min(found)
