"""Gateway API's durations (GEP-2257): `1m30s`, `500ms`. Pure."""

from __future__ import annotations

import re

_DURATION = re.compile(r"(\d+)(ms|h|m|s)")
_MS = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}


def read_ms(text: str | None, where: str, problems: list[str]) -> int | None:
    """Milliseconds. None where nothing is said; and where it is no duration, which is added to the problems."""
    if text is None:
        return None
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        problems.append(f'{where}: must be a duration as in 1m30s, got "{text}".')
        return None
    return sum(int(number) * _MS[unit] for number, unit in parts)
