"""`modelport fetch`, `modelport storage` and `modelport serve URI`, as typed."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import urllib.request

import pytest


@pytest.fixture
def web(tmp_path):
    """Files of a folder over http."""
    folder = tmp_path / "web"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def guess_type(self, path):
            return "application/octet-stream"

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def modelport(tmp_path):
    """Runs the command with a home of its own."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),
        "MODELPORT_DIR": str(tmp_path / "platform"),
        "MODELPORT_INSTANCE_CREDENTIALS": "never",
    }

    def run(*arguments, **more):
        return subprocess.run(
            [sys.executable, "-m", "modelport", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**environment, **more},
        )

    return run


def test_a_model_is_fetched_once_and_placed(web, modelport, tmp_path):
    folder, url = web
    (folder / "model.onnx").write_bytes(b"weights")
    first = modelport("fetch", f"{url}/model.onnx", "--to", "churn")
    assert (first.returncode, first.stdout) == (0, "churn\n")
    assert (tmp_path / "churn" / "model.onnx").read_bytes() == b"weights"
    assert re.search(r"model.onnx: 7 B, 7 B fetched\nsha256:[0-9a-f]{64}\n", first.stderr)
    second = modelport("fetch", f"{url}/model.onnx", "--to", "again", "--copy")
    assert "all of it from the cache" in second.stderr
    (tmp_path / "again" / "model.onnx").write_bytes(b"mine")
    assert (tmp_path / "churn" / "model.onnx").read_bytes() == b"weights", "a copy is one's own"


def test_mistakes_are_told_in_a_sentence_and_a_hint(web, modelport, tmp_path):
    _, url = web
    missing = modelport("fetch", f"{url}/nothing.onnx", "--to", "x")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert f"error: {url}/nothing.onnx: resolve: 127.0.0.1" in missing.stderr
    assert "answered 404: there is nothing" in missing.stderr
    assert "hint: Check the URI" in missing.stderr
    assert not (tmp_path / "x").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    occupied = modelport("fetch", f"{url}/nothing.onnx", "--to", "full")
    assert "exists already" in occupied.stderr
    unknown = modelport("fetch", "ftp://host/model", "--to", "x")
    assert "there is no scheme ftp://" in unknown.stderr


def test_mirrors_policy_and_cache_come_from_the_settings_file(web, modelport, tmp_path):
    folder, url = web
    (folder / "m.pkl").write_bytes(b"\x80\x04N.")
    settings = tmp_path / "storage.yaml"
    settings.write_text(f"cache: {tmp_path}/here\nunsafe: deny\nmirrors: {{'gs://examples/': '{url}/'}}\n")
    denied = modelport("fetch", "gs://examples/m.pkl", "--settings", settings)
    assert denied.returncode == 2
    assert f"gs://examples/m.pkl (mirror: {url}/m.pkl): verify: m.pkl is a pickle" in denied.stderr
    allowed = modelport("fetch", "gs://examples/m.pkl", "--settings", settings, "--unsafe", "warn")
    assert allowed.stdout.startswith(str(tmp_path / "here"))
    assert f"from its mirror {url}/m.pkl" in allowed.stderr
    assert "warning: m.pkl is a pickle" in allowed.stderr
    settings.write_text("mirror: {}\n")
    broken = modelport("fetch", "gs://examples/m.pkl", "--settings", settings)
    assert f"{settings}: Object contains unknown field `mirror`" in broken.stderr


def test_a_pin_is_checked(web, modelport):
    folder, url = web
    (folder / "model.onnx").write_bytes(b"weights")
    right = hashlib.sha256(b"weights").hexdigest()
    assert modelport("fetch", f"{url}/model.onnx", "--sha256", right).returncode == 0
    wrong = modelport("fetch", f"{url}/model.onnx", "--sha256", "0" * 64)
    assert f"should be {'0' * 64}, and it has {right}" in wrong.stderr


def test_check_says_what_a_fetch_would_do(web, modelport):
    folder, url = web
    (folder / "model.zip").write_bytes(b"PK" + b"\0" * 98)
    good = modelport("storage", "check", f"{url}/model.zip")
    assert good.returncode == 0
    assert "holds        1 file, 100 B" in good.stdout
    assert "an archive, which is unpacked" in good.stdout
    assert "asked with   no credential" in good.stdout
    bad = modelport("storage", "check", "s3://models/churn", AWS_ACCESS_KEY_ID="key", AWS_ENDPOINT_URL=url)
    assert bad.returncode == 1
    assert "the environment gives AWS_ACCESS_KEY_ID, and its other half is missing" in bad.stderr


def test_list_and_prune(web, modelport):
    folder, url = web
    for name in ("a", "b"):
        (folder / f"{name}.onnx").write_bytes(os.urandom(1 << 20))
        modelport("fetch", f"{url}/{name}.onnx", "-q")
    listed = modelport("storage", "list")
    assert re.search(rf"[0-9a-f]{{12}}\s+1.0 MiB\s+\d+s\s+no\s+{re.escape(url)}/a.onnx", listed.stdout)
    found = json.loads(modelport("storage", "list", "-o", "json").stdout)
    assert [one["bytes"] for one in found["models"]] == [1 << 20] * 2
    pruned = modelport("storage", "prune", "--keep", "1536Ki")
    assert pruned.stdout.startswith("1 model dropped, 1.0 MiB freed")
    assert "/b.onnx" in modelport("storage", "list").stdout
    assert modelport("storage", "prune", "--keep", "lots").returncode == 2


def test_serve_takes_a_uri(web, serve, iris_file, iris, tmp_path, monkeypatch):
    folder, url = web
    (folder / "iris.joblib").write_bytes(iris_file.read_bytes())
    monkeypatch.setenv("MODELPORT_DIR", str(tmp_path / "platform"))
    server = serve(f"{url}/iris.joblib")
    body = json.dumps({"instances": iris[0][:1].tolist()}).encode()
    with urllib.request.urlopen(f"{server.url}/v1/models/iris:predict", data=body) as answer:
        assert json.load(answer)["predictions"] == [0]
