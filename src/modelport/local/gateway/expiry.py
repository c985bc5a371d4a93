"""When a key ends: a moment in RFC 3339, with its zone. Pure."""

from __future__ import annotations

from datetime import datetime


def moment(text: str, where: str) -> datetime:
    """ValueError, beginning with `where`, for a text that is no moment."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ValueError(f'{where} must be a moment as in 2027-01-31T00:00:00Z, got "{text}".')
    return found


def gone(expires: datetime | None, now: datetime | None) -> bool:
    """Whether a key has ended. Without a `now` none has."""
    return expires is not None and now is not None and expires <= now
