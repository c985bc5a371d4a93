"""Now, and the sooner of two delays: the only clock of the controllers, which pass it to what decides."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The moment, for a loop to pass on."""
    return datetime.now(UTC)


def soonest(*delays_s: float | None) -> float | None:
    """The shortest of the delays that are one."""
    return min((delay for delay in delays_s if delay is not None), default=None)
