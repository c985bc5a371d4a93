"""`modelport plan`: every field of every object is answered, and nothing is promised that the platform does not do."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from modelport.cli import main
from modelport.control.seed import config_map
from modelport.kinds import builtin
from modelport.local.node import image
from modelport.render.assess import assess

TEXT = """
apiVersion: v1
kind: List
items:
- apiVersion: serving.kserve.io/v1beta1
  kind: InferenceService
  metadata: {name: iris, namespace: models, annotations: {serving.kserve.io/deploymentMode: Knative}, uid: abc, resourceVersion: "1", managedFields: [{manager: x}]}
  spec:
    predictor:
      maxReplicas: 3
      nodeSelector: {a: b}
      sklearn: {storageUri: "gs://b/m", securityContext: {runAsUser: 1}}
  status: {url: x}
- apiVersion: serving.kserve.io/v1beta1
  kind: InferenceService
  metadata: {name: flowers, namespace: models}
  spec: {predictor: {tensorflow: {storageUri: "gs://b/flowers"}}}
- apiVersion: serving.kserve.io/v1beta1
  kind: InferenceService
  metadata: {name: typo}
  spec: {predictor: {containers: [{name: x, image: mine, comand: [a]}]}}
- apiVersion: serving.kserve.io/v1beta1
  kind: InferenceService
  metadata: {name: two}
  spec: {predictor: {sklearn: {storageUri: "s3://b/m"}, xgboost: {storageUri: "s3://b/m"}}}
- apiVersion: serving.kserve.io/v1beta1
  kind: InferenceService
  metadata: {name: wrong}
  spec: {predictor: {minReplicas: many, sklearn: {storageUri: "s3://b/m"}}}
- apiVersion: serving.kserve.io/v1beta1
  kind: InferenceService
  metadata: {name: good}
  spec: {predictor: {model: {modelFormat: {name: sklearn}, storageUri: "s3://b/m"}}}
---
apiVersion: serving.kserve.io/v1alpha1
kind: ServingRuntime
metadata: {name: mine, namespace: models}
spec:
  supportedModelFormats: [{name: tensorflow, version: "2", autoSelect: true}]
  nodeSelector: {gpu: "true"}
  grpcEndpoint: unix:/x
  containers: [{name: kserve-container, image: tensorflow/serving:2, command: [serve]}]
---
apiVersion: serving.kserve.io/v1alpha1
kind: InferenceGraph
metadata: {name: chain}
spec: {nodes: {root: {routerType: Sequence, steps: [{serviceName: iris}]}}}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: scaler}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: inferenceservice-config, namespace: kserve}
data:
  logger: "{}"
  ingress: '{"enableGatewayApi": true, "ingressClassName": "x", "kserveIngressGateway": "kserve/x", "ingressDomain": "a.b"}'
"""


def items() -> list[dict[str, Any]]:
    found = list(yaml.safe_load_all(TEXT))
    return [*found[0]["items"], *found[1:]]


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    known = [*builtin.runtimes("1.0"), config_map()]
    return {one.name: one for one in assess(items(), known, "1.0", image.problem)}


def told(one: Any, answer: str) -> dict[str, str]:
    return {field.path: f"{field.reason} {field.hint}" for field in one.having(answer)}


def test_a_service_is_answered_field_by_field_in_the_users_own_words(found: Any) -> None:
    iris = found["iris"]
    assert set(told(iris, "not carried out")) == {
        "metadata.annotations[serving.kserve.io/deploymentMode]",
        "spec.predictor.maxReplicas",
        "spec.predictor.nodeSelector",
        "spec.predictor.sklearn.securityContext",
    }
    assert set(told(iris, "carried out")) == {"spec.predictor.sklearn.storageUri"}
    assert told(iris, "refused") == {}
    assert {field.answer for field in found["good"].fields} == {"carried out"}


@pytest.mark.parametrize(
    ("name", "path", "words"),
    [
        ("typo", "spec.predictor.containers[0].comand", "Did you mean command?"),
        ("two", "spec.predictor", "exactly one of"),
        ("wrong", "spec.predictor.minReplicas", "integer"),
        ("scaler", "kind", "keda.sh/v1alpha1 ScaledObject is not served here"),
    ],
)
def test_refusals_name_the_field_and_the_next_step(found: Any, name: str, path: str, words: str) -> None:
    assert words in told(found[name], "refused")[path]


def test_runtimes_of_the_same_input_count(found: Any) -> None:
    assert not told(found["flowers"], "refused"), "the runtime in the same file serves it"
    mine = told(found["mine"], "not carried out")
    assert set(mine) == {"spec.nodeSelector", "spec.grpcEndpoint"}


def test_a_missing_runtime_says_what_to_do_instead() -> None:
    flowers = [item for item in items() if item["metadata"]["name"] == "flowers"]
    (one,) = assess(flowers, [*builtin.runtimes("1.0"), config_map()], "1.0", image.problem)
    assert "convert the model to ONNX" in told(one, "refused")["spec.predictor.model.modelFormat"]


def test_all_that_is_wrong_is_told_at_once() -> None:
    """Whoever mends one thing must not find the next one afterwards."""
    (flowers,) = [item for item in items() if item["metadata"]["name"] == "flowers"]
    flowers["spec"]["explainer"] = {"art": {"type": "SquareAttack"}}
    (one,) = assess([flowers], builtin.runtimes("1.0"), "1.0", image.problem)
    assert set(told(one, "refused")) == {"spec.predictor.model.modelFormat", "spec.explainer.art"}
    assert not told(one, "not carried out"), "what is refused is not accepted as well"


def test_a_dump_of_a_platform_of_ones_own_is_carried_out() -> None:
    """Its runtimes came with it: that their pods' security contexts do nothing here is not the reader's to mend."""
    ours = builtin.runtimes("1.0")
    assert not any(told(one, "not carried out") for one in assess(ours, ours, "1.0", image.problem))
    changed = builtin.runtimes("1.0")
    changed[0]["spec"]["nodeSelector"] = {"a": "b"}
    assert "spec.nodeSelector" in told(assess(changed, ours, "1.0", image.problem)[0], "not carried out")


def test_what_is_only_stored_and_keys_of_the_configuration(found: Any) -> None:
    assert "nothing runs for it yet" in told(found["chain"], "not carried out")["spec"]
    assert set(told(found["inferenceservice-config"], "not carried out")) == {
        "data.ingress.ingressClassName",
        "data.logger",
    }


def test_the_command_reads_files_and_lists_and_its_exit_code_tells(tmp_path: Any, capsys: Any) -> None:
    file = tmp_path / "dump.yaml"
    file.write_text(TEXT)
    assert main(["plan", "-f", str(file)]) == 1
    said = capsys.readouterr()
    assert "InferenceService models/iris: 1 field carried out, 4 not carried out" in said.out
    good = next(item for item in items() if item["metadata"]["name"] == "good")
    file.write_text(
        yaml.safe_dump(
            {
                "apiVersion": good["apiVersion"],
                "kind": "InferenceServiceList",
                "items": [{"metadata": good["metadata"], "spec": good["spec"]}],
            }
        )
    )
    assert main(["plan", "-f", str(file), "-o", "json"]) == 0
    assert '"verdict": "carried out"' in capsys.readouterr().out
    file.write_text("kind: List\nitems: [nothing]\n")
    assert main(["plan", "-f", str(file)]) == 2
    assert "items[0] is no object with metadata" in capsys.readouterr().err
