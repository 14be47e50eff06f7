"""AWS's JSON to dicts by member names, with care: all of AWS's leniencies, and its words for what is wrong.

The fast way is `json_typed`; what that one refuses comes here. Wrong types are SerializationException.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from penstock.wire import knot, models, timestamps
from penstock.wire.json_words import DynamoWords, Words, refusal
from penstock.wire.models import Member, Shape

Convert: TypeAlias = Callable[[Any], Any]


def decode(body: bytes) -> Any:
    """The document. Raises AwsError SerializationException for what is no JSON, and for what is nested too deep."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError):
        raise refusal("") from None


_LIMITS = {"integer": 2**31, "long": 2**63, "short": 2**15, "byte": 2**7}
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_WORDS = {"TRUE": True, "1": True, "YES": True, "FALSE": False, "0": False, "NO": False}


def _members_set(union: dict[str, Any]) -> int:
    """How many members a union has, those that its model does not know among them."""
    return sum(each is not None and name != "__type" for name, each in union.items())


def _anything(value: Any) -> Any:
    return value


class JsonReader:
    """One service's converters from decoded JSON, a closure for each shape, made on first use."""

    def __init__(self, model: models.ServiceModel) -> None:
        self._model = model
        self._made: dict[str, Convert] = {}
        package = model.entry.namespace.replace("#", ".")
        self._words = DynamoWords(package) if "dynamodb" in package else Words()

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
            return self._opaque(shape)
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
                return self._string
            case "boolean":
                return self._boolean
            case "blob":
                return self._blob
            case "timestamp":
                return self._timestamp
            case "float" | "double" | "bigDecimal":
                return self._float
            case _:
                return self._integer(shape.type)

    def _string(self, value: Any) -> str:
        if type(value) is str:
            return value
        raise self._words.scalar(value, "String")

    def _integer(self, kind: str) -> Convert:
        limit = _LIMITS.get(kind, 2**1023)
        wanted = kind.title()

        def convert(value: Any) -> int:
            if type(value) is int or (type(value) is float and math.isfinite(value)):
                return max(-limit, min(int(value), limit - 1))  # Coral cuts fractions and saturates
            raise self._words.scalar(value, wanted)

        return convert

    def _float(self, value: Any) -> float:
        if type(value) is float or type(value) is int:
            return float(value)
        if type(value) is str and value in _SPECIAL:
            return _SPECIAL[value]
        raise self._words.scalar(value, "Double")

    def _boolean(self, value: Any) -> bool:
        if value is True or value is False:
            return bool(value)
        if type(value) is str and (word := _WORDS.get(value.upper())) is not None:
            return word
        raise self._words.scalar(value, "Boolean")

    def _blob(self, value: Any) -> bytes:
        if type(value) is not str:
            raise self._words.scalar(value, "Blob")
        try:
            return base64.b64decode(value.encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError):
            raise self._words.base64(value) from None

    def _timestamp(self, value: Any) -> float:
        """Seconds, as a number or in one of the text formats that some SDKs send."""
        if type(value) is float or type(value) is int:
            if abs(value) < timestamps.LIMIT_S:
                return float(value)
        elif type(value) is str:
            try:
                return timestamps.parse(value)
            except (ValueError, OverflowError):
                pass
        raise self._words.scalar(value, "Date")

    def _opaque(self, shape: Shape) -> Convert:
        """Only the outermost JSON type is looked at; all else is for the service."""
        if shape.type not in ("structure", "map", "list"):
            return _anything

        def convert(value: Any) -> Any:
            if shape.type == "list":
                if type(value) is not list:
                    raise self._words.list(value)
            elif type(value) is not dict:
                raise self._words.structure(value, shape)
            return value

        return convert

    def _structure(self, shape: Shape) -> Convert:
        members = {(m.location_name or n): (n, self.of(m)) for n, m in shape.members.items() if not m.location}
        union = shape.union

        def convert(value: Any) -> dict[str, Any]:
            if type(value) is not dict:
                raise self._words.structure(value, shape)
            result: dict[str, Any] = {}
            for name, each in value.items():
                found = members.get(name)
                if found is not None and each is not None:
                    result[found[0]] = found[1](each)
            if union and (len(result) != 1 or (len(value) != 1 and _members_set(value) != 1)):
                raise refusal("Exactly one member of a union must be set")
            return result

        return convert

    def _list(self, shape: Shape) -> Convert:
        assert shape.member is not None
        each = self.of(shape.member)

        def convert(value: Any) -> list[Any]:
            if type(value) is not list:
                raise self._words.list(value)
            if None in value:
                raise refusal("Unexpected null value in a list")
            return [each(v) for v in value]

        return convert

    def _map(self, shape: Shape) -> Convert:
        assert shape.value is not None
        each = self.of(shape.value)
        element = self._model.shapes[shape.value.shape]

        def convert(value: Any) -> dict[str, Any]:
            if type(value) is not dict:
                raise self._words.map(value, element)
            return {k: each(v) for k, v in value.items() if v is not None}

        return convert
