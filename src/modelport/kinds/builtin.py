"""The ClusterServingRuntimes that come with the platform: KServe's by their names, served by our own server."""

from __future__ import annotations

from collections.abc import Sequence

from modelport.kube.resource import Object

IMAGE = "modelport/server"
CONTAINER = "kserve-container"
ONE_PORT = "--one-port"
"""REST and gRPC on one port: what a service needs that declares no ports of its own."""


FORMATS = frozenset({"sklearn", "xgboost", "lightgbm", "catboost", "onnx", "pytorch", "mlflow"})
"""Model formats that our server knows by these names."""
FORMAT_VARIABLE = "MODELPORT_MODEL_FORMAT"
"""Tells our server which format the service names, so that it refuses a model of another."""

_MLSERVER = [("sklearn", "1"), ("xgboost", "2"), ("lightgbm", "4"), ("catboost", "1")]
"""What else `kserve-mlserver` serves where a service names it."""


def runtimes(version: str) -> list[Object]:
    """All of them, with images of this version of Modelport."""
    return [
        _runtime("kserve-sklearnserver", version, [("sklearn", "1")]),
        _runtime("kserve-xgbserver", version, [("xgboost", "2")], extra=["--nthread=1"]),
        _runtime("kserve-lgbserver", version, [("lightgbm", "4")], extra=["--nthread=1"]),
        _runtime(
            "kserve-predictiveserver",
            version,
            [("sklearn", "1"), ("xgboost", "2"), ("lightgbm", "4")],
            priority=3,
            auto_select=False,
        ),
        # Chosen by itself for MLflow's folders alone: the others are served by the runtimes above.
        _runtime("kserve-mlserver", version, [("mlflow", "1"), ("mlflow", "2")], named=_MLSERVER),
        _runtime("modelport-catboost", version, [("catboost", "1")]),
        _runtime("modelport-onnx", version, [("onnx", "1")]),
        _runtime("modelport-pytorch", version, [("pytorch", "1"), ("pytorch", "2")]),
    ]


def _runtime(
    name: str,
    version: str,
    formats: Sequence[tuple[str, str]],
    *,
    priority: int = 1,
    auto_select: bool = True,
    extra: Sequence[str] = (),
    named: Sequence[tuple[str, str]] = (),
) -> Object:
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ClusterServingRuntime",
        "metadata": {"name": name},
        "spec": {
            "annotations": {"prometheus.kserve.io/port": "8080", "prometheus.kserve.io/path": "/metrics"},
            "supportedModelFormats": [
                {"name": model_format, "version": number, "autoSelect": auto_select, "priority": priority}
                for model_format, number in formats
            ]
            + [
                {"name": model_format, "version": number, "autoSelect": False}
                for model_format, number in named
            ],
            "protocolVersions": ["v1", "v2", "grpc-v2"],
            "containers": [
                {
                    "name": CONTAINER,
                    "image": f"{IMAGE}:{version}",
                    "args": [
                        "--model_name={{.Name}}",
                        "--model_dir=/mnt/models",
                        "--http_port=8080",
                        ONE_PORT,
                        *extra,
                    ],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "privileged": False,
                        "runAsNonRoot": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "resources": {
                        "requests": {"cpu": "1", "memory": "2Gi"},
                        "limits": {"cpu": "1", "memory": "2Gi"},
                    },
                }
            ],
        },
    }
