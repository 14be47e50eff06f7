"""Dicts to AWS's JSON. Most shapes go to msgspec as they are: bytes become base64 and `msgspec.Raw` is spliced there.

Only what is written otherwise than it is kept is walked: timestamps (cut to milliseconds, or in a text format), renamed
members, and what leads to them. Opaque shapes are never walked.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from penstock.wire import models, scalars, timestamps
from penstock.wire.models import Member, Shape

Change: TypeAlias = Callable[[Any], Any]

_encode = msgspec.json.Encoder().encode


def _named_if_not_finite(value: Any) -> Any:
    return value if type(value) is not float or math.isfinite(value) else scalars.write_float(value)


class JsonWriter:
    """One service's JSON encoders."""

    _encode = staticmethod(_encode)

    def __init__(self, model: models.ServiceModel) -> None:
        self._model = model
        self._made: dict[str, Change | None] = {}

    def shape(self, shape: Shape) -> Callable[[Any], bytes]:
        """The encoder of a shape's values. Top-level members that are None are left out."""
        change = self.change(shape)
        encode_wire = self._encode
        if shape.type != "structure" or shape.document:
            if change is None:
                return encode_wire
            to_wire = change
            return lambda value: encode_wire(to_wire(value))

        def encode(value: dict[str, Any]) -> bytes:
            if None in value.values():
                value = {k: v for k, v in value.items() if v is not None}
            return encode_wire(value if change is None else change(value))

        return encode

    def change(self, shape: Shape, member: Member | None = None) -> Change | None:
        """The closure that brings a value into wire form; None where it is already."""
        if shape.type in ("timestamp", "float", "double"):
            return self._scalar_change(shape, member)
        if shape.opaque or shape.document or shape.type not in ("structure", "list", "map"):
            return None
        if shape.name in self._made:
            return self._made[shape.name]
        holder: list[Change | None] = []

        def recursive(value: Any) -> Any:
            inner = holder[0]
            return value if inner is None else inner(value)

        self._made[shape.name] = recursive if self._recursive(shape) else None
        holder.append(self._make(shape))
        self._made[shape.name] = holder[0]
        return holder[0]

    def _scalar_change(self, shape: Shape, member: Member | None) -> Change | None:
        if shape.type != "timestamp":
            return _named_if_not_finite
        form = (member.timestamp_format if member else "") or shape.timestamp_format or "unixTimestamp"
        return timestamps.unix if form == "unixTimestamp" else timestamps.writer(form)

    def _recursive(self, shape: Shape) -> bool:
        """Whether the shape holds itself and anything in it is changed: then its inner self must be walked too."""
        seen: set[str] = set()
        stack = [shape]
        holds_itself = changed = False
        while stack:
            at = stack.pop()
            if at.opaque or at.document:
                continue
            members = [*at.members.values(), *(m for m in (at.member, at.value) if m)]
            changed = changed or any(m.location_name not in ("", n) for n, m in at.members.items())
            for m in members:
                holds_itself = holds_itself or m.shape == shape.name
                inner = self._model.shapes[m.shape]
                changed = changed or inner.type in ("timestamp", "float", "double")
                if m.shape not in seen:
                    seen.add(m.shape)
                    stack.append(inner)
        return holds_itself and changed

    def _make(self, shape: Shape) -> Change | None:
        if shape.type == "list" and shape.member:
            element = self.change(self._model.shapes[shape.member.shape], shape.member)
            if element is None:
                return None
            return lambda value: [element(v) for v in value] if type(value) is list else value
        if shape.type == "map" and shape.value:
            each = self.change(self._model.shapes[shape.value.shape], shape.value)
            if each is None:
                return None
            return lambda value: {k: each(v) for k, v in value.items()} if type(value) is dict else value
        changes: list[tuple[str, str, Change | None]] = []
        for name, member in shape.members.items():
            wire = name if member.in_answer_head else member.location_name or name
            change = self.change(self._model.shapes[member.shape], member)
            if wire != name or (change is not None and not member.in_answer_head):
                changes.append((name, wire, change))
        if not changes:
            return None

        def structure(value: Any) -> Any:
            if type(value) is not dict:
                return value
            copy = None
            for name, wire, change in changes:
                if name in value:
                    if copy is None:
                        copy = dict(value)
                    found = copy.pop(name)
                    copy[wire] = found if change is None or found is None else change(found)
            return value if copy is None else copy

        return structure
