"""A tensor as the client sent it, before anything is known of the model."""

from __future__ import annotations

from typing import NamedTuple

from modelport.protocol.datatype import Array


class Given(NamedTuple):
    """One input of a request."""

    name: str
    datatype: str
    array: Array
    nulls: list[int] | None
