"""The InferenceService loop against the real API server: what a user is told, and what goes on serving."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from modelport.control import history
from modelport.control.inferenceservice import Loop
from modelport.kinds.inferencegraph import INFERENCE_GRAPH
from modelport.kinds.inferenceservice import INFERENCE_SERVICE
from modelport.kinds.servingruntime import CLUSTER_SERVING_RUNTIME
from modelport.kube.condition import find_condition
from modelport.kube.resource import (
    CONFIG_MAP,
    CONTROLLER_REVISION,
    DEPLOYMENT,
    EVENT,
    HTTP_ROUTE,
    NAMESPACE,
    POD,
    SERVICE,
)

NOPE = "file:///nope: no such folder or file. Is it written right?"


def scene(play: Any, stage: Any) -> None:
    async def run() -> None:
        async with stage() as found:
            await play(found)

    asyncio.run(run())


def is_nope(pod: dict[str, Any]) -> bool:
    return pod["spec"]["initContainers"][0]["args"][0] == "file:///nope"


def test_a_service_from_apply_to_ready_to_deleted(stage: Any, pods: Any) -> None:
    async def play(on: Any) -> None:
        on.rule = lambda pod: pods.loading(pod, "fetching file:///models/iris")
        on.take_routes = False
        await on.apply()
        item = await on.until("PredictorReady", "False", "fetching file:///models/iris")
        assert item["status"]["modelStatus"]["states"] == {
            "activeModelState": "",
            "targetModelState": "Loading",
        }
        assert "url" not in item["status"]
        on.rule = pods.ready
        item = await on.until("IngressReady", "False", "no gateway has taken it yet")
        assert (await on.condition("PredictorReady"))["status"] == "True"
        on.take_routes = True
        item = await on.serves()
        status = item["status"]
        assert status["url"] == "http://iris-default.example.com"
        assert status["modelStatus"]["copies"] == {"failedCopies": 0, "totalCopies": 1}
        assert status["clusterServingRuntimeName"] == "kserve-sklearnserver"
        types = [one["type"] for one in status["conditions"]]
        assert "TransformerReady" not in types
        assert "ExplainerReady" not in types

        async def announced() -> bool:
            return any(one["reason"] == "InferenceServiceReady" for one in await on.api.all(EVENT))

        await on.api.until(announced)
        await on.client.delete(INFERENCE_SERVICE, "default", "iris")

        async def nothing_left() -> bool:
            kinds = (DEPLOYMENT, SERVICE, HTTP_ROUTE, POD, CONTROLLER_REVISION)
            return not any([await on.api.all(kind) for kind in kinds])

        await on.api.until(nothing_left)

    scene(play, stage)


def test_a_blocked_update_leaves_ready_names_the_cause_and_is_undone(stage: Any, pods: Any) -> None:
    async def play(on: Any) -> None:
        on.rule = lambda pod: pods.unfetched(pod, NOPE) if is_nope(pod) else pods.ready(pod)
        await on.apply()
        await on.serves()
        (old,) = await on.api.all(POD)
        await on.apply(uri="file:///nope")
        item = await on.until("LatestDeploymentReady", "False", NOPE)
        latest = find_condition(item["status"]["conditions"], "LatestDeploymentReady")
        assert "the previous version keeps serving" in latest["message"]
        assert "modelport rollout undo iris" in latest["message"]
        model = item["status"]["modelStatus"]
        assert model["transitionStatus"] == "BlockedByFailedLoad"
        assert model["lastFailureInfo"]["reason"] == "ModelLoadFailed"
        assert model["lastFailureInfo"]["exitCode"] == 1
        assert (await on.condition("Ready"))["status"] == "True"
        assert old["metadata"]["name"] in [pod["metadata"]["name"] for pod in await on.api.all(POD)]

        async def told() -> bool:
            return any(NOPE in one["message"] and one["type"] == "Warning" for one in await on.api.all(EVENT))

        await on.api.until(told)
        # A second spec that never serves does not bury the way back.
        await on.apply(uri="file:///nope", predictor={"minReplicas": 2})
        await on.until("LatestDeploymentReady", "False", NOPE)
        back = await history.undo(on.client, "default", "iris", None)
        assert back.summary == "file:///models/iris"
        item = await on.serves()
        assert item["status"]["modelStatus"]["transitionStatus"] == "UpToDate"
        assert "lastFailureInfo" not in item["status"]["modelStatus"]
        assert (await on.api.all(POD))[0]["metadata"]["uid"] == old["metadata"]["uid"]

    scene(play, stage)


def test_a_first_spec_that_fails_tells_why_and_a_corrected_one_serves(stage: Any, pods: Any) -> None:
    async def play(on: Any) -> None:
        on.rule = lambda pod: pods.crashing(pod, "model.joblib: needs scikit-learn. Install it.")
        await on.apply()
        item = await on.until("Ready", "False", "needs scikit-learn. Install it.")
        latest = find_condition(item["status"]["conditions"], "LatestDeploymentReady")
        assert "previous version" not in latest["message"]
        assert item["status"]["modelStatus"]["copies"]["failedCopies"] == 1
        with pytest.raises(history.NoRevision, match="no previous revision that was ever Ready"):
            await history.undo(on.client, "default", "iris", None)
        on.rule = pods.ready
        await on.serves()

    scene(play, stage)


def test_one_of_two_replicas_that_dies_is_no_previous_version(stage: Any, pods: Any) -> None:
    async def play(on: Any) -> None:
        await on.apply(
            predictor={
                "minReplicas": 2,
                "deploymentStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            }
        )
        await on.serves()
        victim = (await on.api.all(POD))[0]["metadata"]["name"]
        on.rule = lambda pod: (
            pods.crashing(pod, "out of luck") if pod["metadata"]["name"] == victim else pods.ready(pod)
        )
        item = await on.until("LatestDeploymentReady", "False", "out of luck")
        message = find_condition(item["status"]["conditions"], "LatestDeploymentReady")["message"]
        assert "other replicas keep serving" in message
        assert "undo" not in message
        assert item["status"]["url"], "an address that was given out stays"

    scene(play, stage)


def test_stopping_takes_everything_away_and_starting_brings_it_back(stage: Any, pods: Any) -> None:
    async def play(on: Any) -> None:
        await on.apply()
        await on.serves()
        stop = {"metadata": {"annotations": {"serving.kserve.io/stop": "true"}}}
        await on.client.patch(INFERENCE_SERVICE, "default", "iris", stop)
        item = await on.until("Stopped", "True")
        assert "url" not in item["status"]
        assert find_condition(item["status"]["conditions"], "Ready")["reason"] == "Stopped"

        async def gone() -> bool:
            return not any([await on.api.all(kind) for kind in (DEPLOYMENT, SERVICE, HTTP_ROUTE, POD)])

        await on.api.until(gone)
        start = {"metadata": {"annotations": {"serving.kserve.io/stop": None}}}
        await on.client.patch(INFERENCE_SERVICE, "default", "iris", start)
        await on.until("Stopped", "False")
        await on.serves()

    scene(play, stage)


def test_a_transformer_that_is_added_and_does_not_start_leaves_the_predictor_its_requests(
    stage: Any, pods: Any
) -> None:
    async def play(on: Any) -> None:
        await on.apply()
        await on.serves()
        broken = {"containers": [{"name": "kserve-container", "image": "mine", "command": ["false"]}]}
        is_broken = "transformer"
        on.rule = lambda pod: (
            pods.crashing(pod, "no such module")
            if pod["metadata"]["labels"]["component"] == is_broken
            else pods.ready(pod)
        )
        await on.apply(transformer=broken)
        item = await on.until("TransformerReady", "False", "no such module")
        assert "no such module" in find_condition(item["status"]["conditions"], "Ready")["message"]
        route = await on.client.get(HTTP_ROUTE, "default", "iris")
        assert route["spec"]["rules"][-1]["backendRefs"][0]["name"] == "iris-predictor"
        is_broken = "nobody"
        await on.serves()

        async def turned() -> bool:
            found = await on.client.get(HTTP_ROUTE, "default", "iris")
            return found["spec"]["rules"][-1]["backendRefs"][0]["name"] == "iris-transformer"

        await on.api.until(turned)
        assert (await on.condition("TransformerReady"))["status"] == "True"
        # And away again.
        item = await on.client.get(INFERENCE_SERVICE, "default", "iris")
        await on.apply()
        await on.serves()
        assert not await on.condition("TransformerReady")
        assert await on.client.find(DEPLOYMENT, "default", "iris-transformer") is None

    scene(play, stage)


def test_what_somebody_else_changes_in_our_objects_is_put_right(stage: Any, pods: Any) -> None:
    async def play(on: Any) -> None:
        await on.apply()
        await on.serves()
        await on.client.patch(DEPLOYMENT, "default", "iris-predictor", {"spec": {"replicas": 3}})
        await on.client.delete(SERVICE, "default", "iris-predictor")

        async def right() -> bool:
            found = await on.client.get(DEPLOYMENT, "default", "iris-predictor")
            there = await on.client.find(SERVICE, "default", "iris-predictor")
            return found["spec"]["replicas"] == 1 and there is not None

        await on.api.until(right)
        await on.serves()

    scene(play, stage)


def test_another_writer_of_the_service_loses_nothing(stage: Any, pods: Any) -> None:
    async def play(on: Any) -> None:
        await on.apply()
        for number in range(30):
            label = {"metadata": {"labels": {"count": str(number)}}}
            await on.client.patch(INFERENCE_SERVICE, "default", "iris", label)
        item = await on.serves()
        assert item["metadata"]["labels"]["count"] == "29"

        async def labelled() -> bool:
            found = await on.client.get(DEPLOYMENT, "default", "iris-predictor")
            return found["metadata"]["labels"]["count"] == "29"

        await on.api.until(labelled)

    scene(play, stage)


def test_a_name_that_is_taken_is_told_with_its_owner(stage: Any, pods: Any) -> None:
    async def play(on: Any) -> None:
        selector = {"selector": {"app": "mine"}, "ports": [{"port": 80}]}
        mine = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "iris-predictor", "namespace": "default"},
            "spec": selector,
        }
        await on.client.create(SERVICE, mine)
        await on.apply()
        item = await on.until("Ready", "False", "belongs to somebody else")
        assert (
            "Delete it, or give this service another name"
            in find_condition(item["status"]["conditions"], "Ready")["message"]
        )
        await on.client.delete(SERVICE, "default", "iris-predictor")
        # Nobody tells the loop of a stranger's object: any change of the service looks again.
        await on.apply(metadata={"labels": {"again": "yes"}})
        await on.serves()

    scene(play, stage)


def test_what_a_deleted_service_has_left_on_purpose_is_taken_over_by_its_successor(
    stage: Any, pods: Any
) -> None:
    """`kubectl delete --cascade=orphan`, then apply: the pods answer all the while, and are the new service's after."""

    async def play(on: Any) -> None:
        await on.apply()
        await on.serves()
        before = await on.client.get(DEPLOYMENT, "default", "iris-predictor")
        await on.client.delete(INFERENCE_SERVICE, "default", "iris", propagation="Orphan")

        async def gone() -> bool:
            return await on.client.find(INFERENCE_SERVICE, "default", "iris") is None

        await on.api.until(gone)
        await on.apply()
        item = await on.serves()
        after = await on.client.get(DEPLOYMENT, "default", "iris-predictor")
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        assert after["spec"] == before["spec"]
        for resource, name in (
            (DEPLOYMENT, "iris-predictor"),
            (SERVICE, "iris-predictor"),
            (HTTP_ROUTE, "iris"),
            (HTTP_ROUTE, "iris-predictor"),
        ):
            found = await on.client.get(resource, "default", name)
            assert [one["uid"] for one in found["metadata"]["ownerReferences"]] == [item["metadata"]["uid"]]

    scene(play, stage)


def test_a_host_that_another_service_had_first_is_told_until_it_is_free(stage: Any, pods: Any) -> None:
    """x-b in a and x in b-a would both be asked at x-b-a: whoever asks the second one gets answers of the first."""

    async def play(on: Any) -> None:
        for namespace in ("a", "b-a"):
            await on.client.create(NAMESPACE, {"metadata": {"name": namespace}})
        await on.apply("x-b", metadata={"namespace": "a"})

        def ready(name: str, namespace: str) -> Any:
            async def holds() -> Any:
                item = await on.client.get(INFERENCE_SERVICE, namespace, name)
                return find_condition(item.get("status", {}).get("conditions"), "Ready")

            return holds

        async def first() -> bool:
            return ((await ready("x-b", "a")()) or {}).get("status") == "True"

        async def second_told() -> bool:
            found = (await ready("x", "b-a")()) or {}
            return "go to InferenceService a/x-b, which had this host first" in found.get("message", "")

        async def second() -> bool:
            return ((await ready("x", "b-a")()) or {}).get("status") == "True"

        await on.api.until(first)
        await on.apply("x", metadata={"namespace": "b-a"})
        await on.api.until(second_told)
        assert await first()
        await on.client.delete(INFERENCE_SERVICE, "a", "x-b")
        await on.api.until(second)

    scene(play, stage)


def test_a_service_that_is_deleted_and_made_anew_is_never_told_a_stranger_has_its_name(
    stage: Any, pods: Any
) -> None:
    async def play(on: Any) -> None:
        await on.apply()
        first = await on.serves()
        for _ in range(5):
            await on.client.delete(INFERENCE_SERVICE, "default", "iris")
            await on.apply()
        second = await on.serves()
        assert first["metadata"]["uid"] != second["metadata"]["uid"]
        assert not [one for one in await on.api.all(EVENT) if one["reason"] == "ReconcileFailed"]

    scene(play, stage)


def test_a_broken_configuration_stops_nothing_and_a_new_domain_arrives(stage: Any, pods: Any) -> None:
    async def play(on: Any) -> None:
        await on.apply()
        await on.serves()
        await on.client.patch(CONFIG_MAP, "kserve", "inferenceservice-config", {"data": {"ingress": "{"}})
        item = await on.until("LatestDeploymentReady", "False", "unable to parse ingress config json")
        assert find_condition(item["status"]["conditions"], "Ready")["status"] == "True"
        assert len(await on.api.all(POD)) == 1
        ingress = '{"enableGatewayApi": true, "kserveIngressGateway": "kserve/kserve-ingress-gateway", "ingressDomain": "models.test"}'
        await on.client.patch(CONFIG_MAP, "kserve", "inferenceservice-config", {"data": {"ingress": ingress}})

        async def moved() -> bool:
            return (await on.service())["status"]["url"] == "http://iris-default.models.test"

        await on.api.until(moved)
        await on.serves()

    scene(play, stage)


def test_a_missing_runtime_is_told_and_taken_as_soon_as_it_is_there(stage: Any, pods: Any) -> None:
    async def play(on: Any) -> None:
        model = {"modelFormat": {"name": "sklearn"}, "storageUri": "file:///m", "runtime": "mine"}
        await on.apply(predictor={"model": model})
        item = await on.until("Ready", "False", "no ServingRuntime or ClusterServingRuntime is called 'mine'")
        assert item["status"]["modelStatus"]["transitionStatus"] == "InvalidSpec"
        assert item["status"]["modelStatus"]["lastFailureInfo"]["reason"] == "RuntimeNotRecognized"
        builtin = await on.client.get(CLUSTER_SERVING_RUNTIME, None, "kserve-sklearnserver")
        spec = builtin["spec"] | {"supportedModelFormats": [{"name": "sklearn", "version": "1"}]}
        mine = {key: builtin[key] for key in ("apiVersion", "kind")} | {
            "metadata": {"name": "mine"},
            "spec": spec,
        }
        await on.client.create(CLUSTER_SERVING_RUNTIME, mine)
        await on.serves()
        # Frozen: the runtime's change does not restart a service that is Ready.
        frozen = {"metadata": {"annotations": {"serving.kserve.io/disable-auto-update": "true"}}}
        await on.client.patch(INFERENCE_SERVICE, "default", "iris", frozen)
        await on.serves()
        before = await on.client.get(DEPLOYMENT, "default", "iris-predictor")
        change = {"spec": {"containers": [spec["containers"][0] | {"image": "modelport/server:2"}]}}
        await on.client.patch(CLUSTER_SERVING_RUNTIME, None, "mine", change)
        await on.apply(name="other", predictor={"model": model})
        await on.serves("other")
        after = await on.client.get(DEPLOYMENT, "default", "iris-predictor")
        assert after["metadata"]["generation"] == before["metadata"]["generation"]

    scene(play, stage)


def test_a_loop_that_is_killed_midway_goes_on_after_its_restart(stage: Any, pods: Any) -> None:
    async def play(on: Any) -> None:
        for number in range(5):
            await on.apply(name=f"iris-{number}")
            await asyncio.sleep(0.01 * number)
            await on.kill_control()
            on.start_control()
        for number in range(5):
            await on.serves(f"iris-{number}")
        await on.kill_control()
        await on.apply(name="iris-0", uri="file:///other")
        await on.client.delete(INFERENCE_SERVICE, "default", "iris-1")
        on.start_control()
        await on.serves("iris-0")
        deployment = await on.client.get(DEPLOYMENT, "default", "iris-0-predictor")
        assert deployment["spec"]["template"]["spec"]["initContainers"][0]["args"][0] == "file:///other"

        async def gone() -> bool:
            return await on.client.find(DEPLOYMENT, "default", "iris-1-predictor") is None

        await on.api.until(gone)

    scene(play, stage)


def test_a_changed_spec_is_never_told_to_serve_before_it_does(stage: Any, pods: Any) -> None:
    """`modelport rollout status` and `undo` rely on it. The caches are frozen here as a slow watch would leave them."""

    async def play(on: Any) -> None:
        await on.apply()
        await on.serves()
        await on.kill_control()
        loop = Loop(on.client, "1.0", lambda: datetime.now(UTC))
        tasks = [asyncio.create_task(cache.run()) for cache in loop.caches]
        for cache in loop.caches:
            await cache.synced.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await on.api.kill(on.api._tasks[0])  # the Deployment stays as it was written
        item = await on.apply(uri="file:///nope")
        loop._services._put(item, gone=False)
        await loop.reconcile(("default", "iris"))
        item = await on.service()
        latest = find_condition(item["status"]["conditions"], "LatestDeploymentReady")
        assert latest["status"] == "Unknown"
        assert item["status"]["observedGeneration"] == item["metadata"]["generation"]
        assert item["status"]["modelStatus"]["transitionStatus"] == "InProgress"
        kept = await on.api.all(CONTROLLER_REVISION)
        assert [bool(history.ready_at(one)) for one in sorted(kept, key=lambda one: one["revision"])] == [
            True,
            False,
        ]

    scene(play, stage)


def test_the_way_back_outlives_many_specs_that_never_served(stage: Any, pods: Any) -> None:
    async def play(on: Any) -> None:
        on.rule = lambda pod: (
            pods.unfetched(pod, NOPE) if "nope" in str(pod["spec"]["initContainers"]) else pods.ready(pod)
        )
        await on.apply()
        await on.serves()
        for number in range(history.KEPT + 2):
            item = await on.apply(uri=f"file:///nope/{number}")
            name = history.name_of(item)

            async def kept(name: str = name) -> bool:
                return await on.client.find(CONTROLLER_REVISION, "default", name) is not None

            await on.api.until(kept)
        back = await history.undo(on.client, "default", "iris", None)
        assert back.summary == "file:///models/iris"
        assert len(await on.api.all(CONTROLLER_REVISION)) <= history.KEPT + 2
        await on.serves()

    scene(play, stage)


def test_a_loop_backs_off_while_the_api_server_is_away(stage: Any, pods: Any) -> None:
    async def play(on: Any) -> None:
        await on.apply()
        await on.serves()
        await on.api.stop()
        await asyncio.sleep(0.3)
        await on.api.start()
        await on.apply(uri="file:///other")
        await on.serves()

    scene(play, stage)


def test_fields_that_are_not_carried_out_are_told_and_no_longer_when_they_go(stage: Any, pods: Any) -> None:
    async def play(on: Any) -> None:
        await on.apply(predictor={"maxReplicas": 3})
        await on.until("FieldsIgnored", "True", "spec.predictor.maxReplicas")
        await on.serves()
        await on.apply()
        await on.api.until(lambda: _lacks(on, "FieldsIgnored"))
        await on.serves()

    scene(play, stage)


async def _lacks(on: Any, kind: str) -> bool:
    return not await on.condition(kind)


def test_keys_of_the_configuration_that_nothing_reads_are_told(stage: Any) -> None:
    async def play(on: Any) -> None:
        async def there() -> bool:
            return await on.client.find(CONFIG_MAP, "kserve", "inferenceservice-config") is not None

        await on.api.until(there)
        await on.client.patch(CONFIG_MAP, "kserve", "inferenceservice-config", {"data": {"logger": "{}"}})

        async def told() -> bool:
            found = await on.api.all(EVENT, "kserve")
            return any(one["reason"] == "FieldsIgnored" and "data.logger" in one["message"] for one in found)

        await on.api.until(told)

    scene(play, stage)


def test_a_kind_that_is_only_stored_says_so(stage: Any) -> None:
    async def play(on: Any) -> None:
        graph = {
            "apiVersion": "serving.kserve.io/v1alpha1",
            "kind": "InferenceGraph",
            "metadata": {"name": "chain", "namespace": "default"},
            "spec": {"nodes": {"root": {"routerType": "Sequence", "steps": [{"serviceName": "iris"}]}}},
        }
        await on.client.apply(INFERENCE_GRAPH, graph, field_manager="test")

        async def told() -> dict[str, Any] | None:
            item = await on.client.get(INFERENCE_GRAPH, "default", "chain")
            return find_condition(item.get("status", {}).get("conditions"), "FieldsIgnored")

        found = await on.api.until(told)
        assert found["message"] == "accepted, but not carried out yet: spec.nodes"
        item = await on.client.get(INFERENCE_GRAPH, "default", "chain")
        ready = find_condition(item["status"]["conditions"], "Ready")
        assert (ready["status"], ready["reason"]) == ("False", "NotCarriedOut")

    scene(play, stage)
