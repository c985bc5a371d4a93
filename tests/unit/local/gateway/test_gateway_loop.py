"""The loop against the real API server: tables on disk, versions in force, pods let go, routes told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from login import login
from standin import Standin

from modelport.control import observed
from modelport.kube.errors import ApiError
from modelport.kube.resource import (
    CONFIG_MAP,
    CUSTOM_RESOURCE_DEFINITION,
    ENDPOINT_SLICE,
    GATEWAY,
    GATEWAY_CLASS,
    HTTP_ROUTE,
    NAMESPACE,
    POD,
    SECRET,
    SERVICE,
    Resource,
)
from modelport.local.folder import Folder
from modelport.local.gateway import auth, issuers, release, tell
from modelport.local.gateway import run as gateway
from modelport.wire import table as wire
from modelport.wire.table import Table

UNROUTED = "internal.modelport.io/unrouted"


class Scene:
    """An API server with a Gateway, the loop, and a gateway that can be told what to do."""

    def __init__(self, api: Any, folder: Folder) -> None:
        self.api, self.client, self.folder = api, api.client, folder
        self.gateway = Standin(folder.table, folder.admin_socket)
        self.task: asyncio.Task[Any] | None = None

    def loop(self) -> None:
        self.task = self.api.run(gateway.run(self.client, self.folder, "127.0.0.1"))

    def table(self) -> Table:
        return wire.decode(self.folder.table.read_bytes()) if self.folder.table.exists() else Table(version=0)

    async def make(self, resource: Any, item: dict[str, Any]) -> dict[str, Any]:
        item = {"apiVersion": resource.api_version, "kind": resource.kind} | item
        return await self.client.create(resource, item)

    async def route(self, name: str = "iris", path: str = "/", **meta: Any) -> dict[str, Any]:
        return await self.make(
            HTTP_ROUTE,
            {
                "metadata": {"name": name, "namespace": "default"} | meta,
                "spec": {
                    "parentRefs": [{"namespace": "kserve", "name": "g"}],
                    "hostnames": [f"{name}.example.com"],
                    "rules": [
                        {
                            "matches": [{"path": {"type": "RegularExpression", "value": path}}],
                            "backendRefs": [{"name": "iris", "port": 80}],
                        }
                    ],
                },
            },
        )

    async def service(self) -> None:
        spec = {"selector": {"app": "iris"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
        await self.make(SERVICE, {"metadata": {"name": "iris", "namespace": "default"}, "spec": spec})

    async def pod(self, name: str, address: str, *, in_slice: bool = True) -> dict[str, Any]:
        """A ready pod, and a slice of its own for it."""
        spec = {"containers": [{"name": "c", "image": "i"}]}
        pod = await self.make(
            POD, {"metadata": {"name": name, "namespace": "default", "labels": {"app": "iris"}}, "spec": spec}
        )
        status = {
            "phase": "Running",
            "podIP": address,
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        pod = await self.client.patch(POD, "default", name, {"status": status}, subresource="status")
        if in_slice:
            target = {"kind": "Pod", "namespace": "default", "name": name, "uid": pod["metadata"]["uid"]}
            await self.make(
                ENDPOINT_SLICE,
                {
                    "metadata": {
                        "name": f"iris-{name}",
                        "namespace": "default",
                        "labels": {"kubernetes.io/service-name": "iris"},
                    },
                    "addressType": "IPv4",
                    "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
                    "endpoints": [
                        {"addresses": [address], "conditions": {"ready": True}, "targetRef": target}
                    ],
                },
            )
        return pod

    def endpoints(self) -> list[str]:
        found = self.gateway.table.clusters.get("default/iris:80")
        return found.endpoints if found else []

    async def conditions(self, name: str = "iris") -> dict[str, tuple[str, str]]:
        route = await self.client.get(HTTP_ROUTE, "default", name)
        parents = route.get("status", {}).get("parents") or [{"conditions": []}]
        return {c["type"]: (c["status"], c["reason"]) for c in parents[0]["conditions"]}

    async def is_unrouted(self, name: str) -> bool:
        pod = await self.client.get(POD, "default", name)
        return (pod["metadata"].get("annotations") or {}).get(UNROUTED) == "true"


def play(
    embedded: Any, tmp_path: Path, body: Callable[[Scene], Awaitable[None]], *, gateway_runs: bool = True
) -> None:
    async def run() -> None:
        async with embedded() as api:
            folder = Folder(tmp_path / "home")
            folder.make()
            scene = Scene(api, folder)
            with suppress(ApiError):  # it may always be there
                await scene.make(NAMESPACE, {"metadata": {"name": "kserve"}})
            await scene.make(
                GATEWAY_CLASS,
                {"metadata": {"name": "modelport"}, "spec": {"controllerName": "modelport.io/gateway"}},
            )
            listener = {
                "name": "http",
                "port": 80,
                "protocol": "HTTP",
                "allowedRoutes": {"namespaces": {"from": "All"}},
            }
            await scene.make(
                GATEWAY,
                {
                    "metadata": {"name": "g", "namespace": "kserve"},
                    "spec": {"gatewayClassName": "modelport", "listeners": [listener]},
                },
            )
            if gateway_runs:
                await scene.gateway.start()
            scene.loop()
            await body(scene)

    asyncio.run(run())


def test_a_route_comes_into_force_and_says_so(embedded: Any, tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        await scene.service()
        await scene.pod("a", "127.77.0.5")
        await scene.route()

        async def told() -> bool:
            return (await scene.conditions()).get("Programmed") == ("True", "Programmed")

        await scene.api.until(told)
        assert scene.endpoints() == ["127.77.0.5:8080"]
        assert await scene.conditions() == {
            "Accepted": ("True", "Accepted"),
            "ResolvedRefs": ("True", "ResolvedRefs"),
            "Programmed": ("True", "Programmed"),
        }

        async def gateway_told() -> bool:
            item = await scene.client.get(GATEWAY, "kserve", "g")
            status = item.get("status", {})
            conditions = {c["type"]: c["status"] for c in status.get("conditions") or []}
            return (
                conditions.get("Programmed") == "True"
                and status["listeners"][0]["attachedRoutes"] == 1
                and status["addresses"] == [{"type": "IPAddress", "value": "127.0.0.1"}]
            )

        await scene.api.until(gateway_told)
        found = await scene.client.get(GATEWAY_CLASS, None, "modelport")
        assert found["status"]["conditions"][0]["status"] == "True"

    play(embedded, tmp_path, body)


def test_a_pod_is_let_go_when_no_version_in_force_leads_to_it(embedded: Any, tmp_path: Path) -> None:
    """Stopped any earlier, it would take requests with it."""

    async def body(scene: Scene) -> None:
        await scene.service()
        await scene.pod("a", "127.77.0.5")
        await scene.route()
        await scene.api.until(lambda: scene.endpoints() == ["127.77.0.5:8080"])
        scene.gateway.hangs = True
        # Its slice goes on calling it ready: nobody has changed it yet.
        await scene.client.delete(POD, "default", "a")
        await scene.api.until(lambda: scene.table().clusters["default/iris:80"].endpoints == [])
        assert not await scene.is_unrouted("a")
        scene.gateway.hangs = False
        await scene.api.until(lambda: scene.is_unrouted("a"))
        assert scene.endpoints() == []

    play(embedded, tmp_path, body)


def test_a_pod_without_service_is_let_go_at_once(embedded: Any, tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        await scene.pod("lonely", "127.77.0.9", in_slice=False)
        await scene.client.delete(POD, "default", "lonely")
        await scene.api.until(lambda: scene.is_unrouted("lonely"), 4)

    play(embedded, tmp_path, body)


def test_without_a_gateway_the_table_is_written_and_pods_are_let_go(
    embedded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead gateway must not keep models from being stopped or changed."""
    monkeypatch.setattr(release, "LIMIT_S", 0.5)
    monkeypatch.setattr(tell, "GRACE_S", 0.2)

    async def body(scene: Scene) -> None:
        await scene.service()
        await scene.pod("a", "127.77.0.5")
        await scene.route()

        def written() -> list[str]:
            found = scene.table().clusters.get("default/iris:80")
            return found.endpoints if found else []

        await scene.api.until(lambda: written() == ["127.77.0.5:8080"])

        async def pending() -> bool:
            found = await scene.conditions()
            return found.get("Programmed") == ("False", "Pending") and found["Accepted"][0] == "True"

        await scene.api.until(pending)
        await scene.client.delete(POD, "default", "a")
        await scene.api.until(lambda: scene.is_unrouted("a"))
        await scene.gateway.start()

        async def programmed() -> bool:
            return (await scene.conditions()).get("Programmed") == ("True", "Programmed")

        await scene.api.until(programmed)

    play(embedded, tmp_path, body, gateway_runs=False)


@pytest.mark.parametrize("leaves_out", [False, True], ids=["all refused", "one left out"])
def test_one_route_that_the_gateway_refuses_stops_nobody_else(
    embedded: Any, tmp_path: Path, leaves_out: bool
) -> None:
    async def body(scene: Scene) -> None:
        await scene.service()
        scene.gateway.refuses, scene.gateway.leaves_out = "rust-cannot", leaves_out
        await scene.route("bad", "/rust-cannot")

        async def refused() -> bool:
            return (await scene.conditions("bad")).get("Accepted") == ("False", "UnsupportedValue")

        await scene.api.until(refused)
        await scene.route("good")

        async def programmed(name: str) -> bool:
            return (await scene.conditions(name)).get("Programmed") == ("True", "Programmed")

        await scene.api.until(lambda: programmed("good"))
        public = [route.name for route in scene.gateway.table.routes if not route.internal]
        assert public == ["default/good"]
        mended = [{"backendRefs": [{"name": "iris", "port": 80}]}]
        await scene.client.patch(HTTP_ROUTE, "default", "bad", {"spec": {"rules": mended}})
        await scene.api.until(lambda: programmed("bad"))

    play(embedded, tmp_path, body)


def test_after_a_restart_versions_go_on_and_nothing_is_written_anew(embedded: Any, tmp_path: Path) -> None:
    """A version that was used twice would tell the loop that the gateway has what it has not."""

    async def body(scene: Scene) -> None:
        await scene.service()
        await scene.route()

        async def programmed() -> bool:
            return (await scene.conditions()).get("Programmed") == ("True", "Programmed")

        await scene.api.until(programmed)
        version, written = scene.table().version, scene.folder.table.stat().st_mtime_ns
        await scene.api.kill(scene.task)
        scene.loop()
        await scene.pod("a", "127.77.0.5", in_slice=False)
        await scene.client.delete(POD, "default", "a")
        await scene.api.until(lambda: scene.is_unrouted("a"))
        assert (scene.table().version, scene.folder.table.stat().st_mtime_ns) == (version, written)
        await scene.api.kill(scene.task)
        scene.folder.table.write_text("{")
        scene.loop()
        await scene.api.until(lambda: scene.gateway.table.version > version)
        assert scene.gateway.seen == sorted(scene.gateway.seen)

    play(embedded, tmp_path, body)


def test_a_gateway_that_begins_anew_with_nothing_is_told_of(embedded: Any, tmp_path: Path) -> None:
    """Else a service would be Ready whose every request is answered 404."""

    async def body(scene: Scene) -> None:
        await scene.service()
        await scene.route()

        async def programmed(status: str) -> bool:
            return (await scene.conditions()).get("Programmed", ("",))[0] == status

        await scene.api.until(lambda: programmed("True"))
        scene.gateway.kill()
        scene.gateway.is_older = True
        await scene.gateway.start()
        await scene.api.until(lambda: programmed("False"))
        item = await scene.client.get(HTTP_ROUTE, "default", "iris")
        words = {c["type"]: c["message"] for c in item["status"]["parents"][0]["conditions"]}["Programmed"]
        assert "unknown field `colour`" in words
        assert observed.route(item) == words
        scene.gateway.kill()
        scene.gateway.is_older = False
        await scene.gateway.start()
        await scene.api.until(lambda: programmed("True"))

    play(embedded, tmp_path, body)


def test_a_table_that_somebody_damaged_is_written_again(embedded: Any, tmp_path: Path) -> None:
    """A gateway that restarts goes by the file; with a broken one, every service would be gone."""

    async def body(scene: Scene) -> None:
        await scene.service()
        await scene.route()

        async def programmed() -> bool:
            return (await scene.conditions()).get("Programmed") == ("True", "Programmed")

        await scene.api.until(programmed)
        written = scene.folder.table.read_bytes()
        scene.gateway.kill()
        scene.gateway.is_older = True  # that is: it cannot read what is there
        scene.folder.table.write_text("{")
        await scene.gateway.start()
        await scene.api.until(lambda: scene.folder.table.read_bytes() == written)

    play(embedded, tmp_path, body)


def test_keys_come_and_go(embedded: Any, tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        await scene.api.until(lambda: scene.table().version > 0)
        assert scene.table().auth is None
        meta = {"name": "k", "namespace": "default", "labels": {"serving.modelport.io/api-keys": "true"}}
        await scene.make(SECRET, {"metadata": meta, "stringData": {"team-a": "secret"}})

        def ids() -> list[str] | None:
            auth = scene.gateway.table.auth
            return [key.id for key in auth.keys] if auth else None

        await scene.api.until(lambda: ids() == ["team-a"])
        assert b"secret" not in scene.folder.table.read_bytes()
        await scene.client.delete(SECRET, "default", "k")
        await scene.api.until(lambda: ids() is None)
        file = scene.folder.path / "api-keys"
        file.write_text(f"team-b sha256:{'0' * 64}\n")
        file.chmod(0o600)
        await scene.api.until(lambda: ids() == ["team-b"])
        file.write_text("")
        await scene.api.until(lambda: ids() == [])

    play(embedded, tmp_path, body)


def test_grants_count_as_soon_as_their_kind_is_defined(embedded: Any, tmp_path: Path) -> None:
    """Whoever applies Gateway API's definitions and a grant need not know that a start comes between them; and a grant
    that goes with its definition opens nothing any more."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1beta1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "referencegrants", "singular": "referencegrant", "kind": "ReferenceGrant"}
    grant = Resource(
        group="gateway.networking.k8s.io", version="v1beta1", kind="ReferenceGrant", plural="referencegrants"
    )
    definition = {
        "metadata": {"name": "referencegrants.gateway.networking.k8s.io"},
        "spec": {
            "group": grant.group,
            "names": names | {"listKind": "ReferenceGrantList"},
            "scope": "Namespaced",
            "versions": [version],
        },
    }

    async def body(scene: Scene) -> None:
        await scene.service()
        await scene.pod("a", "127.77.0.5")
        with suppress(ApiError):
            await scene.make(NAMESPACE, {"metadata": {"name": "front"}})
        backend = {"name": "iris", "namespace": "default", "port": 80}
        parents = [{"namespace": "kserve", "name": "g"}]
        spec = {"parentRefs": parents, "hostnames": ["a.example.com"], "rules": [{"backendRefs": [backend]}]}
        await scene.make(HTTP_ROUTE, {"metadata": {"name": "far", "namespace": "front"}, "spec": spec})

        async def reason() -> str:
            route = await scene.client.get(HTTP_ROUTE, "front", "far")
            told = (route.get("status", {}).get("parents") or [{"conditions": []}])[0]["conditions"]
            return next((c["reason"] for c in told if c["type"] == "ResolvedRefs"), "")

        async def refused() -> bool:
            return await reason() == "RefNotPermitted"

        async def resolved() -> bool:
            return await reason() == "ResolvedRefs" and bool(scene.endpoints())

        async def granted() -> bool:
            source = {"group": grant.group, "kind": "HTTPRoute", "namespace": "front"}
            rule = {"from": [source], "to": [{"group": "", "kind": "Service"}]}
            with suppress(ApiError):  # its kind is about to be served
                await scene.make(grant, {"metadata": {"name": "front", "namespace": "default"}, "spec": rule})
                return True
            return False

        await scene.api.until(refused)
        await scene.make(CUSTOM_RESOURCE_DEFINITION, definition)
        await scene.api.until(granted)
        await scene.api.until(resolved)
        await scene.client.delete(CUSTOM_RESOURCE_DEFINITION, None, definition["metadata"]["name"])
        await scene.api.until(refused)

    play(embedded, tmp_path, body)


def test_others_who_look_after_a_route_keep_their_words(embedded: Any, tmp_path: Path) -> None:
    async def body(scene: Scene) -> None:
        await scene.service()
        await scene.route()
        other = {"parentRef": {"name": "theirs"}, "controllerName": "example.com/other", "conditions": []}

        async def both() -> bool:
            route = await scene.client.get(HTTP_ROUTE, "default", "iris")
            parents = route.get("status", {}).get("parents") or []
            return {one["controllerName"] for one in parents} == {"modelport.io/gateway", "example.com/other"}

        await scene.client.patch(
            HTTP_ROUTE, "default", "iris", {"status": {"parents": [other]}}, subresource="status"
        )
        await scene.api.until(both)
        await scene.client.delete(GATEWAY, "kserve", "g")

        async def only_theirs() -> bool:
            route = await scene.client.get(HTTP_ROUTE, "default", "iris")
            return [one["controllerName"] for one in route["status"]["parents"]] == ["example.com/other"]

        await scene.api.until(only_theirs)

    play(embedded, tmp_path, body)


def test_an_issuer_is_asked_when_the_gateway_gets_tokens_with_unknown_keys(
    embedded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From another gateway than at first, too."""
    monkeypatch.setattr(issuers, "UNASKED_S", 0.0)
    monkeypatch.setattr(gateway, "AGAIN_S", 0.01)

    async def body(scene: Scene) -> None:
        with login(tls=False) as at:

            def serve(kid: str) -> None:
                at.serves({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": "A" * 43}]})

            def known() -> list[str]:
                section = scene.gateway.table.auth
                return [key["kid"] for one in section.jwks for key in one.keys["keys"]] if section else []

            def strange() -> list[str]:
                scene.gateway.strangers.append(at.address)
                return known()

            serve("one")
            await scene.make(
                CONFIG_MAP,
                {
                    "metadata": {"name": "login", "namespace": "default", "labels": {auth.JWKS: "true"}},
                    "data": {"issuer": at.address, "refresh": "86400"},
                },
            )
            await scene.api.until(lambda: known() == ["one"])
            serve("two")
            await scene.api.until(lambda: strange() == ["two"])
            scene.gateway.kill()
            scene.gateway.strangers.clear()
            await scene.gateway.start()
            serve("three")
            await scene.api.until(lambda: strange() == ["three"])

    play(embedded, tmp_path, body)
