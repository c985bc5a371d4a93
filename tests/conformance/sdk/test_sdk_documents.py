"""YAML files of KServe's documentation, as they are, by kubectl and by KServeClient: only their buckets are ours.

Each becomes Ready and answers the request that its page has, or is refused in words that `docs/compatibility.md`
explains.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
import yaml
from kserve import InferenceGRPCClient, InferInput, InferRequest, KServeClient, V1beta1InferenceService
from kubernetes import client
from sdk_platform import ROOT, Platform

FOLDER = ROOT / "tests" / "conformance" / "kserve_docs"
ROWS = [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]
V2 = {"inputs": [{"name": "input-0", "shape": [2, 4], "datatype": "FP32", "data": ROWS}]}
ONE = {
    "sepal_length_(cm)": [5.1],
    "sepal_width_(cm)": [3.5],
    "petal_length_(cm)": [1.4],
    "petal_width_(cm)": [0.2],
}
WINE = {
    "fixed acidity": 7.4, "volatile acidity": 0.7, "citric acid": 0, "residual sugar": 1.9, "chlorides": 0.076,
    "free sulfur dioxide": 11, "total sulfur dioxide": 34, "density": 0.9978, "pH": 3.51, "sulphates": 0.56,
    "alcohol": 9.4,
}  # fmt: skip


class Ask(NamedTuple):
    """A documented request, and what the answer has to be."""

    path: str
    body: Any
    answers: Callable[[Any], bool]


def v1(answers: Any = (1, 1)) -> Ask:
    return Ask(
        "/v1/models/{}:predict", {"instances": ROWS}, lambda said: said["predictions"] == list(answers)
    )


def v2(answers: Any = (1, 1)) -> Ask:
    return Ask("/v2/models/{}/infer", V2, lambda said: said["outputs"][0]["data"] == list(answers))


def classes(values: Any) -> list[int]:
    """The likeliest of three classes, a row each."""
    rows = [values[start : start + 3] for start in range(0, len(values), 3)]
    return [row.index(max(row)) for row in rows]


def grpc(of: Callable[[list[Any]], list[int]] = list) -> Ask:
    return Ask("grpc", [value for row in ROWS for value in row], lambda data: of(list(data)) == [1, 1])


LIGHT_V1 = Ask(
    "/v1/models/{}:predict", {"inputs": [ONE]}, lambda said: classes(said["predictions"][0]) == [0]
)
LIGHT_V2 = Ask("/v2/models/{}/infer", V2, lambda said: classes(said["outputs"][0]["data"]) == [1, 1])
DOUBLED = Ask(
    "/v2/models/{}/infer",
    {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]},
    lambda said: said["outputs"][0]["data"] == [2, 4],
)
MLFLOW = Ask(
    "/v2/models/{}/infer",
    {
        "parameters": {"content_type": "pd"},
        "inputs": [{"name": n, "shape": [1], "datatype": "FP32", "data": [v]} for n, v in WINE.items()],
    },
    lambda said: abs(said["outputs"][0]["data"][0] - 5.7) < 0.001,
)

PASSTHROUGH, SIDECAR, SCRAPING, AUTOSCALER = (
    f"metadata.annotations[{name}]"
    for name in (
        "serving.knative.dev/enablePassthrough",
        "sidecar.istio.io/inject",
        "serving.kserve.io/enable-prometheus-scraping",
        "serving.kserve.io/autoscalerClass",
    )
)
"""Annotations that speak to what is not here."""

SERVED: dict[str, tuple[Ask, list[str]]] = {
    "first-isvc": (v1(), []),
    "swagger-ui": (v1(), []),
    "sklearn-v2": (v2(), []),
    "sklearn-grpc-h2c": (grpc(), []),
    "sklearn-grpc": (grpc(), []),
    "xgboost-v2": (v2(), []),
    "xgboost-grpc": (grpc(), []),
    "lightgbm-v1": (LIGHT_V1, []),
    "lightgbm-v2": (LIGHT_V2, []),
    "lightgbm-grpc": (grpc(classes), []),
    "onnx": (DOUBLED, []),
    "mlflow": (MLFLOW, []),
    "servingruntime-mlserver": (v2(), []),
    "servingruntime-old-schema": (v1(), []),
    "servingruntime-new-schema": (v1(), []),
    "control-plane-gateway": (v1(), [PASSTHROUGH]),
    "control-plane-scale": (v1(), ["maxReplicas", "minReplicas", "scaleTarget"]),
    "gatewayapi-migration": (v1(), []),
    "servicemesh-burst": (v1(), [SIDECAR]),
    "prometheus-metrics": (v2(), [SCRAPING]),
    "integrations-prometheus": (v1(), [SCRAPING]),
    "integrations-grpc": (grpc(), []),
    "canary-1": (v1(), ["canaryTrafficPercent"]),
    "canary-2": (v1(), []),
    "rollout-default": (v1(), []),
    "storage-oci": (v1(), []),
    "storage-uri": (v1(), []),
    "storage-azure": (v1(), []),
    "sample-storagespec": (v1(), []),
    "sample-oci-fetch": (v1(), []),
    "sample-oci-native": (v1(), []),
    "sample-uri-sklearn": (v1(), []),
    "hpa": (v1(), [AUTOSCALER, "scaleMetric", "scaleTarget"]),
    "keda": (v2(), [AUTOSCALER, "autoScaling", "maxReplicas"]),
    "logger": (v1(), ["logger"]),
}
"""By file: the page's request, and which fields of its predictor, and annotations, `FieldsIgnored` may name."""

NEVER_APPLIED = {
    "logger-blob": 'unknown field "predictor"',  # the page lacks `spec:`
    "rollout-custom": 'unknown field "spec.transformer.custom"',  # of a version before v1beta1
    "storage-containers": "model-registry://iris/v1",
    "sample-pvc": 'no matches for kind "InferenceService" in version "serving.kserve.io/v1alpha2"',
    "sample-azure": 'unknown field "spec.template"',
    "sample-hf-secret": "data.HF_TOKEN",  # 51 characters are no base64
    "sample-pvc-init": 'no matches for kind "Job" in version "batch/v1"',
    "storage-pvc-claim": 'no matches for kind "PersistentVolume" in version "v1"',
    "kpa-qps": 'spec.predictor.scaleMetric: Unsupported value: "qps"',
}
"""What KServe's webhook or Kubernetes refuses too, and what is not served here."""

NOT_READY = {
    "rollout-availability": ("", "maxUnavailable"),  # as on a cluster: "0" is neither number nor percentage
    "collocation": ("", "transformer-container "),  # as on a cluster: the name ends with a space
    "tensorflow": ("NoSupportingRuntime", "convert the model to ONNX"),
    "sample-s3": ("NoSupportingRuntime", "convert the model to ONNX"),
    "sample-uri-tensorflow": ("NoSupportingRuntime", "convert the model to ONNX"),
    "sample-hf": ("NoSupportingRuntime", "run your own server as a custom container"),
    "storage-gcs": ("NoSupportingRuntime", "convert the model to ONNX"),
    "storage-s3": ("NoSupportingRuntime", "convert the model to ONNX"),
    "storage-hf": ("NoSupportingRuntime", "run your own server as a custom container"),
    "storage-hf-env": ("NoSupportingRuntime", "run your own server as a custom container"),
    "storage-modelscope": ("NoSupportingRuntime", "run your own server as a custom container"),
    "storage-multiple": ("NoSupportingRuntime", "run your own server as a custom container"),
    "sample-hdfs-spec": ("NoSupportingRuntime", "convert the model to ONNX"),
    "pmml": ("NoSupportingRuntime", "PMML's runtime is not part of this platform yet"),
    "paddle": ("NoSupportingRuntime", "paddle"),
    "triton-torchscript": ("NoSupportingRuntime", "Triton is not part of this platform"),
    "node-scheduling": ("NoSupportingRuntime", "Triton is not part of this platform"),
    "huggingface": ("NoSupportingRuntime", "run your own server as a custom container"),
    "autogluon": ("RuntimeNotRecognized", "kserve-autogluonserver"),
    "custom-predictor": ("RuntimeUnhealthy", "Give the container a `command:`"),
    "custom-predictor-grpc": ("RuntimeUnhealthy", "Give the container a `command:`"),
    "custom-transformer": ("ModelLoadFailed", "gs://kfserving-examples/models/torchserve"),
    "alibi": ("ModelLoadFailed", "gs://kfserving-examples/models/sklearn/1.3/income/model"),
}  # fmt: skip
"""By file: PredictorReady's reason, empty where it is no word of KServe's, and what its message says."""


@pytest.fixture(scope="module", autouse=True)
def namespaces(platform: Platform) -> None:
    """Those that the pages make."""
    for name in ("kserve-test", "user1"):
        platform.must("kubectl", "create", "namespace", name)


def document(name: str) -> tuple[Path, dict[str, Any], str]:
    """File, its InferenceService (or only object) and namespace."""
    file = FOLDER / f"{name}.yaml"
    items = [item for item in yaml.safe_load_all(file.read_text()) if item]
    item = next((one for one in items if one["kind"] == "InferenceService"), items[0])
    return file, item, item["metadata"].get("namespace", "default")


@pytest.fixture
def gone(platform: Platform) -> Iterator[Callable[[Path], None]]:
    """Deletes what a test has applied."""
    files: list[Path] = []
    yield files.append
    for file in files:
        platform.must("kubectl", "delete", "-f", str(file), "--ignore-not-found", "--timeout=60s")


def ask(platform: Platform, status: dict[str, Any], name: str, wanted: Ask) -> Any:
    """The answer to a request through the gateway."""
    host = status["url"].removeprefix("http://")
    if wanted.path != "grpc":
        url = f"http://{platform.gateway}{wanted.path.format(name)}"
        answer = requests.post(url, json=wanted.body, headers={"Host": host}, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def infer() -> Any:
        grpc = InferenceGRPCClient(
            platform.gateway, timeout=60, channel_args=[("grpc.ssl_target_name_override", host)]
        )
        given = InferInput("input-0", [2, 4], "FP32", wanted.body)
        return (await grpc.infer(InferRequest(name, [given]))).outputs[0].data

    return asyncio.run(infer())


@pytest.mark.parametrize("way", ["kubectl", "KServeClient"])
@pytest.mark.parametrize("name", SERVED)
def test_served(platform: Platform, sdk: KServeClient, gone: Any, name: str, way: str) -> None:
    """Ready, answering as its page says, with nothing passed over but what is named."""
    wanted, ignored = SERVED[name]
    file, item, namespace = document(name)
    own = item["metadata"]["name"]
    gone(file)
    account = item["spec"]["predictor"].get("serviceAccountName")
    if account and platform.run("kubectl", "get", "serviceaccount", account, "-n", namespace).returncode:
        platform.must(
            "kubectl", "create", "serviceaccount", account, "-n", namespace
        )  # as its page has it before
    if way == "kubectl":
        platform.must("kubectl", "apply", "-f", str(file))
        platform.must(
            "kubectl", "wait", "--for=condition=Ready", f"isvc/{own}", "-n", namespace, "--timeout=90s"
        )
    else:
        for other in yaml.safe_load_all(file.read_text()):
            if other and other["kind"] != "InferenceService":
                platform.must("kubectl", "apply", "-f", "-", given=yaml.safe_dump(other))
        meta = {
            key: item["metadata"][key] for key in ("name", "annotations", "labels") if key in item["metadata"]
        }
        sdk.create(
            V1beta1InferenceService(
                api_version=item["apiVersion"],
                kind=item["kind"],
                metadata=client.V1ObjectMeta(namespace=namespace, **meta),
                spec=item["spec"],
            )
        )
        sdk.wait_isvc_ready(own, namespace=namespace, timeout_seconds=90, polling_interval=1)
    status = platform.status(own, namespace)
    assert wanted.answers(said := ask(platform, status, own, wanted)), said
    told = [one["message"] for one in status["conditions"] if one["type"] == "FieldsIgnored"]
    paths = told[0].partition(": ")[2].split(", ") if told else []
    assert {path.removeprefix("spec.predictor.") for path in paths} <= set(ignored)


@pytest.mark.parametrize("name", NEVER_APPLIED)
def test_refused_when_applied(platform: Platform, name: str) -> None:
    """At once, by field, and nothing is stored."""
    file, item, namespace = document(name)
    done = platform.run("kubectl", "apply", "-f", str(file))
    assert done.returncode != 0
    assert NEVER_APPLIED[name] in done.stderr
    assert platform.status(item["metadata"]["name"], namespace) == {}


def test_a_sample_that_is_no_yaml(platform: Platform) -> None:
    """A tab, where kubectl stops on a cluster too."""
    done = platform.run("kubectl", "apply", "-f", str(FOLDER / "sample-hdfs.yaml"))
    assert done.returncode != 0
    assert "found character that cannot start any token" in done.stderr


def test_the_claim_of_a_sample_is_bound(platform: Platform, gone: Any) -> None:
    file = FOLDER / "sample-pvc-init-claim.yaml"
    gone(file)
    platform.must("kubectl", "apply", "-f", str(file))
    bound = ["kubectl", "get", "pvc", "llm-test-pvc-deepseek", "-o", "jsonpath={.status.phase}"]
    platform.until("Bound", lambda: platform.must(*bound) == "Bound")


@pytest.mark.parametrize("name", ["storage-pvc", "storage-pvc-writable"])
def test_a_claim_under_the_names_of_its_page(platform: Platform, name: str) -> None:
    """`${PVC_NAME}` is the page's claim, as its reader is told to write there."""
    folder = platform.folder / "volumes" / "default" / "task-pv-claim" / "iris"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(platform.models / "models" / "sklearn" / "iris" / "model.joblib", folder)
    text = (FOLDER / f"{name}.yaml").read_text()
    text = text.replace("${PVC_NAME}", "task-pv-claim").replace("${MODEL_NAME}", "iris")
    platform.must("kubectl", "apply", "-f", "-", given=text)
    try:
        platform.must("kubectl", "wait", "--for=condition=Ready", "isvc/sklearn-pvc", "--timeout=90s")
        said = ask(platform, platform.status("sklearn-pvc"), "sklearn-pvc", v1())
        assert v1().answers(said), said
    finally:
        platform.must("kubectl", "delete", "isvc", "sklearn-pvc", "--timeout=60s")


@pytest.mark.parametrize("name", NOT_READY)
def test_not_ready_says_why(platform: Platform, gone: Any, name: str) -> None:
    """Condition, model status, an event and `modelport describe` name cause and next step."""
    reason, words = NOT_READY[name]
    file, item, namespace = document(name)
    own = item["metadata"]["name"]
    gone(file)
    platform.must("kubectl", "apply", "-f", str(file))

    def told() -> dict[str, Any] | None:
        status = platform.status(own, namespace)
        conditions = {one["type"]: one for one in status.get("conditions", [])}
        found = conditions.get("PredictorReady", {})
        fits = not reason or found.get("reason") == reason
        return status if fits and words in found.get("message", "") else None

    try:
        status = platform.until(words, told)
    except AssertionError as error:
        raise AssertionError(json.dumps(platform.status(own, namespace), indent=1)) from error
    assert words in status["modelStatus"]["lastFailureInfo"]["message"]
    assert words in platform.must("modelport", "describe", "-n", namespace, own)
    told_by = ["kubectl", "get", "events", "-n", namespace, f"--field-selector=involvedObject.name={own}"]
    platform.until("an event", lambda: words in platform.must(*told_by, "-o", "jsonpath={.items[*].message}"))
