"""DynamoDB's numbers: up to 38 significant digits, magnitude 1E-130 to 9.99E+125, exact.

A number travels and rests as text. Its canonical text is plain decimal without exponent, leading or trailing zeros, so
that two equal numbers are equal strings. Source of the limits and of the size formula: "Data types" and "Item sizes and
formats" of the DynamoDB developer guide.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal

_CANONICAL_INTEGER = re.compile(r"(?:0|-?[1-9][0-9]{0,37})\Z").match
_NUMBER = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]+))?\Z").match
_EXACT = Context(prec=300)
_MAX_PAIRS = 20
_POSITIVE = bytes(((b >> 4) * 10 + (b & 15) + 1) & 0xFF for b in range(256))
_NEGATIVE = bytes((101 - (b >> 4) * 10 - (b & 15)) & 0xFF for b in range(256))
_AFTER_ALL = b"\x66"

MAX_DIGITS = 38
MAX_EXPONENT = 125
MIN_EXPONENT = -130
ZERO_ORDER = b"\x80"


class NumberError(ValueError):
    """Not a number of DynamoDB's; the message is AWS's."""


def canonical(text: str) -> str:
    """The canonical text of a number as a client may write it ("+01.50E2" -> "150"). Raises NumberError."""
    if _CANONICAL_INTEGER(text):
        return text
    match = _NUMBER(text)
    if match is None or not (match[2] or match[3]):
        if not text:
            raise NumberError("The parameter cannot be converted to a numeric value")
        raise NumberError(f"The parameter cannot be converted to a numeric value: {text}")
    fraction = match[3] or ""
    written = match[2] + fraction
    digits = written.strip("0")
    if not digits:
        return "0"
    leading_zeros = len(written) - len(written.lstrip("0"))
    # The power of ten of the first significant digit.
    exponent = len(match[2]) - 1 - leading_zeros + _exponent(match[4])
    if exponent > MAX_EXPONENT:
        raise NumberError("Number overflow. Attempting to store a number with magnitude larger than supported range")
    if exponent < MIN_EXPONENT:
        raise NumberError("Number underflow. Attempting to store a number with magnitude smaller than supported range")
    if len(digits) > MAX_DIGITS:
        raise NumberError("Attempting to store more than 38 significant digits in a Number")
    sign = "-" if match[1] == "-" else ""
    if exponent < 0:
        return sign + "0." + "0" * (-exponent - 1) + digits
    whole = exponent + 1
    if len(digits) <= whole:
        return sign + digits + "0" * (whole - len(digits))
    return sign + digits[:whole] + "." + digits[whole:]


def _exponent(text: str | None) -> int:
    if not text:
        return 0
    if len(text.lstrip("+-0")) > 6:
        return -1_000_000 if text[0] == "-" else 1_000_000
    return int(text)


def parts(text: str) -> tuple[bool, int, str]:
    """(negative, power of ten of the first digit, significant digits) of a canonical number other than "0"."""
    negative = text[0] == "-"
    if negative:
        text = text[1:]
    whole, _, fraction = text.partition(".")
    if whole != "0":
        return negative, len(whole) - 1, (whole + fraction).rstrip("0")
    digits = fraction.lstrip("0")
    return negative, len(digits) - len(fraction) - 1, digits


def size(text: str) -> int:
    """Bytes that a canonical number counts in an item: one for every two significant digits, one more, one for minus.

    Digits are paired from the decimal point, as DynamoDB stores them: 120 is (1)(20), so two pairs.
    """
    if text == "0":
        return 1
    if text.isdigit():  # by far the most, so without `parts`
        n = len(text.rstrip("0"))
        return 1 + (n + 1) // 2 + (not n & 1 and len(text) & 1)
    negative, exponent, digits = parts(text)
    n = len(digits)
    straddles = 0 if n & 1 or exponent & 1 else 1
    return 1 + (n + 1) // 2 + straddles + negative


def order(text: str) -> bytes:
    """Bytes that sort as the canonical number does: a byte of sign and exponent, then digits two to a byte.

    DynamoDB's own form, so that partitions with number keys are spread as it spreads them.
    """
    if text == "0":
        return ZERO_ORDER
    negative, exponent, digits = parts(text)
    whole = exponent + 1  # digits before the decimal point; pairs are counted from there
    if whole & 1:
        digits = "0" + digits
        whole += 1
    if len(digits) & 1:
        digits += "0"
    scale = whole // 2 - 64
    if not negative:
        return bytes((scale & 0xFF,)) + bytes.fromhex(digits).translate(_POSITIVE)
    pairs = bytes.fromhex(digits).translate(_NEGATIVE)
    return bytes((~scale & 0xFF,)) + pairs + (_AFTER_ALL if len(pairs) < _MAX_PAIRS else b"")


def from_order(raw: bytes) -> str:
    """The canonical number whose `order` this is."""
    if raw == ZERO_ORDER:
        return "0"
    negative = raw[0] < ZERO_ORDER[0]
    if negative:
        scale = ~raw[0]
        pairs = "".join(f"{101 - byte:02d}" for byte in raw[1:].removesuffix(_AFTER_ALL))
    else:
        scale = raw[0] - 256
        pairs = "".join(f"{byte - 1:02d}" for byte in raw[1:])
    exponent = 2 * (scale + 64) - len(pairs)
    return canonical(f"{'-' if negative else ''}{pairs.lstrip('0')}E{exponent}")


def add(a: str, b: str) -> str:
    """The exact sum of two canonical numbers. Raises NumberError when it is none of DynamoDB's numbers."""
    if "." not in a and "." not in b:
        return canonical(str(int(a) + int(b)))
    return canonical(format(_EXACT.add(Decimal(a), Decimal(b)), "f"))


def subtract(a: str, b: str) -> str:
    """The exact difference of two canonical numbers. Raises NumberError when it is none of DynamoDB's numbers."""
    if "." not in a and "." not in b:
        return canonical(str(int(a) - int(b)))
    return canonical(format(_EXACT.subtract(Decimal(a), Decimal(b)), "f"))
