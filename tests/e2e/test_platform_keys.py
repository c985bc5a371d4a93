"""Keys as people make them, and issuers that are asked for theirs: one platform, asked as by curl."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sklearn.dummy import DummyRegressor

from modelport import _dataplane

PATIENCE_S = 120
BODY = json.dumps({"instances": [[0.0, 1.0]]}).encode()


class Platform:
    """The command in a folder of its own, and requests to its gateway."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.log = folder / "access.log"
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]

    def run(self, *words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "modelport", *words],
            capture_output=True,
            text=True,
            input=given,
            env=os.environ | {"MODELPORT_DIR": str(self.home)},
            timeout=PATIENCE_S,
            check=False,
        )

    def good(self, *words: str, given: str | None = None) -> str:
        done = self.run(*words, given=given)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, shown: str = "", service: str = "one") -> int:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/models/{service}:predict",
            data=BODY,
            headers={"Host": f"{service}-default.example.com"}
            | ({"Authorization": f"Bearer {shown}"} if shown else {}),
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def until(self, status: int, shown: str = "") -> None:
        end = time.monotonic() + PATIENCE_S
        while (code := self.ask(shown)) != status:
            assert time.monotonic() < end, f"still {code}; {self.status()['problems']}"
            time.sleep(0.1)

    def status(self) -> dict[str, Any]:
        return json.loads(self.run("status", "-o", "json").stdout)

    def until_told(self, words: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not any(words in problem for problem in self.status()["problems"]):
            assert time.monotonic() < end, self.status()["problems"]
            time.sleep(0.1)

    def kill(self, role: str) -> None:
        (pid,) = [one["pid"] for one in self.status()["processes"] if one["role"] == role]
        os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + PATIENCE_S
        while all(one["role"] != role or one["pid"] == pid for one in self.status()["processes"]):
            assert time.monotonic() < end
            time.sleep(0.1)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("keys")
    found = Platform(folder)
    model = DummyRegressor(strategy="constant", constant=1.0).fit(np.zeros((2, 2)), [0.0, 0.0])
    joblib.dump(model, folder / "m.joblib")
    try:
        found.good("up", "--detach", "--port", str(found.port), "--access-log", str(found.log))
        for name in ("one", "two"):
            found.good("deploy", str(folder / "m.joblib"), "--name", name)
        yield found
    finally:
        found.run("down")


@pytest.mark.parametrize("where", [(), ("--file",)])
def test_a_key_is_made_used_listed_and_taken_back(platform: Platform, where: tuple[str, ...]) -> None:
    made = platform.run("keys", "create", "team-a", "--predict", "one", "--predict", "none", *where)
    key = made.stdout.strip()
    assert made.returncode == 0
    assert "From now on every request needs a key" in made.stderr
    assert ("no InferenceService default/none" in made.stderr) == (not where)
    # Right after the command, with no wait.
    assert [platform.ask(), platform.ask(key), platform.ask(key, "two")] == [401, 200, 403]
    more = json.loads(platform.good("keys", "create", "team-b", "--expires", "30d", "-o", "json", *where))
    assert platform.ask(more["key"], "two") == 200
    listed = platform.good("keys", "list", "-o", "json")
    assert {one["name"]: one["scopes"] for one in json.loads(listed)["keys"]} == {
        "team-a": ["predict:default/one", "predict:default/none"],
        "team-b": ["predict:default/*", "explain:default/*"],
    }
    assert all(one["made"] for one in json.loads(listed)["keys"])
    table = platform.good("keys", "list")
    secrets = platform.good("get", "secrets", "-A", "-o", "json")
    kept = secrets + ((platform.home / "api-keys").read_text() if where else "")
    for shown in (listed, table, kept):
        assert key not in shown
        assert base64.b64encode(key.encode()).decode() not in shown
    again = platform.run("keys", "create", "team-a", *where)
    assert (again.returncode, "there is a key 'team-a' already" in again.stderr) == (1, True)
    assert platform.good("keys", "delete", "team-a") == "key team-a deleted\n"
    assert [platform.ask(key), platform.ask(more["key"])] == [401, 200]
    gone = platform.run("keys", "delete", "team-b")
    assert "no key is left" in gone.stderr.lower()
    assert platform.ask(more["key"]) == (401 if where else 200)
    if where:
        (platform.home / "api-keys").unlink()
        platform.until(200)


def test_one_of_several_keys_of_a_secret_is_taken_back(platform: Platform) -> None:
    """Those that people keep in git are listed and deleted by their names, too."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "partners", "labels": {"serving.modelport.io/api-keys": "true"}},
        "stringData": {"team-a": "a-long-random-text", "team-b": "another-random-text"},
    }
    platform.good("apply", "-f", "-", given=json.dumps(secret))
    platform.until(200, "a-long-random-text")
    assert "secret default/partners" in platform.good("keys", "list", "-n", "default")
    assert platform.good("keys", "list", "-n", "kserve", "-o", "json") == '{\n  "keys": []\n}\n'
    both = platform.run("keys", "create", "team-a")
    assert (both.returncode, "there is a key 'team-a' already" in both.stderr) == (1, True)
    platform.good("keys", "delete", "team-a")
    assert [platform.ask("a-long-random-text"), platform.ask("another-random-text")] == [401, 200]
    platform.good("keys", "delete", "team-b")
    assert "partners" not in platform.good("get", "secret", "-o", "name")
    platform.until(200)


def test_keys_made_at_once_in_the_file_are_all_there(platform: Platform) -> None:
    (platform.home / "api-keys").write_text("# ours\n")
    (platform.home / "api-keys").chmod(0o600)
    environment = os.environ | {"MODELPORT_DIR": str(platform.home)}
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "modelport", "keys", "create", f"k{number}", "--file"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for number in range(4)
    ]
    keys = [one.communicate(timeout=PATIENCE_S)[0].strip() for one in running]
    assert [platform.ask(key) for key in keys] == [200] * 4
    platform.good("keys", "delete", *(f"k{number}" for number in range(4)))
    assert (platform.home / "api-keys").read_text() == "# ours\n"
    (platform.home / "api-keys").unlink()
    platform.until(200)


def test_a_key_ends_by_itself(platform: Platform) -> None:
    key = platform.good("keys", "create", "short", "--expires", "6s").strip()
    assert platform.ask(key) == 200
    platform.until(401, key)
    assert "has ended" in platform.good("keys", "list")
    past = platform.run("keys", "create", "late", "--expires", "2020-01-01")
    assert (past.returncode, "must be a time to come" in past.stderr) == (2, True)
    platform.good("keys", "delete", "short")
    platform.until(200)


def test_what_of_the_file_cannot_be_read_is_told_by_status(platform: Platform) -> None:
    file = platform.home / "api-keys"
    file.write_text("# ours\nteam-a hunter2\n")
    file.chmod(0o600)
    platform.until_told(f"{file}, line 2: must be a name")
    shown = platform.run("status")
    assert f"problem: {file}, line 2" in shown.stderr
    assert "hunter2" not in shown.stderr
    assert f"{file}, line 2" in platform.run("doctor").stdout
    file.chmod(0o666)
    platform.until_told(f"Run: chmod 600 {file}")
    file.unlink()
    platform.until(200)
    assert platform.status()["problems"] == []


def test_the_access_log_goes_on_over_restarts(platform: Platform) -> None:
    def lines_after(asked: int) -> list[dict[str, Any]]:
        end = time.monotonic() + PATIENCE_S
        while len(found := platform.log.read_text().splitlines()) < asked:
            assert time.monotonic() < end
            time.sleep(0.05)
        return [json.loads(line) for line in found]

    platform.ask()
    before = len(lines_after(1))
    platform.kill("gateway")
    platform.until(200)
    assert lines_after(before + 1)[-1]["service"] == "default/one"
    platform.good("up", "--detach")
    other = platform.run("up", "--detach", "--access-log", str(platform.folder / "other.log"))
    assert (other.returncode, f"with {platform.log}" in other.stderr) == (1, True)
    platform.good("down")
    platform.good("up", "--detach")
    before = len(platform.log.read_text().splitlines())
    platform.until(200)
    lines_after(before + 1)
    # A log that can no longer be written must not keep the gateway from serving.
    platform.log.unlink()
    platform.log.mkdir()
    platform.kill("gateway")
    platform.until(200)
    assert "the gateway starts without it" in (platform.home / "logs/supervisor.log").read_text()
    platform.log.rmdir()


def text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Login:
    """An issuer with an authority of its own, over TLS; it can rotate its key, and go away."""

    def __init__(self, folder: Path) -> None:
        self.kid = self.asked = 0
        self.authority, certificate, key = _dataplane.self_signed(["localhost"], 10)
        self._pem = folder / "login.pem"
        self._pem.write_text(certificate + key)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self.address = f"https://localhost:{self.port}"
        self.rotate()

    def rotate(self) -> None:
        self.kid += 1
        self._private = ed25519.Ed25519PrivateKey.generate()

    def start(self) -> None:
        login = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                login.asked += 1
                raw = login._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
                key = {"kty": "OKP", "crv": "Ed25519", "kid": str(login.kid), "x": text(raw)}
                found: dict[str, Any] = {"issuer": login.address, "jwks_uri": f"{login.address}/keys"}
                body = json.dumps({"keys": [key]} if self.path == "/keys" else found).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._pem)
        self.server.socket = context.wrap_socket(
            self.server.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def token(self) -> str:
        head = {"alg": "EdDSA", "kid": str(self.kid)}
        claims = {"iss": self.address, "sub": "ada", "exp": int(time.time()) + 3600}
        claims["scope"] = "predict:default/one"
        signed = ".".join(text(json.dumps(part).encode()) for part in (head, claims))
        return f"{signed}.{text(self._private.sign(signed.encode()))}"


def test_an_issuers_keys_are_asked_for_and_stay_in_force_when_it_is_away(platform: Platform) -> None:
    login = Login(platform.folder)
    login.start()
    told = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "login",
            "namespace": "default",
            "labels": {"serving.modelport.io/jwks": "true"},
        },
        "data": {"issuer": login.address, "refresh": "1"},
    }
    # Its authority is not known yet: nobody is let in, and told why.
    platform.good("apply", "-f", "-", given=json.dumps(told))
    platform.until_told("ConfigMap default/login: ")
    assert any("its certificate is not trusted" in one for one in platform.status()["problems"])
    assert platform.ask(login.token()) == 401
    told["data"]["ca.crt"] = login.authority
    platform.good("apply", "-f", "-", given=json.dumps(told))
    old = login.token()
    platform.until(200, old)
    assert platform.status()["problems"] == []
    login.rotate()
    platform.until(200, login.token())
    assert platform.ask(old) == 401
    # Away: the last keys stay, over a restart of the control plane, too.
    login.stop()
    platform.until_told("it refuses connections")
    assert "it refuses connections" in platform.good("events", "configmap/login")
    assert platform.ask(login.token()) == 200
    platform.kill("control")
    platform.until_told("stay in force")
    assert platform.ask(login.token()) == 200
    # Back with another key.
    login.rotate()
    login.start()
    platform.until(200, login.token())
    # Asked but once a day, it still may rotate at any time.
    told["data"]["refresh"] = "86400"
    platform.good("apply", "-f", "-", given=json.dumps(told))
    asked = -1
    while login.asked != asked:
        asked = login.asked
        time.sleep(3)
    login.rotate()
    platform.until(200, login.token())
    login.stop()
    platform.good("delete", "configmap", "login")
    platform.until(200)
