"""Which requests a rule is for: HTTPRoute matches in the table's words, and what the gateway cannot carry out. Pure."""

from __future__ import annotations

import re
import warnings

from modelport.local.gateway.spec import RouteMatch
from modelport.local.gateway.spec import ValueMatch as Wanted
from modelport.wire.table import Match, PathMatch, ValueMatch

# Python's regular expressions know more than the gateway's (Rust's, as RE2: without backtracking).
_BACKTRACKING = re.compile(r"\\[1-9]|\(\?P=|\(\?(<)?[=!]|\(\?>|\(\?\(|[*+?}]\+")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def translate(wanted: RouteMatch, field: str) -> tuple[Match, list[str]]:
    """The match, and what is wrong with it: each problem names its field."""
    problems: list[str] = []
    path = wanted.path
    kind = (path.type if path else None) or "PathPrefix"
    value = path.value if path and path.value is not None else "/"
    match kind:
        case "Exact" | "PathPrefix":
            if not value.startswith("/"):
                problems.append(f'{field}.path.value: must begin with "/", got "{value}".')
            found = PathMatch(type="exact" if kind == "Exact" else "prefix", value=value)
        case "RegularExpression":
            problems += _regex_problems(value, f"{field}.path.value")
            found = PathMatch(type="regex", value=value)
        case _:
            problems.append(
                f'{field}.path.type: must be Exact, PathPrefix or RegularExpression, got "{kind}".'
            )
            found = PathMatch()
    return (
        Match(
            path=found,
            headers=_values(wanted.headers, f"{field}.headers", problems, any_case=True),
            query=_values(wanted.query_params, f"{field}.queryParams", problems, any_case=False),
            method=wanted.method,
        ),
        problems,
    )


def _values(wanted: list[Wanted], field: str, problems: list[str], *, any_case: bool) -> list[ValueMatch]:
    """Of several entries of one name only the first counts (Gateway API, HTTPHeaderMatch)."""
    found: dict[str, ValueMatch] = {}
    for index, item in enumerate(wanted):
        where = f"{field}[{index}]"
        if any_case and not _TOKEN.fullmatch(item.name):
            problems.append(f'{where}.name: must be a header\'s name, got "{item.name}".')
            continue
        kind = item.type or "Exact"
        if kind == "RegularExpression":
            problems += _regex_problems(item.value, f"{where}.value")
        elif kind != "Exact":
            problems.append(f'{where}.type: must be Exact or RegularExpression, got "{kind}".')
        name = item.name.lower() if any_case else item.name
        found.setdefault(
            name,
            ValueMatch(name=name, type="regex" if kind == "RegularExpression" else "exact", value=item.value),
        )
    return list(found.values())


def _regex_problems(value: str, where: str) -> list[str]:
    """A first check; the gateway compiles it and has the last word."""
    odd = _BACKTRACKING.search(value)
    if odd:
        problem = (
            f'{where}: "{odd.group()}" needs backtracking, which the gateway does not do; got "{value}". '
        )
        return [problem + "Write it without look-around and back references."]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what Python may read otherwise one day
            re.compile(value)
    except re.error as error:
        # What Python does not know the gateway may: classes as \pL, \z, flags as (?U).
        if re.search(r"\\[pPzQ]|\[:|\(\?[a-zA-Z-]*U", value):
            return []
        return [f'{where}: must be a regular expression: {error}; got "{value}".']
    return []
