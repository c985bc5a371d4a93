"""Certificates on their way from a Secret to the gateway's folder, against the real API server."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from standin import Standin
from test_listener_certificates import CHAIN, KEY, OTHER_CHAIN, OTHER_KEY, gateway, listener, secret

from modelport.kube.errors import ApiError
from modelport.kube.resource import GATEWAY, GATEWAY_CLASS, NAMESPACE, SECRET
from modelport.local.folder import Folder
from modelport.local.gateway import run as translator
from modelport.local.gateway.certificate_files import CertificateFiles


class Scene:
    """An API server with a Gateway that wants a certificate, the loop, and a stand-in for the gateway."""

    def __init__(self, api: Any, folder: Folder) -> None:
        self.api, self.client, self.folder = api, api.client, folder
        self.gateway = Standin(folder.table, folder.admin_socket)
        self.ahead = timedelta()
        self.task: asyncio.Task[Any] | None = None

    def loop(self) -> None:
        def now() -> datetime:
            return datetime.now(UTC) + self.ahead

        self.task = self.api.run(translator.run(self.client, self.folder, "127.0.0.1", tls=True, now=now))

    async def put(self, chain: str, key: str) -> None:
        await self.client.apply(SECRET, {"apiVersion": "v1"} | secret(chain, key), field_manager="t")

    @property
    def shown(self) -> list[str]:
        """Files that the gateway goes by."""
        return [one.file for name in self.gateway.table.tls for one in name.certificates]

    @property
    def kept(self) -> set[str]:
        folder = self.folder.gateway / "certificates"
        return {path.name for path in folder.iterdir()} if folder.exists() else set()

    async def says(self, kind: str, status: str, words: str) -> bool:
        found = await self.client.get(GATEWAY, "kserve", "g")
        listed = found.get("status", {}).get("listeners") or [{"conditions": []}]
        return any(
            one["type"] == kind and one["status"] == status and words in one["message"]
            for one in listed[0]["conditions"]
        )


def play(embedded: Any, tmp_path: Path, body: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        async with embedded() as api:
            folder = Folder(tmp_path / "home")
            folder.make()
            scene = Scene(api, folder)
            with suppress(ApiError):  # it may always be there
                await api.client.create(
                    NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kserve"}}
                )
            group = {"apiVersion": GATEWAY.api_version}
            controller = {"controllerName": "modelport.io/gateway"}
            await api.client.create(
                GATEWAY_CLASS,
                group | {"kind": "GatewayClass", "metadata": {"name": "modelport"}, "spec": controller},
            )
            await api.client.create(GATEWAY, group | gateway(listener()))
            await scene.gateway.start()
            scene.loop()
            await body(scene)

    asyncio.run(run())


def test_a_secret_is_followed_into_the_folder_and_its_old_file_goes(embedded: Any, tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        await scene.api.until(lambda: scene.says("ResolvedRefs", "False", 'no Secret "shop-tls"'))
        await scene.put(CHAIN, KEY)
        await scene.api.until(lambda: len(scene.shown) == 1)
        (first,) = scene.shown
        path = scene.folder.gateway / "certificates" / first
        assert hashlib.sha256(path.read_bytes()).hexdigest() == first
        assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        await scene.api.until(lambda: scene.says("ResolvedRefs", "True", "valid until"))
        await scene.put(OTHER_CHAIN, OTHER_KEY)
        await scene.api.until(lambda: scene.shown not in ([first], []))
        await scene.api.until(lambda: scene.kept == set(scene.shown))
        assert b"PRIVATE" not in scene.folder.table.read_bytes()

    play(embedded, tmp_path, body)


def test_a_broken_secret_changes_nothing_also_after_a_restart(embedded: Any, tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        await scene.put(CHAIN, KEY)
        await scene.api.until(lambda: scene.says("ResolvedRefs", "True", "valid until"))
        before = scene.shown
        await scene.put(CHAIN, OTHER_KEY)
        await scene.api.until(lambda: scene.says("ResolvedRefs", "False", "does not fit"))
        await scene.api.kill(scene.task)
        scene.loop()
        await scene.client.delete(SECRET, "kserve", "shop-tls")
        await scene.api.until(lambda: scene.says("ResolvedRefs", "False", "certificate from before stays"))
        assert await scene.says("Programmed", "True", "")
        assert scene.shown == before
        assert scene.kept == set(before)
        # Without the listener it goes.
        item = await scene.client.get(GATEWAY, "kserve", "g")
        plain = {"name": "http", "port": 80, "protocol": "HTTP"}
        await scene.client.replace(GATEWAY, item | {"spec": item["spec"] | {"listeners": [plain]}})
        await scene.api.until(lambda: scene.shown == [] and scene.kept == set())

    play(embedded, tmp_path, body)


def test_that_a_certificate_expired_is_told_when_it_does(embedded: Any, tmp_path: Path) -> None:
    """Nothing else may change for months: the loop has to wake by itself."""

    async def body(scene: Scene) -> None:
        await scene.put(CHAIN, KEY)
        await scene.api.until(lambda: scene.says("ResolvedRefs", "True", "valid until"))
        before = scene.shown
        await scene.api.kill(scene.task)
        # Two seconds before the end.
        until = await _until(scene)
        scene.ahead = until - datetime.now(UTC) - timedelta(seconds=2)
        scene.loop()
        await scene.api.until(lambda: scene.says("ResolvedRefs", "False", "expired on"))
        assert scene.shown == before

    async def _until(scene: Scene) -> datetime:
        from modelport._dataplane import read_certificate

        return datetime.fromtimestamp(read_certificate(CHAIN.encode(), KEY.encode(), "*")[1], UTC)

    play(embedded, tmp_path, body)


def test_what_a_killed_process_left_and_what_was_damaged_is_put_right(tmp_path: Path) -> None:
    files = CertificateFiles(tmp_path / "table.json")
    content = b"a"
    name = hashlib.sha256(content).hexdigest()
    files.keep([])  # there is no folder yet
    files.write({name: content})
    assert files.is_whole(name)
    path = tmp_path / "certificates" / name
    path.write_bytes(b"")
    (tmp_path / "certificates" / f".{name}.99").write_bytes(b"half")
    assert not files.is_whole(name)
    files.write({name: content})
    files.keep([name])
    assert [one.name for one in path.parent.iterdir()] == [name]
    assert files.is_whole(name)
    assert not files.is_whole("0" * 64)
