"""KServe's server with what its sklearnserver does (python/sklearnserver/sklearnserver/model.py)."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import joblib
import kserve
from kserve import InferRequest, InferResponse, ModelServer, logging, model_server
from kserve.errors import InferenceError
from kserve.utils.utils import get_predict_input, get_predict_response


class SklearnModel(kserve.Model):
    """A saved estimator."""

    def load(self) -> bool:
        """Reads the estimator."""
        self._model = joblib.load(Path(os.environ["BENCH_MODEL"]) / "model.joblib")
        self.ready = True
        return self.ready

    def predict(
        self,
        payload: dict[str, Any] | InferRequest,
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any] | InferResponse:
        """What sklearnserver does with a request."""
        try:
            instances = get_predict_input(payload)
            result = self._model.predict(instances)
            return get_predict_response(payload, result, self.name)
        except Exception as error:
            raise InferenceError(str(error)) from error


class MeanModel(SklearnModel):
    """The mean of each item."""

    def load(self) -> bool:
        """Nothing to read."""
        self._model = self
        self.ready = True
        return self.ready

    def predict(
        self,
        payload: dict[str, Any] | InferRequest,
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any] | InferResponse:
        """One number an item."""
        x = get_predict_input(payload)
        return get_predict_response(payload, x.mean(axis=tuple(range(1, x.ndim))), self.name)


if __name__ == "__main__":
    args, _ = argparse.ArgumentParser(parents=[model_server.parser]).parse_known_args()
    if args.configure_logging:
        logging.configure_logging(args.log_config_file)
    kind = MeanModel if os.environ["BENCH_WORKLOAD"] == "tensor" else SklearnModel
    model = kind(args.model_name)
    model.load()
    ModelServer().start([model])
