"""A model file that is replaced behind an unchanged address: who asked for it gets the new one, and never a broken one."""

from __future__ import annotations

import http.server
import io
import re
import subprocess
import sys
import threading

import joblib
import numpy as np
import pytest
from node_platform import Platform, running
from sklearn.dummy import DummyRegressor

from modelport.kinds.inferenceservice import INFERENCE_SERVICE
from modelport.kube.condition import find_condition
from modelport.kube.resource import CONFIG_MAP


def dummy(value: float) -> bytes:
    file = io.BytesIO()
    joblib.dump(DummyRegressor(strategy="constant", constant=value).fit(np.zeros((2, 2)), [0.0, 1.0]), file)
    return file.getvalue()


class Shelf(http.server.BaseHTTPRequestHandler):
    """One file with an ETag, as a web server has it; None: it is gone."""

    content: bytes | None = dummy(1.0)
    unchanged = 0

    def do_GET(self) -> None:
        if self.content is None:
            self.send_error(404)
            return
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


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory):
    with running(tmp_path_factory.mktemp("poll") / "platform") as found:
        yield found


def service(name: str, uri: str, every: str) -> dict[str, object]:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": name,
            "namespace": "default",
            "annotations": {"serving.modelport.io/storage-poll": every},
        },
        "spec": {"predictor": {"sklearn": {"storageUri": uri}}},
    }


def fetched(platform: Platform, name: str) -> str:
    """What the service says that it has."""
    item = platform.ask(lambda client: client.get(INFERENCE_SERVICE, "default", name))
    found = find_condition(item.get("status", {}).get("conditions"), "ModelFetched") or {}
    return found.get("message", "") if found.get("status") == "True" else ""


def test_a_replaced_model_is_rolled_out_and_a_broken_one_is_not(platform: Platform, address: str):
    def answers(value: float) -> bool:
        return str(value) in platform.modelport("predict", "churn", "-d", '{"instances": [[0, 0]]}')

    def revisions() -> int:
        return platform.modelport("get", "replicasets").count("churn-predictor-")

    platform.apply(INFERENCE_SERVICE, service("churn", address, "5s"))
    platform.modelport("wait", "isvc/churn", "--timeout", "120")
    assert answers(1.0)
    wanted = Shelf.unchanged + 2
    platform.until("two looks", lambda: Shelf.unchanged >= wanted)
    assert revisions() == 1, "an unchanged model starts nothing anew"
    first = fetched(platform, "churn")
    assert re.fullmatch(rf"{re.escape(address)}: sha256:[0-9a-f]{{64}}, \d+ B", first)
    assert first in platform.events("churn")["ModelFetched"]

    Shelf.content = dummy(2.0)
    platform.until("the second model", lambda: answers(2.0))
    assert "ModelChanged" in platform.modelport("events")
    platform.until("its digest", lambda: fetched(platform, "churn") not in ("", first))
    assert fetched(platform, "churn") in platform.modelport("describe", "churn")

    Shelf.content = b"no model at all"
    words = "previous version keeps serving"
    platform.until(words, lambda: words in platform.modelport("describe", "churn"))
    assert answers(2.0), "the good one serves on"

    Shelf.content = None
    platform.until("the event", lambda: "StoragePollFailed" in platform.modelport("events"))
    assert answers(2.0)

    Shelf.content = dummy(3.0)
    platform.until("the third model", lambda: answers(3.0))


def test_a_changed_address_is_one_change(platform: Platform, address: str):
    """What was found at the former address must not have the pods replaced a second time."""
    Shelf.content = dummy(4.0)
    platform.apply(INFERENCE_SERVICE, service("moved", address, "5s"))
    platform.modelport("wait", "isvc/moved", "--timeout", "120")

    def sets() -> int:
        return platform.modelport("get", "replicasets").count("moved-predictor-")

    Shelf.content = dummy(5.0)
    platform.until("the change behind the address", lambda: sets() == 2)
    elsewhere = address.replace("127.0.0.1", "localhost")
    Shelf.content = dummy(6.0)
    platform.apply(INFERENCE_SERVICE, service("moved", elsewhere, "5s"))
    platform.until(
        "the new address",
        lambda: "6.0" in platform.modelport("predict", "moved", "-d", '{"instances": [[0, 0]]}'),
    )
    before, looks = sets(), Shelf.unchanged + 3
    platform.until("further looks", lambda: Shelf.unchanged >= looks)
    assert sets() == before


def test_an_interval_that_cannot_be_is_told(platform: Platform, address: str):
    Shelf.content = dummy(1.0)
    platform.apply(INFERENCE_SERVICE, service("often", address, "1s"))
    platform.until("the event", lambda: "is too often for a store" in platform.modelport("events"))


def rules(platform: Platform, text: str) -> None:
    """The platform's rules for storage."""
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "modelport-config", "namespace": "kserve"},
        "data": {"storage": text},
    }
    platform.apply(CONFIG_MAP, body)


def test_a_pickle_that_the_platform_denies_does_not_serve(platform: Platform, address: str):
    """Whoever may write to a bucket would run code in every pod that reads it."""
    Shelf.content = dummy(7.0)
    rules(platform, "unsafe: deny")
    try:
        platform.apply(INFERENCE_SERVICE, service("denied", address, "off"))
        words = "model.joblib is a pickle or holds one"
        platform.until(words, lambda: words in platform.modelport("describe", "denied"))
        told = platform.modelport("describe", "denied")
        assert "skops" in told
        assert "name the source as trusted" in told

        rules(platform, f"unsafe: deny\ntrusted: ['{address.rpartition('/')[0]}/']")
        platform.modelport("wait", "isvc/denied", "--timeout", "120")

        rules(platform, "unsafe: denied")
        platform.apply(INFERENCE_SERVICE, service("misruled", address, "off"))
        words = "Invalid enum value 'denied'"
        platform.until(words, lambda: words in platform.modelport("describe", "misruled"))
    finally:
        rules(platform, "")
    platform.modelport("wait", "isvc/misruled", "--timeout", "120")


def test_the_platform_tells_its_rules(platform: Platform, address: str):
    """Whoever wonders why a pod fetches from elsewhere, or not at all, asks the command that shows the cache."""

    def told(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "modelport", "storage", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    listing = ("list", "--cache", str(platform.folder / "cache"))
    rules(
        platform,
        f"limit: 20Gi\nunsafe: deny\npoll: 5m\nmirrors: {{'s3://models/': '{address.rpartition('/')[0]}/'}}",
    )
    try:
        said = told(*listing)
        assert "platform: the cache holds at most 20Gi" in said
        assert "platform: a URI is looked at again every 5m" in said
        assert "platform: pickles from untrusted sources: deny" in said
        assert "platform: mirror: s3://models/ is fetched from http://127.0.0.1:" in said
        assert '"limit":"20Gi"' in told(*listing, "-o", "json").replace(" ", "")

        account = ("--service-account", "default", "--dir", str(platform.folder))
        said = told("check", "s3://models/model.joblib", *account)
        assert "platform: mirror: s3://models/ is fetched from" in said
        assert "model.joblib" in said.partition("platform:")[0]  # found by the mirror: no bucket has it

        rules(platform, "unsafe: denied")
        said = told(*listing)
        assert "Invalid enum value 'denied'" in said
        assert "models, " in said  # the list comes all the same
    finally:
        rules(platform, "")


def test_a_mirror_that_comes_late_helps_the_fetch_that_goes_on(platform: Platform, address: str):
    """A store that is away is asked again for two minutes: who has mended the rules must not wait for their end."""
    away = "http://127.0.0.1:9/models/"
    name = "late-mirror"
    platform.apply(INFERENCE_SERVICE, service(name, f"{away}model.joblib", ""))

    def initializer() -> dict[str, object]:
        pods = [one for one in platform.pods() if one["metadata"]["name"].startswith(name)]
        return pods[0].get("status", {}).get("initContainerStatuses", [{}])[0] if pods else {}

    platform.until("a fetch that is tried again", lambda: "again" in str(initializer().get("state")))
    rules(platform, f"mirrors: {{'{away}': '{address.rpartition('/')[0]}/'}}")
    try:
        platform.modelport("wait", f"isvc/{name}", "--timeout", "120")
        assert initializer()["restartCount"] == 0, "it was the same run of the fetch"
        assert "rules have changed" in platform.modelport("logs", name, "-c", "storage-initializer")
    finally:
        rules(platform, "")
        platform.ask(lambda client: client.delete(INFERENCE_SERVICE, "default", name))
