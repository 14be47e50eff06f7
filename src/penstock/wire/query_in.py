"""Query-protocol parameters ("Tags.member.1.Key=a") to dicts by member names. ValueError: it does not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from penstock.wire import knot, models, scalars
from penstock.wire.models import Member, Shape

MAX_DEPTH = 40


class Branch:
    """What stands under one dotted prefix: a value of its own and further names."""

    __slots__ = ("children", "value")

    def __init__(self) -> None:
        self.value: str | None = None
        self.children: dict[str, Branch] = {}


Read: TypeAlias = Callable[[Branch], Any]


def tree(pairs: list[tuple[str, str]]) -> Branch:
    """Parameters by their dotted names. Raises ValueError for names that are nested too deep."""
    root = Branch()
    for name, value in pairs:
        parts = name.split(".", MAX_DEPTH)
        if len(parts) > MAX_DEPTH:
            raise ValueError("a parameter's name is nested too deep")
        branch = root
        for part in parts:
            branch = branch.children.setdefault(part, Branch())
        branch.value = value
    return root


class QueryReader:
    """One service's readers, a closure for each shape."""

    def __init__(self, model: models.ServiceModel) -> None:
        self._model = model
        self._made: dict[str, Read] = {}

    def shape(self, shape: Shape) -> Read:
        """The reader of a shape. Lists and maps are read as members, which know whether they are flattened."""
        known = self._made.get(shape.name)
        if known is not None:
            return known
        self._made[shape.name] = tie = knot.Knot()
        self._made[shape.name] = tie.target = made = self._make(shape, flattened=shape.flattened)
        return made

    def _make(self, shape: Shape, *, flattened: bool) -> Read:
        if shape.type == "structure":
            return self._structure(shape)
        if shape.type == "list":
            return self._list(shape, flattened)
        if shape.type == "map":
            return self._map(shape, flattened)
        read = scalars.reader(shape)

        def scalar(branch: Branch) -> Any:
            if branch.value is None:
                raise ValueError("a structure where a value belongs")
            return read(branch.value)

        return scalar

    def _of(self, member: Member) -> Read:
        return self.shape(self._model.shapes[member.shape])

    def _structure(self, shape: Shape) -> Read:
        members: dict[str, tuple[str, Read]] = {}
        for name, member in shape.members.items():
            inner = self._model.shapes[member.shape]
            flattened = inner.type in ("list", "map") and (member.flattened or inner.flattened)
            read = self._make(inner, flattened=True) if flattened else self._of(member)
            members[member.location_name or name] = (name, read)
            if flattened and inner.member is not None and inner.member.location_name:
                members.setdefault(inner.member.location_name, (name, read))  # SDKs differ in which name they send

        def structure(branch: Branch) -> dict[str, Any]:
            result: dict[str, Any] = {}
            for wire, child in branch.children.items():
                found = members.get(wire)
                if found is not None:
                    result[found[0]] = found[1](child)
            return result

        return structure

    def _list(self, shape: Shape, flattened: bool) -> Read:
        assert shape.member is not None
        each = self._of(shape.member)
        wire = shape.member.location_name or "member"

        def read(branch: Branch) -> list[Any]:
            if not flattened:
                inner = branch.children.get(wire) or branch.children.get("member")
                if inner is None:
                    if branch.value:
                        raise ValueError("a value where a list belongs")
                    return []
                branch = inner
            elif not branch.children and branch.value:
                raise ValueError("a value where a list belongs")
            return [each(child) for child in _in_order(branch)]

        return read

    def _map(self, shape: Shape, flattened: bool) -> Read:
        assert shape.key is not None and shape.value is not None
        key_name, value_name = shape.key.location_name or "key", shape.value.location_name or "value"
        each = self._of(shape.value)

        def read(branch: Branch) -> dict[str, Any]:
            entries = branch if flattened else branch.children.get("entry")
            result: dict[str, Any] = {}
            for entry in _in_order(entries) if entries else ():
                key, value = entry.children.get(key_name), entry.children.get(value_name)
                if key is None or key.value is None or value is None:
                    raise ValueError(f"an entry lacks {key_name} or {value_name}")
                result[key.value] = each(value)
            return result

        return read


def _in_order(branch: Branch) -> list[Branch]:
    try:
        numbered = sorted(
            (int(n), b) for n, b in branch.children.items() if n.isascii() and n.isdecimal() and len(n) < 8
        )
    except TypeError:
        raise ValueError("an index stands twice") from None
    if len(numbered) != len(branch.children):
        raise ValueError("a list's index is not a number")
    return [b for _, b in numbered]
