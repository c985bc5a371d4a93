"""Quantities: `100m`, `2Gi`, `1e3`. Exact, and printed as Kubernetes prints them.

Quantity.parse("1500m") == Quantity.parse("1.5")        to_cores("250m") == 0.25        to_bytes("1Gi") == 2**30
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import total_ordering
from math import ceil
from typing import Any, Literal

import msgspec

Notation = Literal["decimal", "binary", "exponent"]
"""How it is printed: with k, M, G… or m; with Ki, Mi, Gi…; with e3, e6…."""

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_TEXT = re.compile(r"([+-]?)([0-9]+\.?[0-9]*|\.[0-9]+)([EPTGMK]i|[numkMGTPE]?|[eE][+-]?[0-9]+)", re.ASCII)
RULE = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_NANO = Fraction(1, 10**9)
LARGEST = Fraction(2**63 - 1)
_MOST_DIGITS = 100


@total_ordering
class Quantity(msgspec.Struct, frozen=True, eq=False):
    """An amount. Equal and ordered by amount, however it is written."""

    amount: Fraction
    notation: Notation = "decimal"

    @classmethod
    def parse(cls, text: str | float) -> Quantity:
        """From a manifest's text or number. Rounds up to nanos, and down to ±(2^63-1), as Kubernetes does.

        ValueError says what is wrong and with what.
        """
        written = text if isinstance(text, str) else _plain(text)
        match = _TEXT.fullmatch(written)
        if match is None or len(written) > _MOST_DIGITS:
            raise ValueError(f"{RULE}, got {written[:_MOST_DIGITS]!r}")
        sign, digits, suffix = match.groups()
        amount, notation = Fraction(digits if digits[0] != "." else f"0{digits}"), "decimal"
        if suffix in _BINARY:
            amount, notation = amount * 2 ** _BINARY[suffix], "binary"
        elif suffix in _DECIMAL:
            amount *= Fraction(10) ** _DECIMAL[suffix]
        else:
            # Beyond these the result is the smallest or largest anyway.
            power = max(-_MOST_DIGITS, min(int(suffix[1:]), _MOST_DIGITS))
            amount, notation = amount * Fraction(10) ** power, "exponent"
        amount = min(-(-amount // _NANO) * _NANO, LARGEST)
        return cls(-amount if sign == "-" else amount, notation)

    def __str__(self) -> str:
        """The canonical form: the largest suffix that leaves a whole number; `1.5` is `1500m`."""
        amount, sign = abs(self.amount), "-" if self.amount < 0 else ""
        if not amount:
            return "0"
        if self.notation == "binary" and amount >= 1024 and amount.denominator == 1:
            for suffix, power in reversed(_BINARY.items()):
                if amount % 2**power == 0:
                    return f"{sign}{amount // 2**power}{suffix}"
            return f"{sign}{amount}"
        for suffix, power in reversed(_DECIMAL.items()):
            scaled = amount / Fraction(10) ** power
            if scaled.denominator == 1:
                ending = f"e{power}" if power else ""
                return f"{sign}{scaled}{ending if self.notation == 'exponent' else suffix}"
        raise AssertionError(f"{self.amount} is finer than a nano")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.amount == other.amount

    def __lt__(self, other: Quantity) -> bool:
        return self.amount < other.amount

    def __hash__(self) -> int:
        return hash(self.amount)

    def __add__(self, other: Quantity) -> Quantity:
        return Quantity(self.amount + other.amount, self.notation if self.amount else other.notation)

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(self.amount - other.amount, self.notation if self.amount else other.notation)

    def __bool__(self) -> bool:
        return self.amount != 0

    def whole(self) -> int:
        """The amount, rounded up, as bytes and counts are."""
        return ceil(self.amount)


def _plain(number: float) -> str:
    text = repr(number)
    return text if isinstance(number, int) and not isinstance(number, bool) else text.replace("e+", "e")


def to_bytes(text: str | float) -> int:
    """A quantity of memory or disk in bytes, rounded up. ValueError where it is no quantity."""
    return Quantity.parse(text).whole()


def to_cores(text: str | float) -> float:
    """A quantity of CPU in cores. ValueError where it is no quantity."""
    return float(Quantity.parse(text).amount)


def less(one: Any, other: Any) -> bool:
    """Whether one amount, as a manifest has it, is less than the other. False where either is none: that it is wrong
    is validation's to say."""
    try:
        return Quantity.parse(one) < Quantity.parse(other)
    except (ValueError, TypeError):
        return False
