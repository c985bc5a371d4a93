"""A model whose answer comes in parts: a forecast, one step ahead at a time.

    modelport serve examples/stream.py:Forecast
    curl -N localhost:8080/v1/models/forecast:predict -d '{"instances": [3, 5, 8, 12], "parameters": {"steps": 3}}'

Each part is a line of JSON; with `-H 'Accept: text/event-stream'` it is an event.
"""

from collections.abc import Iterator
from typing import Any

import modelport


class Forecast(modelport.Model):
    """Holt's linear trend."""

    def predict(
        self, payload: dict[str, Any], headers: dict[str, str] | None = None
    ) -> Iterator[dict[str, Any]]:
        values = payload["instances"]
        if len(values) < 2:
            raise modelport.InvalidInput(f"instances: must hold two values or more, got {len(values)}.")
        level, trend = float(values[0]), float(values[1] - values[0])
        for value in values[1:]:
            before = level
            level = 0.6 * value + 0.4 * (level + trend)
            trend = 0.3 * (level - before) + 0.7 * trend
        for step in range(1, int(payload.get("parameters", {}).get("steps", 5)) + 1):
            yield {"step": step, "value": round(level + step * trend, 3)}
