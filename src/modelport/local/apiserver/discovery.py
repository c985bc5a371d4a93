"""What this server serves, told: group, version and resource lists, in the old form and aggregated."""

from __future__ import annotations

from collections.abc import Iterable

from modelport.kube.errors import ApiError
from modelport.kube.resource import Object
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
SCALE = {"group": "autoscaling", "version": "v1", "kind": "Scale"}
EXTRA = {
    "pods": (
        ("log", "Pod", "", ("get",)),
        ("binding", "Binding", "", ("create",)),
        ("eviction", "Eviction", "policy/v1", ("create",)),
    ),
    "namespaces": (("finalize", "Namespace", "", ("update",)),),
}
"""Subresources of core kinds beside status and scale: name, kind, group/version, verbs."""


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
