"""A model ready to be served: what it says of itself, what the data plane calls, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from modelport.server.options import ModelOptions
from modelport.server.signature import TensorSpec

if TYPE_CHECKING:
    from modelport import _dataplane


class Metadata(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What V2 model metadata and `/docs` show; the Rust side's `model::Metadata`."""

    name: str
    version: str | None = None
    platform: str = ""
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    description: str = ""
    example_v1: Any = None
    example_v2: Any = None


class Servable(msgspec.Struct, kw_only=True):
    """A loaded model with everything that `Server.put` needs."""

    metadata: Metadata
    executor: _dataplane.Executor
    tensors: bool
    """True: `run` with joined batches. False: `handle`, a request at a time."""
    raw_v1: bool = False
    explains: bool = False
    wants_headers: bool = False
    max_batch_size: int | None = None
    """A limit of the model's own; the lower of it and the user's counts."""
    report: str = ""
    """What was found, for the person who started the server."""
    ready: bool = True
    watch_ready: Callable[[Callable[[bool], None]], None] | None = None
    """Subscribes to changes of the model's own readiness."""
    close: Callable[[], None] | None = None
    is_retired: bool = False
    """Another has taken its place: what it says of its readiness concerns nobody any more."""


def put(server: _dataplane.Server, servable: Servable, options: ModelOptions) -> None:
    """Serves a model, in place of the one with the same name and version."""
    name = servable.metadata.name
    limit = options.max_batch_size
    server.put(
        msgspec.json.encode(servable.metadata).decode(),
        servable.executor,
        tensors=servable.tensors,
        raw_v1=servable.raw_v1,
        explains=servable.explains,
        wants_headers=servable.wants_headers,
        max_batch_size=min(limit, servable.max_batch_size or limit),
        batch_delay_s=options.batch_delay_s,
        batch_latency_s=options.batch_latency_s,
        queue_limit=options.queue_limit,
        predict_timeout_s=options.predict_timeout_s,
    )
    if servable.watch_ready is not None:
        servable.watch_ready(lambda ready: None if servable.is_retired else server.set_ready(name, ready))
    if not servable.ready:
        server.set_ready(name, False)
