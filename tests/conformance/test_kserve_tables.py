"""V1 bodies as pandas writes them: a LightGBM model answers what it answers behind KServe's lgbserver."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
from served import ask, running
from sklearn.datasets import load_iris

E2E = Path(__file__).parent / "kserve_e2e" / "data"
NAMES = ["sepal_length_(cm)", "sepal_width_(cm)", "petal_length_(cm)", "petal_width_(cm)"]
ROWS = [dict(zip(NAMES, row, strict=True)) for row in ([5.1, 3.5, 1.4, 0.2], [6.8, 2.8, 4.8, 1.4])]
FRAME = pd.DataFrame(ROWS)

BODIES: dict[str, dict[str, Any]] = {
    "KServe's v3": json.loads((E2E / "iris_input_v3.json").read_text()),
    "KServe's v4": json.loads((E2E / "iris_input_v4.json").read_text()),
    "KServe's v5": json.loads((E2E / "iris_input_v5.json").read_text()),
    "lists of numbers": {"instances": [list(row.values()) for row in ROWS]},
    "columns of lists": {"inputs": [FRAME.to_dict(orient="list")]},
    "two blocks of lists": {"inputs": [FRAME.to_dict(orient="list")] * 2},
    "columns by label": {"inputs": [json.loads(FRAME.to_json())]},
    "two blocks by label": {"instances": [json.loads(FRAME[:1].to_json()), json.loads(FRAME[1:].to_json())]},
    "records": {"inputs": [FRAME.to_dict(orient="records")]},
    "a list a record": {"instances": [[row] for row in ROWS]},
    "other order": {"instances": [[dict(reversed(row.items())) for row in ROWS]]},
    "nulls": {"instances": [[ROWS[0] | {NAMES[2]: None}]]},
    "a column that one record lacks": {"instances": [[ROWS[0], dict(list(ROWS[1].items())[:3])]]},
    "a column that a later block lacks": {"instances": [[ROWS[0]], [dict(list(ROWS[1].items())[1:])]]},
}


@pytest.fixture(scope="module")
def booster() -> lightgbm.Booster:
    data = lightgbm.Dataset(load_iris().data, load_iris().target, feature_name=NAMES)
    return lightgbm.train({"objective": "multiclass", "num_class": 3, "verbose": -1}, data, 10)


@pytest.fixture(scope="module")
def made(client: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    file = tmp_path_factory.mktemp("tables") / "bodies.json"
    file.write_text(json.dumps([NAMES, list(BODIES.values())]))
    return dict(zip(BODIES, client("kserve", "kserve_tables.py", str(file)), strict=True))


@pytest.fixture(scope="module")
def address(booster: lightgbm.Booster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("model")
    booster.save_model(folder / "iris.txt")
    command = ["-m", "modelport", "serve", str(folder / "iris.txt"), "--http-port", "0", "--grpc-port", "0"]
    with running(*command, errors=folder / "errors.txt") as server:
        yield server.rest


@pytest.mark.parametrize("form", BODIES)
def test_a_table_is_answered_as_behind_kserve(
    form: str, booster: lightgbm.Booster, made: dict[str, dict[str, Any]], address: str
) -> None:
    rows = np.array(made[form]["rows"], dtype=float)
    status, _, text = ask(f"{address}/v1/models/iris:predict", BODIES[form])
    assert status == 200, text
    assert json.loads(text)["predictions"] == np.asarray(booster.predict(rows)).tolist()
