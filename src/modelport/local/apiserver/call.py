"""One request to a resource, understood: who asks for what, and how to answer."""

from __future__ import annotations

import msgspec
from starlette.requests import Request

from modelport.local.apiserver.accept import Form
from modelport.local.apiserver.api import Api
from modelport.local.apiserver.registry import Served
from modelport.local.apiserver.tokens import User


class Address(msgspec.Struct, frozen=True):
    """The words of a resource's path."""

    group: str
    version: str
    plural: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""


class Call:
    """A request to a resource."""

    def __init__(
        self, api: Api, request: Request, user: User, served: Served, address: Address, verb: str, form: Form
    ) -> None:
        self.api = api
        self.request = request
        self.query = request.query_params
        self.user = user
        self.served = served
        self.address = address
        self.namespace = address.namespace
        self.name = address.name
        self.subresource = address.subresource
        self.verb = verb
        self.form = form
        self.warnings: list[str] = []


def parse_address(path: str) -> Address | None:
    """The resource that a path below /api or /apis names; None where it is none."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) >= 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    if not rest or not all(rest):
        return None
    namespace = ""
    # `namespaces/x` and `namespaces/x/status` are about the namespace itself.
    if rest[0] == "namespaces" and len(rest) >= 3 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    plural, *more = rest
    name = more[0] if more else ""
    subresource = "/".join(more[1:])
    return Address(group, version, plural, namespace, name, subresource)
