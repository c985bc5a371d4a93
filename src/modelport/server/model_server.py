"""`ModelServer`: serves models of one's own making from a script, as KServe's does."""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import version

from modelport.server import custom
from modelport.server.announce import Announcer
from modelport.server.loop import settle
from modelport.server.model import Model
from modelport.server.options import Plan, ServerOptions, Source
from modelport.server.ports import Bound, PortError
from modelport.server.repository import Asked, Repository
from modelport.server.runtime import LoadError
from modelport.server.servable import Servable
from modelport.server.spawn import start_method
from modelport.server.supervisor import Supervisor, serve_if_spawned
from modelport.server.worker import Channel, Sockets, work

parser = argparse.ArgumentParser(add_help=False)
"""KServe's server flags, to be used as a parent: `argparse.ArgumentParser(parents=[model_server.parser])`."""
parser.add_argument("--http_port", "--http-port", type=int, default=8080, help="REST port")
parser.add_argument("--grpc_port", "--grpc-port", type=int, default=8081, help="gRPC port")
parser.add_argument("--workers", type=int, default=1, help="processes that serve the same ports")
parser.add_argument("--host", default="127.0.0.1", help="address to bind")
parser.add_argument("--model_name", "--model-name", default="model", help="name of the model")
parser.add_argument(
    "--predictor_host", default=None, help="accepted for KServe; transformers come with the platform"
)
parser.add_argument("--predictor_protocol", default="v1", help="accepted for KServe")


class ModelServer:
    """Serves models until SIGTERM or Ctrl-C.

        class Double(modelport.Model):
            def predict(self, x: np.ndarray) -> np.ndarray:
                return x * 2

        ModelServer().start([Double("double")])

    Models that are not ready yet are loaded first. With one worker they are served by this process; with
    more, processes are forked from it, so load heavy frameworks in `load`, which then runs in each.
    """

    def __init__(
        self,
        http_port: int | None = None,
        grpc_port: int | None = None,
        workers: int | None = None,
        enable_grpc: bool = True,
        host: str | None = None,
        options: ServerOptions | None = None,
    ) -> None:
        given, _ = parser.parse_known_args()
        base = options or ServerOptions(host=given.host, http_port=given.http_port, workers=given.workers)
        port = given.grpc_port if grpc_port is None else grpc_port
        fields = {name: getattr(base, name) for name in ServerOptions.__struct_fields__}
        fields |= {
            "host": host or base.host,
            "http_port": base.http_port if http_port is None else http_port,
            "grpc_port": port if enable_grpc else None,
            "workers": workers or base.workers,
        }
        self.options = ServerOptions(**fields)

    def start(self, models: Iterable[Model]) -> None:
        """Serves these models; returns when told to stop. Exits with code 1 where one cannot be loaded."""
        by_name = {model.name: model for model in models}
        sources = tuple(
            Source(name=name, path=f"<{type(model).__qualname__}>") for name, model in by_name.items()
        )
        plan = Plan(server=self.options, sources=sources)
        serve_if_spawned(lambda _: _worker(plan, by_name))
        try:
            start_method()
            bound = Bound(self.options)
        except (PortError, ValueError) as error:
            sys.exit(f"error: {error}")
        announcer = Announcer(self.options, bound)
        if self.options.workers > 1:
            code = Supervisor(plan, bound, _worker(plan, by_name), announcer.report).run()
        else:
            code = _worker(plan, by_name)(bound.give_away(), announcer, None, {})
        if code:
            sys.exit(code)


def _worker(
    plan: Plan, models: dict[str, Model]
) -> Callable[[Sockets, Channel, socket.socket | None, Asked], int]:
    """What a process does to serve these models."""

    def run(sockets: Sockets, channel: Channel, commands: socket.socket | None, asked: Asked) -> int:
        repository = Repository(plan, _load(models), lambda _: [], lambda: models)
        return work(plan, sockets, repository, channel, asked, version("modelport"), commands)

    return run


def _load(models: dict[str, Model]) -> Callable[[Source], Servable]:
    def load(source: Source) -> Servable:
        model = models[source.name]
        try:
            if not model.ready:
                settle(model.load())
            settle(model.start())
            return custom.servable(model)
        except Exception as error:
            raise LoadError(f"{source.name}: {type(error).__name__}: {error}") from error

    return load
