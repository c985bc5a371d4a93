"""InferenceService: what is filled in, and what is refused with which words."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelport.kinds.catalog import KINDS
from modelport.kinds.config import EMBEDDED, Config, decode
from modelport.kinds.inferenceservice import KIND
from modelport.kinds.inferenceservice.defaulting import fill
from modelport.kinds.kind import crd
from modelport.kinds.problem import Problem
from modelport.kinds.structural import paths
from modelport.kube.schema import custom, validate


class Nothing:
    """A platform without objects."""

    def get(self, resource, namespace, name):
        return None

    def list(self, resource, namespace=None):
        return []


CONFIG, _ = decode({"data": {key: json.dumps(value) for key, value in EMBEDDED.items()}})


def service(predictor=None, **more):
    meta = {"name": "iris", "namespace": "default"} | more.pop("metadata", {})
    spec = {"predictor": {"sklearn": {"storageUri": "s3://b/m"}} if predictor is None else predictor}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": meta,
        "spec": spec | more,
    }


def problems(item, old=None):
    return [str(problem) for problem in KIND.validate(fill(item, CONFIG), old, Nothing())]


def test_a_shorthand_becomes_a_model():
    filled = fill(service(), CONFIG)
    model = filled["spec"]["predictor"]["model"]
    assert model == {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://b/m"}
    assert "sklearn" not in filled["spec"]["predictor"]
    assert filled["metadata"]["annotations"] == {
        "serving.kserve.io/deploymentMode": "Standard",
        "modelFormat": "sklearn",
    }


def test_a_shorthand_that_is_applied_again_wins_over_what_defaulting_left():
    filled = fill(service(), CONFIG)
    filled["spec"]["predictor"]["sklearn"] = {"storageUri": "s3://b/new"}
    again = fill(filled, CONFIG)
    assert again["spec"]["predictor"]["model"]["storageUri"] == "s3://b/new"
    assert problems(again) == []


@pytest.mark.parametrize("name", ["onnx", "triton", "huggingface"])
def test_frameworks_that_speak_v2_get_it(name):
    filled = fill(service({name: {"storageUri": "s3://b/m"}}), CONFIG)
    assert filled["spec"]["predictor"]["model"]["protocolVersion"] == "v2"


def test_custom_containers_get_resources_and_models_do_not():
    filled = fill(service({"containers": [{"name": "c", "image": "x"}]}), CONFIG)
    assert filled["spec"]["predictor"]["containers"][0]["resources"] == {
        "requests": {"cpu": "1", "memory": "2Gi"},
        "limits": {"cpu": "1", "memory": "2Gi"},
    }
    assert "resources" not in fill(service(), CONFIG)["spec"]["predictor"]["model"]


@pytest.mark.parametrize(
    ("given", "filled"),
    [
        ({"limits": {"memory": "200Mi"}}, {"requests": "200Mi", "limits": "200Mi"}),
        ({"limits": {"memory": "8Gi"}}, {"requests": "2Gi", "limits": "8Gi"}),
        ({"requests": {"memory": "4Gi"}}, {"requests": "4Gi", "limits": "4Gi"}),
        ({"requests": {"memory": "much"}}, {"requests": "much", "limits": "2Gi"}),
    ],
)
def test_configured_resources_do_not_contradict_what_the_user_wrote(given, filled):
    """`limits: {memory: 200Mi}` alone must not be refused for a request of 2Gi that nobody wrote."""
    container = {"name": "c", "image": "x", "resources": given}
    found = fill(service({"containers": [container]}), CONFIG)["spec"]["predictor"]["containers"][0]
    assert {kind: amounts["memory"] for kind, amounts in found["resources"].items()} == filled


def test_legacy_modes_are_renamed():
    item = service(metadata={"annotations": {"serving.kserve.io/deploymentMode": "RawDeployment"}})
    assert fill(item, CONFIG)["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (service(metadata={"name": "3iris"}), "must start with alphabetical character"),
        (service({"sklearn": {}, "xgboost": {}}), "exactly one of"),
        (service({}), "got none"),
        (service({"sklearn": {"storageUri": "ftp://x/y"}}), "StorageUri [ftp://x/y] is not supported"),
        (
            service({"sklearn": {"storageUri": "s3://x"}, "minReplicas": -1}),
            "minReplicas cannot be less than 0",
        ),
        (
            service({"sklearn": {"storageUri": "s3://x"}, "minReplicas": 3, "maxReplicas": 2}),
            "must be at most maxReplicas (2), got 3. Lower it or raise maxReplicas.",
        ),
        (
            service({"sklearn": {"storageUri": "s3://x"}, "containerConcurrency": -1}),
            "parallelism cannot be less than 0",
        ),
        (
            service({"sklearn": {"storageUri": "s3://x"}, "scaleTarget": 101}),
            "the target utilization percentage should be a [1-100] integer",
        ),
        (
            service(
                {"containers": [{"name": "c", "image": "i", "env": [{"name": "PYTHONPATH", "value": "/x"}]}]}
            ),
            "PYTHONPATH is not allowed",
        ),
        (
            service({"sklearn": {"storageUri": "s3://x"}, "logger": {"url": "http://x"}}),
            "invalid logger type",
        ),
        (
            service(metadata={"annotations": {"serving.kserve.io/autoscalerClass": "kpa"}}),
            "[kpa] is not a supported autoscaler class type",
        ),
        (
            service({"sklearn": {"storageUri": "s3://x"}, "storageUris": [{"uri": "s3://y"}]}),
            "storageUri and storageUris cannot be given together",
        ),
        (
            service(
                {
                    "containers": [{"name": "c", "image": "i"}],
                    "storageUris": [{"uri": "s3://y", "mountPath": "/a/../b"}],
                }
            ),
            "must not contain '..'",
        ),
        (service({"onnx": {"storageUri": "s3://x/model.pkl"}}), "expected storageUri file extension: .onnx"),
        (service(transformer={}), "TransformerSpec"),
        (service({"sklearn": {"storageUri": 7}}), "spec.predictor.model.storageUri"),
    ],
)
def test_what_is_refused_is_named_with_the_next_step(item, words):
    assert any(words in problem for problem in problems(item)), problems(item)


def test_all_problems_are_told_at_once():
    item = service(
        {"sklearn": {"storageUri": "ftp://x"}, "minReplicas": 5, "maxReplicas": 2}, metadata={"name": "I"}
    )
    assert len(problems(item)) == 3


def test_a_name_that_its_components_cannot_have_is_refused_of_new_services():
    """It would be stored, and nothing could ever be made for it. What is stored already can still be changed."""
    transformer = {"containers": [{"name": "c", "image": "i"}]}
    longest = service(metadata={"name": "a" * 48})
    assert problems(longest) == []
    longer = service(metadata={"name": "a" * 49})
    (told,) = problems(longer)
    assert "metadata.name: must be no more than 48 characters" in told
    assert told.endswith("got 49. Shorten it.")
    assert "no more than 46" in problems(service(metadata={"name": "a" * 48}, transformer=transformer))[0]
    assert problems(longer, old=fill(copy.deepcopy(longer), CONFIG)) == []


def test_the_mode_cannot_change():
    old = service() | {"status": {"deploymentMode": "Standard"}}
    new = service(metadata={"annotations": {"serving.kserve.io/deploymentMode": "Knative"}})
    assert any(
        "deploymentMode cannot be changed from 'Standard' to 'Knative'" in one for one in problems(new, old)
    )


def test_a_mode_that_was_accepted_may_be_applied_again():
    """YAML of a serverless cluster: applied once, it must take changes; Standard serves it here."""
    said = {"metadata": {"annotations": {"serving.kserve.io/deploymentMode": "Knative"}}}
    old = service(**said) | {"status": {"deploymentMode": "Standard"}}
    assert problems(service(**said), old) == []


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["predictor", "model", "sklearn", "containers", "name", "env", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(spec=ANYTHING, annotations=ANYTHING)
def test_any_json_is_taken_or_refused_and_nothing_dies(spec, annotations):
    item = service() | {"spec": spec}
    item["metadata"] = {"name": "a", "namespace": "b", "annotations": annotations}
    KIND.validate(fill(item, CONFIG), None, Nothing())


@given(spec=ANYTHING)
def test_defaulting_twice_is_defaulting_once(spec):
    item = service() | {"spec": {"predictor": spec}}
    once = fill(copy.deepcopy(item), CONFIG)
    assert fill(copy.deepcopy(once), CONFIG) == once


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.resource.kind)
def test_crds_are_structural(kind):
    text = json.dumps(crd(kind))
    assert "$ref" not in text
    assert "anyOf" not in text
    assert '"null"' not in text


def test_the_schema_describes_every_field_of_a_predictor():
    schema = KIND.schema["properties"]["spec"]
    found = set(paths(schema))
    assert {"predictor.model.modelFormat.name", "canary[].trafficPercent", "predictor.containers"} <= found
    for name, field in schema["properties"]["predictor"]["properties"].items():
        assert field.get("description"), name


def test_the_schema_takes_what_defaulting_makes():
    assert validate(custom(KIND.schema), fill(service(), CONFIG)) == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"ingress": "{"}, "unable to parse ingress config json"),
        (
            {"ingress": '{"enableGatewayApi": true, "kserveIngressGateway": "x"}'},
            "kserveIngressGateway should be in the format <namespace>/<name>",
        ),
        (
            {"ingress": '{"pathTemplate": "/x", "ingressDomain": ""}'},
            "ingressDomain is required if pathTemplate is given",
        ),
    ],
)
def test_broken_configuration_is_told(data, words):
    _, found = decode({"data": data})
    assert any(words in str(problem) for problem in found)


def test_no_configuration_is_the_default():
    assert decode(None) == (Config(), [])


@pytest.mark.parametrize(
    ("predictor", "words"),
    [
        (
            {"containers": [{"name": "a", "image": "i", "colour": "red"}]},
            "spec.predictor.containers[0].colour",
        ),
        (
            {"containers": [{"name": "a", "ports": [{"containerPort": "x"}]}]},
            "containers[0].ports[0].containerPort",
        ),
        (
            {"model": {"modelFormat": {"name": "sklearn"}, "env": [{"value": "x"}]}},
            "spec.predictor.model.env[0].name",
        ),
        ({"sklearn": {"storageUri": "s3://b/m", "storageURI": "x"}}, "spec.predictor.sklearn.storageURI"),
        (
            {"sklearn": {"storageUri": "s3://b/m"}, "volumes": [{"emptyDir": {}}]},
            "spec.predictor.volumes[0].name",
        ),
        ({"sklearn": {"storageUri": "s3://b/m"}, "nodeSelector": {"a": 1}}, "spec.predictor.nodeSelector"),
        (
            {"sklearn": {}, "affinity": {"nodeAffinity": {"colour": 1}}},
            "spec.predictor.affinity.nodeAffinity.colour",
        ),
    ],
)
def test_a_pods_fields_are_held_to_kubernetes_own_schema(predictor, words):
    """A misspelt field of a container must not be dropped in silence, nor wait for the Deployment to be refused."""
    from modelport.kube.schema import prune, validate

    item = {"metadata": {"name": "iris"}, "spec": {"predictor": predictor}}
    pruned, unknown = prune(KIND.checked, item)
    found = unknown + [cause.field for cause in validate(KIND.checked, pruned)]
    assert any(words in one for one in found), found


def test_what_is_wrong_and_what_to_do_are_two_sentences():
    """As people read it in kubectl: not `is required It needs at least spec.predictor.`"""
    assert str(Problem("spec", "is required", "Give it.")) == "spec: is required. Give it."
    assert Problem("spec", "is required.", "Give it.").cause().message == "is required. Give it."
    assert str(Problem("", "is required")) == "is required"
