"""The controllers against the real API server: rollouts, restarts at any moment, and rest."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from deploying import deployment

from modelport.kube.client import Unreachable
from modelport.kube.errors import ApiError
from modelport.kube.resource import (
    DEPLOYMENT,
    ENDPOINT_SLICE,
    EVENT,
    NAMESPACE,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    REPLICA_SET,
    SERVICE,
    SERVICE_ACCOUNT,
)
from modelport.local.workloads import run as workloads


def web(replicas: int = 1, image: str = "v1", name: str = "web", **spec: Any) -> dict[str, Any]:
    item = deployment(replicas, image, **spec)
    item["metadata"] = {"name": name, "namespace": "default"}
    item["spec"]["selector"] = {"matchLabels": {"app": name}}
    item["spec"]["template"]["metadata"]["labels"] = {"app": name}
    return item


def service(name: str = "web") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }


async def is_rolled_out(api: Any, replicas: int, image: str, name: str = "web") -> bool:
    item = await api.client.get(DEPLOYMENT, "default", name)
    status = item.get("status", {})
    pods = [p for p in await api.all(POD) if p["metadata"]["labels"].get("app") == name]
    return (
        status.get("observedGeneration") == item["metadata"]["generation"]
        and all(
            status.get(field, 0) == replicas
            for field in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
        )
        and [pod["spec"]["containers"][0]["image"] for pod in pods] == [image] * replicas
    )


async def set_image(api: Any, image: str, name: str = "web") -> None:
    template = web(image=image, name=name)["spec"]["template"]
    await api.client.patch(DEPLOYMENT, "default", name, {"spec": {"template": template}})


def test_a_deployment_becomes_ready_pods_rolls_and_goes(embedded: Any, node: Any) -> None:
    async def scene() -> None:
        async with embedded() as api:
            api.run(workloads.run(api.client))
            kubelet = node(api.client)
            api.run(kubelet.run())
            await api.client.create(DEPLOYMENT, web(3))
            await api.until(lambda: is_rolled_out(api, 3, "v1"))
            assert kubelet.most == 3, "a slow cache must not double pods"
            await set_image(api, "v2")
            await api.until(lambda: is_rolled_out(api, 3, "v2"))
            assert kubelet.most == 4
            said = {
                (one["involvedObject"]["kind"], one["reason"], one["message"]) for one in await api.all(EVENT)
            }
            (first, _) = sorted(await api.all(REPLICA_SET), key=lambda one: one["spec"]["replicas"])
            name = first["metadata"]["name"]
            message = f"Scaled up replica set {name} from 0 to 3"
            assert ("Deployment", "ScalingReplicaSet", message) in said
            assert sum(reason == "SuccessfulCreate" for _, reason, _ in said) == 6
            await api.client.delete(DEPLOYMENT, "default", "web")

            async def nothing_left() -> bool:
                return not await api.all(POD) and not await api.all(REPLICA_SET)

            await api.until(nothing_left)

    asyncio.run(scene())


def test_a_broken_version_leaves_the_old_pod_and_says_so(embedded: Any, node: Any) -> None:
    async def scene() -> None:
        async with embedded() as api:
            api.run(workloads.run(api.client))
            api.run(node(api.client, lambda pod: pod["spec"]["containers"][0]["image"] != "broken").run())
            await api.client.create(DEPLOYMENT, web(1, progressDeadlineSeconds=1))
            await api.until(lambda: is_rolled_out(api, 1, "v1"))
            (old,) = await api.all(POD)
            await set_image(api, "broken")

            async def timed_out() -> bool:
                item = await api.client.get(DEPLOYMENT, "default", "web")
                conditions = {c["type"]: c for c in item["status"]["conditions"]}
                return conditions["Progressing"]["reason"] == "ProgressDeadlineExceeded"

            await api.until(timed_out)
            pods = await api.all(POD)
            assert old["metadata"]["uid"] in {pod["metadata"]["uid"] for pod in pods}
            assert len(pods) == 2
            await set_image(api, "v1")
            await api.until(lambda: is_rolled_out(api, 1, "v1"))
            (kept,) = await api.all(POD)
            assert kept["metadata"]["uid"] == old["metadata"]["uid"]

    asyncio.run(scene())


def test_pods_of_an_account_that_is_not_there_are_refused_until_it_is(embedded: Any, node: Any) -> None:
    """A model that ran without its credentials would fail later, with words about the store and not the account."""

    async def scene() -> None:
        async with embedded() as api:
            api.run(workloads.run(api.client))
            api.run(node(api.client).run())
            item = web(1)
            item["spec"]["template"]["spec"]["serviceAccountName"] = "reader"
            await api.client.create(DEPLOYMENT, item)

            async def refused() -> bool:
                said = {c["type"]: c for c in (await status()).get("conditions", [])}
                words = said.get("ReplicaFailure", {}).get("message", "")
                return 'serviceaccount "reader" not found. Create it: kubectl create serviceaccount' in words

            async def status() -> Any:
                return (await api.client.get(DEPLOYMENT, "default", "web")).get("status", {})

            await api.until(refused)
            assert await api.all(POD) == []
            assert "FailedCreate" in {one["reason"] for one in await api.all(EVENT)}
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader"}}
            account["metadata"] |= {"namespace": "default"}
            await api.client.create(SERVICE_ACCOUNT, account)
            await api.until(lambda: is_rolled_out(api, 1, "v1"))
            assert "ReplicaFailure" not in {c["type"] for c in (await status())["conditions"]}

    asyncio.run(scene())


def test_controllers_that_die_at_any_moment_go_on_where_they_were(embedded: Any, node: Any) -> None:
    async def scene() -> None:
        async with embedded() as api:
            kubelet = node(api.client)
            api.run(kubelet.run())
            await api.client.create(DEPLOYMENT, web(3))
            chance = random.Random(4)
            for version in range(12):
                task = api.run(workloads.run(api.client))
                await set_image(api, f"v{version % 3}")
                for _ in range(chance.randrange(400)):
                    await asyncio.sleep(0)
                await asyncio.sleep(chance.random() * 0.1)
                await api.kill(task)
                # A pod that is being made by who was killed is no pod that its successor can know of.
                await api.settle()
            api.run(workloads.run(api.client))
            await api.until(lambda: is_rolled_out(api, 3, "v2"))
            assert kubelet.most <= 4

    asyncio.run(scene())


def test_an_api_server_that_comes_back_finds_the_controllers_waiting(embedded: Any, node: Any) -> None:
    async def scene() -> None:
        async with embedded() as api:
            api.run(workloads.run(api.client))
            api.run(node(api.client).run())
            await api.client.create(DEPLOYMENT, web(2))
            await api.until(lambda: is_rolled_out(api, 2, "v1"))
            await api.stop()
            await api.start()

            async def changed() -> bool:
                try:
                    await set_image(api, "v2")
                except (ApiError, Unreachable):
                    return False
                return True

            await api.until(changed)
            await api.until(lambda: is_rolled_out(api, 2, "v2"))

    asyncio.run(scene())


def test_nothing_is_asked_while_nothing_changes(embedded: Any, node: Any) -> None:
    """An idle platform is to cost under one per cent of a core."""

    async def scene() -> None:
        async with embedded() as api:
            asked: list[str] = []
            client = api.new_client()
            real = client.request

            async def counted(method: str, path: str, **more: Any) -> Any:
                asked.append(f"{method} {path}")
                return await real(method, path, **more)

            client.request = counted
            api.run(workloads.run(client))
            api.run(node(api.client).run())
            await api.client.create(DEPLOYMENT, web(2))
            await api.client.create(SERVICE, service())
            await api.until(lambda: is_rolled_out(api, 2, "v1"))
            quiet = asyncio.Event()

            async def rests() -> bool:
                before = len(asked)
                await asyncio.sleep(0.5)
                return len(asked) == before

            await api.until(rests)
            quiet.set()
            await client.close()

    asyncio.run(scene())


def test_many_deployments_at_once(embedded: Any, node: Any) -> None:
    async def scene() -> None:
        async with embedded() as api:
            api.run(workloads.run(api.client))
            kubelet = node(api.client)
            api.run(kubelet.run())
            names = [f"web-{number}" for number in range(60)]
            for name in names:
                await api.client.create(DEPLOYMENT, web(2, name=name))
                await api.client.create(SERVICE, service(name))

            async def all_there() -> bool:
                items = await api.all(DEPLOYMENT)
                slices = await api.all(ENDPOINT_SLICE)
                ready = sum(end["conditions"]["ready"] for one in slices for end in one["endpoints"])
                return (
                    all(one.get("status", {}).get("availableReplicas") == 2 for one in items) and ready == 120
                )

            await api.until(all_there, 60)
            assert kubelet.most == 120

    asyncio.run(scene())


def test_endpoints_follow_the_pods(embedded: Any, node: Any) -> None:
    async def scene() -> None:
        async with embedded() as api:
            api.run(workloads.run(api.client))
            api.run(node(api.client).run())
            await api.client.create(SERVICE, service())

            async def ready(count: int) -> bool:
                (item,) = await api.all(ENDPOINT_SLICE) or [{"endpoints": [], "ports": []}]
                ends = [end for end in item["endpoints"] if end["conditions"]["ready"]]
                return len(ends) == count and (not count or item["ports"][0]["port"] == 8080)

            await api.client.create(DEPLOYMENT, web(2))
            await api.until(lambda: ready(2))
            await api.client.patch(DEPLOYMENT, "default", "web", {"spec": {"replicas": 0}})
            await api.until(lambda: ready(0))
            await api.client.delete(SERVICE, "default", "web")

            async def gone() -> bool:
                return not await api.all(ENDPOINT_SLICE)

            await api.until(gone)

    asyncio.run(scene())


def test_namespaces_have_an_account_and_claims_are_bound(embedded: Any) -> None:
    async def scene() -> None:
        async with embedded() as api:
            api.run(workloads.run(api.client))
            await api.client.create(
                NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}
            )

            async def account() -> Any:
                return await api.client.find(SERVICE_ACCOUNT, "team", "default")

            await api.until(account)
            await api.client.delete(SERVICE_ACCOUNT, "team", "default")
            await api.until(account)
            claim = {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": "models", "namespace": "team"},
                "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
            }
            await api.client.create(PERSISTENT_VOLUME_CLAIM, claim)

            async def bound() -> bool:
                item = await api.client.get(PERSISTENT_VOLUME_CLAIM, "team", "models")
                return item.get("status") == {
                    "phase": "Bound",
                    "accessModes": ["ReadWriteMany"],
                    "capacity": {"storage": "1Gi"},
                }

            await api.until(bound)

    asyncio.run(scene())
