"""The fast way in for JSON: a msgspec type made from a shape, so that parsing and validation are one pass in C.

It accepts just what needs no second look: no nulls, no renamed members, every type and constraint kept. What it refuses
is read again by `json_in` and `constraints`, which are lenient where AWS is and which word the errors. A test holds the
two ways against each other.
"""

from __future__ import annotations

import typing
from typing import Annotated, Any

import msgspec

from penstock.wire import models, patterns, timestamps
from penstock.wire.models import Member, Shape

_RANGES = {"integer": 2**31, "long": 2**63, "short": 2**15, "byte": 2**7}
_MAX_LENGTH = 2**62


class _NotTypable(Exception):
    """The shape is written in a way that only the careful reader understands."""


def decoder(model: models.ServiceModel, shape: Shape) -> msgspec.json.Decoder[Any] | None:
    """A decoder of exactly the documents that need no second look; None where the shape has to be read with care."""
    try:
        return msgspec.json.Decoder(_type(model, shape))
    except _NotTypable:
        return None


def _type(model: models.ServiceModel, shape: Shape) -> Any:
    if shape.opaque:
        return {"structure": dict[str, Any], "map": dict[str, Any], "list": list[Any]}.get(shape.type, Any)
    if shape.document:
        return Any
    match shape.type:
        case "structure":
            return _structure(model, shape)
        case "list":
            return _sized(list[_of(model, shape.member)], shape)  # type: ignore[misc]
        case "map":
            return _sized(dict[_of(model, shape.key), _of(model, shape.value)], shape)  # type: ignore[misc]
        case "string":
            return _string(shape)
        case "blob":
            return _sized(bytes, shape)
        case "boolean":
            return bool
        case "timestamp":
            return Annotated[float, msgspec.Meta(gt=-timestamps.LIMIT_S, lt=timestamps.LIMIT_S)]
        case "float" | "double":
            return float if shape.min is None and shape.max is None else Annotated[float, _bounds(shape)]
        case "integer" | "long" | "short" | "byte":
            limit = _RANGES[shape.type]
            low = -limit if shape.min is None else max(-limit, int(shape.min))
            high = limit - 1 if shape.max is None else min(limit - 1, int(shape.max))
            return Annotated[int, msgspec.Meta(ge=low, le=high)]
    raise _NotTypable


def _of(model: models.ServiceModel, member: Member | None) -> Any:
    if member is None:
        raise _NotTypable
    return _type(model, model.shapes[member.shape])


def _structure(model: models.ServiceModel, shape: Shape) -> Any:
    if shape.union:
        raise _NotTypable
    known = model.made("typed")
    if shape.name in known:
        if known[shape.name] is None:
            raise _NotTypable
        return known[shape.name]
    # Made empty first and filled after, so that a shape may hold itself.
    made: Any = typing.TypedDict(shape.name, {})  # type: ignore[misc]
    known[shape.name] = made
    try:
        fields = {}
        for name, member in shape.members.items():
            if member.location or member.location_name not in ("", name):
                raise _NotTypable
            fields[name] = _type(model, model.shapes[member.shape])
    except _NotTypable:
        known[shape.name] = None
        raise
    made.__annotations__ = fields
    made.__required_keys__ = frozenset(shape.required)
    made.__optional_keys__ = frozenset(fields) - frozenset(shape.required)
    return made


def _string(shape: Shape) -> Any:
    if shape.enum:
        return typing.Literal[tuple(shape.enum)]
    pattern = patterns.translated(shape.pattern) if shape.pattern and patterns.compiled(shape.pattern) else ""
    if not pattern:
        return _sized(str, shape)
    return Annotated[str, msgspec.Meta(min_length=_length(shape.min), max_length=_length(shape.max), pattern=pattern)]


def _length(bound: float | None) -> int | None:
    return None if bound is None else min(int(bound), _MAX_LENGTH)


def _sized(inner: Any, shape: Shape) -> Any:
    if shape.min is None and shape.max is None:
        return inner
    return Annotated[inner, msgspec.Meta(min_length=_length(shape.min), max_length=_length(shape.max))]


def _bounds(shape: Shape) -> msgspec.Meta:
    return msgspec.Meta(ge=shape.min, le=shape.max)
