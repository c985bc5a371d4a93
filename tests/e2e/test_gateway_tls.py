"""Certificates of Gateways' listeners on a real platform: who asks for which name is shown what, and how it changes."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from node_platform import PATIENCE_S, Platform, running
from test_gateway_routes import Backend

from modelport._dataplane import self_signed
from modelport.kube.resource import ENDPOINT_SLICE, EVENT, GATEWAY, HTTP_ROUTE, SECRET, SERVICE, Object

HOSTS = {"wild": "*.shop.example", "exact": "a.shop.example"}


class Pair:
    """A certificate that its own authority has signed."""

    def __init__(self, *names: str) -> None:
        self.authority, self.chain, self.key = self_signed(list(names), 10)

    @property
    def seen(self) -> bytes:
        """As a client sees it."""
        return ssl.PEM_cert_to_DER_cert(self.chain)

    def secret(self, name: str, **more: str) -> Object:
        entries = {"tls.crt": self.chain, "tls.key": self.key} | more
        data = {key: base64.b64encode(text.encode()).decode() for key, text in entries.items()}
        meta = {"name": name, "namespace": "default"}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": meta,
            "type": "kubernetes.io/tls",
            "data": data,
        }


class Trusting(http.client.HTTPSConnection):
    """Asks 127.0.0.1 for another name, as `curl --resolve` does."""

    def __init__(self, name: str, port: int) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        super().__init__(name, port, timeout=PATIENCE_S, context=context)
        self._ours = context

    def connect(self) -> None:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        self.sock = self._ours.wrap_socket(plain, server_hostname=self.host)

    def get(self, path: str) -> int:
        self.request("GET", path)
        answer = self.getresponse()
        answer.read()
        return answer.status


class Shop:
    """A platform with TLS, and a Gateway with listeners of its own."""

    def __init__(self, platform: Platform, own: Pair) -> None:
        self.platform, self.own = platform, own
        self.port = int(json.loads((platform.folder / "platform.json").read_text())["gateway_port"])
        self.keys = [own.key]

    def gateway(self) -> None:
        listeners: list[Object] = [
            {
                "name": name,
                "hostname": host,
                "port": 443,
                "protocol": "HTTPS",
                "tls": {"mode": "Terminate", "certificateRefs": [{"name": name}]},
            }
            for name, host in HOSTS.items()
        ]
        self.platform.apply(GATEWAY, gateway_object(listeners))

    def put(self, name: str, pair: Pair, **more: str) -> None:
        self.keys += [pair.key, *more.values()]
        self.platform.apply(SECRET, pair.secret(name, **more))

    def seen(self, name: str | None) -> bytes:
        """The certificate that is shown to whom asks for this name."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as plain:
            with context.wrap_socket(plain, server_hostname=name) as stream:
                return stream.getpeercert(binary_form=True) or b""

    def until_seen(self, name: str | None, pair: Pair) -> None:
        self.platform.until(f"the new certificate for {name}", lambda: self.seen(name) == pair.seen)

    def conditions(self, listener: str) -> dict[str, Object]:
        found = self.platform.ask(lambda client: client.get(GATEWAY, "default", "shop"))
        for one in found.get("status", {}).get("listeners") or []:
            if one["name"] == listener:
                return {condition["type"]: condition for condition in one["conditions"]}
        return {}

    def until_said(self, listener: str, kind: str, status: str, words: str) -> Object:
        def told() -> Object | None:
            one = self.conditions(listener).get(kind, {})
            return one if one.get("status") == status and words in one["message"] else None

        return self.platform.until(f"{words!r} of {listener}", told)


def gateway_object(listeners: list[Object]) -> Object:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "shop", "namespace": "default"},
        "spec": {"gatewayClassName": "modelport", "listeners": listeners},
    }


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("tls")
    own = Pair("localhost", "127.0.0.1")
    (folder / "own.pem").write_text(own.chain)
    (folder / "own.key").write_text(own.key)
    (folder / "own.key").chmod(0o600)
    flags = (f"--tls-certificate={folder}/own.pem", f"--tls-key={folder}/own.key")
    backend = Backend("one")
    with running(folder / "platform", *flags) as platform:
        meta = {"name": "one", "namespace": "default"}
        platform.create(
            SERVICE,
            {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [{"port": 80}]}},
        )
        platform.create(
            ENDPOINT_SLICE,
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": meta | {"labels": {"kubernetes.io/service-name": "one"}},
                "addressType": "IPv4",
                "ports": [{"port": backend.server_address[1]}],
                "endpoints": [{"addresses": ["127.0.0.1"]}],
            },
        )
        platform.create(
            HTTP_ROUTE,
            {
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "HTTPRoute",
                "metadata": meta,
                "spec": {
                    "parentRefs": [{"name": "shop"}],
                    "rules": [{"backendRefs": [{"name": "one", "port": 80}]}],
                },
            },
        )
        found = Shop(platform, own)
        found.gateway()
        yield found
    backend.shutdown()
    backend.server_close()


def test_a_secret_is_shown_to_whom_asks_for_its_listeners_name(shop: Shop, tmp_path: Path) -> None:
    shop.until_said("wild", "ResolvedRefs", "False", 'no Secret "wild" in namespace default')
    assert shop.seen("b.shop.example") == shop.own.seen
    wild, exact = Pair("*.shop.example"), Pair("a.shop.example")
    shop.put("wild", wild)
    shop.put("exact", exact)
    shop.until_seen("b.shop.example", wild)
    shop.until_seen("a.shop.example", exact)
    for other in ("unknown.example", "x.b.shop.example", None):
        assert shop.seen(other) == shop.own.seen
    for listener in HOSTS:
        shop.until_said(listener, "ResolvedRefs", "True", "valid until")
        shop.until_said(listener, "Programmed", "True", "")
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("no curl to look at names, authority and HTTP/2 with")
    # A client that checks everything, over both versions of HTTP.
    for name, pair in (("a.shop.example", exact), ("b.shop.example", wild)):
        (tmp_path / "ca.pem").write_text(pair.authority)
        for version, flag in (("2", "--http2"), ("1.1", "--http1.1")):
            # Browsers send requests for other hosts over a connection whose certificate is good for them, too.
            for host in (name, "c.shop.example"):
                said = subprocess.run(
                    [
                        *(curl, "-sS", flag, "--cacert", str(tmp_path / "ca.pem")),
                        *("--resolve", f"{name}:{shop.port}:127.0.0.1", "-H", f"Host: {host}"),
                        *("-o", str(tmp_path / "body"), "-w", "%{http_version} %{http_code}"),
                        f"https://{name}:{shop.port}/hello",
                    ],
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=PATIENCE_S,
                )
                assert said.stdout == f"{version} 200", said
                saw = json.loads((tmp_path / "body").read_text())
                assert (saw["path"], saw["headers"]["x-forwarded-proto"]) == ("/hello", "https")


def test_rotation_under_load_fails_nothing(shop: Shop) -> None:
    shop.put("exact", Pair("a.shop.example"))
    over = threading.Event()
    asked, failures = [0, 0], list[str]()

    def ask(index: int, *, anew: bool) -> None:
        connection = Trusting("a.shop.example", shop.port)
        try:
            while not over.is_set():
                status = connection.get("/load")
                asked[index] += 1
                if status != 200:
                    failures.append(str(status))
                if anew:
                    connection.close()
        except Exception as error:  # noqa: BLE001 - every failure counts
            failures.append(repr(error))
        finally:
            connection.close()

    threads = [
        threading.Thread(target=ask, args=(0,), kwargs={"anew": True}),
        threading.Thread(target=ask, args=(1,), kwargs={"anew": False}),
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            new = Pair("a.shop.example")
            shop.put("exact", new)
            shop.until_seen("a.shop.example", new)
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert failures == []
    assert min(asked) > 0


def test_a_broken_secret_is_told_and_what_was_shown_stays(shop: Shop) -> None:
    good = Pair("a.shop.example")
    shop.put("exact", good)
    shop.until_seen("a.shop.example", good)
    shop.put("exact", Pair("a.shop.example"), **{"tls.key": Pair("a.shop.example").key})
    said = shop.until_said("exact", "ResolvedRefs", "False", "Secret default/exact, tls.key: does not fit")
    assert said["reason"] == "InvalidCertificateRef"
    assert "the certificate from before stays in force" in said["message"]
    assert shop.seen("a.shop.example") == good.seen
    # Also by a gateway that knows nothing but what is on disk.
    process = shop.platform.program("gateway")
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    shop.platform.until(
        "another gateway", lambda: (found := shop.platform.program("gateway")) and found.pid != process.pid
    )
    shop.until_seen("a.shop.example", good)
    mended = Pair("a.shop.example")
    shop.put("exact", mended)
    shop.until_seen("a.shop.example", mended)
    shop.until_said("exact", "ResolvedRefs", "True", "valid until")


def test_no_key_is_where_others_may_read(shop: Shop) -> None:
    folder = shop.platform.folder
    parts = [key.splitlines()[1] for key in shop.keys]

    def secret_in(text: str) -> bool:
        return "PRIVATE KEY" in text or any(part in text for part in parts)

    kept = list((folder / "gateway" / "certificates").iterdir())
    assert kept
    assert (folder / "gateway" / "certificates").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}
    # Those of before are gone.
    table = json.loads((folder / "gateway" / "table.json").read_text())
    shown = {one["file"] for name in table["tls"] for one in name["certificates"]}
    shop.platform.until("old files to go", lambda: {path.name for path in kept[0].parent.iterdir()} == shown)
    assert not secret_in((folder / "gateway" / "table.json").read_text())
    for path in (folder / "logs").glob("*.log"):
        assert not secret_in(path.read_text()), path
    events: Any = shop.platform.ask(lambda client: client.list(EVENT)).items
    gateway = shop.platform.ask(lambda client: client.get(GATEWAY, "default", "shop"))
    assert not secret_in(json.dumps([*events, gateway]))


def test_a_platform_with_plain_http_says_that_it_shows_no_certificate(tmp_path: Path) -> None:
    with running(tmp_path / "platform") as platform:
        plain = Shop(platform, Pair("localhost"))
        plain.put("wild", Pair("*.shop.example"))
        plain.gateway()
        said = plain.until_said("wild", "Programmed", "False", "The platform's port speaks plain HTTP")
        assert "modelport up --tls-certificate FILE" in said["message"]
        assert plain.conditions("wild")["ResolvedRefs"]["status"] == "True"
        assert not (platform.folder / "gateway" / "certificates").exists()
