"""AWS's JSON to dicts by member names. Wrong types are SerializationException, as Coral words it.

Two ways to one result. `decoder` gives msgspec a type made from the shape, so that parsing and validation happen in one
pass in C; it accepts only what needs no second look. Whatever it refuses goes through `convert`, which knows all of
AWS's leniencies (nulls, renamed members, timestamps as text) and words the errors.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from penstock.wire import knot, models, timestamps
from penstock.wire.errors import AwsError
from penstock.wire.models import Member, Shape

Convert: TypeAlias = Callable[[Any], Any]

MAX_DEPTH = 200


def decode(body: bytes) -> Any:
    """The document. Raises AwsError SerializationException for what is no JSON, and for what is nested too deep."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError):
        raise AwsError("SerializationException", "", 400) from None


def wrong(text: str) -> AwsError:
    return AwsError("SerializationException", text, 400)


def _mismatch(value: Any, wanted: str) -> AwsError:
    if value is True or value is False:
        return wrong(f"{'TRUE' if value else 'FALSE'}_VALUE cannot be converted to {wanted}")
    if isinstance(value, str):
        return wrong(f"STRING_VALUE cannot be converted to {wanted}")
    if isinstance(value, int):
        return wrong(f"NUMBER_VALUE cannot be converted to {wanted}")
    if isinstance(value, float):
        return wrong(f"DECIMAL_VALUE cannot be converted to {wanted}")
    if isinstance(value, list):
        return wrong(f"Unrecognized collection type class java.lang.{wanted}")
    return wrong("Start of structure or map found where not expected")


def _string(value: Any) -> str:
    if type(value) is str:
        return value
    raise _mismatch(value, "String")


_BOUNDS = {"integer": 2**31, "long": 2**63, "short": 2**15, "byte": 2**7}


def _integer(kind: str) -> Convert:
    limit = _BOUNDS.get(kind, 2**1023)
    wanted = kind.title()

    def convert(value: Any) -> int:
        if type(value) is int and -limit <= value < limit:
            return value
        if type(value) is float and math.isfinite(value) and -limit <= value < limit:
            return int(value)
        if type(value) in (int, float):
            raise wrong(f"NUMBER_VALUE cannot be converted to {wanted}")
        raise _mismatch(value, wanted)

    return convert


_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _float(value: Any) -> float:
    if type(value) is float or type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise wrong("NUMBER_VALUE cannot be converted to Double") from None
    if type(value) is str and value in _SPECIAL:
        return _SPECIAL[value]
    raise _mismatch(value, "Double")


_WORDS = {"TRUE": True, "1": True, "YES": True, "FALSE": False, "0": False, "NO": False}


def _boolean(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    if type(value) is str:
        if (word := _WORDS.get(value.upper())) is not None:
            return word
        raise wrong("Unexpected token received from parser")
    raise _mismatch(value, "Boolean")


def blob(value: Any) -> bytes:
    """Base64 to bytes, with Coral's wording of what is wrong with it."""
    if type(value) is str:
        try:
            return base64.b64decode(value.encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError):
            if len(value) % 4:
                length = len(value)
                raise wrong(f"Base64 encoded length is expected a multiple of 4 bytes but found: {length}") from None
            raise wrong("Invalid last non-pad Base64 character dectected") from None
    if isinstance(value, list):
        raise wrong("Unrecognized collection type class java.nio.ByteBuffer")
    if isinstance(value, dict):
        raise wrong("Start of structure or map found where not expected")
    raise wrong("only base-64-encoded strings are convertible to bytes")


def timestamp(value: Any) -> float:
    """Seconds, as a number or in one of the text formats that SDKs send."""
    if type(value) is float or type(value) is int:
        if abs(value) < 1e15:
            return float(value)
    elif type(value) is str:
        try:
            return timestamps.parse(value)
        except (ValueError, OverflowError):
            pass
    raise _mismatch(value, "Date")


def _anything(value: Any) -> Any:
    return value


def _opaque(shape: Shape) -> Convert:
    """Only the outermost JSON type is looked at; all else is for the service."""
    if shape.type not in ("structure", "map", "list"):
        return _anything
    wanted = list if shape.type == "list" else dict

    def convert(value: Any) -> Any:
        if type(value) is wanted:
            return value
        if isinstance(value, list):
            raise wrong(f"Unrecognized collection type class {shape.name}")
        if isinstance(value, dict):
            raise wrong("Start of structure or map found where not expected")
        raise wrong("Unexpected value type in payload")

    return convert


class JsonReader:
    """One service's converters from decoded JSON, a closure for each shape, made on first use."""

    def __init__(self, model: models.ServiceModel) -> None:
        self._model = model
        self._made: dict[str, Convert] = {}

    def of(self, member: Member) -> Convert:
        """The converter of a member's shape."""
        return self.shape(self._model.shapes[member.shape])

    def shape(self, shape: Shape) -> Convert:
        """The converter of a shape; of a structure's members only those that stand in the body are read."""
        known = self._made.get(shape.name)
        if known is not None:
            return known
        self._made[shape.name] = tie = knot.Knot()
        self._made[shape.name] = tie.target = made = self._make(shape)
        return made

    def _make(self, shape: Shape) -> Convert:
        if shape.opaque:
            return _opaque(shape)
        if shape.document:
            return _anything
        match shape.type:
            case "structure":
                return self._structure(shape)
            case "list":
                return self._list(shape)
            case "map":
                return self._map(shape)
            case "string" | "character":
                return _string
            case "boolean":
                return _boolean
            case "blob":
                return blob
            case "timestamp":
                return timestamp
            case "float" | "double" | "bigDecimal":
                return _float
            case _:
                return _integer(shape.type)

    def _structure(self, shape: Shape) -> Convert:
        members = {(m.location_name or n): (n, self.of(m)) for n, m in shape.members.items() if not m.location}
        union = shape.union

        def convert(value: Any) -> dict[str, Any]:
            if type(value) is not dict:
                if isinstance(value, list):
                    raise wrong(f"Unrecognized collection type class {shape.name}")
                raise wrong("Unexpected field type")
            result: dict[str, Any] = {}
            for name, each in value.items():
                found = members.get(name)
                if found is not None and each is not None:
                    result[found[0]] = found[1](each)
            if union and len(result) != 1:
                raise wrong("Exactly one member of a union must be set")
            return result

        return convert

    def _list(self, shape: Shape) -> Convert:
        assert shape.member is not None
        each = self.of(shape.member)

        def convert(value: Any) -> list[Any]:
            if type(value) is not list:
                if isinstance(value, dict):
                    raise wrong("Start of structure or map found where not expected")
                raise wrong("Unexpected field type")
            if None in value:
                raise wrong("Unexpected null value in a list")
            return [each(v) for v in value]

        return convert

    def _map(self, shape: Shape) -> Convert:
        assert shape.value is not None
        each = self.of(shape.value)
        value_name = shape.value.shape

        def convert(value: Any) -> dict[str, Any]:
            if type(value) is not dict:
                if isinstance(value, list):
                    raise wrong(f"Unrecognized collection type java.util.Map<java.lang.String, {value_name}>")
                raise wrong("Unexpected field type")
            return {k: each(v) for k, v in value.items() if v is not None}

        return convert
