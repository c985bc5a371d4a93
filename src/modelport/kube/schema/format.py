"""The `format`s that are checked. Others, as in Kubernetes, are notes to the reader."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import date
from urllib.parse import urlsplit

from modelport.kube.meta import parse_time
from modelport.kube.name import check_subdomain

INTEGER_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
_UUID = re.compile(r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_DURATION = re.compile(r"[-+]?(0|([0-9]*\.?[0-9]+(ns|us|µs|ms|s|m|h|d|w))+)")


def _succeeds(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def check(value: str) -> bool:
        try:
            parse(value)
        except (ValueError, binascii.Error):
            return False
        return True

    return check


def _base64(value: str) -> bytes:
    return base64.b64decode(value.replace("\n", "").replace("\r", ""), validate=True)


def _cidr(value: str) -> object:
    if "/" not in value:
        raise ValueError(value)
    return ipaddress.ip_network(value, strict=False)


FORMATS: dict[str, Callable[[str], bool]] = {
    "date-time": _succeeds(parse_time),
    "date": _succeeds(date.fromisoformat),
    "duration": lambda value: _DURATION.fullmatch(value) is not None,
    "byte": _succeeds(_base64),
    "uuid": lambda value: _UUID.fullmatch(value) is not None,
    "ipv4": _succeeds(ipaddress.IPv4Address),
    "ipv6": _succeeds(ipaddress.IPv6Address),
    "cidr": _succeeds(_cidr),
    "email": lambda value: _EMAIL.fullmatch(value) is not None,
    "hostname": lambda value: not check_subdomain(value.lower()),
    "uri": _succeeds(lambda value: urlsplit(value).scheme or int("")),
}
