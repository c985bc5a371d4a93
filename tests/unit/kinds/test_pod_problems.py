"""Amounts and ports that no cluster would start, refused when they are applied."""

from __future__ import annotations

from typing import Any

import pytest

from modelport.kinds import pod_problems
from modelport.kinds.catalog import KINDS
from modelport.kinds.kind import Kind

AMOUNT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
RANGE = "must be between 1 and 65535, inclusive"
LETTERS = "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"


class Nothing:
    """No related objects."""

    def get(self, *_: Any) -> None:
        return None

    def list(self, *_: Any) -> list[Any]:
        return []


def kind(name: str) -> Kind:
    return next(one for one in KINDS if one.resource.kind == name)


def service(container: dict[str, Any], part: str = "containers") -> dict[str, Any]:
    whole = {"name": "kserve-container", "image": "python"} | container
    predictor = {"containers": [whole]}
    if part == "model":
        predictor = {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": "file:///m"} | container}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "iris", "namespace": "default"},
        "spec": {"predictor": predictor},
    }


def runtime(container: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": "r", "namespace": "default"},
        "spec": {"containers": [{"name": "kserve-container", "image": "python"} | container]},
    }


def told(obj: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    return [f"{one.field}: {one.message}" for one in kind(obj["kind"]).validate(obj, old, Nothing())]


def limits(**amounts: Any) -> dict[str, Any]:
    return {"resources": {"limits": amounts}}


@pytest.mark.parametrize(
    ("container", "field", "words"),
    [
        (limits(memory="1GG"), "resources.limits[memory]", f'Invalid value: "1GG": {AMOUNT}'),
        (
            limits(cpu="-1"),
            "resources.limits[cpu]",
            'Invalid value: "-1": must be greater than or equal to 0',
        ),
        (
            {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}},
            "resources.requests",
            'Invalid value: "2": must be less than or equal to cpu limit of 1',
        ),
        (
            {"ports": [{"containerPort": 70000}]},
            "ports[0].containerPort",
            f"Invalid value: 70000: {RANGE}",
        ),
        (
            {"ports": [{"containerPort": 8080, "name": "a_b"}]},
            "ports[0].name",
            f'Invalid value: "a_b": {LETTERS}',
        ),
        (
            {"readinessProbe": {"httpGet": {"port": "http!"}}},
            "readinessProbe.httpGet.port",
            f'Invalid value: "http!": {LETTERS}',
        ),
        (
            {"livenessProbe": {"tcpSocket": {"port": 0}}},
            "livenessProbe.tcpSocket.port",
            f"Invalid value: 0: {RANGE}",
        ),
    ],
)
def test_what_no_cluster_would_start_is_refused_with_kubernetes_words(
    container: dict[str, Any], field: str, words: str
) -> None:
    assert told(service(container)) == [f"spec.predictor.containers[0].{field}: {words}"]
    assert told(service(container, "model")) == [f"spec.predictor.model.{field}: {words}"]
    # Of a runtime's requests and limits an InferenceService may change one.
    expected = [] if "less than or equal" in words else [f"spec.containers[0].{field}: {words}"]
    assert told(runtime(container)) == expected


@pytest.mark.parametrize(
    "container",
    [
        limits(memory="1Gi", cpu=1),
        limits(memory="1e9", cpu="0.5"),
        limits(**{"nvidia.com/gpu": 0}),
        limits(memory=1.5),
        {"ports": [{"containerPort": 8080, "name": "h2c"}, {"containerPort": 65535, "protocol": "UDP"}]},
        {"readinessProbe": {"httpGet": {"port": "http", "path": "/"}}},
        {"readinessProbe": {"grpc": {"port": 8081}}},
        {"resources": None, "ports": None},
    ],
)
def test_what_a_cluster_accepts_is_accepted(container: dict[str, Any]) -> None:
    assert told(service(container)) == []
    assert told(runtime(container)) == []


def test_what_was_there_before_is_let_pass() -> None:
    """Somebody must be able to put a label on it, or mend one of two."""
    old = service(limits(memory="1GG", cpu="-1"))
    assert told(old, old) == []
    new = service(limits(memory="2GG", cpu="-1"))
    assert told(new, old) == [
        f'spec.predictor.containers[0].resources.limits[memory]: Invalid value: "2GG": {AMOUNT}'
    ]


def test_every_part_of_a_service_is_looked_at() -> None:
    bad = {"ports": [{"containerPort": 0}]}
    found = pod_problems.new_ones(
        [
            ("spec.explainer", {"art": bad}),
            ("spec.predictor", {"initContainers": [bad], "workerSpec": {"containers": [bad]}}),
            ("spec.transformer", {"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1GG"}}]}),
        ],
        [],
    )
    assert [one.field for one in found] == [
        "spec.explainer.art.ports[0].containerPort",
        "spec.predictor.initContainers[0].ports[0].containerPort",
        "spec.predictor.workerSpec.containers[0].ports[0].containerPort",
        "spec.transformer.volumes[0].emptyDir.sizeLimit",
    ]
