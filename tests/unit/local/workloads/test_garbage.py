"""What goes with its owners, what waits, and what is let go free."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from modelport.kube.errors import ApiError
from modelport.kube.resource import CONFIG_MAP, POD, SECRET, SERVICE
from modelport.local.workloads import run as workloads
from modelport.local.workloads.garbage import Judgement, State, judge


def item(*finalizers: str, deleting: bool = False) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": "x", "finalizers": list(finalizers)}
    return {"metadata": meta | ({"deletionTimestamp": "2025-01-01T00:00:00Z"} if deleting else {})}


@pytest.mark.parametrize(
    ("one", "states", "has_dependents", "expected"),
    [
        (item(), [], False, Judgement()),
        (item(), ["present"], False, Judgement()),
        (item(), ["unknown"], False, Judgement()),
        (item(), ["absent"], False, Judgement(delete="Background")),
        (item("orphan"), ["absent"], True, Judgement(delete="Orphan")),
        (item("foregroundDeletion"), ["absent"], True, Judgement(delete="Foreground")),
        (item(), ["waiting"], False, Judgement(delete="Background")),
        (item(), ["waiting"], True, Judgement(delete="Foreground")),
        (item(), ["absent", "waiting"], True, Judgement(delete="Foreground")),
        (item(), ["present", "absent"], False, Judgement(drop=("1",))),
        (item(), ["waiting", "present"], False, Judgement(drop=("0",))),
        (item(), ["absent", "unknown"], False, Judgement(drop=("0",))),
        (item(deleting=True), ["absent"], False, Judgement()),
    ],
)
def test_judgement(
    one: dict[str, Any], states: list[State], has_dependents: bool, expected: Judgement
) -> None:
    owners = [({"uid": str(index)}, state) for index, state in enumerate(states)]
    assert judge(one, owners, has_dependents) == expected


def config_map(name: str, *owners: dict[str, Any], **meta: Any) -> dict[str, Any]:
    references = [
        {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": True,
        }
        for owner in owners
    ]
    meta |= {"name": name, "namespace": "default", "ownerReferences": references}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}


async def names(api: Any) -> list[str]:
    return sorted(one["metadata"]["name"] for one in await api.all(CONFIG_MAP))


def in_cluster(embedded: Any, scene: Any, *, controllers: bool = True) -> None:
    async def body() -> None:
        async with AsyncExitStack() as stack:
            api = await stack.enter_async_context(embedded())
            if controllers:
                api.run(workloads.run(api.client))
            await scene(api)

    asyncio.run(body())


def test_dependents_of_dependents_go_too(embedded: Any) -> None:
    async def scene(api: Any) -> None:
        root = await api.client.create(CONFIG_MAP, config_map("root"))
        child = await api.client.create(CONFIG_MAP, config_map("child", root))
        await api.client.create(CONFIG_MAP, config_map("grandchild", child))
        await api.client.create(CONFIG_MAP, config_map("stranger"))
        await api.client.delete(CONFIG_MAP, "default", "root")
        await api.until(lambda: _are(api, ["stranger"]))

    in_cluster(embedded, scene)


def test_an_owner_that_went_while_nobody_looked_is_missed_after_a_restart(embedded: Any) -> None:
    async def scene(api: Any) -> None:
        root = await api.client.create(CONFIG_MAP, config_map("root"))
        await api.client.create(CONFIG_MAP, config_map("child", root))
        await api.client.delete(CONFIG_MAP, "default", "root")
        namesake = await api.client.create(CONFIG_MAP, config_map("root"))
        await api.client.create(CONFIG_MAP, config_map("new-child", namesake))
        api.run(workloads.run(api.client))
        await api.until(lambda: _are(api, ["new-child", "root"]))

    in_cluster(embedded, scene, controllers=False)


def test_one_with_another_owner_stays_and_forgets_the_one_that_went(embedded: Any) -> None:
    async def scene(api: Any) -> None:
        first = await api.client.create(CONFIG_MAP, config_map("first"))
        second = await api.client.create(CONFIG_MAP, config_map("second"))
        await api.client.create(CONFIG_MAP, config_map("shared", first, second))
        await api.client.delete(CONFIG_MAP, "default", "first")

        async def owners() -> bool:
            shared = await api.client.get(CONFIG_MAP, "default", "shared")
            return [ref["name"] for ref in shared["metadata"]["ownerReferences"]] == ["second"]

        await api.until(owners)
        assert await names(api) == ["second", "shared"]

    in_cluster(embedded, scene)


def test_owners_of_unknown_kinds_keep_what_is_theirs(embedded: Any) -> None:
    """A kind of somebody else's operator is not known here: its children must not be swept away."""

    async def scene(api: Any) -> None:
        unknown = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t", "uid": "t"}}
        await api.client.create(CONFIG_MAP, config_map("kept", unknown))
        root = await api.client.create(CONFIG_MAP, config_map("root"))
        await api.client.create(CONFIG_MAP, config_map("child", root))
        await api.client.delete(CONFIG_MAP, "default", "root")
        await api.until(lambda: _are(api, ["kept"]))

    in_cluster(embedded, scene)


def test_an_orphaning_deletion_lets_the_children_go_free(embedded: Any) -> None:
    async def scene(api: Any) -> None:
        root = await api.client.create(CONFIG_MAP, config_map("root"))
        await api.client.create(CONFIG_MAP, config_map("child", root))
        await api.client.delete(CONFIG_MAP, "default", "root", propagation="Orphan")
        await api.until(lambda: _are(api, ["child"]))
        child = await api.client.get(CONFIG_MAP, "default", "child")
        assert not child["metadata"].get("ownerReferences")

    in_cluster(embedded, scene)


def test_a_foreground_deletion_ends_after_its_dependents(embedded: Any) -> None:
    async def scene(api: Any) -> None:
        root = await api.client.create(CONFIG_MAP, config_map("root"))
        child = await api.client.create(CONFIG_MAP, config_map("child", root))
        await api.client.create(CONFIG_MAP, config_map("held", child, finalizers=["example.com/hold"]))
        await api.client.delete(CONFIG_MAP, "default", "root", propagation="Foreground")

        async def all_going() -> bool:
            items = await api.all(CONFIG_MAP)
            return all(one["metadata"].get("deletionTimestamp") for one in items)

        await api.until(all_going)
        assert await names(api) == ["child", "held", "root"], "the parents wait for the one that is held"
        await api.client.patch(CONFIG_MAP, "default", "held", {"metadata": {"finalizers": None}})
        await api.until(lambda: _are(api, []))

    in_cluster(embedded, scene)


def test_owners_of_other_kinds_and_pods_of_nobody(embedded: Any) -> None:
    async def scene(api: Any) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
        }
        owner = await api.client.create(SERVICE, body)
        secret = config_map("key", owner) | {"kind": "Secret"}
        await api.client.create(SECRET, secret)
        pod = config_map(
            "orphaned",
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "gone", "uid": "g"}},
        )
        pod |= {
            "kind": "Pod",
            "spec": {"containers": [{"name": "c", "image": "i"}], "terminationGracePeriodSeconds": 0},
        }
        await api.client.create(POD, pod)
        await api.client.delete(SERVICE, "default", "web")

        async def gone() -> bool:
            pods = [one for one in await api.all(POD) if not one["metadata"].get("deletionTimestamp")]
            return not pods and await api.client.find(SECRET, "default", "key") is None

        await api.until(gone)
        with pytest.raises(ApiError, match="not found"):
            await api.client.get(SECRET, "default", "key")

    in_cluster(embedded, scene)


async def _are(api: Any, wanted: list[str]) -> bool:
    return await names(api) == wanted


def test_a_circle_of_owners_goes_all_the_same(embedded: Any) -> None:
    """Each would wait for the next for ever."""

    async def scene(api: Any) -> None:
        first = await api.client.create(CONFIG_MAP, config_map("a"))
        second = await api.client.create(CONFIG_MAP, config_map("b", first))
        third = await api.client.create(CONFIG_MAP, config_map("c", second))
        references = config_map("a", third)["metadata"]["ownerReferences"]
        await api.client.patch(CONFIG_MAP, "default", "a", {"metadata": {"ownerReferences": references}})
        await api.client.delete(CONFIG_MAP, "default", "a", propagation="Foreground")
        await api.until(lambda: _are(api, []))

    in_cluster(embedded, scene)
