"""Who may call, end to end: a platform on another address with TLS, API keys, signed tokens, and three roles.

One platform, bound to all addresses; everything goes over its TLS, as a partner's program would.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from sklearn.linear_model import LogisticRegression

from modelport import _dataplane

PATIENCE_S = 120
ISSUER, AUDIENCE = "https://login.example.com", "models"
BODY = json.dumps({"instances": [[0.0, 1.0]]}).encode()
SCOPES = "serving.modelport.io/scopes"


class Platform:
    """The command in a folder of its own, and requests to its gateway."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = ["localhost", "127.0.0.1"]
        self.authority, self.certificate, self.key = _dataplane.self_signed(names, 10)
        (folder / "server.pem").write_text(self.certificate)
        (folder / "server.key").write_text(self.key)
        self.trust = ssl.create_default_context(cadata=self.authority)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]

    def run(self, *words: str, given: str | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"MODELPORT_DIR": str(self.folder / "home")} | more
        return subprocess.run(
            [sys.executable, "-m", "modelport", *words],
            capture_output=True,
            text=True,
            input=given,
            env=environment,
            timeout=PATIENCE_S,
            check=False,
        )

    def apply(self, item: dict[str, Any]) -> None:
        done = self.run("apply", "--force", "-f", "-", given=json.dumps(item))
        assert done.returncode == 0, done.stderr

    def ask(self, service: str, path: str, body: bytes | None = BODY, **headers: str) -> tuple[int, str]:
        request = urllib.request.Request(
            f"https://localhost:{self.port}{path}",
            data=body,
            headers={"Host": f"{service}-default.example.com", **headers},
        )
        try:
            with urllib.request.urlopen(request, context=self.trust, timeout=PATIENCE_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def predict(self, service: str, shown: str = "") -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {shown}"} if shown else {}
        return self.ask(service, f"/v1/models/{service}:predict", **headers)

    def until(self, status: int, service: str, shown: str) -> str:
        """The words of the answer, once it has that status: Secrets take a moment to be in force."""
        end = time.monotonic() + PATIENCE_S
        while True:
            code, words = self.predict(service, shown)
            if code == status:
                return words
            assert time.monotonic() < end, f"{service} still answers {code}: {words}"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("platform")
    found = Platform(folder)
    joblib.dump(LogisticRegression().fit(np.arange(8.0).reshape(4, 2), [0, 1, 0, 1]), folder / "m.joblib")
    where = ("--host", "0.0.0.0", "--port", str(found.port))
    open_to_all = found.run("up", "--detach", *where)
    assert open_to_all.returncode == 2
    assert "others would reach it without TLS" in open_to_all.stderr
    tls = (f"--tls-certificate={folder}/server.pem", f"--tls-key={folder}/server.key")
    started = found.run("up", "--detach", *where, *tls)
    assert started.returncode == 0, started.stderr
    try:
        for name in ("churn", "fraud"):
            deployed = found.run("deploy", str(folder / "m.joblib"), "--name", name)
            assert deployed.returncode == 0, deployed.stderr
        yield found
    finally:
        stopped = found.run("down")
        if stopped.returncode != 0:
            status = json.loads(found.run("status", "-o", "json").stdout or "{}")
            for one in status.get("processes", []):
                os.kill(one["pid"], signal.SIGKILL)
    assert stopped.returncode == 0, stopped.stderr


def secret(name: str, keys: dict[str, str], scopes: Any = None) -> dict[str, Any]:
    annotations = {} if scopes is None else {"annotations": {SCOPES: json.dumps(scopes)}}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {"serving.modelport.io/api-keys": "true"},
        }
        | annotations,
        "stringData": keys,
    }


def test_a_key_opens_what_its_scopes_name_and_401_and_403_say_what_is_missing(platform: Platform) -> None:
    code, words = platform.predict("churn")
    assert code == 401
    assert "predict on default/churn needs an API key" in words
    scopes = [{"service": "default/churn", "verbs": ["predict"]}]
    platform.apply(secret("partners", {"team-a": "a-long-random-text"}, scopes))
    assert json.loads(platform.until(200, "churn", "a-long-random-text")) == {"predictions": [0]}
    code, words = platform.predict("fraud", "a-long-random-text")
    assert code == 403
    assert "team-a may not do this: it needs predict on default/fraud" in words
    code, words = platform.ask(
        "churn", "/v2/repository/models/churn/unload", b"", **{"x-api-key": "a-long-random-text"}
    )
    assert code == 403
    assert "admin on default/churn" in words
    code, words = platform.predict("churn", "a-wrong-text")
    assert code == 401
    assert "nobody has this API key" in words
    # The command line takes it from the environment, and says where to put it without.
    asked = platform.run("predict", "churn", "-d", BODY.decode(), MODELPORT_KEY="a-long-random-text")
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout) == {"predictions": [0]}
    called = platform.run(
        "predict", "churn", "--protocol", "grpc", "-d", BODY.decode(), MODELPORT_KEY="a-long-random-text"
    )
    assert called.returncode == 0, called.stderr
    assert json.loads(called.stdout)["outputs"][0]["data"] == [0]
    refused = platform.run("predict", "churn", "-d", BODY.decode())
    assert refused.returncode == 1
    assert "--key KEY, or MODELPORT_KEY" in refused.stderr
    # Taken back, it opens nothing.
    assert platform.run("delete", "secret", "partners").returncode == 0
    assert "nobody has this API key" in platform.until(401, "churn", "a-long-random-text")


def text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(value: int, size: int = 0) -> str:
    return text(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


class Login:
    """An issuer of tokens, with a key of each kind that the gateway takes."""

    def __init__(self) -> None:
        self.rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.ed = ed25519.Ed25519PrivateKey.generate()

    def jwks(self) -> dict[str, Any]:
        one, two = self.rsa.public_key().public_numbers(), self.ec.public_key().public_numbers()
        raw = self.ed.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return {
            "keys": [
                {"kty": "RSA", "kid": "RS256", "n": number(one.n), "e": number(one.e)},
                {
                    "kty": "EC",
                    "crv": "P-256",
                    "kid": "ES256",
                    "x": number(two.x, 32),
                    "y": number(two.y, 32),
                },
                {"kty": "OKP", "crv": "Ed25519", "kid": "EdDSA", "x": text(raw)},
            ]
        }

    def token(self, algorithm: str = "RS256", **claims: Any) -> str:
        known = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": int(time.time()) + 3600}
        payload = {name: value for name, value in (known | claims).items() if value is not None}
        head = {"alg": algorithm, "kid": algorithm, "typ": "JWT"}
        signed = ".".join(text(json.dumps(part).encode()) for part in (head, payload))
        return f"{signed}.{text(self._sign(algorithm, signed.encode()))}"

    def _sign(self, algorithm: str, message: bytes) -> bytes:
        if algorithm == "RS256":
            return self.rsa.sign(message, padding.PKCS1v15(), hashes.SHA256())
        if algorithm == "EdDSA":
            return self.ed.sign(message)
        pair = decode_dss_signature(self.ec.sign(message, ec.ECDSA(hashes.SHA256())))
        return b"".join(part.to_bytes(32, "big") for part in pair)


def trusted(login: Login) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "login",
            "namespace": "default",
            "labels": {"serving.modelport.io/jwks": "true"},
        },
        "data": {"issuer": ISSUER, "audience": AUDIENCE, "jwks.json": json.dumps(login.jwks())},
    }


def test_tokens_are_good_for_their_scopes_until_they_expire_or_their_key_goes(platform: Platform) -> None:
    login = Login()
    platform.apply(trusted(login))
    scope = {"scope": "openid predict:default/churn"}
    platform.until(200, "churn", login.token(**scope))
    for algorithm in ("ES256", "EdDSA"):
        assert platform.predict("churn", login.token(algorithm, **scope))[0] == 200
    code, words = platform.predict("fraud", login.token(**scope))
    assert code == 403
    assert "ada may not do this: it needs predict on default/fraud" in words
    now = int(time.time())
    stranger = Login().token(**scope)
    for shown, why in (
        (login.token(exp=now - 3600, **scope), "the token has expired"),
        (login.token(exp=None, **scope), "the token has no expiry (exp)"),
        (login.token(nbf=now + 3600, **scope), "the token is not valid yet"),
        (login.token(aud="others", **scope), "the token is for another audience"),
        (login.token(iss="https://else.example.com", **scope), "the token's issuer is not trusted here"),
        (stranger, "the token's signature is wrong"),
    ):
        code, words = platform.predict("churn", shown)
        assert (code, why in words) == (401, True), words
    # Rotation: the new key is trusted beside the old one, then instead of it.
    old, new = login.token(**scope), Login()
    both = trusted(new)
    both["data"]["jwks.json"] = json.dumps({"keys": [*login.jwks()["keys"], *new.jwks()["keys"]]})
    platform.apply(both)
    platform.until(200, "churn", new.token(**scope))
    assert platform.predict("churn", old)[0] == 200
    platform.apply(trusted(new))
    platform.until(401, "churn", old)
    assert platform.predict("churn", new.token(**scope))[0] == 200


def test_a_set_of_keys_that_cannot_be_read_lets_nobody_in_and_is_told(platform: Platform) -> None:
    broken = trusted(Login())
    broken["metadata"]["name"] = "torn"
    broken["data"]["jwks.json"] = "{"
    platform.apply(broken)
    end = time.monotonic() + PATIENCE_S
    while "jwks.json: must be a JWKS" not in (said := platform.run("events", "configmap/torn").stdout):
        assert time.monotonic() < end, said
        time.sleep(0.2)
    assert platform.predict("churn")[0] == 401
    assert platform.run("delete", "configmap", "torn").returncode == 0


def test_three_roles_may_look_change_and_give_access(platform: Platform) -> None:
    """A view kubeconfig in a dashboard must not be able to read Secrets, or change a model."""
    authority = ssl.create_default_context(cadata=(platform.folder / "home/pki/ca.pem").read_text())

    def call(role: str, method: str, path: str, body: Any = None) -> tuple[int, str]:
        import yaml

        named = platform.run("kubeconfig", "--role", role).stdout.strip()
        config = yaml.safe_load(Path(named).read_text())
        request = urllib.request.Request(
            config["clusters"][0]["cluster"]["server"] + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {config['users'][0]['user']['token']}",
                "Content-Type": "application/json",
            },
        )
        try:
            with urllib.request.urlopen(request, context=authority, timeout=PATIENCE_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    services = "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices"
    maps, secrets = "/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/secrets"
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}}
    assert call("view", "GET", services)[0] == 200
    code, words = call("view", "GET", secrets)
    assert (code, "view" in words) == (403, True), words
    assert call("view", "POST", maps, made)[0] == 403
    assert call("edit", "POST", maps, made)[0] == 201
    # What lies in no namespace is the administrator's.
    assert call("edit", "GET", "/api/v1/namespaces")[0] == 200
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "more"}}
    code, words = call("edit", "POST", "/api/v1/namespaces", space)
    assert (code, "does not include it" in words) == (403, True), words
    assert call("admin", "POST", "/api/v1/namespaces", space)[0] == 201
    assert call("view", "DELETE", f"{maps}/mine")[0] == 403
    assert call("edit", "DELETE", f"{maps}/mine")[0] == 200
