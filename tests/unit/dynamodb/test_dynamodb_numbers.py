"""Numbers: canonical text, order-preserving bytes, exact arithmetic, size; all against `decimal`."""

from __future__ import annotations

from decimal import Context, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.services.dynamodb import numbers

EXACT = Context(prec=400)
DIGITS = st.text("0123456789", min_size=1, max_size=38)
NUMBERS = st.builds(
    lambda sign, digits, exponent: f"{sign}{digits}E{exponent}", st.sampled_from(["", "-", "+"]), DIGITS,
    st.integers(-130, 88),
)  # fmt: skip


@given(NUMBERS)
def test_canonical_is_equal_plain_and_stable(text: str) -> None:
    value = EXACT.create_decimal(text)
    if value and value.adjusted() < -130:
        with pytest.raises(numbers.NumberError, match="underflow"):
            numbers.canonical(text)
        return
    plain = numbers.canonical(text)
    assert EXACT.create_decimal(plain) == value
    assert "E" not in plain
    assert "+" not in plain
    assert numbers.canonical(plain) == plain
    assert plain == (format(EXACT.normalize(value), "f") if value else "0")


@given(NUMBERS, NUMBERS)
def test_bytes_sort_as_numbers(a: str, b: str) -> None:
    try:
        first, second = numbers.canonical(a), numbers.canonical(b)
    except numbers.NumberError:
        return
    x, y = numbers.order(first), numbers.order(second)
    assert (x < y) == (Decimal(first) < Decimal(second))
    assert (x == y) == (Decimal(first) == Decimal(second))


@given(NUMBERS)
def test_bytes_can_be_read_again(text: str) -> None:
    try:
        number = numbers.canonical(text)
    except numbers.NumberError:
        return
    assert numbers.from_order(numbers.order(number)) == number


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=3), max_size=20))
def test_close_numbers_sort(values: list[Decimal]) -> None:
    texts = []
    for value in values:
        try:
            texts.append(numbers.canonical(str(value)))
        except numbers.NumberError:
            continue
    assert sorted(texts, key=numbers.order) == sorted(texts, key=Decimal)


@given(NUMBERS, NUMBERS)
def test_sums_are_exact_or_refused(a: str, b: str) -> None:
    try:
        first, second = numbers.canonical(a), numbers.canonical(b)
    except numbers.NumberError:
        return
    for ours, exact in (
        (numbers.add, EXACT.add(Decimal(first), Decimal(second))),
        (numbers.subtract, EXACT.subtract(Decimal(first), Decimal(second))),
    ):
        digits = len(exact.normalize(EXACT).as_tuple().digits)
        if exact and (digits > 38 or exact.adjusted() > 125 or exact.adjusted() < -130):
            with pytest.raises(numbers.NumberError):
                ours(first, second)
        else:
            assert Decimal(ours(first, second)) == exact


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 1), ("1", 2), ("12", 2), ("120", 3), ("123", 3), ("1230", 3), ("-1", 3), ("0.5", 2), ("100", 2), ("1.5", 3)],
)
def test_size_counts_pairs_of_digits(text: str, size: int) -> None:
    assert numbers.size(text) == size


@pytest.mark.parametrize("text", ["", "a", "1 ", " 1", "1e", "--1", "0x1", "1_0", ".", "e5", "Infinity", "NaN", "١"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(numbers.NumberError, match="cannot be converted to a numeric value"):
        numbers.canonical(text)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("1E126", "overflow"),
        ("-1E126", "overflow"),
        ("1E-131", "underflow"),
        ("1E99999999999999", "overflow"),
        ("1E-99999999999999", "underflow"),
        ("1" * 39, "38 significant digits"),
    ],
)
def test_what_is_out_of_range_is_refused(text: str, word: str) -> None:
    with pytest.raises(numbers.NumberError, match=word):
        numbers.canonical(text)


def test_zeros_with_huge_exponents_are_zero() -> None:
    assert numbers.canonical("0E999999999") == "0"
    assert numbers.canonical("-0.000") == "0"


@pytest.mark.parametrize(
    ("text", "encoded"),
    [("0", "80"), ("1", "c102"), ("10", "c10b"), ("-1", "3e6466"), ("0.5", "c033"), ("123", "c20218")],
)
def test_bytes_are_dynamodbs_own(text: str, encoded: str) -> None:
    assert numbers.order(text).hex() == encoded
