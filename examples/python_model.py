"""A model of your own that takes arrays: how close a wine is to the nearest one that is known.

    modelport serve examples/python_model.py:Nearest
    curl localhost:8080/v1/models/nearest:predict -d '{"instances": [[13.2, 1.78], [12.1, 5.6]]}'

Clients that ask at the same time share a call: `rows` then holds the rows of all of them.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_wine
from sklearn.neighbors import NearestNeighbors

import modelport


class Nearest(modelport.Model):
    def load(self) -> None:
        wine = load_wine()
        self.known = wine.data[:, :2]
        self.classes = wine.target_names[wine.target]
        self.search = NearestNeighbors(n_neighbors=1).fit(self.known)
        self.ready = True

    def predict(self, rows: NDArray[np.float64]) -> dict[str, np.ndarray]:
        if rows.ndim != 2 or rows.shape[1] != 2:
            raise modelport.InvalidInput(
                f"inputs: must be rows of alcohol and malic acid, got shape {list(rows.shape)}."
            )
        distances, indices = self.search.kneighbors(rows)
        return {"class": self.classes[indices[:, 0]], "distance": distances[:, 0]}
