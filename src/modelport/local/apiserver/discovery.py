"""What this server serves, told: group, version and resource lists, in the old form and aggregated."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from modelport.kube.errors import ApiError
from modelport.kube.resource import Object
from modelport.local.apiserver.accept import Form
from modelport.local.apiserver.answer import plain
from modelport.local.apiserver.registry import Registry, Served

AGGREGATED = "apidiscovery.k8s.io"
REVIEW_GROUPS = {
    "authorization.k8s.io": (
        ("SelfSubjectAccessReview", "selfsubjectaccessreviews"),
        ("SelfSubjectRulesReview", "selfsubjectrulesreviews"),
    ),
    "authentication.k8s.io": (("SelfSubjectReview", "selfsubjectreviews"),),
}
"""Questions that are asked by POST and stored nowhere."""
EXTRA = {
    "pods": (
        ("log", "Pod", "", ("get",)),
        ("binding", "Binding", "", ("create",)),
        ("exec", "PodExecOptions", "", ("create", "get")),
        ("portforward", "PodPortForwardOptions", "", ("create", "get")),
        ("eviction", "Eviction", "policy/v1", ("create",)),
    ),
    "namespaces": (("finalize", "Namespace", "", ("update",)),),
}
"""Subresources of core kinds beside status and scale: name, kind, group/version, verbs."""


def answer(request: Request, registry: Registry, path: str, form: Form) -> Response:
    """/api, /apis and what lies below them, but for resources. ApiError 404."""
    parts = path.strip("/").split("/")
    match parts:
        case ["api"] | ["apis"]:
            version = _aggregation(request.headers.get("accept", ""))
            if version:
                return _aggregated_answer(
                    request, aggregated(registry, version, core=parts == ["api"]), version
                )
            host = request.headers.get("host", "")
            return plain(core_versions(host) if parts == ["api"] else groups(registry), form)
        case ["api", version]:
            return plain(resources(registry, "", version), form)
        case ["apis", name]:
            return plain(group(registry, name), form)
        case ["apis", name, version]:
            return plain(resources(registry, name, version), form)
        case _:
            raise unknown_path()


def _aggregation(accept: str) -> str:
    """The version of aggregated discovery that a client asks for first; empty for the old form."""
    for part in accept.split(","):
        words = [word.strip() for word in part.split(";")]
        if words[0] != "application/json":
            continue
        if "as=APIGroupDiscoveryList" not in words:
            return ""
        version = next((word.removeprefix("v=") for word in words if word.startswith("v=")), "")
        if f"g={AGGREGATED}" in words and version in ("v2", "v2beta1"):
            return version
    return ""


def _aggregated_answer(request: Request, content: Object, version: str) -> Response:
    body = msgspec.json.encode(content)
    tag = f'"{hashlib.sha256(body).hexdigest()[:32].upper()}"'
    headers = {"ETag": tag, "Vary": "Accept", "Cache-Control": "public"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    media = f"application/json;g={AGGREGATED};v={version};as=APIGroupDiscoveryList"
    return Response(body, media_type=media, headers=headers)


def core_versions(host: str) -> Object:
    """/api."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}],
    }


def groups(registry: Registry) -> Object:
    """/apis."""
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [_group(*item) for item in _groups(registry)],
    }


def group(registry: Registry, name: str) -> Object:
    """/apis/GROUP. ApiError 404."""
    versions = dict(_groups(registry)).get(name)
    if versions is None:
        raise unknown_path()
    return {"kind": "APIGroup", "apiVersion": "v1"} | _group(name, versions)


def resources(registry: Registry, group_name: str, version: str) -> Object:
    """/api/v1 or /apis/GROUP/VERSION. ApiError 404."""
    listed: list[Object] = []
    for served in registry.groups().get(group_name, {}).get(version, []):
        resource = served.resource
        entry: Object = {
            "name": resource.plural,
            "singularName": resource.singular or resource.kind.lower(),
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": sorted(served.verbs),
        }
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        listed.append(entry)
        for name, kind, api_version, verbs in _subresources(served):
            sub: Object = {
                "name": f"{resource.plural}/{name}",
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": kind,
                "verbs": list(verbs),
            }
            if api_version:
                sub["group"], _, sub["version"] = api_version.rpartition("/")
            listed.append(sub)
    listed += [
        {"name": plural, "singularName": kind.lower(), "namespaced": False, "kind": kind, "verbs": ["create"]}
        for kind, plural in (REVIEW_GROUPS.get(group_name, ()) if version == "v1" else ())
    ]
    if not listed:
        raise unknown_path()
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group_name}/{version}" if group_name else version,
        "resources": listed,
    }


def aggregated(registry: Registry, version: str, *, core: bool) -> Object:
    """/api or /apis for clients that ask for all of it at once (`apidiscovery.k8s.io`)."""
    names = [("", list(registry.groups().get("", {})))] if core else list(_groups(registry))
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"{AGGREGATED}/{version}",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": name} if name else {},
                "versions": [
                    {
                        "version": one,
                        "resources": _aggregated(registry, name, one),
                        "freshness": "Current",
                    }
                    for one in versions
                ],
            }
            for name, versions in names
        ],
    }


def _aggregated(registry: Registry, name: str, version: str) -> list[Object]:
    listed: list[Object] = []
    for served in registry.groups().get(name, {}).get(version, []):
        resource = served.resource
        entry: Object = {
            "resource": resource.plural,
            "responseKind": {"group": name, "version": version, "kind": resource.kind},
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "singularResource": resource.singular or resource.kind.lower(),
            "verbs": sorted(served.verbs),
        }
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        subresources: list[Object] = []
        for sub, kind, api_version, verbs in _subresources(served):
            sub_group, _, sub_version = (api_version or resource.api_version).rpartition("/")
            subresources.append(
                {
                    "subresource": sub,
                    "responseKind": {"group": sub_group, "version": sub_version, "kind": kind},
                    "verbs": list(verbs),
                }
            )
        if subresources:
            entry["subresources"] = subresources
        listed.append(entry)
    listed += [
        {
            "resource": plural,
            "responseKind": {"group": name, "version": version, "kind": kind},
            "scope": "Cluster",
            "singularResource": kind.lower(),
            "verbs": ["create"],
        }
        for kind, plural in (REVIEW_GROUPS.get(name, ()) if version == "v1" else ())
    ]
    return listed


def _subresources(served: Served) -> Iterable[tuple[str, str, str, tuple[str, ...]]]:
    resource = served.resource
    writes = tuple(verb for verb in ("get", "patch", "update") if verb in served.verbs)
    if "status" in resource.subresources:
        yield "status", resource.kind, "", writes
    if "scale" in resource.subresources:
        yield "scale", "Scale", "autoscaling/v1", writes
    if not resource.group:
        yield from EXTRA.get(resource.plural, ())


def _groups(registry: Registry) -> Iterable[tuple[str, list[str]]]:
    known = {name: list(versions) for name, versions in registry.groups().items() if name}
    for name in REVIEW_GROUPS:
        known.setdefault(name, ["v1"])
    return known.items()


def _group(name: str, versions: list[str]) -> Object:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def unknown_path() -> ApiError:
    """404 for a path that is nothing."""
    return ApiError(404, "NotFound", "the server could not find the requested resource")
