"""Gateway API's objects, as far as we read them: typed views on the specs of Gateways and HTTPRoutes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

GROUP = "gateway.networking.k8s.io"
CONTROLLER = "modelport.io/gateway"
"""The controllerName of our GatewayClasses."""

Hostname = Annotated[
    str, msgspec.Meta(pattern=r"^(\*\.)?[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?\Z", max_length=253)
]
"""`a.example.com` or `*.example.com`."""


class _View(msgspec.Struct, rename="camel"):
    pass


class ParentRef(_View, kw_only=True):
    """The Gateway, or the listener of one, that a route wants to be served by."""

    group: str = GROUP
    kind: str = "Gateway"
    namespace: str | None = None
    name: str
    section_name: str | None = None
    port: int | None = None


class PathMatch(_View):
    """`type`: Exact, PathPrefix or RegularExpression."""

    type: str | None = None
    value: str | None = None


class ValueMatch(_View, kw_only=True):
    """A header or a query parameter; `type`: Exact or RegularExpression."""

    type: str | None = None
    name: str
    value: str


class RouteMatch(_View):
    """All of it holds for a request that fits."""

    path: PathMatch | None = None
    headers: list[ValueMatch] = []
    query_params: list[ValueMatch] = []
    method: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]+\Z")] | None = None


class Header(_View):
    """A header to set or add."""

    name: str
    value: str


class HeaderFilter(_View):
    """What to do to headers."""

    set: list[Header] = []
    add: list[Header] = []
    remove: list[str] = []


class PathModifier(_View):
    """`type`: ReplaceFullPath or ReplacePrefixMatch."""

    type: str
    replace_full_path: str | None = None
    replace_prefix_match: str | None = None


class RequestRedirect(_View):
    """Where the client is sent to."""

    scheme: str | None = None
    hostname: str | None = None
    port: int | None = None
    path: PathModifier | None = None
    status_code: int = 302


class UrlRewrite(_View):
    """What the backend sees."""

    hostname: str | None = None
    path: PathModifier | None = None


class Fraction(_View):
    """So many of so many."""

    numerator: Annotated[int, msgspec.Meta(ge=0)]
    denominator: Annotated[int, msgspec.Meta(ge=1)] = 100


class MirrorRef(_View, kw_only=True):
    """A Service that gets copies."""

    group: str | None = None
    kind: str | None = None
    name: str
    namespace: str | None = None
    port: int | None = None


class RequestMirror(_View):
    """Whom to copy to, and how much: all without `percent` and `fraction`."""

    backend_ref: MirrorRef
    percent: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    fraction: Fraction | None = None


class Filter(_View):
    """One step before or after the backend."""

    type: str
    request_header_modifier: HeaderFilter | None = None
    response_header_modifier: HeaderFilter | None = None
    request_redirect: RequestRedirect | None = None
    url_rewrite: UrlRewrite | None = None
    request_mirror: RequestMirror | None = None


class BackendRef(_View, kw_only=True):
    """Where a share of the requests goes."""

    group: str | None = None
    kind: str | None = None
    name: str
    namespace: str | None = None
    port: int | None = None
    weight: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    filters: list[Filter] = []


class Timeouts(_View):
    """Durations as in `1m30s`; `0s` means none."""

    request: str | None = None
    backend_request: str | None = None


class Retry(_View):
    """`codes` answered are asked for again; so many `attempts` beside the first, so long between them."""

    codes: list[Annotated[int, msgspec.Meta(ge=400, le=599)]] = []
    attempts: Annotated[int, msgspec.Meta(ge=0)] | None = None
    backoff: str | None = None


class CookieConfig(_View):
    """`lifetime_type`: Session or Permanent."""

    lifetime_type: str | None = None


class SessionPersistence(_View):
    """`type`: Cookie or Header."""

    session_name: str | None = None
    type: str | None = None
    absolute_timeout: str | None = None
    idle_timeout: str | None = None
    cookie_config: CookieConfig | None = None


class RouteRule(_View):
    """What happens to requests that any match fits; without matches, to all."""

    matches: list[RouteMatch] = []
    filters: list[Filter] = []
    backend_refs: list[BackendRef] = []
    timeouts: Timeouts | None = None
    retry: Retry | None = None
    session_persistence: SessionPersistence | None = None


class RouteSpec(_View):
    """Of an HTTPRoute."""

    parent_refs: list[ParentRef] = []
    hostnames: list[Hostname] = []
    rules: list[RouteRule] = msgspec.field(default_factory=lambda: [RouteRule()])


class RouteNamespaces(_View):
    """`from_`: Same, All, Selector or None."""

    from_: str | None = msgspec.field(name="from", default=None)
    selector: dict[str, Any] | None = None


class RouteKind(_View, kw_only=True):
    """A kind of route."""

    group: str | None = None
    kind: str


class AllowedRoutes(_View):
    """Which routes a listener takes."""

    namespaces: RouteNamespaces | None = None
    kinds: list[RouteKind] = []


class SecretRef(_View, kw_only=True):
    """Where a certificate lies."""

    group: str | None = None
    kind: str | None = None
    name: str
    namespace: str | None = None


class ListenerTls(_View):
    """`mode`: Terminate or Passthrough."""

    mode: str | None = None
    certificate_refs: list[SecretRef] = []


class Listener(_View, kw_only=True):
    """A name and a protocol that a Gateway offers."""

    name: str
    hostname: Hostname | None = None
    port: int
    protocol: str
    tls: ListenerTls | None = None
    allowed_routes: AllowedRoutes | None = None


class GatewaySpec(_View, kw_only=True):
    """Of a Gateway."""

    gateway_class_name: str
    listeners: list[Listener] = []
    tls: dict[str, Any] | None = None
    """Looked at for what is not carried out only: certificates of clients and for backends."""


class Verdict(msgspec.Struct, frozen=True):
    """A condition, but for when it came to be."""

    type: str
    good: bool
    reason: str
    message: str = ""
