"""Dicts to XML, by closures made from shapes that append text to one list. For rest-xml and query answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

from penstock.wire import knot, models, scalars
from penstock.wire.models import Member, Shape

Append: TypeAlias = Callable[[str], Any]
Write: TypeAlias = Callable[[Append, Any], None]

XSI = "http://www.w3.org/2001/XMLSchema-instance"
_SPECIAL = re.compile("[&<>\r\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]").search
_REPLACE = re.compile('[&<>"\r\n\t\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]')
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


def _entity(match: re.Match[str]) -> str:
    char = match.group()
    return _NAMED.get(char) or (char if char in "\n\t" else f"&#x{ord(char):x};")


def escape(text: str) -> str:
    """Text for between tags. What XML 1.0 cannot hold goes as a character reference, as S3 sends it."""
    return _REPLACE.sub(_entity, text) if _SPECIAL(text) else text


def escape_attribute(text: str) -> str:
    """Text for inside of double quotes."""
    return _REPLACE.sub(_entity, text).replace("\n", "&#xa;").replace("\t", "&#x9;")


class XmlWriter:
    """One service's writers. `default_time`: timestamps' format where the model names none."""

    def __init__(self, model: models.ServiceModel) -> None:
        self._model = model
        self._made: dict[str, Write] = {}
        self._millis = model.entry.iso_millis

    def content(self, shape: Shape) -> Write:
        """The writer of what stands between a value's tags."""
        known = self._made.get(shape.name)
        if known is not None:
            return known
        self._made[shape.name] = tie = knot.Knot()
        self._made[shape.name] = tie.target = made = self._make(shape)
        return made

    def _make(self, shape: Shape) -> Write:
        if shape.type == "structure":
            return self._structure(shape)
        if shape.type == "list":
            assert shape.member is not None
            each = self.element(shape.member.location_name or "member", shape.member)

            def write_list(append: Append, value: Any) -> None:
                for v in value:
                    each(append, v)

            return write_list
        if shape.type == "map":
            return self._map(shape, "entry")
        text = self._text(shape, None)
        return lambda append, value: append(text(value))

    def _text(self, shape: Shape, member: Member | None) -> scalars.Write:
        if shape.enum:
            return str
        if shape.type in ("string", "character"):
            return escape
        return scalars.writer(shape, member, "iso8601", millis=self._millis)

    def element(self, name: str, member: Member) -> Write:
        """The writer of a value with its tags around it."""
        shape = self._model.shapes[member.shape]
        return self._element(name, shape, member, member.xml_namespace or shape.xml_namespace)

    def root(self, name: str, shape: Shape, uri: str) -> Write:
        """The writer of a document's root element."""
        return self._element(name, shape, None, {"uri": uri} if uri else None)

    def _element(self, name: str, shape: Shape, member: Member | None, namespace: dict[str, str] | None) -> Write:
        opening = f"<{name}{_xmlns(namespace)}"
        closing = f"</{name}>"
        if shape.type not in ("structure", "list", "map"):
            text = self._text(shape, member)
            opening += ">"
            return lambda append, value: append(f"{opening}{text(value)}{closing}")
        content = self.content(shape)
        attributes = self._attributes(shape)
        if not attributes:
            opening += ">"

        def write(append: Append, value: Any) -> None:
            append(opening)
            if attributes:
                for attribute, key, text in attributes:
                    if value.get(key) is not None:
                        append(f' {attribute}="{escape_attribute(text(value[key]))}"')
                append(">")
            content(append, value)
            append(closing)

        return write

    def _attributes(self, shape: Shape) -> list[tuple[str, str, scalars.Write]]:
        return [
            (m.location_name or n, n, scalars.writer(self._model.shapes[m.shape], m, "iso8601"))
            for n, m in shape.members.items()
            if m.xml_attribute
        ]

    def _structure(self, shape: Shape) -> Write:
        members = tuple(
            (name, *self._inline(name, member), self.member(name, member))
            for name, member in shape.members.items()
            if not member.in_answer_head and not member.xml_attribute
        )

        def write(append: Append, value: Any) -> None:
            get = value.get
            for name, opening, text, closing, each in members:
                found = get(name)
                if found is not None:
                    if text is None:
                        each(append, found)
                    else:
                        append(f"{opening}{text(found)}{closing}")

        return write

    def _inline(self, name: str, member: Member) -> tuple[str, scalars.Write | None, str]:
        """A scalar member's tags and text, so that the most frequent case costs one call less."""
        shape = self._model.shapes[member.shape]
        if shape.type in ("structure", "list", "map"):
            return "", None, ""
        wire = member.location_name or name
        namespace = _xmlns(member.xml_namespace or shape.xml_namespace)
        return f"<{wire}{namespace}>", self._text(shape, member), f"</{wire}>"

    def member(self, name: str, member: Member) -> Write:
        """The writer of a structure's member, flattened lists and maps included."""
        shape = self._model.shapes[member.shape]
        if shape.type == "list" and (member.flattened or shape.flattened):
            assert shape.member is not None
            each = self.element(member.location_name or shape.member.location_name or name, shape.member)

            def write_flat(append: Append, value: Any) -> None:
                for v in value:
                    each(append, v)

            return write_flat
        if shape.type == "map" and (member.flattened or shape.flattened):
            return self._map(shape, member.location_name or name)
        return self.element(member.location_name or name, member)

    def _map(self, shape: Shape, entry: str) -> Write:
        assert shape.key is not None and shape.value is not None
        key = self.element(shape.key.location_name or "key", shape.key)
        each = self.element(shape.value.location_name or "value", shape.value)

        def write(append: Append, value: Any) -> None:
            for k, v in value.items():
                append(f"<{entry}>")
                key(append, k)
                each(append, v)
                append(f"</{entry}>")

        return write


def _xmlns(namespace: dict[str, str] | None) -> str:
    if not namespace:
        return ""
    prefix = namespace.get("prefix")
    return f' xmlns{":" + prefix if prefix else ""}="{escape_attribute(namespace["uri"])}"'
