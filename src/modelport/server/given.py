"""A tensor as the client sent it, before anything is known of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from modelport.protocol.datatype import Array


class Given(NamedTuple):
    """One input of a request. BYTES are an object array of bytes and None."""

    name: str
    datatype: str
    array: Array
    nulls: Sequence[int] | None = None
    """Flat indices of elements that were null."""
