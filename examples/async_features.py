"""An async model in the payload form: it fetches what it needs to know of a customer, then scores.

    modelport serve examples/async_features.py:Score
    curl -i localhost:8080/v1/models/score:predict -d '{"instances": [{"customer": "ada", "amount": 40}]}'

While one request waits for its features, others go on.
"""

import asyncio
from typing import Any

import modelport

CUSTOMERS = {"ada": {"mean": 50.0, "spread": 10.0}, "grace": {"mean": 900.0, "spread": 300.0}}


class Score(modelport.Model):
    def __init__(self, name: str) -> None:
        super().__init__(name, return_response_headers=True)

    async def preprocess(
        self, payload: dict[str, Any], headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        rows = payload["instances"]
        known = await asyncio.gather(*(self.fetch(row["customer"]) for row in rows))
        return {"instances": [row | features for row, features in zip(rows, known, strict=True)]}

    async def fetch(self, customer: str) -> dict[str, float]:
        await asyncio.sleep(0)  # stands for a call of a feature store
        if customer not in CUSTOMERS:
            raise modelport.HTTPError(404, f"No customer is called {customer!r}.")
        return CUSTOMERS[customer]

    async def predict(
        self,
        payload: dict[str, Any],
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        if response_headers is not None:
            response_headers["x-scored-by"] = "z-score"
        scores = [abs(row["amount"] - row["mean"]) / row["spread"] for row in payload["instances"]]
        return {"predictions": scores}
