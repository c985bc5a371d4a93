"""`modelport serve`: models on this machine's ports, in this terminal."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import modelport
from modelport.cli import Mistake

if TYPE_CHECKING:
    from modelport.cli import Commands, Group
    from modelport.server.options import Plan

KSERVE_FOLDER = Path("/mnt/models")
"""Where KServe's storage initializer leaves a model."""

DESCRIPTION = """\
Serves models over REST (V1, V2) and gRPC until interrupted.

PATH is a model file (.joblib .pkl .skops .ubj .json .bst .txt .cbm .onnx .pt .pt2), a folder with one,
a Python class (my_model.py:MyModel), or a model repository (a folder with a folder a model). A URI (s3://, hf://,
https://, …) is fetched into the cache first; modelport fetch --help lists the schemes.
"""

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


def register(commands: Commands) -> None:
    """Adds the command."""
    serve = commands.add_parser(
        "serve",
        help="serve models on this machine's ports",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.set_defaults(command=run)
    serve.add_argument(
        "paths", nargs="*", metavar="PATH", help="model file, folder, URI or my_model.py:Class"
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
        default=_env_flag("PREDICT_PROBA"),
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


def _env_flag(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("true", "1", "yes")


def run(options: argparse.Namespace) -> int:
    """Serves until interrupted."""
    from modelport.server.announce import leave_last_words

    try:
        return _serve(options)
    except Mistake as mistake:
        leave_last_words(f"{mistake} {mistake.hint}".strip())
        raise


def plan_of(arguments: list[str]) -> Plan | None:
    """What `modelport serve` with these arguments would serve; None where they are wrong."""
    from modelport.cli import parser

    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            return _plan(parser("serve").parse_args(["serve", *arguments]))
    except (SystemExit, Mistake, OSError):
        return None


def _serve(options: argparse.Namespace) -> int:
    from modelport.runtimes import source
    from modelport.server.announce import Announcer
    from modelport.server.ports import Bound, PortError
    from modelport.server.spawn import start_method
    from modelport.server.supervisor import Supervisor, serve_if_spawned

    logging.basicConfig(
        level=os.environ.get("MODELPORT_LOG_LEVEL", "INFO"), format="%(levelname)s %(message)s"
    )
    if options.ignored:
        print("note: KServe's logging, thread and keep-alive flags have no effect here", file=sys.stderr)
    serve_if_spawned(lambda plan: source.worker(plan, modelport.__version__))
    leases = _fetch(options)
    plan = _plan(options)
    _check_tracing(plan)
    work = source.worker(plan, modelport.__version__)
    try:
        method = start_method()
    except ValueError as error:
        raise Mistake(str(error)) from error
    if method == "fork":  # else each worker imports for itself
        source.preload(plan)
    try:
        bound = Bound(plan.server)
    except PortError as error:
        raise Mistake(str(error)) from error
    supervisor = Supervisor(plan, bound, work, Announcer(plan.server, bound).report)
    try:
        return supervisor.run()
    finally:
        del leases  # until here the cache keeps what is served


def _fetch(options: argparse.Namespace) -> list[Any]:
    """Puts a local folder in the place of each URI; the model's name stays the URI's."""
    from modelport.cli import fetch

    given = [*options.paths, options.model_dir or "", *(pair.partition("=")[2] for pair in options.model)]
    if not any(fetch.is_uri(path) for path in given):
        return []
    fetched: list[Any] = []

    def place(path: str) -> str:
        found, (local,) = fetch.local(options, [path])
        fetched.extend(found)
        return local

    if options.model_dir:
        options.paths, options.model_dir = [*options.paths, options.model_dir], None
    alone = len(options.paths) == 1 and not options.model
    paths: list[str] = []
    for path in options.paths:
        name = name_of_uri(path) if fetch.is_uri(path) else ""
        if name and not alone:
            options.model.append(f"{name}={path}")
            continue
        options.name = options.name or name or None
        paths.append(place(path))
    options.paths = paths
    options.model = [
        f"{name}={place(path)}" for name, _, path in (pair.partition("=") for pair in options.model)
    ]
    return fetched


def name_of_uri(uri: str) -> str:
    """A model's name out of a URI: hf://org/churn:v2 and s3://models/churn.joblib are `churn`."""
    last = uri.partition("#")[0].partition("?")[0].rstrip("/").rpartition("/")[2]
    name = last.partition("@")[0].partition(":")[0]
    stem = name.partition(".")[0] if not name.startswith(".") else name.strip(".")
    return stem or "model"


def _check_tracing(plan: Plan) -> None:
    from modelport import _dataplane

    try:
        endpoint = _dataplane.tracing_endpoint(plan.server.tracing)
    except ValueError as error:
        raise Mistake(str(error), "unset OTEL_EXPORTER_OTLP_ENDPOINT to serve without traces") from error
    if endpoint:
        print(f"note: traces go to {endpoint}", file=sys.stderr)


def _plan(options: argparse.Namespace) -> Plan:
    from modelport.server.options import ModelOptions, Plan, ServerOptions

    if bool(options.tls_certificate) != bool(options.tls_key):
        raise Mistake("--tls-certificate and --tls-key go together", "give both, or neither")
    if options.tls_client_ca and not options.tls_certificate:
        raise Mistake("--tls-client-ca needs --tls-certificate and --tls-key")
    for name in ("workers", "max_batch_size", "queue_limit", "threads", "max_body_size", "max_bodies_size"):
        if (number := getattr(options, name)) is not None and number < 1:
            raise Mistake(f"--{name.replace('_', '-')}: must be at least 1, got {number}")
    for name in ("batch_delay", "predict_timeout", "drain_timeout", "drain_delay", "load_timeout"):
        if not 0 <= getattr(options, name) < 1e9:
            raise Mistake(f"--{name.replace('_', '-')}: must be at least 0, got {getattr(options, name)}")
    for name in ("http_port", "grpc_port", "metrics_port"):
        if not 0 <= (getattr(options, name) or 0) <= 65535:
            raise Mistake(
                f"--{name.replace('_', '-')}: must be a port, 0 to 65535, got {getattr(options, name)}"
            )
    sources, repository = _sources(options)
    return Plan(
        server=ServerOptions(
            host=options.host,
            http_port=options.http_port,
            grpc_port=options.grpc_port if options.enable_grpc and not options.one_port else None,
            metrics_port=options.metrics_port,
            one_port=options.one_port,
            workers=options.workers,
            tls_certificate=options.tls_certificate,
            tls_key=options.tls_key,
            tls_client_ca=options.tls_client_ca,
            max_body_bytes=options.max_body_size,
            max_bodies_bytes=options.max_bodies_size,
            drain_timeout_s=options.drain_timeout,
            drain_delay_s=options.drain_delay,
            docs=not options.no_docs and options.enable_docs_url,
            access_log=options.access_log or options.enable_latency_logging,
            ce_type=os.environ.get("CE_TYPE", "io.kserve.inference.response"),
            ce_source=os.environ.get("CE_SOURCE") or None,
            ce_merge=_env_flag("CE_MERGE"),
            watch=options.watch,
            load_timeout_s=options.load_timeout,
        ),
        model=ModelOptions(
            predict_proba=options.predict_proba,
            threads=options.threads,
            device=options.device,
            model_format=options.model_format or None,
            allow_pickle=not options.no_pickle,
            max_batch_size=options.max_batch_size,
            batch_delay_s=options.batch_delay / 1000,
            queue_limit=options.queue_limit,
            predict_timeout_s=options.predict_timeout or None,
        ),
        sources=sources,
        repository=repository,
    )


def _sources(options: argparse.Namespace) -> tuple[tuple[Any, ...], str | None]:
    from modelport.runtimes import catalog
    from modelport.server.options import Source

    paths = [*options.paths, *([options.model_dir] if options.model_dir else [])]
    if not paths and not options.model:
        if not KSERVE_FOLDER.is_dir():
            raise Mistake("no model given", "modelport serve ./model.joblib")
        paths = [str(KSERVE_FOLDER)]
    if options.name and len(paths) != 1:
        raise Mistake("--name goes with one PATH", "for several models: --model NAME=PATH --model NAME=PATH")
    sources: list[Source] = []
    repository: str | None = None
    for path in paths:
        folder = Path(path)
        found = catalog.repository(folder) if folder.is_dir() else None
        if found is not None:
            if repository is not None:
                raise Mistake(
                    f"two model repositories: {repository} and {path}",
                    "serve one, or give models by --model NAME=PATH",
                )
            repository = path
            sources += [
                Source(name=name, path=str(place), version=label)
                for name, versions in found.items()
                for label, place in versions.items()
            ]
            continue
        sources.append(Source(name=options.name or default_name(path), path=path))
    for pair in options.model:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise Mistake(f"--model: must be NAME=PATH, got {pair!r}")
        sources.append(Source(name=name, path=path))
    names = [(source.name, source.version) for source in sources]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise Mistake(f"two models are called {twice[0]!r}", "give each its own: --model NAME=PATH")
    return tuple(sources), repository


def default_name(path: str) -> str:
    """A model's name where none is given: its file's without the ending, its folder's, its class's."""
    file, _, name = path.rpartition(":")
    if name and file.endswith(".py"):
        return name.lower()
    resolved = Path(path).resolve()
    return "model" if resolved == KSERVE_FOLDER else resolved.stem if resolved.suffix else resolved.name
