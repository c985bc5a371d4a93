"""The Rust data plane. `crates/python` implements this; only `protocol`, `serve` and `cli` import it."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias, final

@final
class Buffer:
    """Bytes of a tensor, writable, with the buffer protocol: `numpy.frombuffer(buffer, dtype)` is a view."""

    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

Input: TypeAlias = tuple[str, str, tuple[int, ...], Buffer | list[bytes | None], list[int] | None]
"""(name, datatype, shape, data, flat indices of nulls or None); BYTES data are a list."""
Output: TypeAlias = tuple[str, str, tuple[int, ...], object]
"""(name, datatype, shape, data): any C-contiguous buffer, or for BYTES a list of str, bytes or None."""
Parameters: TypeAlias = dict[str, bool | int | float | str]
Outputs: TypeAlias = tuple[list[Output], Parameters | None, dict[str, str] | None]
"""(outputs, response parameters, response headers)."""

@final
class Request:
    """One request to a model that reads payloads itself."""

    request_id: str
    id: str | None
    verb: str
    """`predict` or `explain`."""
    protocol: str
    """`v1`, `v2` or `grpc`."""
    headers: dict[str, str]
    parameters: Parameters
    inputs: list[Input] | None
    """Tensors, where the request came as such; else `body` is set."""
    input_parameters: list[Parameters] | None
    outputs: list[tuple[str, Parameters]]
    """Requested outputs."""
    body: bytes | None

@final
class Reply:
    """Where the answer to one request goes; usable from any thread, exactly once."""

    def tensors(self, outputs: Outputs) -> None: ...
    def body(self, status: int, content_type: str, headers: Mapping[str, str], body: bytes) -> None: ...
    def stream(self, content_type: str, headers: Mapping[str, str]) -> Stream: ...
    def fail(self, status: int, message: str) -> None: ...
    @property
    def cancelled(self) -> bool: ...

@final
class Stream:
    """A body that is sent in parts."""

    def send(self, part: bytes) -> bool:
        """Sends a part; waits (without the GIL) while the client is slow. False: the client is gone."""
    def offer(self, part: bytes) -> bool | None:
        """Sends a part without waiting. False: the client is slow, try later. None: the client is gone."""
    def close(self) -> None: ...
    def fail(self, status: int, message: str) -> None: ...

class Executor(Protocol):
    """What the data plane calls, on the model's own thread, with the GIL held.

    Errors are raised as exceptions with an integer `status`; their text is shown to the client. Any other
    exception becomes a 500 with a plain text.
    """

    def run(self, inputs: list[Input], parameters: Parameters, headers: dict[str, str]) -> Outputs:
        """Predicts a batch: the joined rows of one or more requests of the same form."""
        ...
    def handle(self, request: Request, reply: Reply) -> None:
        """Answers one request, now or later."""
        ...

class RepositoryCallbacks(Protocol):
    """Called on a thread of its own."""

    def load(self, name: str, parameters: Parameters) -> None: ...
    def unload(self, name: str, parameters: Parameters) -> None: ...

@final
class Server:
    """A server in this process. All ports are sockets that the caller has bound, given as descriptors."""

    def __init__(
        self,
        *,
        version: str,
        repository: RepositoryCallbacks,
        http_fd: int | None = None,
        grpc_fd: int | None = None,
        metrics_fd: int | None = None,
        control_fd: int | None = None,
        both_on_http: bool = False,
        tls: tuple[str, str, str | None] | None = None,
        body_bytes: int = 268435456,
        bodies_bytes: int = 4294967296,
        drain_timeout_s: float = 30.0,
        drain_delay_s: float = 0.0,
        signals: bool = True,
        docs: bool = True,
        access_log: bool = False,
        tracing: Mapping[str, str] | None = None,
        cloudevents: tuple[str, str | None, bool] = ...,
        max_connections: int = 10000,
        on_stuck: tuple[int, bytes] | None = None,
    ) -> None:
        """`on_stuck`: what to write where, without the GIL, when a model does not return. `tracing`:
        OpenTelemetry's environment variables. Raises ValueError where they are wrong."""
    def put(
        self,
        metadata: str,
        executor: Executor,
        *,
        tensors: bool,
        raw_v1: bool = False,
        explains: bool = False,
        wants_headers: bool = False,
        max_batch_size: int = 256,
        batch_delay_s: float = 0.0,
        batch_latency_s: float = 0.0,
        queue_limit: int = 1024,
        predict_timeout_s: float | None = None,
        threads: int = 1,
    ) -> None:
        """Serves a model, in place of the one with the same name and version, whose queue is finished first.

        `metadata` is JSON (crates/dataplane/src/model.rs, Metadata). `tensors`: requests are joined
        and given to `run`; otherwise each goes to `handle`, on `threads` threads.
        """
    def remove(self, name: str, version: str | None = None) -> bool:
        """Stops serving a model once what waits for it is answered; False if it is not there."""
    def set_ready(self, name: str, ready: bool) -> None: ...
    def set_index(self, entries: Sequence[tuple[str, str, str, str]]) -> None:
        """The repository index: (name, version, state, reason) of every model, loaded or not."""
    def set_peers(self, sockets: Sequence[str]) -> None:
        """Unix sockets of sibling workers, for metrics that speak for all."""
    def run(self) -> str:
        """Serves until stopped. Returns `drained`, `drain timed out` or `stuck`."""
    def stop(self) -> None:
        """Begins a graceful end, from any thread."""

def tracing_endpoint(variables: Mapping[str, str]) -> str | None:
    """Where traces go with these variables; None: there are none. Raises ValueError where they are wrong."""

def let_pass() -> None:
    """For who loads a model, at every step: lets those who answer requests go first, without the GIL.

    While a model of this process has requests in hand, it waits until one batch is over, a millisecond at most and three
    quarters of the time in all; where requests have come lately, it sleeps for 50 µs every 100 µs besides.
    """

def load_test(arguments: Sequence[str]) -> str:
    """Loads a server as `modelport-load ARGUMENTS` does; returns its report as JSON. Raises ValueError."""

def self_signed(names: Sequence[str], days: int) -> tuple[str, str, str]:
    """A server certificate for DNS names and IP addresses: (authority, certificate, key), all PEM.

    The authority signs this one certificate and its key is forgotten. Raises ValueError.
    """

def read_certificate(certificate: bytes, key: bytes, host: str) -> tuple[int, int, bool]:
    """A server certificate's first and last second, since 1970, and whether it is good for a host, `*.name` or `*`
    (any name is): where the key fits it; both are PEM.

    Raises ValueError, whose words begin with `tls.crt` or `tls.key` and repeat nothing of either.
    """

def gateway(
    *,
    listen_fds: Sequence[int],
    table: str,
    admin: str,
    internal_fds: Sequence[int] = (),
    handover: str | None = None,
    tls: tuple[str, str] | None = None,
    access_log: str | None = None,
    trust_forwarded: bool = False,
    threads: int = 1,
    max_connections: int = 10000,
    header_bytes: int = 65536,
    body_bytes: int = 1073741824,
    retry_body_bytes: int = 1048576,
    header_timeout_s: float = 30.0,
    idle_timeout_s: float = 600.0,
    body_timeout_s: float = 60.0,
    connect_timeout_s: float = 2.0,
    drain_delay_s: float = 0.3,
    drain_timeout_s: float = 30.0,
) -> str:
    """Runs the gateway until SIGTERM or SIGINT, on listening sockets that the caller gives away.

    Returns `drained`, or `cut off` where requests were still running. Raises OSError, ValueError.
    """
