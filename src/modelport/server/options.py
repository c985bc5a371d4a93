"""What a user may set for a server and for the models in it: read once, at the edge, then only passed on."""

from __future__ import annotations

import os

import msgspec


class Tracing(dict[str, str]):
    """OpenTelemetry's environment variables. Some hold secrets, so that only their names are printed."""

    def __repr__(self) -> str:
        return f"Tracing({', '.join(f'{name}=[redacted]' for name in self)})"


def tracing_variables() -> Tracing:
    """Those that this process was started with."""
    return Tracing(
        (name, value)
        for name, value in os.environ.items()
        if name.startswith("OTEL_") or name == "SSL_CERT_FILE"
    )


class ModelOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How one model is loaded and called."""

    predict_proba: bool = False
    """Answer with class probabilities where the model has them (KServe: PREDICT_PROBA)."""
    threads: int = 1
    """Threads that the framework may use for one prediction (KServe: --nthread)."""
    device: str = "auto"
    """Where frameworks that can use a GPU compute: `auto`, `cpu`, `cuda`, `cuda:1`."""
    model_format: str | None = None
    """The format that the user says the model has, such as `onnx`; another one is refused. None: what is there."""
    allow_pickle: bool = True
    """Load formats that can run code: pickle, joblib, TorchScript."""
    shortcuts: bool = True
    """Answer for scikit-learn's estimators without their own methods, where that is proven equal."""
    max_batch_size: int = 256
    """Most rows that are predicted together; 1 switches batching off."""
    batch_delay_s: float = 0.0
    """How long to wait for a batch to fill. 0: take what is queued, never wait."""
    batch_latency_s: float = 0.0
    """No more rows in a batch than are predicted in so long, as far as was seen. 0: `max_batch_size` alone counts."""
    queue_limit: int = 1024
    """Most requests that wait for the model; one more gets 429."""
    predict_timeout_s: float | None = 60.0
    """Longest time for one call of the model; then 504, and its worker process is replaced."""

    def __post_init__(self) -> None:
        for name, number in (
            ("threads", self.threads),
            ("max_batch_size", self.max_batch_size),
            ("queue_limit", self.queue_limit),
        ):
            if number < 1:
                raise ValueError(f"{name}: must be at least 1, got {number}")


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A model to serve: where it lies and what it is called."""

    name: str
    path: str
    """A file, a folder, or `file.py:Class`."""
    version: str | None = None


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """A server's ports and limits."""

    host: str = "127.0.0.1"
    """Address to bind. Loopback unless told otherwise."""
    http_port: int = 8080
    """REST; 0 picks a free port."""
    grpc_port: int | None = 8081
    """gRPC; 0 picks a free port, None serves none of its own."""
    metrics_port: int | None = None
    """`/metrics` on a port of its own as well."""
    one_port: bool = False
    """gRPC on the REST port too, and on no other."""
    workers: int = 1
    """Processes that serve the same ports."""
    tls_certificate: str | None = None
    tls_key: str | None = None
    tls_client_ca: str | None = None
    """Ask clients for certificates of this authority (mTLS)."""
    max_body_bytes: int = 256 << 20
    """Largest body, after decompression."""
    max_bodies_bytes: int | None = None
    """What the bodies of all requests under way may have together; None: a quarter of the memory there is."""
    max_connections: int = 10_000
    drain_timeout_s: float = 30.0
    """Longest time that requests in flight may take once the server stops."""
    drain_delay_s: float = 0.0
    """How long a stopping server still accepts, not ready, so that balancers notice."""
    docs: bool = True
    """Serve /docs and /openapi.json."""
    access_log: bool = False
    """A JSON line a request on stderr."""
    tracing: Tracing = msgspec.field(default_factory=tracing_variables)
    """Where traces go, and which: OpenTelemetry's variables, read from the environment unless given."""
    ce_type: str = "io.kserve.inference.response"
    ce_source: str | None = None
    ce_merge: bool = False
    watch: bool = False
    """Load an artifact anew when it changes."""
    load_timeout_s: float = 600.0
    """Longest time until a new worker process serves."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a worker process needs to know: what to serve, and how."""

    server: ServerOptions = msgspec.field(default_factory=ServerOptions)
    model: ModelOptions = msgspec.field(default_factory=ModelOptions)
    sources: tuple[Source, ...] = ()
    """Models that are loaded from the start."""
    repository: str | None = None
    """A folder whose models can be loaded and unloaded by name."""
