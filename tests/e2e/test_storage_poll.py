"""A model file that is replaced behind an unchanged address: who asked for it gets the new one, and never a broken one."""

from __future__ import annotations

import http.server
import io
import json
import threading

import joblib
import numpy as np
import pytest
from sklearn.dummy import DummyRegressor
from test_control_words import Platform, platform  # noqa: F401 (a fixture)


def dummy(value: float) -> bytes:
    file = io.BytesIO()
    joblib.dump(DummyRegressor(strategy="constant", constant=value).fit(np.zeros((2, 2)), [0.0, 1.0]), file)
    return file.getvalue()


class Shelf(http.server.BaseHTTPRequestHandler):
    """One file with an ETag, as a web server has it."""

    content = dummy(1.0)
    unchanged = 0

    def do_GET(self) -> None:
        tag = f'"{hash(self.content)}"'
        if self.headers.get("If-None-Match") == tag:
            type(self).unchanged += 1
            self.send_response(304)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *words: object) -> None:
        """Silence."""


@pytest.fixture
def address():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shelf)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/model.joblib"
    server.shutdown()
    server.server_close()


def test_a_replaced_model_is_rolled_out_and_a_broken_one_is_not(platform: Platform, address: str):  # noqa: F811
    service = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "churn", "annotations": {"serving.modelport.io/storage-poll": "5s"}},
        "spec": {"predictor": {"sklearn": {"storageUri": address}}},
    }
    applied = platform.run("apply", "-f", "-", given=json.dumps(service))
    assert applied.returncode == 0, applied.stderr
    ask = ("predict", "churn", "-d", '{"instances": [[0, 0]]}')
    platform.until(lambda text: "1.0" in text, *ask)
    wanted, before = Shelf.unchanged + 2, platform.run("get", "pods", "-o", "name").stdout
    while Shelf.unchanged < wanted:
        platform.until(bool, *ask)
    assert platform.run("get", "pods", "-o", "name").stdout == before, (
        "an unchanged model starts nothing anew"
    )
    Shelf.content = dummy(2.0)
    platform.until(lambda text: "2.0" in text, *ask)
    assert "ModelChanged" in platform.run("events").stdout
    Shelf.content = b"no model at all"
    platform.until(lambda text: "previous version keeps serving" in text, "describe", "churn")
    assert "2.0" in platform.run(*ask).stdout, "the good one serves on"
    Shelf.content = dummy(3.0)
    platform.until(lambda text: "3.0" in text, *ask)
