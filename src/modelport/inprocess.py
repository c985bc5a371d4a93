"""A server in this process, beside whatever else it does: for notebooks and tests."""

from __future__ import annotations

import os
import tempfile
import threading
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from modelport.client.rest import Client
from modelport.runtimes import source
from modelport.server import custom
from modelport.server.loop import settle
from modelport.server.model import Model
from modelport.server.options import ModelOptions, Plan, ServerOptions, Source
from modelport.server.ports import Bound
from modelport.server.repository import Repository
from modelport.server.save import save
from modelport.server.servable import Servable
from modelport.server.worker import build_server


class Running(Client):
    """A server that runs, and a client for it. `stop()`, or leave its `with` block, to end it."""

    def __init__(self, servable: Servable, options: ModelOptions, ports: ServerOptions) -> None:
        name = servable.metadata.name
        bound = Bound(ports)
        super().__init__(f"http://{ports.host}:{bound.http_port}", name)
        self.grpc = f"{ports.host}:{bound.grpc_port}"
        """Address of the gRPC port."""
        plan = Plan(server=ports, model=options, sources=(Source(name=name, path=f"<{name}>"),))
        repository = Repository(plan, lambda _: servable, lambda _: [], lambda: [name])
        self._server = build_server(ports, bound.give_away(), repository, version("modelport"), signals=False)
        repository.attach(self._server)
        for put in repository.start({}):
            self.report = put.report.replace("{address}", self.url)
            """What was found, as `modelport serve` prints it."""
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._server.run, name="modelport", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Answers what is in flight, then ends the server."""
        self.close()
        if self._thread.is_alive() and os.getpid() == self._pid:
            self._server.stop()
            self._thread.join()

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"{self.report}\nREST  {self.url}\ngRPC  {self.grpc}\ndocs  {self.url}/docs\n.stop() ends it."


def serve(
    model: Any,
    *,
    example: Any = None,
    name: str | None = None,
    http_port: int = 0,
    grpc_port: int = 0,
    host: str = "127.0.0.1",
    **options: Any,
) -> Running:
    """Serves a model without blocking and returns a client for it.

    `model` is a `Model`, a path (a file, a folder, `my_model.py:Class`), or a fitted object of a framework
    that `save` knows; `example` rows then give it a signature. `options` are fields of `ModelOptions`, such as
    `predict_proba=True` or `max_batch_size=1`. Ports are free ones unless given.

        with modelport.serve(pipe, example=X.head()) as server:
            server.predict(X.head(3))

    Raises LoadError where the model cannot be loaded, PortError where a port is taken.
    """
    settings = ModelOptions(**options)
    ports = ServerOptions(host=host, http_port=http_port, grpc_port=grpc_port)
    return Running(_servable(model, example, name, settings), settings, ports)


def _servable(model: Any, example: Any, name: str | None, options: ModelOptions) -> Servable:
    if isinstance(model, Model):
        if name is not None:
            model.name = name
        if not model.ready:
            settle(model.load())
        return custom.servable(model)
    if isinstance(model, str | os.PathLike):
        path = os.fspath(cast("str | os.PathLike[str]", model))
        return source.load(Source(name=name or Path(path.partition(":")[0]).stem, path=path), options)
    with tempfile.TemporaryDirectory(prefix="modelport-") as folder:
        # By way of the disk, so that what is served here is what is served elsewhere.
        save(model, Path(folder) / "model", example=example)
        return source.load(Source(name=name or "model", path=str(Path(folder) / "model")), options)
