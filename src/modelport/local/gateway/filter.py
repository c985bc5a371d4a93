"""What a rule changes about requests and answers, and who gets copies. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from modelport.local.gateway.backend import Backends, Failure
from modelport.local.gateway.spec import (
    Filter,
    HeaderFilter,
    PathModifier,
    RequestMirror,
    RequestRedirect,
    UrlRewrite,
)
from modelport.wire.table import Filters, HeaderEdit, Mirror, PathChange, Redirect, Rewrite

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_PATH = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?")
_HOST = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?")
_FRAMING = frozenset(
    {"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""What HTTP itself says with headers is the gateway's to write."""


class Place(msgspec.Struct, frozen=True):
    """Where filters stand."""

    namespace: str
    """Of the route."""
    field: str
    prefixes_only: bool
    """All matches of the rule go by a prefix of the path, which can be replaced then."""
    is_backend: bool = False
    """They are one backend's."""


def translate(
    wanted: Sequence[Filter], place: Place, backends: Backends
) -> tuple[Filters, list[str], list[Failure]]:
    """The filters, those that the gateway cannot carry out, and mirrors that lead nowhere (which are left out)."""
    found, problems, failures = Filters(), list[str](), list[Failure]()
    seen: set[str] = set()
    for index, item in enumerate(wanted):
        where = f"{place.field}[{index}]"
        if item.type in seen and item.type != "RequestMirror":
            problems.append(f"{where}: there is another {item.type}; Gateway API allows one of a kind.")
        seen.add(item.type)
        match item.type:
            case "RequestHeaderModifier":
                problems += _edit(found.request_headers, item.request_header_modifier, where)
            case "ResponseHeaderModifier":
                problems += _edit(found.response_headers, item.response_header_modifier, where)
            case "RequestRedirect" if not place.is_backend:
                problems += _redirect(found, item.request_redirect, place, where)
            case "URLRewrite":
                problems += _rewrite(found, item.url_rewrite, place, where)
            case "RequestMirror":
                problems += _mirror(found, item.request_mirror, place, where, backends, failures)
            case _:
                problems.append(
                    f"{where}.type: the gateway carries out RequestHeaderModifier, ResponseHeaderModifier, "
                    f"{'' if place.is_backend else 'RequestRedirect, '}URLRewrite and RequestMirror{' of a backend' * place.is_backend}, "
                    f'got "{item.type}". Leave it out.'
                )
    if found.redirect and found.rewrite:
        problems.append(f"{place.field}: RequestRedirect and URLRewrite exclude each other.")
    return found, problems, failures


def _redirect(found: Filters, wanted: RequestRedirect | None, place: Place, where: str) -> list[str]:
    if wanted is None:
        return [f"{where}.requestRedirect: is missing."]
    where = f"{where}.requestRedirect"
    path, problems = _path(wanted.path, place, f"{where}.path")
    problems += _hostname(wanted.hostname, f"{where}.hostname")
    if wanted.scheme not in (None, "http", "https"):
        problems.append(f'{where}.scheme: must be http or https, got "{wanted.scheme}".')
    if wanted.status_code not in (301, 302, 303, 307, 308):
        problems.append(f"{where}.statusCode: must be 301, 302, 303, 307 or 308, got {wanted.status_code}.")
    if not problems:
        found.redirect = Redirect(
            scheme=wanted.scheme,  # type: ignore[arg-type]  # checked above
            hostname=wanted.hostname,
            port=wanted.port,
            path=path,
            status=wanted.status_code,
        )
    return problems


def _rewrite(found: Filters, wanted: UrlRewrite | None, place: Place, where: str) -> list[str]:
    if wanted is None:
        return [f"{where}.urlRewrite: is missing."]
    path, problems = _path(wanted.path, place, f"{where}.urlRewrite.path")
    problems += _hostname(wanted.hostname, f"{where}.urlRewrite.hostname")
    if not problems:
        found.rewrite = Rewrite(hostname=wanted.hostname, path=path)
    return problems


def _mirror(
    found: Filters,
    wanted: RequestMirror | None,
    place: Place,
    where: str,
    backends: Backends,
    failures: list[Failure],
) -> list[str]:
    where = f"{where}.requestMirror"
    if wanted is None:
        return [f"{where}: is missing."]
    if wanted.percent is not None and wanted.fraction is not None:
        return [f"{where}: percent and fraction exclude each other."]
    cluster = backends.resolve(wanted.backend_ref, place.namespace, f"{where}.backendRef")
    if isinstance(cluster, Failure):
        failures.append(cluster)
        return []
    mirror = Mirror(cluster=cluster)
    if wanted.percent is not None:
        mirror.numerator = wanted.percent
    if wanted.fraction is not None:
        mirror.numerator, mirror.denominator = wanted.fraction.numerator, wanted.fraction.denominator
        if mirror.numerator > mirror.denominator:
            return [f"{where}.fraction: must not be above 1, got {mirror.numerator}/{mirror.denominator}."]
    found.mirrors.append(mirror)
    return []


def _path(wanted: PathModifier | None, place: Place, where: str) -> tuple[PathChange | None, list[str]]:
    if wanted is None:
        return None, []
    match wanted.type:
        case "ReplaceFullPath":
            change = PathChange(type="full", value=wanted.replace_full_path or "/")
        case "ReplacePrefixMatch" if not place.prefixes_only:
            words = f"{where}.type: ReplacePrefixMatch needs a rule whose matches are all of path type PathPrefix."
            return None, [words]
        case "ReplacePrefixMatch":
            change = PathChange(type="prefix", value=wanted.replace_prefix_match or "")
        case _:
            return None, [
                f'{where}.type: must be ReplaceFullPath or ReplacePrefixMatch, got "{wanted.type}".'
            ]
    if not _PATH.fullmatch(change.value):
        return None, [f'{where}: must be a path that begins with "/", got "{change.value}".']
    return change, []


def _hostname(name: str | None, where: str) -> list[str]:
    if name is None or _HOST.fullmatch(name):
        return []
    return [f'{where}: must be a host\'s name, got "{name}".']


def _edit(edit: HeaderEdit, wanted: HeaderFilter | None, where: str) -> list[str]:
    if wanted is None:
        return [f"{where}: says nothing about what to do."]
    names = [*(header.name for header in [*wanted.set, *wanted.add]), *wanted.remove]
    problems = [f"{where}: {name} cannot be changed." for name in names if name.lower() in _FRAMING]
    problems += [
        f'{where}: must be a header\'s name, got "{name}".' for name in names if not _TOKEN.fullmatch(name)
    ]
    problems += [
        f"{where}: the value of header {header.name} has a character that headers cannot carry."
        for header in [*wanted.set, *wanted.add]
        if not _VALUE.fullmatch(header.value)
    ]
    if not problems:
        edit.set += [(header.name, header.value) for header in wanted.set]
        edit.add += [(header.name, header.value) for header in wanted.add]
        edit.remove += wanted.remove
    return problems
