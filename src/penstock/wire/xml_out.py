"""Dicts to XML, by closures made from shapes: a value to its text. For rest-xml and query answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

from penstock.wire import knot, models, scalars
from penstock.wire.models import Member, Shape

Write: TypeAlias = Callable[[Any], str]

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
    """One service's writers."""

    def __init__(self, model: models.ServiceModel) -> None:
        self._model = model
        self._made: dict[str, Write] = {}
        self._fraction = model.entry.fraction

    def content(self, shape: Shape) -> Write:
        """The writer of what stands between a value's tags."""
        known = self._made.get(shape.name)
        if known is not None:
            return known
        self._made[shape.name] = tie = knot.Knot()
        self._made[shape.name] = tie.target = made = self._make(shape, None)
        return made

    def root(self, name: str, shape: Shape, namespace: dict[str, str] | None) -> Write:
        """The writer of a document's root element. namespace: {"uri": ..., "prefix": ... where it has one}."""
        return self._tagged(name, shape, self.content(shape), namespace)

    def _make(self, shape: Shape, member: Member | None) -> Write:
        if shape.type == "structure":
            return self._structure(shape)
        if shape.type == "list":
            assert shape.member is not None
            return self._elements(shape.member.location_name or "member", shape.member)
        if shape.type == "map":
            return self._entries(shape, "entry")
        if shape.enum:
            return str
        if shape.type in ("string", "character"):
            return escape
        return scalars.writer(shape, member, "iso8601", fraction=self._fraction)

    def _structure(self, shape: Shape) -> Write:
        """Members are (name, what stands before, the writer, what stands behind): one call for the usual scalar."""
        members = tuple(
            (name, *self._around(name, member))
            for name, member in shape.members.items()
            if not member.in_answer_head and not member.xml_attribute
        )

        def write(value: Any) -> str:
            get = value.get
            return "".join(
                [
                    f"{before}{text(found)}{behind}"
                    for name, before, text, behind in members
                    if (found := get(name)) is not None
                ]
            )

        return write

    def _around(self, name: str, member: Member) -> tuple[str, Write, str]:
        shape = self._model.shapes[member.shape]
        flattened = member.flattened or shape.flattened
        if shape.type == "list" and flattened:
            assert shape.member is not None
            return "", self._elements(member.location_name or shape.member.location_name or name, shape.member), ""
        if shape.type == "map" and flattened:
            return "", self._entries(shape, member.location_name or name, member.xml_namespace), ""
        wire = member.location_name or name
        if shape.type in ("structure", "list", "map"):
            return "", self._element(wire, member), ""
        namespace = _xmlns(member.xml_namespace or shape.xml_namespace)
        return f"<{wire}{namespace}>", self._make(shape, member), f"</{wire}>"

    def member(self, name: str, member: Member) -> Write:
        """The writer of a structure's member with its tags, flattened lists and maps included."""
        before, text, behind = self._around(name, member)
        return lambda value: f"{before}{text(value)}{behind}"

    def _element(self, name: str, member: Member) -> Write:
        shape = self._model.shapes[member.shape]
        simple = shape.type not in ("structure", "list", "map")
        content = self._make(shape, member) if simple else self.content(shape)
        return self._tagged(name, shape, content, member.xml_namespace or shape.xml_namespace)

    def _tagged(self, name: str, shape: Shape, content: Write, namespace: dict[str, str] | None) -> Write:
        opening, closing = f"<{name}{_xmlns(namespace)}", f"</{name}>"
        attributes = [
            (m.location_name or n, n, scalars.writer(self._model.shapes[m.shape], m, "iso8601"))
            for n, m in shape.members.items()
            if m.xml_attribute
        ]
        if not attributes:
            return lambda value: f"{opening}>{content(value)}{closing}"

        def write(value: Any) -> str:
            given = "".join(
                f' {attribute}="{escape_attribute(text(value[key]))}"'
                for attribute, key, text in attributes
                if value.get(key) is not None
            )
            return f"{opening}{given}>{content(value)}{closing}"

        return write

    def _elements(self, name: str, member: Member) -> Write:
        """A list's elements; a value that is no plain list may bring its own text (`listed_objects`)."""
        each = self._element(name, member)

        def write(value: Any) -> str:
            if type(value) is not list and (own := getattr(value, "xml", None)) is not None:
                text: str = own()
                return text
            return "".join(map(each, value))

        return write

    def _entries(self, shape: Shape, entry: str, namespace: dict[str, str] | None = None) -> Write:
        assert shape.key is not None and shape.value is not None
        key = self._element(shape.key.location_name or "key", shape.key)
        each = self._element(shape.value.location_name or "value", shape.value)
        opening = f"<{entry}{_xmlns(namespace)}>"
        return lambda value: "".join(f"{opening}{key(k)}{each(v)}</{entry}>" for k, v in value.items())


def _xmlns(namespace: dict[str, str] | None) -> str:
    if not namespace:
        return ""
    prefix = namespace.get("prefix")
    return f' xmlns{":" + prefix if prefix else ""}="{escape_attribute(namespace["uri"])}"'
