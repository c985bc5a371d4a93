"""The gateway's route table: what `local/gateway` writes and the gateway process (crate `dataplane`,
`gateway/table.rs`) reads. Both sides refuse fields that they do not know. What is as it is by default is left out: so a
gateway that an upgrade has left running, older than we are, refuses only what it really cannot carry out.

    table = Table(version=1, routes=[Route(name="default/iris", hosts=["iris.example.com"], rules=[...])])
    encode(table)   # the same bytes for the same table, whatever order its dictionaries were filled in
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

HOLD_MS, HOLD_LIMIT = 60_000, 1_000


class _Strict(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    pass


class PathMatch(_Strict, kw_only=True):
    """How a request's path must look (without its query)."""

    type: Literal["exact", "prefix", "regex"] = "prefix"
    """`prefix` goes by path segments: `/v1` fits `/v1` and `/v1/x`, never `/v1x`. `regex` must fit the whole path."""
    value: str = "/"


class ValueMatch(_Strict, kw_only=True):
    """How the value of a header (by name, any case) or of a query parameter must look."""

    name: str
    type: Literal["exact", "regex"] = "exact"
    """`regex` must fit the whole value."""
    value: str


class Match(_Strict, kw_only=True):
    """A request fits when all of this holds."""

    path: PathMatch = msgspec.field(default_factory=PathMatch)
    headers: list[ValueMatch] = []
    query: list[ValueMatch] = []
    method: str | None = None
    """Upper case. None: any."""


class HeaderEdit(_Strict, kw_only=True):
    """What to do to headers, in the order set, add, remove."""

    set: list[tuple[str, str]] = []
    add: list[tuple[str, str]] = []
    remove: list[str] = []


class PathChange(_Strict, kw_only=True):
    """Another path: instead of all of it, or instead of the prefix that fit. The query stays."""

    type: Literal["full", "prefix"]
    value: str


class Redirect(_Strict, kw_only=True):
    """Where the client is sent to instead of an endpoint. What is None stays as the client asked."""

    scheme: Literal["http", "https"] | None = None
    hostname: str | None = None
    port: int | None = None
    path: PathChange | None = None
    status: int = 302


class Rewrite(_Strict, kw_only=True):
    """What the endpoint sees instead of what the client asked for."""

    hostname: str | None = None
    path: PathChange | None = None


class Mirror(_Strict, kw_only=True):
    """A copy of `numerator` in `denominator` requests goes there too; the answer is thrown away."""

    cluster: str
    numerator: int = 100
    denominator: int = 100


class Filters(_Strict, kw_only=True):
    """What a rule changes about requests and answers."""

    request_headers: HeaderEdit = msgspec.field(default_factory=HeaderEdit)
    response_headers: HeaderEdit = msgspec.field(default_factory=HeaderEdit)
    redirect: Redirect | None = None
    rewrite: Rewrite | None = None
    mirrors: list[Mirror] = []


class Backend(_Strict, kw_only=True):
    """A share of a rule's requests: to a cluster, or to a 500 where what was meant cannot be reached."""

    cluster: str | None = None
    """A key of `Table.clusters`."""
    failure: str | None = None
    """Instead of a cluster: this share is answered 500 with these words."""
    weight: int = 1
    """Relative to the rule's other backends; 0 takes part in nothing."""
    filters: Filters | None = None
    """For this share alone, after the rule's own; without a redirect."""


class Again(_Strict, kw_only=True):
    """Answers that are asked for again, of requests that may be sent twice."""

    codes: list[int]
    attempts: int = 1
    """Beside the first one."""
    backoff_ms: int = 0


class Sticky(_Strict, kw_only=True):
    """How a client stays where it was."""

    by: Literal["cookie", "header", "hash"]
    """`cookie`, `header`: at its endpoint, by a token that the gateway gives it. `hash`: at its backend, by the hash
    of a header that it sends."""
    name: str
    max_age_s: int | None = None
    """Of a cookie; None: as long as the browser runs."""


class RateLimit(_Strict, kw_only=True):
    """A token bucket for each key: `burst` at once, filled with `requests` in `per_ms`."""

    requests: int
    per_ms: int
    burst: int
    by: Literal["route", "client", "caller", "header"] = "route"
    header: str | None = None


class Rule(_Strict, kw_only=True):
    """What to do with the requests that any of its matches fits."""

    matches: list[Match]
    filters: Filters = msgspec.field(default_factory=Filters)
    backends: list[Backend] = []
    """None, or all of weight 0: the answer is 500."""
    timeout_ms: int | None = None
    """From the request's arrival to the end of the answer. None: no limit."""
    backend_timeout_ms: int | None = None
    """Of one attempt at one endpoint. None: no limit but `timeout_ms`."""
    retry: bool = True
    """May a predict, infer or explain be sent again after its endpoint died."""
    again: Again | None = None
    sticky: Sticky | None = None


class Route(_Strict, kw_only=True):
    """Rules for hosts, in the order in which they are tried."""

    name: str
    """`namespace/name` of the HTTPRoute; of an internal one `namespace/service:port`."""
    service: str
    """Whom keys and tokens must be good for: `namespace/name` of the InferenceService."""
    hosts: list[str]
    """`a.example.com`, `*.example.com` (any number of labels in front), `*`. Those of internal routes may carry a
    port, which is then part of what must fit."""
    rules: list[Rule]
    internal: bool = False
    """Names inside the platform (`iris-predictor.default.svc`): served on internal listeners only."""
    limit: RateLimit | None = None


class Outlier(_Strict, kw_only=True, omit_defaults=False):
    """After so many failures one after the other an endpoint is left alone, for longer each time; never more than
    half of them. Written in full: the gateway has no defaults of its own for it."""

    failures: int = 5
    eject_ms: int = 10_000
    """The first time; the n-th time n times as long, five minutes at most."""


class Cluster(_Strict, kw_only=True):
    """A Service's port and the endpoints behind it."""

    endpoints: list[str] = []
    """`address:port`, `[address]:port`; those that are ready."""
    protocol: Literal["auto", "http1", "h2c", "both"] = "auto"
    """`auto`: gRPC goes as h2c, all else as HTTP/1.1. `both`: the endpoints take either for all that they serve, and
    small inference requests go as h2c where there are many at once."""
    hold_ms: int = HOLD_MS
    """So long does a request wait for an endpoint."""
    hold_limit: int = HOLD_LIMIT
    """So many wait at once."""
    outlier: Outlier | None = None


class Scope(_Strict, kw_only=True):
    """What a caller may do with which services."""

    service: str
    """`namespace/name`, `namespace/*` or `*/*`."""
    verbs: list[Literal["predict", "explain", "admin"]]


class ApiKey(_Strict, kw_only=True):
    """A key that callers may present; only its hash is known here."""

    id: str
    """Who that is, in logs and metrics."""
    sha256: str
    """Of the key's bytes, 64 hexadecimal digits, lower case."""
    scopes: list[Scope]


class Issuer(_Strict, kw_only=True):
    """Whose tokens (JWT) are accepted."""

    issuer: str
    audience: str | None = None
    keys: dict[str, Any]
    """A JWKS of public keys."""
    scopes_claim: str = "scope"
    """The claim that holds scopes: a list or a string of words `verb:namespace/name`."""


class Auth(_Strict, kw_only=True):
    """Who may call. Empty lists let nobody in."""

    keys: list[ApiKey] = []
    jwks: list[Issuer] = []
    anonymous: list[Scope] = []
    """What callers without key and token may do."""


class Certificate(_Strict, kw_only=True):
    """A chain with its key. They lie in a file of their own: the table holds no secrets."""

    secret: str
    """`namespace/name`, for words."""
    file: str
    """SHA-256 of its content, in hexadecimal digits: its name in the folder `certificates` beside the table."""


class TlsName(_Strict, kw_only=True):
    """The certificates for a name that clients ask for (SNI)."""

    listener: str
    """`namespace/gateway/listener`, for words."""
    host: str
    """`a.example.com`, `*.example.com` (one label in front), or `*` for all that others have no certificate for.
    Lower case."""
    certificates: list[Certificate]
    """The first that fits the name and that the client can check is shown; else the first."""


class Table(_Strict, kw_only=True):
    """All that the gateway knows."""

    version: int
    """Grows with every change."""
    routes: list[Route] = []
    clusters: dict[str, Cluster] = {}
    auth: Auth | None = None
    """None: everybody may do everything."""
    tls: list[TlsName] = []
    """For other names, and without any, the gateway shows its own certificate."""


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Table)


def encode(table: Table) -> bytes:
    """JSON, the same for equal tables."""
    return _encoder.encode(table)


def decode(content: bytes) -> Table:
    """Raises msgspec.DecodeError, which names the field, for everything that is no table."""
    return _decoder.decode(content)
