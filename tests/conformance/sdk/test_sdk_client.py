"""`kserve.KServeClient`, unmodified: what a notebook or a pipeline does with a cluster, it does with the platform."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest
import requests
from kserve import (
    InferenceGRPCClient,
    InferenceRESTClient,
    InferInput,
    InferRequest,
    KServeClient,
    RESTConfig,
    V1beta1InferenceService,
    V1beta1InferenceServiceSpec,
    V1beta1ModelFormat,
    V1beta1ModelSpec,
    V1beta1PredictorSpec,
    V1beta1SKLearnSpec,
    constants,
)
from kubernetes import client
from sdk_platform import Platform

URI = "gs://kfserving-examples/models/sklearn/1.0/model"
ROWS = [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]


def iris(name: str, namespace: str, uri: str = URI, **more: Any) -> V1beta1InferenceService:
    """The documentation's first service."""
    return V1beta1InferenceService(
        api_version=constants.KSERVE_V1BETA1,
        kind=constants.KSERVE_KIND_INFERENCESERVICE,
        metadata=client.V1ObjectMeta(name=name, namespace=namespace),
        spec=V1beta1InferenceServiceSpec(
            predictor=V1beta1PredictorSpec(sklearn=V1beta1SKLearnSpec(storage_uri=uri), **more)
        ),
    )


def host(service: dict[str, Any]) -> str:
    return service["status"]["url"].removeprefix("http://")


def condition(service: dict[str, Any], kind: str) -> dict[str, str]:
    return next(one for one in service["status"]["conditions"] if one["type"] == kind)


def test_the_life_of_a_service(platform: Platform, sdk: KServeClient, namespace: str, capsys: Any) -> None:
    """Create, watch, wait, predict, patch, replace and delete."""
    made = sdk.create(iris("iris", namespace))
    assert made["metadata"]["uid"]
    assert made["spec"]["predictor"]["model"]["modelFormat"] == {"name": "sklearn"}
    sdk.get("iris", namespace=namespace, watch=True, timeout_seconds=60)  # ends once Ready is True
    assert re.search(r"^iris +True ", capsys.readouterr().out, re.MULTILINE)
    assert sdk.is_isvc_ready("iris", namespace=namespace)
    sdk.wait_isvc_ready("iris", namespace=namespace, timeout_seconds=60, polling_interval=1)

    service = sdk.get("iris", namespace=namespace)
    assert service["status"]["observedGeneration"] == service["metadata"]["generation"] == 1
    assert service["status"]["modelStatus"]["states"]["activeModelState"] == "Loaded"
    assert service["status"]["clusterServingRuntimeName"] == "kserve-sklearnserver"
    assert {condition(service, kind)["status"] for kind in ("Ready", "PredictorReady", "IngressReady")} == {
        "True"
    }
    assert not [one for one in service["status"]["conditions"] if one["type"] == "FieldsIgnored"]
    answer = requests.post(
        f"http://{platform.gateway}/v1/models/iris:predict",
        json={"instances": ROWS},
        headers={"Host": host(service)},
        timeout=60,
    )
    assert (answer.status_code, answer.json()) == (200, {"predictions": [1, 1]})

    patch = iris("iris", namespace, "gs://kserve-examples/models/sklearn/1.0/model-2")
    patch.metadata.labels = {"team": "flowers"}
    patched = sdk.patch("iris", patch, namespace=namespace)
    assert patched["metadata"]["labels"] == {"team": "flowers"}
    assert patched["metadata"]["generation"] == 2
    sdk.wait_isvc_ready("iris", namespace, timeout_seconds=60, polling_interval=1, expected_generation=2)

    sdk.replace("iris", iris("iris", namespace, min_replicas=2), namespace=namespace, watch=True)
    replaced = sdk.get("iris", namespace=namespace)
    assert replaced["spec"]["predictor"]["minReplicas"] == 2
    assert "team" not in replaced["metadata"].get("labels", {})
    platform.until("a second pod", lambda: len(_pods(sdk, namespace)) == 2)

    assert [one["metadata"]["name"] for one in sdk.get(namespace=namespace)["items"]] == ["iris"]
    sdk.delete("iris", namespace=namespace)
    platform.until("the end of its pods", lambda: not sdk.core_api.list_namespaced_pod(namespace).items)
    with pytest.raises(RuntimeError, match="404"):
        sdk.get("iris", namespace=namespace)


def _pods(sdk: KServeClient, namespace: str) -> list[Any]:
    found = sdk.core_api.list_namespaced_pod(namespace, label_selector="component=predictor").items
    return [
        pod
        for pod in found
        if any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or [])
    ]


def test_watching_from_before_it_is_there(platform: Platform, sdk: KServeClient, namespace: str) -> None:
    """`get(watch=True)` in one thread sees what another one creates."""
    ended = threading.Event()

    def watch() -> None:
        sdk.get("later", namespace=namespace, watch=True, timeout_seconds=60)
        ended.set()

    threading.Thread(target=watch, daemon=True).start()
    sdk.create(iris("later", namespace))
    assert ended.wait(90)
    assert sdk.is_isvc_ready("later", namespace=namespace)


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (lambda s: setattr(s.metadata, "name", "9lives"), 422, "9lives"),
        (lambda s: setattr(s.spec.predictor, "min_replicas", -1), 422, "minReplicas"),
        (
            lambda s: setattr(
                s.spec.predictor,
                "model",
                V1beta1ModelSpec(model_format=V1beta1ModelFormat(name="onnx"), storage_uri="gs://a/b"),
            ),
            422,
            "exactly one of",
        ),
        (lambda s: setattr(s.spec.predictor.sklearn, "storage_uri", "ftp://a/b"), 422, "storageUri"),
        (lambda s: setattr(s.metadata, "namespace", "nowhere"), 404, "nowhere"),
    ],
    ids=["name", "replicas", "two models", "scheme", "namespace"],
)
def test_what_is_refused_names_the_field(
    sdk: KServeClient, namespace: str, change: Any, status: int, words: str
) -> None:
    """As a cluster's webhook would: an error with its status, and nothing is stored."""
    service = iris("bad", namespace)
    change(service)
    with pytest.raises(RuntimeError) as raised:
        sdk.create(service)
    assert f"({status})" in str(raised.value)
    assert words in str(raised.value)
    assert not sdk.get(namespace=namespace)["items"]


def test_a_model_that_is_not_there_is_named_within_seconds(sdk: KServeClient, namespace: str) -> None:
    """Condition and model status say which URI, and wait_isvc_ready raises with them."""
    sdk.create(iris("lost", namespace, "gs://kfserving-examples/models/nothing"))
    with pytest.raises(RuntimeError) as raised:
        sdk.wait_isvc_ready("lost", namespace=namespace, timeout_seconds=5, polling_interval=1)
    assert "gs://kfserving-examples/models/nothing" in str(raised.value)
    status = sdk.get("lost", namespace=namespace)["status"]
    assert status["modelStatus"]["transitionStatus"] == "BlockedByFailedLoad"
    assert "no such folder" in status["modelStatus"]["lastFailureInfo"]["message"]
    assert not sdk.is_isvc_ready("lost", namespace=namespace)


def test_predictions_by_kserves_own_clients(platform: Platform, sdk: KServeClient, namespace: str) -> None:
    """InferenceRESTClient with both protocols, InferenceGRPCClient: through the gateway, with the Host header."""
    sdk.create(iris("both", namespace))
    sdk.wait_isvc_ready("both", namespace=namespace, timeout_seconds=60, polling_interval=1)
    name = host(sdk.get("both", namespace=namespace))
    headers = {"Host": name, "Content-Type": "application/json"}
    url = f"http://{platform.gateway}"

    async def ask() -> None:
        v1 = InferenceRESTClient(RESTConfig(protocol="v1", timeout=60))
        assert await v1.infer(url, {"instances": ROWS}, model_name="both", headers=headers) == {
            "predictions": [1, 1]
        }
        assert await v1.is_model_ready(url, "both", headers=headers)
        v2 = InferenceRESTClient(RESTConfig(protocol="v2", timeout=60))
        assert await v2.is_server_ready(url, headers=headers)
        given = InferInput("input-0", [2, 4], "FP32", ROWS)
        answer = await v2.infer(url, InferRequest("both", [given]), model_name="both", headers=headers)
        assert list(answer.outputs[0].data) == [1, 1]
        grpc = InferenceGRPCClient(
            platform.gateway, timeout=60, channel_args=[("grpc.ssl_target_name_override", name)]
        )
        assert await grpc.is_model_ready("both")
        flat = InferInput("input-0", [2, 4], "FP32", [value for row in ROWS for value in row])
        answer = await grpc.infer(InferRequest("both", [flat]))
        assert list(answer.outputs[0].data) == [1, 1]

    asyncio.run(ask())


def test_credentials(platform: Platform, sdk: KServeClient, namespace: str, tmp_path: Path) -> None:
    """`set_credentials` makes the Secret and the ServiceAccount that the storage room reads."""
    keys = tmp_path / "credentials"
    # In base64, as in KServe's own test: the SDK copies them into the Secret's `data` as they are.
    keys.write_text("[default]\naws_access_key_id = QUtJQQ==\naws_secret_access_key = aHVzaA==\n")
    sdk.set_credentials(
        storage_type="s3", namespace=namespace, credentials_file=str(keys), service_account="reader",
        s3_endpoint="127.0.0.1:9", s3_use_https="0", s3_region="eu-north-1",
    )  # fmt: skip
    account = sdk.core_api.read_namespaced_service_account("reader", namespace)
    secret = sdk.core_api.read_namespaced_secret(account.secrets[0].name, namespace)
    assert base64.b64decode(secret.data["AWS_SECRET_ACCESS_KEY"]) == b"hush"
    assert secret.metadata.annotations["serving.kserve.io/s3-endpoint"] == "127.0.0.1:9"
    service = iris("private", namespace, "s3://secret-bucket/model", service_account_name="reader")
    sdk.create(service)

    def told() -> bool:
        return "127.0.0.1:9" in json.dumps(sdk.get("private", namespace=namespace).get("status", {}))

    platform.until("the endpoint's name in the status", told)
    google = tmp_path / "gcp.json"
    google.write_text(
        json.dumps({"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c"})
    )
    sdk.set_credentials(
        storage_type="gcs", namespace=namespace, credentials_file=str(google), service_account="reader"
    )
    assert len(sdk.core_api.read_namespaced_service_account("reader", namespace).secrets) == 2
