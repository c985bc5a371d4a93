"""HTTPRoutes as Envoy's own configuration, written from Gateway API's text and not from our translator."""

from __future__ import annotations

import re
from typing import Any

Json = dict[str, Any]
MANAGER = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def config(routes: list[Json], listener_port: int, backends: dict[str, int]) -> Json:
    """Envoy's static configuration. `backends`: the port of each Service."""
    manager = {
        "@type": MANAGER,
        "stat_prefix": "x",
        "normalize_path": True,
        "use_remote_address": True,
        "route_config": {
            "virtual_hosts": virtual_hosts(routes, backends),
            "ignore_port_in_host_matching": True,
        },
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
        "upgrade_configs": [{"upgrade_type": "websocket"}],
    }
    listener = {
        "name": "listener",
        "address": address(listener_port),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    clusters = [
        {
            "name": name,
            "type": "STATIC",
            "connect_timeout": "5s",
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}],
            },
        }
        for name, port in backends.items()
    ]
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def address(port: int) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def virtual_hosts(routes: list[Json], backends: dict[str, int]) -> list[Json]:
    by_host: dict[str, list[tuple[Any, Json]]] = {}
    for route in routes:
        meta = route["metadata"]
        for host in route["spec"]["hostnames"]:
            for index, rule in enumerate(route["spec"]["rules"]):
                for number, match in enumerate(rule.get("matches") or [{}]):
                    key = (*precedence(match), str(meta["creationTimestamp"]), meta["name"], index, number)
                    by_host.setdefault(host, []).append((key, entry(match, rule, backends)))
    return [
        {
            "name": host,
            "domains": [host],
            "routes": [one for _, one in sorted(entries, key=lambda pair: pair[0])],
        }
        for host, entries in by_host.items()
    ]


def precedence(match: Json) -> tuple[Any, ...]:
    path = match.get("path") or {}
    kind, value = path.get("type", "PathPrefix"), path.get("value", "/")
    rank = {"Exact": 0, "RegularExpression": 1, "PathPrefix": 2}[kind]
    counts = [-len(match.get(name) or []) for name in ("headers", "queryParams")]
    return (rank, -len(value), "method" not in match, *counts)


def text(wanted: Json) -> Json:
    if wanted.get("type") == "RegularExpression":
        return {"safe_regex": {"regex": wanted["value"]}}
    return {"exact": wanted["value"]}


def entry(match: Json, rule: Json, backends: dict[str, int]) -> Json:
    path = match.get("path") or {}
    kind, value = path.get("type", "PathPrefix"), path.get("value", "/")
    if kind == "Exact":
        wanted: Json = {"path": value}
    elif kind == "RegularExpression":
        wanted = {"safe_regex": {"regex": value}}
    elif value == "/":
        wanted = {"prefix": "/"}
    else:
        wanted = {"path_separated_prefix": value.rstrip("/")}
    headers = [{"name": item["name"], "string_match": text(item)} for item in match.get("headers") or []]
    if "method" in match:
        headers.append({"name": ":method", "string_match": {"exact": match["method"]}})
    if headers:
        wanted["headers"] = headers
    if match.get("queryParams"):
        wanted["query_parameters"] = [
            {"name": item["name"], "string_match": text(item)} for item in match["queryParams"]
        ]
    return {"match": wanted, **action(value, rule, backends)}


def action(prefix: str, rule: Json, backends: dict[str, int]) -> Json:
    filters = {item["type"]: item for item in rule.get("filters") or []}
    extra = edits(filters)
    if "RequestRedirect" in filters:
        return {"redirect": redirect(prefix, filters["RequestRedirect"]["requestRedirect"]), **extra}
    refs = [ref for ref in rule.get("backendRefs") or [] if ref.get("weight", 1)]
    if not refs or refs[0]["name"] not in backends:
        return {"direct_response": {"status": 500}, **extra}
    own = edits({item["type"]: item for item in refs[0].get("filters") or []})
    route: Json = {
        "weighted_clusters": {"clusters": [{"name": refs[0]["name"], "weight": 1, **own}]},
        "timeout": "0s",
    }
    if "URLRewrite" in filters:
        route |= rewrite(prefix, filters["URLRewrite"]["urlRewrite"])
    if "RequestMirror" in filters:
        goal = filters["RequestMirror"]["requestMirror"]["backendRef"]["name"]
        route["request_mirror_policies"] = [{"cluster": goal, "disable_shadow_host_suffix_append": True}]
    return {"route": route, **extra}


def edits(filters: Json) -> Json:
    found: Json = {}
    for kind, field, side in (
        ("RequestHeaderModifier", "requestHeaderModifier", "request"),
        ("ResponseHeaderModifier", "responseHeaderModifier", "response"),
    ):
        if kind not in filters:
            continue
        said = filters[kind][field]
        added = [(item, "OVERWRITE_IF_EXISTS_OR_ADD") for item in said.get("set") or []]
        added += [(item, "APPEND_IF_EXISTS_OR_ADD") for item in said.get("add") or []]
        found[f"{side}_headers_to_add"] = [
            {"header": {"key": item["name"], "value": item["value"]}, "append_action": how}
            for item, how in added
        ]
        found[f"{side}_headers_to_remove"] = said.get("remove") or []
    return found


def redirect(prefix: str, said: Json) -> Json:
    codes = {
        301: "MOVED_PERMANENTLY",
        302: "FOUND",
        303: "SEE_OTHER",
        307: "TEMPORARY_REDIRECT",
        308: "PERMANENT_REDIRECT",
    }
    found: Json = {"response_code": codes[said.get("statusCode", 302)]}
    if "scheme" in said:
        found["scheme_redirect"] = said["scheme"]
    if "hostname" in said:
        found["host_redirect"] = said["hostname"]
    if "port" in said:
        found["port_redirect"] = said["port"]
    change = said.get("path")
    if change and change["type"] == "ReplaceFullPath":
        found["path_redirect"] = change["replaceFullPath"]
    elif change:
        found |= replace_prefix(prefix, change["replacePrefixMatch"])
    return found


def rewrite(prefix: str, said: Json) -> Json:
    found: Json = {}
    if "hostname" in said:
        found["host_rewrite_literal"] = said["hostname"]
    change = said.get("path")
    if change and change["type"] == "ReplaceFullPath":
        found["regex_rewrite"] = {"pattern": {"regex": "^/.*$"}, "substitution": change["replaceFullPath"]}
    elif change:
        found |= replace_prefix(prefix, change["replacePrefixMatch"])
    return found


def replace_prefix(prefix: str, value: str) -> Json:
    if value.rstrip("/"):
        return {"prefix_rewrite": value.rstrip("/")}
    # As Envoy Gateway writes it: without this, /gone would become nothing, and /gone/x //x.
    return {
        "regex_rewrite": {"pattern": {"regex": f"^{re.escape(prefix.rstrip('/'))}/?"}, "substitution": "/"}
    }
