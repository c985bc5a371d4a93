"""What a rule changes about requests and answers. Pure."""

from __future__ import annotations

import re

from modelport.local.gateway.spec import Filter, HeaderFilter
from modelport.wire.table import Filters, HeaderEdit

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_FRAMING = frozenset(
    {"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""What HTTP itself says with headers is the gateway's to write."""


def translate(wanted: list[Filter], field: str) -> tuple[Filters, list[str]]:
    """The filters, and those that the gateway cannot carry out."""
    found, problems = Filters(), list[str]()
    for index, item in enumerate(wanted):
        where = f"{field}[{index}]"
        match item.type:
            case "RequestHeaderModifier":
                problems += _edit(found.request_headers, item.request_header_modifier, where)
            case "ResponseHeaderModifier":
                problems += _edit(found.response_headers, item.response_header_modifier, where)
            case _:
                problems.append(
                    f"{where}.type: the gateway carries out RequestHeaderModifier and ResponseHeaderModifier, "
                    f'got "{item.type}". Leave it out.'
                )
    return found, problems


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
