"""What a loop reads: never less than what it wrote itself, however slow the watch is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from modelport.control.cache import Cache
from modelport.kube.client import Unreachable
from modelport.kube.errors import ApiError
from modelport.kube.resource import EVENT, POD, REPLICA_SET, SERVICE_ACCOUNT
from modelport.local.workloads import view as views
from modelport.local.workloads.claim import INDEXES
from modelport.local.workloads.replicaset.loop import ReplicaSets
from modelport.local.workloads.view import View


def pod(name: str = "a", **meta: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"} | meta,
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }


def replica_set(replicas: int) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod()["spec"]},
        },
    }


async def filled(view: View) -> None:
    """Lists once: from here on the watch shows nothing."""
    await view.cache._list()


def test_what_was_written_is_seen_at_once(embedded: Any) -> None:
    async def scene() -> None:
        async with embedded() as api:
            view = View(api.client, POD, INDEXES)
            await filled(view)
            created = await view.create(pod("a"))
            assert view.get("default", "a") == created
            assert view.by("orphan", "default") == [created]
            assert list(view.all()) == [created]
            owner = {"apiVersion": "v1", "kind": "X", "name": "x", "uid": "u", "controller": True}
            owned = await view.patch(created, {"ownerReferences": [owner]})
            assert view.by("controller", "u") == [owned]
            assert view.by("orphan", "default") == []
            await view.delete(owned)
            assert (
                view.get("default", "a") is None or view.get("default", "a")["metadata"]["deletionTimestamp"]
            )

    asyncio.run(scene())


def test_the_watch_takes_over_when_it_has_caught_up(embedded: Any) -> None:
    async def scene() -> None:
        async with embedded() as api:
            view = View(api.client, POD, INDEXES)
            await filled(view)
            await view.create(pod("a"))
            api.run(view.cache.run())
            await api.until(lambda: view.check_in_s is None)
            changed = await api.client.patch(POD, "default", "a", {"metadata": {"labels": {"x": "y"}}})
            await api.until(lambda: view.get("default", "a") == changed)

    asyncio.run(scene())


def test_an_object_that_comes_and_goes_between_two_lists_is_no_ghost(
    embedded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod that nobody will ever delete would count as a replica for ever."""
    monkeypatch.setattr(views, "LATE_S", 0.0)

    async def scene() -> None:
        async with embedded() as api:
            view = View(api.client, POD, INDEXES)
            await filled(view)
            await view.create(pod("a"))
            await api.client.delete(POD, "default", "a", grace_s=0)
            await filled(view)
            assert view.get("default", "a") is not None
            assert view.check_in_s is not None
            await view.settle()
            assert view.get("default", "a") is None
            assert view.check_in_s is None

    asyncio.run(scene())


def test_a_write_without_an_answer_is_looked_up(embedded: Any) -> None:
    """The API server may have done it before it died: creating again would double the pod."""

    async def scene() -> None:
        async with embedded() as api:
            view = View(api.client, POD, INDEXES)
            await filled(view)
            real = api.client.create

            async def lost(*arguments: Any) -> Any:
                await real(*arguments)
                raise Unreachable("the connection broke")

            api.client.create = lost
            with pytest.raises(Unreachable):
                await view.create(pod("a"))
            assert view.get("default", "a") is None
            await view.settle()
            assert view.get("default", "a") is not None

    asyncio.run(scene())


def test_a_name_that_is_taken_is_looked_up(embedded: Any) -> None:
    async def scene() -> None:
        async with embedded() as api:
            view = View(api.client, POD, INDEXES)
            await filled(view)
            other = await api.client.create(POD, pod("a"))
            with pytest.raises(ApiError, match="already exists"):
                await view.create(pod("a"))
            await view.settle()
            assert view.get("default", "a") == other

    asyncio.run(scene())


def test_a_watch_that_stands_still_never_doubles_pods(embedded: Any) -> None:
    async def scene() -> None:
        async with embedded() as api:
            sets, pods = View(api.client, REPLICA_SET, INDEXES), View(api.client, POD, INDEXES)
            loop = ReplicaSets(api.client, sets, pods, Cache(api.client, SERVICE_ACCOUNT))
            await api.client.create(REPLICA_SET, replica_set(3))
            await filled(sets)
            await filled(pods)
            for _ in range(5):
                await loop.reconcile(("default", "web"))
            assert len(await api.all(POD)) == 3
            await api.client.patch(REPLICA_SET, "default", "web", {"spec": {"replicas": 1}})
            await filled(sets)
            for _ in range(5):
                await loop.reconcile(("default", "web"))
            left = [one for one in await api.all(POD) if not one["metadata"].get("deletionTimestamp")]
            assert len(left) == 1

    asyncio.run(scene())


def test_a_refused_pod_is_tried_alone_and_said_once(embedded: Any) -> None:
    """A refusal that names the random pod would be another text each time: a loop that writes for ever."""

    async def scene() -> None:
        async with embedded() as api:
            sets, pods = View(api.client, REPLICA_SET, INDEXES), View(api.client, POD, INDEXES)
            loop = ReplicaSets(api.client, sets, pods, Cache(api.client, SERVICE_ACCOUNT))
            await api.client.create(REPLICA_SET, replica_set(20))
            await filled(sets)
            await filled(pods)
            tries: list[str] = []

            real = api.client.create

            async def refuse(resource: Any, body: dict[str, Any]) -> Any:
                if resource is not POD:
                    return await real(resource, body)
                tries.append(body["metadata"]["name"])
                raise ApiError(403, "Forbidden", f'pods "{tries[-1]}" is forbidden: no')

            api.client.create = refuse
            for _ in range(3):
                with pytest.raises(ApiError):
                    await loop.reconcile(("default", "web"))
            assert len(set(tries)) == 3
            item = await api.client.get(REPLICA_SET, "default", "web")
            (condition,) = item["status"]["conditions"]
            assert (condition["type"], condition["status"], condition["reason"]) == (
                "ReplicaFailure",
                "True",
                "FailedCreate",
            )
            assert condition["message"] == 'pods "web-…" is forbidden: no'
            (event,) = await api.all(EVENT)
            assert (event["type"], event["reason"], event["count"]) == ("Warning", "FailedCreate", 3)

    asyncio.run(scene())
