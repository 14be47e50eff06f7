"""XML bodies to dicts by member names, by closures made from shapes. Raises ValueError for what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from penstock.wire import knot, models, scalars
from penstock.wire.models import Member, Shape
from penstock.wire.xml_tree import Element, local

Read: TypeAlias = Callable[[Element], Any]
ReadMany: TypeAlias = Callable[[list[Element]], Any]


class XmlReader:
    """One service's readers."""

    def __init__(self, model: models.ServiceModel) -> None:
        self._model = model
        self._made: dict[str, Read] = {}

    def shape(self, shape: Shape) -> Read:
        """The reader of a shape: one element to its value."""
        known = self._made.get(shape.name)
        if known is not None:
            return known
        self._made[shape.name] = tie = knot.Knot()
        self._made[shape.name] = tie.target = made = self._make(shape)
        return made

    def _of(self, member: Member) -> tuple[Shape, Read]:
        shape = self._model.shapes[member.shape]
        return shape, self.shape(shape)

    def _make(self, shape: Shape) -> Read:
        if shape.type == "structure":
            return self._structure(shape)
        if shape.type == "list":
            return self._list(shape)
        if shape.type == "map":
            return self._map(shape)
        read = scalars.reader(shape)

        def scalar(element: Element) -> Any:
            if len(element):
                raise ValueError(f"{element.tag} holds elements")
            return read(element.text or "")

        return scalar

    def _structure(self, shape: Shape) -> Read:
        members: dict[str, tuple[str, Read | None, ReadMany | None]] = {}
        attributes: dict[str, tuple[str, scalars.Read]] = {}
        for name, member in shape.members.items():
            inner, read = self._of(member)
            if member.location:
                continue
            if member.xml_attribute:
                attributes[member.location_name.rpartition(":")[2] or name] = (name, scalars.reader(inner))
            elif inner.type in ("list", "map") and (member.flattened or inner.flattened):
                found = (name, None, self._flat(inner))
                members[member.location_name or name] = found
                if inner.member is not None and inner.member.location_name:
                    members.setdefault(inner.member.location_name, found)  # SDKs differ in which name they send
            else:
                members[member.location_name or name] = (name, read, None)

        def structure(element: Element) -> dict[str, Any]:
            result: dict[str, Any] = {}
            many: dict[str, tuple[ReadMany, list[Element]]] = {}
            for child in element:
                tag = child.tag
                found = members.get(tag) or members.get(tag[tag.rfind("}") + 1 :])
                if found is None:
                    continue
                name, read, read_many = found
                if read_many is not None:
                    many.setdefault(name, (read_many, []))[1].append(child)
                elif name in result:
                    raise ValueError(f"{tag} stands twice")
                elif read is not None:
                    result[name] = read(child)
            for name, (read_many, elements) in many.items():
                result[name] = read_many(elements)
            if attributes:
                for key, text in element.attrib.items():
                    if local(key) in attributes:
                        name, read_text = attributes[local(key)]
                        result[name] = read_text(text)
            return result

        return structure

    def _flat(self, shape: Shape) -> ReadMany:
        if shape.type == "map":
            pair = self._pair(shape)
            return lambda elements: dict(map(pair, elements))
        assert shape.member is not None
        _, each = self._of(shape.member)
        return lambda elements: [each(e) for e in elements]

    def _list(self, shape: Shape) -> Read:
        assert shape.member is not None
        _, each = self._of(shape.member)
        wire = shape.member.location_name or "member"

        def read(element: Element) -> list[Any]:
            return [each(e) for e in element if local(e.tag) == wire]

        return read

    def _map(self, shape: Shape) -> Read:
        pair = self._pair(shape)

        def read(element: Element) -> dict[str, Any]:
            return dict(pair(e) for e in element if local(e.tag) == "entry")

        return read

    def _pair(self, shape: Shape) -> Callable[[Element], tuple[str, Any]]:
        assert shape.key is not None and shape.value is not None
        key_name, value_name = shape.key.location_name or "key", shape.value.location_name or "value"
        _, each = self._of(shape.value)

        def pair(element: Element) -> tuple[str, Any]:
            by_name = {local(e.tag): e for e in element}
            if key_name not in by_name or value_name not in by_name:
                raise ValueError(f"{element.tag} lacks {key_name} or {value_name}")
            return by_name[key_name].text or "", each(by_name[value_name])

        return pair
