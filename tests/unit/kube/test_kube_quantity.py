"""Quantities: limits and requests are read exactly, and printed as `kubectl` prints them."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelport.kube.quantity import LARGEST, Quantity, to_bytes, to_cores


@pytest.mark.parametrize(
    ("text", "canonical", "amount"),
    [
        ("0", "0", 0),
        ("100m", "100m", Fraction(1, 10)),
        ("1", "1", 1),
        ("1.5", "1500m", Fraction(3, 2)),
        (".5", "500m", Fraction(1, 2)),
        ("5.", "5", 5),
        ("1000", "1k", 1000),
        ("1500", "1500", 1500),
        ("2Gi", "2Gi", 2**31),
        ("0.5Gi", "512Mi", 2**29),
        ("1.5Gi", "1536Mi", 3 * 2**29),
        ("1Ki", "1Ki", 1024),
        ("0.1Ki", "102400m", Fraction(1024, 10)),
        ("1e3", "1e3", 1000),
        ("12E6", "12e6", 12_000_000),
        ("1e-3", "1e-3", Fraction(1, 1000)),
        ("1E", "1E", 10**18),
        ("-100m", "-100m", Fraction(-1, 10)),
        ("+1", "1", 1),
        ("1n", "1n", Fraction(1, 10**9)),
        ("0.0000000001", "1n", Fraction(1, 10**9)),
        ("100000000000000000000", "9223372036854775807", LARGEST),
        ("1e9999999", "9223372036854775807", LARGEST),
        (2, "2", 2),
        (0.25, "250m", Fraction(1, 4)),
        (1e20, "9223372036854775807", LARGEST),
    ],
)
def test_quantity_is_read_and_printed_as_in_kubernetes(text, canonical, amount):
    quantity = Quantity.parse(text)
    assert quantity.amount == amount
    assert str(quantity) == canonical


@pytest.mark.parametrize(
    "text", ["", "a", "1x", "1 ", " 1", "1Kib", "1K", "--1", "1ee3", "1e", "1.2.3", "Gi", "١", True]
)
def test_what_is_no_quantity_is_told(text):
    with pytest.raises(ValueError, match="quantities must match the regular expression"):
        Quantity.parse(text)


def test_bytes_and_cores():
    """A limit of 1.5 bytes must not become 1: the watchdog would kill too early."""
    assert to_bytes("1Gi") == 2**30
    assert to_bytes("1500m") == 2
    assert to_cores("250m") == 0.25
    assert to_cores(2) == 2.0


def test_amounts_compare_however_they_are_written():
    assert Quantity.parse("1") == Quantity.parse("1000m")
    assert len({Quantity.parse("1"), Quantity.parse("1000m")}) == 1
    assert Quantity.parse("1Gi") > Quantity.parse("1G")
    assert Quantity.parse("1") != 1


def test_sums_keep_the_notation_of_what_is_added_to():
    assert str(Quantity.parse("512Mi") + Quantity.parse("1Gi")) == "1536Mi"
    assert str(Quantity.parse("0") + Quantity.parse("1Gi")) == "1Gi"
    assert str(Quantity.parse("1") - Quantity.parse("250m")) == "750m"
    assert not Quantity.parse("1") - Quantity.parse("1000m")


@given(
    st.decimals(min_value=-(10**6), max_value=10**6, places=3),
    st.sampled_from(["", "m", "u", "k", "M", "G", "Ki", "Mi", "Gi", "e2", "e-1"]),
)
def test_printed_quantity_is_the_same_amount(number, suffix):
    quantity = Quantity.parse(f"{number:f}{suffix}")
    again = Quantity.parse(str(quantity))
    assert again == quantity
    assert str(again) == str(quantity)


@given(st.text("0123456789.eEmkKMGi+-", max_size=8))
def test_any_text_is_a_quantity_or_a_value_error(text):
    try:
        quantity = Quantity.parse(text)
    except ValueError:
        return
    assert abs(quantity.amount) <= LARGEST
