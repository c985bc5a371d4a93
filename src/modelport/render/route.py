"""HTTPRoutes: hosts and rules of a service, in KServe's shape and order."""

from __future__ import annotations

from collections.abc import Sequence

from modelport.kinds.config import Ingress
from modelport.kinds.inferenceservice.spec import Component, InferenceService
from modelport.kinds.problem import Problem
from modelport.kube.resource import Object
from modelport.render.rendered import Part
from modelport.render.template import TemplateError, expand

VISIBILITY = "networking.kserve.io/visibility"
EXPLAIN = r"^/v1/models/[\w-]+:explain$"
EVERYTHING = "^/.*$"
BY_PATH = ".path"
"""What the name of a route on a shared host has after the service's: no service's name has a dot."""
GRPC = r"^/inference\.GRPCInferenceService/.*$"
LOCAL_DOMAIN = "svc.cluster.local"
DEFAULT_TIMEOUT_S = 60


def is_local(service: InferenceService, ingress: Ingress) -> bool:
    """Whether only others on the platform may ask."""
    return (
        service.metadata.labels.get(VISIBILITY) == "cluster-local"
        or ingress.ingress_domain == LOCAL_DOMAIN
        or ingress.disable_ingress_creation
    )


def host(service: InferenceService, name: str, ingress: Ingress, domain: str | None = None) -> str:
    """A name by the domain template. TemplateError."""
    return expand(
        ingress.domain_template,
        {
            "Name": name,
            "Namespace": service.metadata.namespace,
            "IngressDomain": domain or ingress.ingress_domain,
            "Labels": service.metadata.labels,
            "Annotations": service.metadata.annotations,
        },
    )


def path(service: InferenceService, ingress: Ingress) -> str:
    """The service's path below the shared host; empty without a path template. TemplateError."""
    if not ingress.path_template:
        return ""
    values = {"Name": service.metadata.name, "Namespace": service.metadata.namespace}
    return "/" + expand(ingress.path_template, values).strip("/")


def url(service: InferenceService, ingress: Ingress) -> str:
    """Where clients from outside reach the service. TemplateError."""
    below = path(service, ingress)
    if below:
        return f"{ingress.url_scheme}://{ingress.ingress_domain}{below}"
    return f"{ingress.url_scheme}://{host(service, service.metadata.name, ingress)}"


def routes(
    service: InferenceService, parts: Sequence[Part], components: dict[str, Component], ingress: Ingress
) -> list[Object] | Problem:
    """A route a component, and one for the service as a whole."""
    try:
        return _routes(service, {part.component: part for part in parts}, components, ingress)
    except TemplateError as error:
        return Problem(
            "configmap kserve/inferenceservice-config, data.ingress", str(error), reason="InvalidConfig"
        )


def _routes(
    service: InferenceService, parts: dict[str, Part], components: dict[str, Component], ingress: Ingress
) -> list[Object]:
    found = [
        _route(
            service,
            part.name,
            [host(service, part.name, ingress)],
            [_rule(service, [_match(EVERYTHING)], part, components[part.component], ingress)],
            ingress,
        )
        for part in parts.values()
    ]
    entry = parts.get("transformer") or parts["predictor"]
    domains = [ingress.ingress_domain, *ingress.additional_ingress_domains]
    hosts = [host(service, service.metadata.name, ingress, domain) for domain in domains]
    rules: list[Object] = []
    explainer = parts.get("explainer")
    if explainer is not None:
        rules.append(_rule(service, [_match(EXPLAIN)], explainer, components["explainer"], ingress))
    if entry.grpc_port is not None:
        header = {"name": "content-type", "type": "RegularExpression", "value": "^application/grpc.*"}
        rule = _rule(
            service, [_match(GRPC) | {"headers": [header]}], entry, components[entry.component], ingress
        )
        rule["backendRefs"][0]["port"] = entry.grpc_port
        rules.append(rule)
    rules.append(_rule(service, [_match(EVERYTHING)], entry, components[entry.component], ingress))
    found.append(_route(service, service.metadata.name, _unique(hosts), rules, ingress))
    if below := path(service, ingress):
        rules = [_below(service, below, entry, components[entry.component], ingress)]
        if explainer is not None:
            rules.insert(0, _explained_below(service, below, explainer, components["explainer"], ingress))
        found.append(_route(service, service.metadata.name + BY_PATH, _unique(domains), rules, ingress))
    return found


def _below(
    service: InferenceService, below: str, part: Part, component: Component, ingress: Ingress
) -> Object:
    """What comes below a path of a host that all share, without the path: no server knows it. (KServe leaves it there,
    and its servers answer 404.)"""
    rule = _rule(service, [{"path": {"type": "PathPrefix", "value": below}}], part, component, ingress)
    rewrite = {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}
    rule["filters"].append({"type": "URLRewrite", "urlRewrite": rewrite})
    return rule


def _explained_below(
    service: InferenceService, below: str, part: Part, component: Component, ingress: Ingress
) -> Object:
    """Explanations there, of the model of the service's name: a rewritten path cannot be a pattern."""
    inner = f"/v1/models/{service.metadata.name}:explain"
    rule = _rule(service, [{"path": {"type": "Exact", "value": below + inner}}], part, component, ingress)
    rewrite = {"path": {"type": "ReplaceFullPath", "replaceFullPath": inner}}
    rule["filters"].append({"type": "URLRewrite", "urlRewrite": rewrite})
    return rule


def _route(
    service: InferenceService, name: str, hosts: list[str], rules: list[Object], ingress: Ingress
) -> Object:
    namespace, _, gateway = ingress.kserve_ingress_gateway.partition("/")
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {
            "name": name,
            "namespace": service.metadata.namespace,
            "labels": {"serving.kserve.io/inferenceservice": service.metadata.name},
        },
        "spec": {
            "parentRefs": [
                {
                    "group": "gateway.networking.k8s.io",
                    "kind": "Gateway",
                    "namespace": namespace,
                    "name": gateway,
                }
            ],
            "hostnames": hosts,
            "rules": rules,
        },
    }


def _match(pattern: str) -> Object:
    return {"path": {"type": "RegularExpression", "value": pattern}}


def _rule(
    service: InferenceService, matches: list[Object], part: Part, component: Component, ingress: Ingress
) -> Object:
    headers = [
        {"name": "KServe-Isvc-Name", "value": service.metadata.name},
        {"name": "KServe-Isvc-Namespace", "value": service.metadata.namespace},
    ]
    rule: Object = {
        "matches": matches,
        "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": headers}}],
        "backendRefs": [{"group": "", "kind": "Service", "name": part.name, "port": 80, "weight": 1}],
    }
    if not ingress.disable_http_route_timeout:
        rule["timeouts"] = {"request": f"{component.timeout or DEFAULT_TIMEOUT_S}s"}
    return rule


def _unique(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))
