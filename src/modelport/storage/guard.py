"""Addresses that no model lies at: link-local ones, where clouds hand out their machines' credentials."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from urllib.parse import urlsplit

from modelport.storage.failure import StorageError

METADATA = {ipaddress.ip_address("fd00:ec2::254"), ipaddress.ip_address("100.100.100.200")}
"""Metadata services outside the link-local range: AWS's over IPv6, Alibaba's."""

NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""IPv4 addresses as networks of IPv6 alone write them."""


def refuse_metadata(url: str) -> None:
    """For an address that another library will connect to: raises StorageError where it is a metadata service's. Names that are not known are its affair."""
    host = urlsplit(url).hostname or ""
    try:
        # As bytes where it can be: Python's tables for international names take half a megabyte.
        name = host.encode() if host.isascii() else host
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return
    for *_, place in found:
        judge(str(place[0]), host)


def refuse_literal(host: str) -> None:
    """The same for a host that is an address itself: before anybody waits for a connection to it."""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host.partition("%")[0])
        judge(host, host)


def judge(text: str, host: str) -> None:
    """Raises StorageError where an address is one of those."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None) or address
    if mapped in NAT64:
        mapped = ipaddress.ip_address(mapped.packed[-4:])
    if mapped.is_link_local or mapped in METADATA:
        raise StorageError(
            "resolve",
            f"{host} is {mapped}, a link-local or metadata address, which hands out this machine's credentials",
            "No model lies there",
            reason="Refused",
        )
