"""Seldon's MLServer on one worker, request logs off, with and without adaptive batching."""

from __future__ import annotations

import json
from functools import partial

from contenders import INSIDE, MODEL_NAME, Contender, Launch, Site


def launch(site: Site, *, batching: bool) -> Launch:
    """A folder with the server's and the model's settings, and the server on it."""
    settings = {
        "host": "127.0.0.1",
        "http_port": site.http_port,
        "grpc_port": site.grpc_port,
        "parallel_workers": 0,
        "debug": False,
        "metrics_endpoint": None,
        "grpc_max_message_length": 64 << 20,
    }
    model: dict[str, object] = {"name": MODEL_NAME}
    if site.workload == "tensor":
        model["implementation"] = "mlserver_mean.Mean"
    else:
        model["implementation"] = "mlserver_sklearn.SKLearnModel"
        model["parameters"] = {"uri": str(site.model / "model.joblib")}
    if batching:
        model |= {"max_batch_size": 256, "max_batch_time": 0.001}
    (site.scratch / "settings.json").write_text(json.dumps(settings))
    (site.scratch / "model-settings.json").write_text(json.dumps(model))
    argv = [str(site.env / "bin" / "mlserver"), "start", str(site.scratch)]
    return Launch(argv, {"PYTHONPATH": str(INSIDE), "MLSERVER_DEBUG": "false"})


PACKAGES = ("mlserver", "scikit-learn", "xgboost-cpu", "numpy", "pandas", "uvicorn", "grpcio")
SKIPS = {("tensor", "rest-binary"): "MLServer 1.7 answers HTTP 500 to it"}

CONTENDERS = [
    Contender("mlserver", "mlserver", "MLServer", partial(launch, batching=False), PACKAGES, SKIPS),
    Contender(
        "mlserver-batching",
        "mlserver",
        "MLServer, adaptive batching",
        partial(launch, batching=True),
        PACKAGES,
        SKIPS,
    ),
]
