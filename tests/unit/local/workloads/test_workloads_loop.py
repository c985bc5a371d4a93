"""The controllers against the real API server."""

from __future__ import annotations

import asyncio
from typing import Any

from deploying import deployment

from modelport.kube.resource import DEPLOYMENT, ENDPOINT_SLICE, POD, REPLICA_SET, SERVICE
from modelport.local.workloads import run as workloads


def web(replicas: int = 1, image: str = "v1", name: str = "web", **spec: Any) -> dict[str, Any]:
    item = deployment(replicas, image, **spec)
    item["metadata"] = {"name": name, "namespace": "default"}
    item["spec"]["selector"] = {"matchLabels": {"app": name}}
    item["spec"]["template"]["metadata"]["labels"] = {"app": name}
    return item


def is_rolled_out(item: dict[str, Any], replicas: int) -> bool:
    status = item.get("status", {})
    return status.get("observedGeneration") == item["metadata"]["generation"] and all(
        status.get(field, 0) == replicas
        for field in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    )


def test_a_deployment_becomes_ready_pods_rolls_and_goes(embedded: Any, node: Any) -> None:
    async def scene() -> None:
        async with embedded() as api:
            api.run(workloads.run(api.client))
            kubelet = node(api.client)
            api.run(kubelet.run())
            await api.client.create(DEPLOYMENT, web(3))

            async def rolled(replicas: int = 3) -> bool:
                return is_rolled_out(await api.client.get(DEPLOYMENT, "default", "web"), replicas)

            await api.until(rolled)
            assert len(await api.all(POD)) == 3
            assert kubelet.most == 3, "a slow cache must not double pods"
            template = web(image="v2")["spec"]["template"]
            await api.client.patch(DEPLOYMENT, "default", "web", {"spec": {"template": template}})
            await api.until(rolled)

            async def only_v2() -> bool:
                return [p["spec"]["containers"][0]["image"] for p in await api.all(POD)] == ["v2"] * 3

            await api.until(only_v2)
            assert kubelet.most == 4
            await api.client.delete(DEPLOYMENT, "default", "web")

            async def nothing_left() -> bool:
                return not await api.all(POD) and not await api.all(REPLICA_SET)

            await api.until(nothing_left)

    asyncio.run(scene())
