"""From a source, that is a path and a name, to a model that the data plane can serve."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from modelport.runtimes import catalog, framework
from modelport.runtimes.agreement import MLFLOW
from modelport.server import custom, example, saved
from modelport.server.loaded import RuntimeExecutor
from modelport.server.options import ModelOptions, Plan, Source
from modelport.server.ports import Sockets
from modelport.server.repository import Asked, Repository
from modelport.server.runtime import LoadedModel, LoadError, Settings
from modelport.server.servable import Metadata, Servable
from modelport.server.warmup import warm_up
from modelport.server.worker import Channel, work


def is_class(path: str) -> bool:
    """Whether a path names a Python class, as in `my_model.py:MyModel`."""
    return ".py:" in path


def load(source: Source, options: ModelOptions, on_unusable: Callable[[], None] | None = None) -> Servable:
    """Loads a model, warms it up and says what was found. Raises LoadError.

    `on_unusable` is called when the model says that this process cannot go on (`runtime.Unusable`).
    """
    if is_class(source.path):
        return custom.load(source.path, source.name, source.version)
    began = time.perf_counter()
    path = Path(source.path)
    kept = saved.read_saved(path if path.is_dir() else path.parent) if path.exists() else None
    if not path.is_dir() and kept is not None and kept.artifact != path.name:
        kept = None  # it speaks of another file
    # An MLmodel's own artifact is no MLflow model by itself.
    inside = kept is not None and bool(kept.artifact) and path.is_dir() and options.model_format != MLFLOW
    named = path / kept.artifact if kept and kept.artifact and inside else path
    runtime, artifact = catalog.locate(named if named.exists() else path, options.model_format)
    if kept is not None:
        saved.check_code(kept, artifact)
    settings = Settings(
        name=source.name,
        predict_proba=options.predict_proba,
        threads=options.threads,
        device=options.device,
        signature=kept.signature if kept else None,
        allow_pickle=options.allow_pickle,
        shortcuts=options.shortcuts,
    )
    loaded = runtime.load(artifact, settings)
    took = time.perf_counter() - began
    executor = RuntimeExecutor(loaded, settings, on_unusable)
    warm = warm_up(executor, kept, loaded.signature)
    if not warm.ok:
        raise LoadError(f"{source.path}: {warm.text}")
    return _servable(source, loaded, executor, kept, f"loaded in {took:.1f} s, {warm.text}")


def _servable(
    source: Source, loaded: LoadedModel, executor: RuntimeExecutor, kept: saved.Saved | None, how: str
) -> Servable:
    bodies = saved.example_bodies(kept) if kept else None
    v1, v2 = bodies or example.from_signature(loaded.signature) or (None, None)
    facts = ", ".join([loaded.description, how, *loaded.remarks, *loaded.notes])
    version = f" version {source.version}" if source.version else ""
    report = f"{source.name}{version}: {facts}"
    if v1 is not None:
        report += f"\n\n  {example.curl('{address}', source.name, example.first_row(v1))}"
    return Servable(
        metadata=Metadata(
            name=source.name,
            version=source.version,
            platform=loaded.platform,
            inputs=loaded.signature.inputs,
            outputs=loaded.signature.outputs,
            description=loaded.description,
            example_v1=v1,
            example_v2=v2,
        ),
        executor=executor,
        tensors=True,
        max_batch_size=None if loaded.batchable else 1,
        report=report,
        close=loaded.close,
    )


def preload(plan: Plan) -> None:
    """Imports the frameworks that the plan needs, so that forked workers share them. Raises nothing: a
    framework that is missing is the loading worker's error to tell."""
    for source in plan.sources:
        if is_class(source.path):
            continue
        try:
            runtime, artifact = catalog.locate(Path(source.path), plan.model.model_format)
        except LoadError:
            continue
        framework.preload([*runtime.modules, *runtime.needs(artifact)])


def worker(plan: Plan, version: str) -> Callable[[Sockets, Channel, socket.socket, Asked], int]:
    """What a forked process does to serve the plan."""

    def run(sockets: Sockets, channel: Channel, commands: socket.socket, asked: Asked) -> int:
        repository = Repository(
            plan, lambda source: load(source, plan.model, _end_gracefully), _find(plan), _names(plan)
        )
        return work(plan, sockets, repository, channel, asked, version, commands)

    return run


def _end_gracefully() -> None:
    """As by `kill`: what is in flight is answered, and the supervisor starts another process."""
    os.kill(os.getpid(), signal.SIGTERM)


def _found(plan: Plan) -> dict[str, dict[str | None, Path]]:
    return (catalog.repository(Path(plan.repository)) or {}) if plan.repository else {}


def _find(plan: Plan) -> Callable[[str], list[Source]]:
    def find(name: str) -> list[Source]:
        versions = _found(plan).get(name, {})
        return [Source(name=name, path=str(path), version=version) for version, path in versions.items()]

    return find


def _names(plan: Plan) -> Callable[[], Iterable[str]]:
    return lambda: _found(plan)
