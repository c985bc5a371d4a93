"""LLMInferenceService v1alpha1: what KServe's clients of that version write is kept, and comes back as it was."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from modelport.kinds.llminferenceservice import KINDS, v1alpha1

SERVICE: dict[str, Any] = {
    "apiVersion": "serving.kserve.io/v1alpha1",
    "kind": "LLMInferenceService",
    "metadata": {"name": "llama", "annotations": {"mine": "1"}},
    "spec": {
        "model": {
            "uri": "hf://a/b",
            "criticality": "Critical",
            "lora": {
                "adapters": [
                    {"uri": "hf://a/one", "name": "one"},
                    {"uri": "hf://a/two", "name": "two", "criticality": "Sheddable"},
                ]
            },
        },
        "replicas": 2,
        "router": {
            "scheduler": {
                "pool": {
                    "spec": {
                        "selector": {"app": "llama"},
                        "targetPortNumber": 8000,
                        "extensionRef": {"name": "picker", "portNumber": 9002, "failureMode": "FailOpen"},
                    }
                }
            }
        },
    },
}


def test_criticalities_become_the_annotations_of_kserve() -> None:
    found = v1alpha1.up(copy.deepcopy(SERVICE))
    assert found["metadata"]["annotations"] == {
        "mine": "1",
        "internal.serving.kserve.io/model-criticality": "Critical",
        "internal.serving.kserve.io/lora-criticalities": '{"1":"Sheddable"}',
    }
    assert "criticality" not in str(found["spec"])


def test_a_pool_is_written_in_its_newer_form() -> None:
    found = v1alpha1.up(copy.deepcopy(SERVICE))
    assert found["spec"]["router"]["scheduler"]["pool"]["spec"] == {
        "selector": {"matchLabels": {"app": "llama"}},
        "targetPorts": [{"number": 8000}],
        "endpointPickerRef": {"name": "picker", "port": {"number": 9002}, "failureMode": "FailOpen"},
    }


def test_a_round_trip_changes_nothing() -> None:
    assert v1alpha1.down(v1alpha1.up(copy.deepcopy(SERVICE))) == SERVICE


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"model": None},
        {"model": {"lora": {"adapters": None}}},
        {"model": []},
        {"router": {"scheduler": {"pool": {"spec": []}}}},
        {"router": {"scheduler": {"pool": {"spec": {"targetPorts": [{"number": 1}, {"number": 2}]}}}}},
        {"router": {"scheduler": {"pool": {"spec": {"extensionRef": None, "selector": None}}}}},
    ],
)
@pytest.mark.parametrize("note", ["", "no json", '{"0":1}', '{"x":"y"}'])
def test_odd_objects_are_left_to_validation(spec: Any, note: str) -> None:
    body = {"metadata": {"annotations": {v1alpha1.LORA_CRITICALITIES: note}}, "spec": spec}
    v1alpha1.up(copy.deepcopy(body))
    v1alpha1.down(copy.deepcopy(body))


def test_only_the_older_version_knows_criticality() -> None:
    for kind in KINDS:
        assert "criticality" not in str(kind.schema)
        # A config's model is open, and takes it as it is.
        assert ("criticality" in str(kind.older[0].schema)) == (kind.resource.kind == "LLMInferenceService")
        assert [one.api_version for one in kind.others] == ["serving.kserve.io/v1alpha1"]
