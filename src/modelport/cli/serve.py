"""`modelport serve`: models on this machine's ports, in this terminal."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import modelport
from modelport.cli import Mistake, serve_flags

if TYPE_CHECKING:
    from modelport.cli import Commands
    from modelport.server.options import Plan

KSERVE_FOLDER = Path("/mnt/models")
"""Where KServe's storage initializer leaves a model."""

DESCRIPTION = """\
Serves models over REST (V1, V2) and gRPC until interrupted.

PATH is a model file (.joblib .pkl .skops .ubj .json .bst .txt .cbm .onnx .pt .pt2), a folder with one,
a Python class (my_model.py:MyModel), or a model repository (a folder with a folder a model). A URI (s3://, hf://,
https://, …) is fetched into the cache first; modelport fetch --help lists the schemes.
"""


def register(commands: Commands) -> None:
    """Adds the command."""
    serve = commands.add_parser(
        "serve",
        help="serve models on this machine's ports",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.set_defaults(command=run)
    serve_flags.add_to(serve)


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
    for name in (
        "batch_delay",
        "batch_latency",
        "predict_timeout",
        "drain_timeout",
        "drain_delay",
        "load_timeout",
    ):
        if not 0 <= getattr(options, name) < 1e9:
            raise Mistake(f"--{name.replace('_', '-')}: must be at least 0, got {getattr(options, name)}")
    for name in ("http_port", "grpc_port", "metrics_port"):
        if not 0 <= (getattr(options, name) or 0) <= 65535:
            raise Mistake(
                f"--{name.replace('_', '-')}: must be a port, 0 to 65535, got {getattr(options, name)}"
            )
    has_grpc_port = options.enable_grpc and not options.one_port
    if has_grpc_port and options.grpc_port and options.http_port == options.grpc_port:
        raise Mistake(
            f"--http-port and --grpc-port are both {options.http_port}",
            "--one-port serves REST and gRPC on the REST port",
        )
    sources, repository = _sources(options)
    return Plan(
        server=ServerOptions(
            host=options.host,
            http_port=options.http_port,
            grpc_port=options.grpc_port if has_grpc_port else None,
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
            ce_merge=serve_flags.env_flag("CE_MERGE"),
            watch=options.watch,
            load_timeout_s=options.load_timeout,
        ),
        model=ModelOptions(
            predict_proba=options.predict_proba,
            threads=options.threads,
            device=options.device,
            model_format=options.model_format or None,
            allow_pickle=not options.no_pickle,
            shortcuts=not options.no_shortcuts,
            max_batch_size=options.max_batch_size,
            batch_delay_s=options.batch_delay / 1000,
            batch_latency_s=options.batch_latency / 1000,
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
            raise Mistake(
                f"no model given, and there is no {KSERVE_FOLDER}", "modelport serve ./model.joblib"
            )
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
