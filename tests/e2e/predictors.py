"""Models in all the forms that an author may write, good and bad, for the tests to serve."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import modelport


class Mean(modelport.Model):
    """Arrays."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        return x.mean(axis=1)


class Echo(modelport.Model):
    """Arrays of any datatype and shape, with a parameter; a row that holds -1 fails its whole batch."""

    def predict(self, x: np.ndarray, parameters: dict[str, Any]) -> dict[str, np.ndarray]:
        if x.dtype != object and (x == -1).any():
            raise modelport.InvalidInput("x: must not hold -1.")
        time.sleep(float(parameters.get("sleep", 0)))
        tag = np.full(len(x), str(parameters.get("tag", "")))
        return {"x": x, "tag": tag, "batch": np.full(len(x), len(x))}


class PerRow(modelport.Model):
    """Takes 2 ms a row, and says how many rows it was given."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        time.sleep(0.002 * len(x))
        return np.full(len(x), len(x))


class Total(modelport.Model):
    """Payloads, with every step."""

    def preprocess(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        return modelport.get_predict_input(payload)

    def predict(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        return np.asarray(payload).sum(axis=1)

    def explain(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        return {"explanations": [f"{len(row)} numbers" for row in np.asarray(payload).tolist()]}


class Waiting(modelport.Model):
    """Async, with response headers."""

    def __init__(self, name: str) -> None:
        super().__init__(name, return_response_headers=True)
        self._together = 0

    async def predict(
        self,
        payload: Any,
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> Any:
        self._together += 1
        seen = self._together
        await asyncio.sleep(0.2)
        seen = max(seen, self._together)
        self._together -= 1
        assert response_headers is not None
        response_headers["x-together"] = str(seen)
        return {"predictions": [sum(row) for row in payload["instances"]]}


class Counting(modelport.Model):
    """A stream."""

    def predict(self, payload: Any, headers: dict[str, str] | None = None) -> Iterator[Any]:
        count = payload["instances"][0]
        if count < 0:
            raise modelport.InvalidInput("instances: must not be negative.")
        for number in range(count):
            yield {"number": number}


class AsyncCounting(modelport.Model):
    """An async stream."""

    async def predict(self, payload: Any, headers: dict[str, str] | None = None) -> AsyncIterator[Any]:
        for number in range(payload["instances"][0]):
            await asyncio.sleep(0)
            yield {"number": number}


class Troubled(modelport.Model):
    """Hangs on demand: asleep (1), or holding the GIL in C for ever (2). Else it answers its process id."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        if (x == 1).any():
            threading.Event().wait()
        if (x == 2).any():
            sum(range(10**15))
        return np.full(len(x), os.getpid())


class Slow(modelport.Model):
    """Takes as long as it is told, and tells by files that it has begun."""

    max_batch_size = 1

    def predict(self, x: np.ndarray) -> np.ndarray:
        Path(os.environ["BEGUN"], str(time.monotonic_ns())).touch()
        time.sleep(float(x.max()))
        return x


class Broken(modelport.Model):
    """Cannot load."""

    def load(self) -> bool:
        raise RuntimeError("no weights")
