"""An InferenceService's status: KServe's conditions, and the cause with the next step."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from modelport.control import observed
from modelport.control.made import covers
from modelport.control.observed import Observed
from modelport.control.status import status
from modelport.control.transition import transitions
from modelport.kinds.inferenceservice.spec import InferenceService, Metadata, Predictor, Spec
from modelport.kinds.problem import Problem
from modelport.kube.condition import find_condition
from modelport.render.rendered import Part, Rendered

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SERVICE = InferenceService(
    metadata=Metadata(name="iris", namespace="default", generation=2), spec=Spec(predictor=Predictor())
)


def rendered(**more):
    return Rendered(
        parts=[Part(component="predictor", name="iris-predictor", objects=[])],
        url="http://iris-default.example.com",
        address="http://iris-predictor.default.svc.cluster.local",
        component_urls={"predictor": "http://iris-predictor-default.example.com"},
        runtime="kserve-sklearnserver",
        cluster_runtime=True,
        **more,
    )


def pod(name, owner, *, ready=False, waiting=None, ended=None, init=False):
    state = (
        {"waiting": waiting}
        if waiting
        else {"running": {}}
        if ready
        else {"terminated": ended}
        if ended
        else {}
    )
    container = {
        "name": "storage-initializer" if init else "kserve-container",
        "ready": ready,
        "state": state,
    }
    if waiting and ended:
        container["lastState"] = {"terminated": ended}
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "ownerReferences": [{"controller": True, "uid": owner, "kind": "ReplicaSet", "name": owner}],
        },
        "status": {
            "initContainerStatuses" if init else "containerStatuses": [container],
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def replica_set(uid, revision):
    return {"metadata": {"uid": uid, "name": uid, "annotations": {observed.REVISION: str(revision)}}}


def deployment(*, available, updated=1, replicas=1):
    return {
        "metadata": {"generation": 1, "uid": "d"},
        "spec": {"replicas": 1},
        "status": {
            "observedGeneration": 1,
            "updatedReplicas": updated,
            "replicas": replicas,
            "conditions": [
                {
                    "type": "Available",
                    "status": "True" if available else "False",
                    "reason": "MinimumReplicasUnavailable",
                }
            ],
        },
    }


def told(seen, plan=None, routes=None, before=None):
    return status(
        SERVICE,
        before or {},
        plan or rendered(),
        Observed(components={"predictor": seen}, routes=routes or {"iris": None}),
        NOW,
    )


def condition(found, kind):
    return find_condition(found["conditions"], kind) or {}


NOPE = {
    "exitCode": 1,
    "message": "file:///nope: resolve: no such folder or file. Is it written right?",
    "finishedAt": "2026-01-01T00:00:01Z",
}


def test_ready_when_pods_of_the_newest_spec_answer_and_routes_are_in_force():
    seen = observed.component(deployment(available=True), [replica_set("a", 1)], [pod("p", "a", ready=True)])
    found = told(seen)
    assert condition(found, "Ready")["status"] == "True"
    assert found["url"] == "http://iris-default.example.com"
    assert found["observedGeneration"] == 2
    assert found["clusterServingRuntimeName"] == "kserve-sklearnserver"
    assert found["modelStatus"] == {
        "copies": {"failedCopies": 0, "totalCopies": 1},
        "transitionStatus": "UpToDate",
        "states": {"activeModelState": "Loaded", "targetModelState": "Loaded"},
    }


def test_a_bad_update_leaves_ready_true_and_names_cause_and_way_back():
    pods = [
        pod("old", "a", ready=True),
        pod("new", "b", waiting={"reason": "CrashLoopBackOff", "message": "back-off"}, ended=NOPE, init=True),
    ]
    seen = observed.component(
        deployment(available=True, replicas=2), [replica_set("a", 1), replica_set("b", 2)], pods
    )
    found = told(seen)
    assert condition(found, "Ready")["status"] == "True"
    latest = condition(found, "LatestDeploymentReady")
    assert latest["status"] == "False"
    assert latest["message"].startswith("file:///nope: resolve: no such folder or file")
    assert latest["message"].endswith(
        "the previous version keeps serving · next: modelport rollout undo iris"
    )
    model = found["modelStatus"]
    assert model["transitionStatus"] == "BlockedByFailedLoad"
    assert model["states"] == {"activeModelState": "Loaded", "targetModelState": "FailedToLoad"}
    assert model["lastFailureInfo"]["reason"] == "ModelLoadFailed"
    assert model["lastFailureInfo"]["exitCode"] == 1
    assert model["copies"] == {"failedCopies": 1, "totalCopies": 1}


def test_a_first_version_that_fails_is_not_ready_and_says_why():
    seen = observed.component(deployment(available=False), [replica_set("a", 1)], [pod("p", "a", ended=NOPE)])
    found = told(seen)
    assert condition(found, "Ready")["status"] == "False"
    assert "no such folder" in condition(found, "PredictorReady")["message"]
    assert "rollout undo" not in condition(found, "LatestDeploymentReady")["message"]


def test_a_problem_with_the_spec_is_invalid_spec_and_what_serves_goes_on():
    problem = Problem("spec.predictor.model.runtime", "no runtime.", "Choose one.", "RuntimeNotRecognized")
    fresh = told(observed.Component(), Rendered(problems=[problem]))
    assert condition(fresh, "PredictorReady")["reason"] == "RuntimeNotRecognized"
    assert fresh["modelStatus"]["transitionStatus"] == "InvalidSpec"
    seen = observed.component(deployment(available=True), [replica_set("a", 1)], [pod("p", "a", ready=True)])
    served = told(seen)
    after = told(seen, Rendered(problems=[problem]), before=served)
    assert condition(after, "Ready")["status"] == "True"
    assert after["url"] == served["url"]
    assert "the previous version keeps serving" in condition(after, "LatestDeploymentReady")["message"]


def test_a_rollout_whose_time_is_over_names_what_it_waited_for():
    late = deployment(available=True, replicas=2)
    late["spec"]["progressDeadlineSeconds"] = 600
    late["status"]["conditions"].append(
        {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    )
    pods = [
        pod("old", "a", ready=True),
        pod("new", "b", waiting={"reason": "Fetching", "message": "3 bytes"}),
    ]
    found = told(observed.component(late, [replica_set("a", 1), replica_set("b", 2)], pods))
    latest = condition(found, "LatestDeploymentReady")
    assert latest["reason"] == "ProgressDeadlineExceeded"
    assert latest["message"].startswith("its pods are not Ready after 600 s: 3 bytes")
    assert "keeps serving" in latest["message"]
    assert found["modelStatus"]["transitionStatus"] == "BlockedByFailedLoad"


def test_a_route_that_no_gateway_takes_is_named():
    seen = observed.component(deployment(available=True), [replica_set("a", 1)], [pod("p", "a", ready=True)])
    found = told(seen, routes={"iris": observed.route({"metadata": {}})})
    assert condition(found, "IngressReady")["message"] == "HTTPRoute iris: no gateway has taken it yet"
    assert condition(found, "Ready")["status"] == "False"


def test_stopping_resets_all_but_the_mode():
    seen = observed.component(deployment(available=True), [replica_set("a", 1)], [pod("p", "a", ready=True)])
    found = told(seen, Rendered(stopped=True), before=told(seen))
    assert condition(found, "Stopped")["status"] == "True"
    assert condition(found, "PredictorReady")["reason"] == "Stopped"
    assert "kubectl annotate isvc iris serving.kserve.io/stop-" in condition(found, "Ready")["message"]
    assert "url" not in found
    assert found["deploymentMode"] == "Standard"


def test_nothing_changes_while_nothing_changes():
    seen = observed.component(deployment(available=True), [replica_set("a", 1)], [pod("p", "a", ready=True)])
    once = told(seen, before=told(seen))
    assert told(seen, before=once) == once


def test_fields_that_are_not_carried_out_are_named():
    found = told(observed.Component(), rendered(ignored=["spec.predictor.logger"]))
    assert "spec.predictor.logger" in condition(found, "FieldsIgnored")["message"]


def test_events_are_told_once_a_change():
    seen = observed.component(deployment(available=True), [replica_set("a", 1)], [pod("p", "a", ready=True)])
    good = told(seen)
    assert transitions({}, good, "iris") == [
        ("Normal", "InferenceServiceReady", "InferenceService [iris] is Ready")
    ]
    assert transitions(good, good, "iris") == []


@pytest.mark.parametrize(
    ("live", "wanted", "same"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": [{"x": 1, "y": 2}]}, {"a": [{"x": 1}]}, True),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({}, {"a": {}}, True),
        ({}, {"a": {"b": 1}}, False),
    ],
)
def test_covers(live, wanted, same):
    assert covers(live, wanted) is same


def running_again():
    found = pod("p", "a", ready=True)
    found["spec"] = {
        "containers": [{"name": "kserve-container", "readinessProbe": {"tcpSocket": {"port": 8080}}}]
    }
    found["status"]["containerStatuses"][0]["ready"] = False
    found["status"]["conditions"][0]["status"] = "False"
    return found


def test_a_container_that_crashes_again_and_again_keeps_its_reason_while_it_runs_for_a_moment():
    sets = [replica_set("a", 1)]
    crashed = told(observed.component(deployment(available=False), sets, [pod("p", "a", ended=NOPE)]))
    again = told(observed.component(deployment(available=False), sets, [running_again()]), before=crashed)
    assert condition(again, "LatestDeploymentReady") == condition(crashed, "LatestDeploymentReady")
    assert again["modelStatus"]["transitionStatus"] == "BlockedByFailedLoad"
    assert transitions(crashed, again, "iris") == []


def test_a_container_that_runs_and_never_crashed_names_the_probe_that_it_does_not_answer():
    found = told(observed.component(deployment(available=False), [replica_set("a", 1)], [running_again()]))
    assert "does not answer its readiness probe yet (TCP port 8080)" in condition(found, "Ready")["message"]
    assert found["modelStatus"]["transitionStatus"] == "InProgress"


def fetched(**state):
    seen = observed.component(
        deployment(available=True), [replica_set("a", 1)], [pod("p", "a", init=True, **state)]
    )
    found = told(seen)
    return found, condition(found, "ModelFetched")


def test_the_digest_of_what_was_fetched_is_told():
    # Which content serves behind an address that stays the same?
    words = "gs://m/x: sha256:ab, 2.0 KiB"
    before, told_ = fetched(ended={"exitCode": 0, "message": words})
    assert (told_["status"], told_["reason"], told_["message"]) == ("True", "Fetched", words)
    assert told_["severity"] == "Info"
    assert ("Normal", "ModelFetched", words) in transitions({}, before, "iris")
    assert ("Normal", "ModelFetched", words) not in transitions(before, before, "iris")


def test_how_far_a_fetch_is_is_told():
    # Minutes without a word look like a hang.
    _, told_ = fetched(waiting={"reason": "Fetching", "message": "fetching gs://m/x · 1.0 of 4.0 GiB"})
    assert (told_["status"], told_["reason"]) == ("Unknown", "Fetching")
    assert "1.0 of 4.0 GiB" in told_["message"]


def test_a_fetch_that_failed_and_is_tried_again_is_a_failed_one():
    _, told_ = fetched(waiting={"reason": "CrashLoopBackOff", "message": "back-off"}, ended=NOPE)
    assert (told_["status"], told_["reason"], told_["message"]) == ("False", "FetchFailed", NOPE["message"])


def test_a_service_that_fetches_nothing_says_nothing_of_it():
    seen = observed.component(deployment(available=True), [replica_set("a", 1)], [pod("p", "a", ready=True)])
    assert condition(told(seen), "ModelFetched") == {}
