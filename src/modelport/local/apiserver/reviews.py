"""Questions about oneself: may I, what may I, who am I. Answered, never stored."""

from __future__ import annotations

from typing import Any, cast

from modelport.kube.errors import ApiError, bad_request
from modelport.kube.resource import Object
from modelport.local.apiserver.authorization import REVIEWS, Attributes, allowed
from modelport.local.apiserver.call import Address
from modelport.local.apiserver.discovery import REVIEW_GROUPS, unknown_path
from modelport.local.apiserver.part import part
from modelport.local.apiserver.registry import VERBS, Registry
from modelport.local.apiserver.tokens import User

RESOURCES = REVIEWS


def answer(registry: Registry, user: User, address: Address, body: Any) -> Object:
    """The review with its status. ApiError 400, 404."""
    kind = next((k for k, plural in REVIEW_GROUPS.get(address.group, ()) if plural == address.plural), None)
    if kind is None or address.version != "v1" or address.name:
        raise unknown_path()
    if not isinstance(body, dict):
        raise bad_request(f"the body must be an object of kind {kind}")
    review: Object = cast("Object", body) | {"apiVersion": f"{address.group}/v1", "kind": kind}
    review.setdefault("metadata", {})
    match kind:
        case "SelfSubjectReview":
            return review | {"status": {"userInfo": {"username": user.name, "groups": user.groups}}}
        case "SelfSubjectRulesReview":
            return review | {"status": _rules(registry, user)}
        case _:
            return review | {"status": _access(registry, user, part(review, "spec"))}


def _access(registry: Registry, user: User, spec: Object) -> Object:
    asked, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if isinstance(asked, dict) == isinstance(other, dict):
        raise ApiError(
            422,
            "Invalid",
            "SelfSubjectAccessReview.authorization.k8s.io is invalid: spec: exactly one of resourceAttributes and "
            "nonResourceAttributes must be specified",
        )
    if isinstance(asked, dict):
        yes = _may(registry, user, cast("Object", asked))
    else:
        given = cast("Object", other)
        attributes = Attributes(verb=str(given.get("verb") or ""), path=str(given.get("path") or ""))
        yes = allowed(user.role, attributes, namespaced=False)
    status: Object = {"allowed": yes}
    if not yes:
        status["reason"] = f'the role "{user.role}" does not include it'
    return status


def _may(registry: Registry, user: User, asked: Object) -> bool:
    """Whether all that is meant is allowed: `*` means every verb, group or resource."""
    words = {name: str(asked.get(name) or "") for name in ("verb", "group", "resource", "subresource")}
    found = [
        one
        for one in registry.kinds()
        if words["group"] in (one.resource.group, "*") and words["resource"] in (one.resource.plural, "*")
    ]
    verbs = VERBS if words["verb"] == "*" else (words["verb"],)
    if user.role == "admin":
        return True
    if words["resource"] in REVIEWS:
        return words["verb"] == "create"
    return bool(found) and all(
        allowed(
            user.role,
            Attributes(verb=verb, group=one.resource.group, resource=one.resource.plural),
            namespaced=one.resource.namespaced,
        )
        for one in found
        for verb in verbs
    )


def _rules(registry: Registry, user: User) -> Object:
    """What the user's role may do, a rule a group and set of verbs."""
    by_verbs: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for one in registry.kinds():
        resource = one.resource
        verbs = tuple(
            verb
            for verb in VERBS
            if allowed(
                user.role,
                Attributes(verb=verb, group=resource.group, resource=resource.plural),
                namespaced=resource.namespaced,
            )
        )
        if verbs:
            by_verbs.setdefault((verbs, resource.group), []).append(resource.plural)
    if user.role == "admin":
        by_verbs = {(("*",), "*"): ["*"]}
    rules = [
        {"verbs": list(verbs), "apiGroups": [group], "resources": resources}
        for (verbs, group), resources in by_verbs.items()
    ]
    rules += [
        {"verbs": ["create"], "apiGroups": [group], "resources": [plural for _, plural in kinds]}
        for group, kinds in REVIEW_GROUPS.items()
    ]
    paths: list[Object] = [{"verbs": ["*" if user.role == "admin" else "get"], "nonResourceURLs": ["*"]}]
    return {"resourceRules": rules, "nonResourceRules": paths, "incomplete": False}
