"""The flags of `modelport serve`, in our spelling and in KServe's."""

from __future__ import annotations

import argparse
import os
import re
from typing import TYPE_CHECKING, Any

from modelport.cli import naming

if TYPE_CHECKING:
    from modelport.cli import Group

# Flags that KServe's servers take and that mean nothing here: its YAML must start anyway.
IGNORED = (
    "--max_threads",
    "--max_asyncio_workers",
    "--configure_logging",
    "--log_config_file",
    "--access_log_format",
    "--event-loop",
    "--timeout-keep-alive",
    "--protocol",
    "--grpc_max_send_message_length",
)


def add_to(serve: argparse.ArgumentParser) -> None:
    """Adds them all."""
    serve.add_argument(
        "paths",
        nargs="*",
        type=naming.given,
        metavar="PATH",
        help="model file, folder, URI or my_model.py:Class",
    )

    models = serve.add_argument_group("models")
    _flag(models, "--name", "--model_name", help="name to serve it under (default: the file's)")
    _flag(
        models, "--model", action="append", default=[], metavar="NAME=PATH", help="one more model; repeatable"
    )
    _flag(models, "--model-dir", metavar="FOLDER", help="like PATH; KServe's spelling")
    _flag(
        models,
        "--predict-proba",
        action="store_true",
        default=env_flag("PREDICT_PROBA"),
        help="answer with class probabilities (also: PREDICT_PROBA=true, or the request parameter predict_proba)",
    )
    _flag(
        models,
        "--threads",
        "--nthread",
        type=int,
        default=1,
        metavar="N",
        help="threads that the framework may use for one prediction (default 1)",
    )
    _flag(
        models,
        "--device",
        type=_device,
        default=os.environ.get("MODELPORT_DEVICE", "auto"),
        metavar="DEVICE",
        help="where to compute: cpu, cuda, cuda:1; auto: PyTorch and ONNX models use a GPU where there is one (default auto)",
    )
    _flag(
        models,
        "--model-format",
        default=os.environ.get("MODELPORT_MODEL_FORMAT"),
        metavar="FORMAT",
        help="sklearn, xgboost, lightgbm, catboost, onnx, pytorch or mlflow: refuse a model of another format (default: serve what is there)",
    )
    _flag(
        models,
        "--no-pickle",
        action="store_true",
        help="refuse formats that can run code: pickle, joblib, TorchScript",
    )
    _flag(
        models,
        "--no-shortcuts",
        action="store_true",
        default=env_flag("MODELPORT_NO_SHORTCUTS"),
        help="call scikit-learn's own methods always, and no shortcut to the same answer (also: MODELPORT_NO_SHORTCUTS=true)",
    )
    _flag(models, "--watch", action="store_true", help="load an artifact anew when it changes")

    ports = serve.add_argument_group("ports")
    _flag(
        ports,
        "--host",
        default=os.environ.get("MODELPORT_HOST", "127.0.0.1"),
        help="address to bind (default 127.0.0.1)",
    )
    _flag(
        ports, "--http-port", type=int, default=8080, metavar="N", help="REST (default 8080; 0: a free one)"
    )
    _flag(
        ports, "--grpc-port", type=int, default=8081, metavar="N", help="gRPC (default 8081; 0: a free one)"
    )
    _flag(ports, "--one-port", action="store_true", help="REST and gRPC on the REST port")
    _flag(ports, "--metrics-port", type=int, metavar="N", help="/metrics on a port of its own as well")
    _flag(
        ports, "--tls-certificate", metavar="FILE", help="PEM certificate chain; read again when it changes"
    )
    _flag(ports, "--tls-key", metavar="FILE", help="PEM private key")
    _flag(
        ports, "--tls-client-ca", metavar="FILE", help="ask clients for certificates of this authority (mTLS)"
    )
    _flag(
        ports,
        "--enable-grpc",
        type=_boolean,
        default=True,
        metavar="BOOL",
        help="false: no gRPC (KServe's spelling)",
    )

    load = serve.add_argument_group("load")
    _flag(
        load,
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes that serve the same ports (default 1)",
    )
    _flag(
        load,
        "--max-batch-size",
        type=int,
        default=256,
        metavar="ROWS",
        help="most rows predicted together; 1: never join requests (default 256)",
    )
    _flag(
        load,
        "--batch-delay",
        type=float,
        default=0.0,
        metavar="MS",
        help="wait so many ms for a batch to fill (default 0: take what is queued)",
    )
    _flag(
        load,
        "--batch-latency",
        type=float,
        default=0.0,
        metavar="MS",
        help="join no more rows than are predicted in so many ms (default 0: up to --max-batch-size)",
    )
    _flag(
        load,
        "--queue-limit",
        type=int,
        default=1024,
        metavar="N",
        help="requests that may wait; one more gets 429 (default 1024)",
    )
    _flag(
        load,
        "--predict-timeout",
        type=float,
        default=60.0,
        metavar="S",
        help="longest call of the model; then 504 and a new worker process; 0: none (default 60)",
    )
    _flag(
        load,
        "--max-body-size",
        "--grpc_max_receive_message_length",
        type=int,
        default=256 << 20,
        metavar="BYTES",
        help="largest body, after decompression (default 256 MiB)",
    )
    _flag(
        load,
        "--max-bodies-size",
        type=int,
        default=None,
        metavar="BYTES",
        help="what the bodies of all requests under way may have together; one more gets 429 (default: a quarter of "
        "the memory of the machine or the container)",
    )
    _flag(
        load,
        "--drain-timeout",
        type=float,
        default=30.0,
        metavar="S",
        help="on SIGTERM, finish requests for so long (default 30)",
    )
    _flag(
        load,
        "--drain-delay",
        type=float,
        default=0.0,
        metavar="S",
        help="on SIGTERM, still accept for so long (default 0)",
    )
    _flag(
        load,
        "--load-timeout",
        type=float,
        default=600.0,
        metavar="S",
        help="longest time to load models (default 600)",
    )

    seen = serve.add_argument_group("output")
    _flag(seen, "--no-docs", action="store_true", help="no /docs and /openapi.json")
    _flag(
        seen,
        "--enable-docs-url",
        type=_boolean,
        default=True,
        metavar="BOOL",
        help="false: --no-docs (KServe's spelling)",
    )
    _flag(seen, "--access-log", action="store_true", help="a JSON line a request on stderr")
    _flag(
        seen,
        "--enable-latency-logging",
        type=_boolean,
        default=False,
        metavar="BOOL",
        help="true: --access-log (KServe's spelling)",
    )
    for name in IGNORED:
        serve.add_argument(name, dest="ignored", action="append", metavar="…", help=argparse.SUPPRESS)


def _flag(group: Group, name: str, *more: str, **settings: Any) -> None:
    """A flag in our spelling and, with underscores, in KServe's."""
    spellings = dict.fromkeys((name, *more, "--" + name[2:].replace("-", "_")))
    group.add_argument(*spellings, dest=name[2:].replace("-", "_"), **settings)


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "1", "yes"):
        return True
    if text.lower() in ("false", "0", "no"):
        return False
    raise argparse.ArgumentTypeError(f"must be true or false, got {text!r}")


def _device(text: str) -> str:
    if re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", text):
        return text
    raise argparse.ArgumentTypeError(f"must be auto, cpu, cuda or cuda:N, got {text!r}")


def env_flag(name: str) -> bool:
    """Whether an environment variable says true."""
    return os.environ.get(name, "").lower() in ("true", "1", "yes")
