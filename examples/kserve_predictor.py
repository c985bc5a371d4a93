"""A KServe custom predictor. What is imported from `modelport` came from `kserve` and `kserve.utils.utils` before.

    python examples/kserve_predictor.py --model_name wine
    curl localhost:8080/v1/models/wine:predict -d '{"instances": [[13.2, 1.78, 4.38, 1.05, 1050.0]]}'

Or, as for any other model: modelport serve examples/kserve_predictor.py:Wine
"""

import argparse

import numpy as np
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelport import InferRequest, Model, ModelServer, get_predict_input, get_predict_response, model_server

COLUMNS = ["alcohol", "malic_acid", "color_intensity", "hue", "proline"]


class Wine(Model):
    def __init__(self, name: str):
        super().__init__(name)
        self.load()

    def load(self) -> bool:
        wine = load_wine(as_frame=True)
        self.model = make_pipeline(StandardScaler(), LogisticRegression())
        self.model.fit(wine.data[COLUMNS].to_numpy(), wine.target_names[wine.target])
        self.ready = True
        return self.ready

    def predict(self, payload: dict | InferRequest, headers: dict[str, str] | None = None):
        rows = np.asarray(get_predict_input(payload))
        return get_predict_response(payload, self.model.predict(rows), self.name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[model_server.parser])
    args, _ = parser.parse_known_args()
    ModelServer().start([Wine(args.model_name)])
