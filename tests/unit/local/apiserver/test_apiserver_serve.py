"""The running server: connections, and what goes on beside requests."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from apiserver_api import config
from apiserver_process import NETWORK
from apiserver_running import Process, running

from modelport.kube.client import Client
from modelport.kube.meta import timestamp
from modelport.kube.resource import EVENT
from modelport.local.apiserver import expiry, namespaces
from modelport.local.apiserver.api import Api
from modelport.local.apiserver.create import create
from modelport.local.apiserver.expiry import sweep
from modelport.local.apiserver.options import WriteOptions
from modelport.local.apiserver.registry import Registry
from modelport.local.apiserver.serve import HEAD_LIMIT_BYTES, _listen
from modelport.local.apiserver.standard import standard
from modelport.local.apiserver.store import Store


def test_answers_do_not_wait_for_acknowledgements() -> None:
    """Without it the end of each answer is held back for 40 ms."""
    with _listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with running(tmp_path_factory.mktemp("serve")) as process:
        yield process


def raw(server: Process, content: bytes) -> bytes:
    """What comes back, until the server closes."""
    import ssl

    trust = ssl.create_default_context(cafile=str(server.folder / "ca.pem"))
    with (
        socket.create_connection(("127.0.0.1", server.port)) as plain,
        trust.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.settimeout(20)
        answer = b""
        try:
            connection.sendall(content)
            while part := connection.recv(65536):
                answer += part
        except (ConnectionError, ssl.SSLError):
            pass
        return answer


def test_the_platforms_programs_need_no_tls_but_a_token(server: Process) -> None:
    """Dozens of watches of one machine would each keep two TLS ends; yet nobody gets in by the socket alone."""
    path = server.folder / "api.sock"
    assert path.stat().st_mode & 0o777 == 0o600

    async def ask() -> None:
        async with Client.from_kubeconfig(server.folder / "kubeconfig-admin", socket=path) as client:
            listing = await client.list(EVENT, "default")
            events = client.watch(EVENT, "default", since=listing.resource_version, timeout_s=1)
            assert all(event.type == "BOOKMARK" for event in [event async for event in events])
        transport = httpx2.AsyncHTTPTransport(uds=str(path))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as stranger:
            assert (await stranger.get("/api/v1/secrets")).status_code == 401

    asyncio.run(ask())


def test_a_head_without_end_is_cut_short(server: Process) -> None:
    answer = raw(server, b"GET / HTTP/1.1\r\nX: " + b"y" * (HEAD_LIMIT_BYTES * 3))
    assert answer.startswith(b"HTTP/1.1 400") or answer == b"", answer[:100]
    with server.client() as http:
        assert http.get("/readyz").status_code == 200
        large = http.get("/readyz", headers={"X": "y" * 30_000})
        assert large.status_code == 200


@pytest.mark.parametrize(
    "content",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
    ids=lambda content: content[:20],
)
def test_what_is_no_http_is_refused(server: Process, content: bytes) -> None:
    assert b" 5" not in raw(server, content)[:13]
    with server.client() as http:
        assert http.get("/readyz").status_code == 200


def test_plain_http_is_not_served(server: Process) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.settimeout(20)
        connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        with suppress(ConnectionError):
            assert b"200" not in connection.recv(100)


def test_a_body_that_never_comes_holds_nobody_up(server: Process) -> None:
    with socket.create_connection(("127.0.0.1", server.port)), server.client() as http:
        answer = http.post("/api/v1/namespaces/default/configmaps", json=config("other"))
        assert answer.status_code == 201


def test_old_events_go_and_the_newest_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "KEEP_EVENTS", 2)
    now = datetime(2026, 1, 2, tzinfo=UTC)

    async def test() -> list[str]:
        store = Store(tmp_path / "state.db")
        store.start()
        api = Api(store, Registry(standard(NETWORK)), clock=lambda: now)
        await namespaces.make(api)
        for name, hours in (("fresh", 0), ("hour", 1), ("two", 2), ("old", 25)):
            event = {
                "metadata": {"name": name},
                "involvedObject": {"namespace": "default"},
                "lastTimestamp": timestamp(now - timedelta(hours=hours)),
            }
            await create(api, api.registry.of(EVENT), "default", event, WriteOptions(field_manager="t"))
        await sweep(api)
        left = [row.name for row in store.rows(EVENT.qualified)]
        await store.close()
        return left

    assert asyncio.run(test()) == ["fresh", "hour"]
