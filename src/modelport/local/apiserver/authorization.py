"""What a role may do. `view` reads, but no Secrets; `edit` also writes what lies in namespaces, but
for quotas and limits; `admin` does all."""

from __future__ import annotations

import msgspec

from modelport.kube.errors import ApiError
from modelport.kube.resource import LIMIT_RANGE, RESOURCE_QUOTA, SECRET
from modelport.local.apiserver.tokens import Role, User

READING = ("get", "list", "watch")
PUBLIC = ("/healthz", "/livez", "/readyz", "/version")
"""Open to everybody, as on a cluster."""
REVIEWS = ("selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews")


class Attributes(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that somebody wants to do."""

    verb: str
    group: str = ""
    resource: str = ""
    """The plural; empty for a path that is no resource's."""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


def allowed(role: Role, asked: Attributes, *, namespaced: bool) -> bool:
    """Whether a role may do it."""
    if role == "admin":
        return True
    if not asked.resource:
        return asked.verb in ("get", "head")
    if asked.resource in REVIEWS:
        return asked.verb == "create"
    reading = asked.verb in READING
    if role == "view":
        return reading and not (asked.resource == SECRET.plural and not asked.group)
    # Who is limited does not set the limits.
    limits = not asked.group and asked.resource in (RESOURCE_QUOTA.plural, LIMIT_RANGE.plural)
    return reading or (namespaced and not limits)


def unauthorized() -> ApiError:
    """401: no token, or nobody's."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(user: User, asked: Attributes) -> ApiError:
    """403, in Kubernetes' words."""
    if not asked.resource:
        return ApiError(
            403,
            "Forbidden",
            f'forbidden: User "{user.name}" cannot {asked.verb} path "{asked.path}": the role '
            f'"{user.role}" does not include it',
        )
    what = asked.resource + (f".{asked.group}" if asked.group else "")
    named = f'{what} "{asked.name}"' if asked.name else what
    resource = asked.resource + (f"/{asked.subresource}" if asked.subresource else "")
    where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    return ApiError(
        403,
        "Forbidden",
        f'{named} is forbidden: User "{user.name}" cannot {asked.verb} resource "{resource}" in API group '
        f'"{asked.group}" {where}: the role "{user.role}" does not include it',
        details={"name": asked.name, "group": asked.group, "kind": asked.resource},
    )
