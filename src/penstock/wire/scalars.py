"""Scalars as text: in XML, in query parameters, in headers, labels and query strings. Closures made from shapes."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable
from typing import Any, TypeAlias

from penstock.wire import timestamps
from penstock.wire.models import Member, Shape

Read: TypeAlias = Callable[[str], Any]
Write: TypeAlias = Callable[[Any], str]

_INTEGER = re.compile(r"[+-]?\d{1,400}\Z", re.ASCII)
_BOUNDS = {"integer": 2**31, "long": 2**63, "short": 2**15, "byte": 2**7}
_TRUTH = {"true": True, "false": False, "1": True, "0": False}


def _read_boolean(text: str) -> bool:
    try:
        return _TRUTH[text.strip().lower()]
    except KeyError:
        raise ValueError(f"{text[:40]!r} is not true or false") from None


def _read_blob(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError(str(error)) from None


def _reader_of_integers(kind: str) -> Read:
    limit = _BOUNDS.get(kind, 2**1023)

    def read(text: str) -> int:
        text = text.strip()
        if not _INTEGER.match(text):
            raise ValueError(f"{text[:40]!r} is not an integer")
        value = int(text)
        if not -limit <= value < limit:
            raise ValueError(f"{text[:40]!r} is out of range")
        return value

    return read


def _read_float(text: str) -> float:
    if "_" in text:
        raise ValueError(f"{text[:40]!r} is not a number")
    return float(text)


def _read_timestamp(text: str) -> float:
    return timestamps.parse(text.strip())


def reader(shape: Shape) -> Read:
    """Text to the shape's value; the closure raises ValueError for text that is none."""
    match shape.type:
        case "boolean":
            return _read_boolean
        case "blob":
            return _read_blob
        case "timestamp":
            return _read_timestamp
        case "integer" | "long" | "short" | "byte" | "bigInteger":
            return _reader_of_integers(shape.type)
        case "float" | "double" | "bigDecimal":
            return _read_float
        case _:
            return str


def _write_boolean(value: Any) -> str:
    return "true" if value else "false"


def _write_blob(value: Any) -> str:
    return base64.b64encode(value if isinstance(value, bytes) else str(value).encode()).decode("ascii")


def write_float(value: Any) -> str:
    """A number as AWS writes it: NaN and the infinities by name."""
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
    return str(value)


def writer(shape: Shape, member: Member | None, default_time: str, *, fraction: int | None = None) -> Write:
    """The shape's value to text. `default_time`: the timestamp format where the model names none."""
    match shape.type:
        case "boolean":
            return _write_boolean
        case "blob":
            return _write_blob
        case "timestamp":
            form = (member.timestamp_format if member else "") or shape.timestamp_format or default_time
            return timestamps.writer(form, fraction)
        case "float" | "double" | "bigDecimal":
            return write_float
        case _:
            return str
