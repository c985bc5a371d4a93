"""A CatBoost model with integer categories answers the same by every protocol, and as CatBoost itself does.

Whoever loses this has to know that store 17 was written "17" somewhere, or gets a 400 for the number that they trained on.
"""

from __future__ import annotations

import json
from contextlib import closing

import catboost
import numpy as np
import pandas as pd
import pytest
from process import request, serving

import modelport
from modelport.client.grpc import GrpcClient, GrpcError
from modelport.client.rest import ClientError

ROWS = 90
CHANCE = np.random.default_rng(5)
FRAME = pd.DataFrame(
    {
        "store": CHANCE.integers(10, 16, ROWS),
        "spend": CHANCE.uniform(1, 80, ROWS).round(1),
        "city": CHANCE.choice(["Bern", "Rom"], ROWS),
    }
)
SOLD = np.where((FRAME["store"] % 2 == 0) ^ (FRAME["city"] == "Rom"), FRAME["spend"], 1.0)
ASKED = FRAME.head(7).assign(store=[10, 11, 12, 13, 14, 15, 99])


@pytest.fixture(scope="module")
def model():
    settings = {"iterations": 20, "verbose": 0, "allow_writing_files": False, "thread_count": 1}
    return catboost.CatBoostRegressor(**settings).fit(FRAME, SOLD, cat_features=["store", "city"])


@pytest.fixture(scope="module")
def server(models, model):
    model.save_model(str(models / "bare.cbm"))
    modelport.save(model, models / "saved", example=FRAME.head(3))
    with serving(f"--model=bare={models / 'bare.cbm'}", f"--model=saved={models / 'saved'}") as server:
        yield server


def grpc_address(server):
    return next(line.split()[1] for line in server.stdout.splitlines() if line.startswith("gRPC"))


def columns(store):
    return {"store": store, "spend": ASKED["spend"].to_numpy(), "city": ASKED["city"].to_numpy(object)}


FORMS = {
    "numbers": ASKED["store"].to_numpy(),
    "few bits": ASKED["store"].to_numpy(np.uint8),
    "a column of one": ASKED["store"].to_numpy(np.int32).reshape(-1, 1),
    "text": ASKED["store"].astype(str).to_numpy(object),
}


@pytest.mark.parametrize("name", ["bare", "saved"])
@pytest.mark.parametrize("form", FORMS)
def test_binary_and_grpc(server, model, name, form):
    expected = model.predict(ASKED).tolist()
    with closing(server.client(name)) as client:
        assert client.infer(columns(FORMS[form]))["output-0"].tolist() == expected
    with GrpcClient(grpc_address(server)) as client:
        assert client.infer(name, columns(FORMS[form]))["output-0"].tolist() == expected


@pytest.mark.parametrize("name", ["bare", "saved"])
def test_json(server, model, name):
    expected = model.predict(ASKED).tolist()
    rows = ASKED.to_dict("records")
    for body in (
        {"instances": rows},
        {"instances": [row | {"store": str(row["store"])} for row in rows]},
        {"instances": ASKED.to_numpy(object).tolist()},
        {"instances": [rows]},
        {"inputs": ASKED.to_dict("list")},
    ):
        answer = request(f"{server.url}/v1/models/{name}:predict", body)
        assert answer.json == {"predictions": expected}, body
    tensors = [
        {"name": "store", "shape": [7], "datatype": "INT64", "data": ASKED["store"].tolist()},
        {"name": "spend", "shape": [7], "datatype": "FP64", "data": ASKED["spend"].tolist()},
        {"name": "city", "shape": [7], "datatype": "BYTES", "data": ASKED["city"].tolist()},
    ]
    answer = request(f"{server.url}/v2/models/{name}/infer", {"inputs": tensors})
    assert answer.json["outputs"][0]["data"] == expected


@pytest.mark.parametrize("name", ["bare", "saved"])
def test_a_float_is_no_category(server, name):
    told = 'column "store" takes text or integers, got FP64, such as 10.0. Send the text or the integer that it was'
    floats = columns(ASKED["store"].to_numpy(float))
    row = ASKED.iloc[0].to_dict()
    body = json.dumps({"instances": [row | {"store": 10.0}]}).encode()
    assert b"10.0" in body
    assert told in request(f"{server.url}/v1/models/{name}:predict", body).error
    with closing(server.client(name)) as client, pytest.raises(ClientError) as refused:
        client.infer(floats)
    assert refused.value.status == 400
    assert told in refused.value.message
    with GrpcClient(grpc_address(server)) as client, pytest.raises(GrpcError) as refused:
        client.infer(name, floats)
    assert refused.value.code == "INVALID_ARGUMENT"
    assert told in refused.value.message


def test_what_is_said_of_it(server):
    """The protocol has one datatype a tensor; the page for people and the one for programs have more."""
    for name, datatype, more in (("bare", "BYTES", "BYTES or integers"), ("saved", "INT64", "INT64 or text")):
        with closing(server.client(name)) as client, GrpcClient(grpc_address(server)) as other:
            inputs = client.metadata()["inputs"]
            assert inputs[0] == {"name": "store", "datatype": datatype, "shape": [-1]}
            assert other.metadata(name)["inputs"] == inputs
        assert f"<td>{more}</td>" in request(f"{server.url}/docs").body.decode()
        paths = request(f"{server.url}/openapi.json").json["paths"]
        post = paths[f"/v2/models/{name}/infer"]["post"]["requestBody"]["content"]["application/json"]
        stores, spends, _ = post["schema"]["properties"]["inputs"]["items"]["anyOf"]
        assert {"BYTES", "INT64", "UINT8"} < set(stores["properties"]["datatype"]["enum"])
        assert spends["properties"]["datatype"] == {"const": "FP64"}
        assert request(f"{server.url}/v2/models/{name}/infer", post["example"]).status == 200
