"""Questions about oneself: may I, what may I, who am I. Answered, never stored."""

from __future__ import annotations

from typing import Any, cast

from modelport.kube.errors import bad_request
from modelport.kube.resource import Object
from modelport.local.apiserver.authorization import READING, Attributes, allowed
from modelport.local.apiserver.registry import Registry
from modelport.local.apiserver.tokens import User

RESOURCES = ("selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews")


def answer(registry: Registry, user: User, resource: str, body: Any) -> Object:
    """The review with its status. ApiError 400."""
    if not isinstance(body, dict):
        raise bad_request("the body must be a review")
    review = cast("Object", body)
    spec: Object = review.get("spec") or {}
    if resource == "selfsubjectreviews":
        info = {"username": user.name, "groups": user.groups}
        return review | {"status": {"userInfo": info}}
    if resource == "selfsubjectrulesreviews":
        return review | {"status": _rules(user)}
    asked = spec.get("resourceAttributes")
    other = spec.get("nonResourceAttributes") or {}
    if isinstance(asked, dict):
        given = cast("Object", asked)
        group, plural = str(given.get("group") or ""), str(given.get("resource") or "")
        plural = "" if plural == "*" else plural
        found = [one for one in registry if one.resource.group == group and one.resource.plural == plural]
        attributes = Attributes(
            verb=str(given.get("verb") or ""),
            group=group,
            resource=plural or "*",
            subresource=str(given.get("subresource") or ""),
            namespace=str(given.get("namespace") or ""),
            name=str(given.get("name") or ""),
        )
        yes = allowed(user.role, attributes, namespaced=all(one.resource.namespaced for one in found))
    else:
        verb, path = str(other.get("verb") or "get"), str(other.get("path") or "/")
        yes = allowed(user.role, Attributes(verb=verb, path=path), namespaced=False)
    status: Object = {"allowed": yes}
    if not yes:
        status["reason"] = f'the role "{user.role}" does not include it'
    return review | {"status": status}


def _rules(user: User) -> Object:
    verbs = ["*"] if user.role != "view" else list(READING)
    return {
        "resourceRules": [{"verbs": verbs, "apiGroups": ["*"], "resources": ["*"]}],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["*"]}],
        "incomplete": user.role != "admin",
    }
