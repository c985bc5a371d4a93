"""The kinds that are stored and not carried out yet: KServe's fields and rules, each refusal with its path."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from modelport.kinds.catalog import KINDS
from modelport.kinds.kind import crd
from modelport.kube.schema import fill_defaults, prune, validate

BY_NAME = {kind.resource.kind: kind for kind in KINDS}
SEQUENCE = {
    "nodes": {"root": {"routerType": "Sequence", "steps": [{"serviceName": "a"}, {"serviceName": "b"}]}}
}
MODEL = {
    "inferenceService": "a",
    "model": {"storageUri": "s3://b/m", "framework": "sklearn", "memory": "1Gi"},
}
CACHE = {"sourceModelUri": "hf://a/b", "modelSize": "4Gi", "nodeGroups": ["workers"]}
GROUP = {
    "storageLimit": "1Ti",
    "persistentVolumeSpec": {"hostPath": {"path": "/models"}},
    "persistentVolumeClaimSpec": {"accessModes": ["ReadOnlyMany"]},
}
NODE = {"localModels": [{"sourceModelUri": "hf://a/b", "modelName": "b"}]}
FETCH = {
    "container": {"name": "fetch", "image": "mine"},
    "supportedUriFormats": [{"prefix": "model-registry://"}],
}
LLM = {
    "model": {
        "uri": "hf://Qwen/Qwen2.5-0.5B-Instruct",
        "lora": {"adapters": [{"uri": "hf://a/b", "name": "b"}]},
    },
    "replicas": 2,
    "router": {"route": {}, "gateway": {}, "scheduler": {}},
    "template": {"containers": [{"name": "main", "resources": {"limits": {"cpu": "2"}}}]},
    "parallelism": {"tensor": 1, "dataRPCPort": 5555},
}
GOOD = {
    "InferenceGraph": SEQUENCE,
    "TrainedModel": MODEL,
    "LocalModelCache": CACHE,
    "LocalModelNamespaceCache": CACHE,
    "LocalModelNode": NODE,
    "LocalModelNodeGroup": GROUP,
    "LLMInferenceService": LLM,
    "LLMInferenceServiceConfig": {"replicas": 1, "template": {"containers": [{"name": "main"}]}},
    "ClusterStorageContainer": FETCH,
}


class Others:
    """What is there already."""

    def __init__(self, *items: dict[str, Any]) -> None:
        self.items = items

    def get(self, resource: Any, namespace: str | None, name: str) -> None:
        return None

    def list(self, resource: Any, namespace: str | None = None) -> list[dict[str, Any]]:
        return [item for item in self.items if item["kind"] == resource.kind]


def object_of(kind: str, spec: dict[str, Any], name: str = "one") -> dict[str, Any]:
    return {
        "apiVersion": BY_NAME[kind].resource.api_version,
        "kind": kind,
        "metadata": {"name": name},
        "spec": copy.deepcopy(spec),
    }


def problems(kind: str, spec: dict[str, Any], *, old: Any = None, others: Others | None = None) -> list[str]:
    """As the API server finds them: unknown fields, the schema's, then the kind's."""
    declared = BY_NAME[kind]
    pruned, unknown = prune(declared.checked, object_of(kind, spec))
    item = fill_defaults(declared.checked, declared.default(pruned, others or Others()))
    found = [f"unknown {path}" for path in unknown]
    found += [f"{cause.field}: {cause.message}" for cause in validate(declared.checked, item)]
    before = object_of(kind, old) if old is not None else None
    return found + [str(one) for one in declared.validate(item, before, others or Others())]


@pytest.mark.parametrize("kind", GOOD)
def test_good_ones_are_accepted(kind: str) -> None:
    assert problems(kind, GOOD[kind]) == []


def changed(spec: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return copy.deepcopy(spec) | changes


SPLIT = {
    "routerType": "Splitter",
    "steps": [{"serviceName": "a", "weight": 60}, {"serviceName": "b", "weight": 60}],
}


@pytest.mark.parametrize(
    ("kind", "spec", "words"),
    [
        ("InferenceGraph", {"nodes": {"first": SEQUENCE["nodes"]["root"]}}, "root node not found"),
        (
            "InferenceGraph",
            {"nodes": {"root": SPLIT}},
            "weights for all routing targets should be 100, got 120",
        ),
        (
            "InferenceGraph",
            {"nodes": {"root": {"routerType": "Splitter", "steps": [{"serviceName": "a"}]}}},
            "spec.nodes.root.steps[0].weight: InferenceGraph[one] Node[root] Route[a] missing the 'Weight'",
        ),
        (
            "InferenceGraph",
            {"nodes": {"root": {"routerType": "Sequence", "steps": [{"name": "x"}]}}},
            'Step 0 ("x") in node "root" of InferenceGraph "one" does not specify an inference target',
        ),
        (
            "InferenceGraph",
            {"nodes": {"root": {"routerType": "Sequence", "steps": [{"serviceName": "a", "nodeName": "b"}]}}},
            "specifies more than one of nodeName, serviceName, serviceUrl",
        ),
        ("InferenceGraph", {"nodes": {"root": {"routerType": "Guess"}}}, "spec.nodes.root.routerType"),
        ("TrainedModel", changed(MODEL, model=MODEL["model"] | {"storageUri": "pvc://a"}), "s3://, https://"),
        ("TrainedModel", {"inferenceService": "a"}, "model"),
        ("LocalModelCache", changed(CACHE, nodeGroups=[]), "spec.nodeGroups: must name at least one group"),
        ("LocalModelCache", changed(CACHE, modelSize="big"), "spec.modelSize"),
        ("LocalModelNodeGroup", changed(GROUP, storageLimit="lots"), "spec.storageLimit"),
        (
            "LLMInferenceService",
            changed(LLM, worker={"containers": []}),
            "data parallelism or pipeline parallelism",
        ),
        (
            "LLMInferenceService",
            changed(LLM, scaling={"maxReplicas": 2}),
            "scaling and replicas are mutually exclusive",
        ),
        (
            "LLMInferenceService",
            changed(LLM, parallelism={"data": 2}),
            "dataLocal must be set when data is set",
        ),
        (
            "LLMInferenceService",
            changed(LLM, router={"route": {"group": "g"}}),
            "spec.router.route.weight: group requires weight",
        ),
        (
            "LLMInferenceService",
            changed(LLM, template={"containers": [{"name": "m", "colour": 1}]}),
            "colour",
        ),
        (
            "LLMInferenceService",
            changed(LLM, model={"uri": "hf://a/b", "lora": {"adapters": [{"uri": "x", "name": "one"}]}}),
            "adapter name must differ from base model name 'one'",
        ),
        ("LLMInferenceServiceConfig", {"baseRefs": [{"name": "other"}]}, "configs may not refer to configs"),
        ("ClusterStorageContainer", changed(FETCH, supportedUriFormats=[{"regex": "("}]), "is no pattern"),
        (
            "ClusterStorageContainer",
            changed(FETCH, container={"name": "x", "colour": "red"}),
            "spec.container.colour",
        ),
        ("ClusterStorageContainer", changed(FETCH, workloadType="job"), "spec.workloadType"),
    ],
)
def test_refusals_name_the_field(kind: str, spec: dict[str, Any], words: str) -> None:
    found = problems(kind, spec)
    assert any(words in one for one in found), found


@pytest.mark.parametrize(
    ("kind", "old", "new", "words"),
    [
        (
            "TrainedModel",
            MODEL,
            changed(MODEL, model=MODEL["model"] | {"memory": "2Gi"}),
            "memory field is immutable",
        ),
        ("LocalModelCache", CACHE, changed(CACHE, sourceModelUri="hf://c/d"), "StorageUri is immutable"),
        (
            "LLMInferenceService",
            changed(LLM, parallelism={"data": 2, "dataLocal": 1}),
            changed(LLM, parallelism={"data": 4, "dataLocal": 1}),
            "total size cannot be changed",
        ),
    ],
)
def test_what_may_not_change(kind: str, old: dict[str, Any], new: dict[str, Any], words: str) -> None:
    assert any(words in one for one in problems(kind, new, old=old))


def test_two_caches_of_one_model_are_refused() -> None:
    there = Others(object_of("LocalModelCache", CACHE, "other"))
    assert any(
        "LocalModelCache other has the same" in one
        for one in problems("LocalModelCache", CACHE, others=there)
    )


def test_defaults() -> None:
    graph = BY_NAME["ClusterStorageContainer"].default(object_of("ClusterStorageContainer", FETCH), Others())
    assert graph["spec"]["workloadType"] == "initContainer"
    llm = object_of("LLMInferenceService", changed(LLM, router={"route": {"group": "g", "weight": 1}}))
    llm = BY_NAME["LLMInferenceService"].default(llm, Others())
    assert llm["spec"]["model"]["name"] == "one"
    assert llm["metadata"]["labels"] == {"serving.kserve.io/routing-group": "g"}


def references(node: Any) -> bool:
    if isinstance(node, dict):
        return "$ref" in node or any(references(one) for one in node.values())
    return isinstance(node, list) and any(references(one) for one in node)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.resource.kind)
def test_definitions_are_structural(kind: Any) -> None:
    """A cluster refuses a CRD that refers, or whose fields have no type."""
    definition = crd(kind)
    assert not references(definition)

    def check(node: dict[str, Any], path: str) -> None:
        known = node.get("type") or node.get("x-kubernetes-int-or-string")
        assert known or node.get("x-kubernetes-preserve-unknown-fields"), path
        for name, below in node.get("properties", {}).items():
            check(below, f"{path}.{name}")
        if isinstance(node.get("items"), dict):
            check(node["items"], f"{path}[]")

    check(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], kind.resource.kind)
