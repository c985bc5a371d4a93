"""A platform on another address than the usual one: what it prints is where it answers."""

from __future__ import annotations

import os
import subprocess

import joblib
import pytest
from node_platform import Platform
from sklearn.linear_model import LogisticRegression


@pytest.mark.parametrize("host", ["127.0.0.5", "::1"])
def test_the_address_that_is_told_answers_and_predict_finds_it(tmp_path, host):
    """`http://iris-default.localhost` is 127.0.0.1, where nobody listens then."""
    model = LogisticRegression().fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
    joblib.dump(model, tmp_path / "iris.joblib")
    platform = Platform(tmp_path / "platform")
    try:
        platform.start("--host", host, "--insecure")
        told = platform.modelport("deploy", str(tmp_path / "iris.joblib")).splitlines()[-1]
        address, _, header = told.partition(" (with the header ")
        more = ["-H", header.rstrip(")")] if header else []
        body = '{"instances": [[3.0]]}'
        asked = ["curl", "-sg", *more, f"{address}/v1/models/iris:predict", "-d", body]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        assert done.stdout == '{"predictions":[1]}', told
        assert '"predictions":[1]' in platform.modelport("predict", "iris", "-d", body)
        assert '"data": [1]' in platform.modelport("predict", "iris", "--protocol", "grpc", "-d", body)
    finally:
        platform.modelport("down")
        for pid in platform.processes():
            os.kill(pid, 9)
