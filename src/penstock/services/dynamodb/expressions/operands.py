"""Operands as closures (item, values) -> value or None, and the comparisons between values."""

from __future__ import annotations

import binascii
import operator
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeAlias

from penstock.services.dynamodb.attributes import Item, Value, type_of, utf8_size
from penstock.services.dynamodb.expressions.scope import Scope, Values
from penstock.services.dynamodb.expressions.syntax import CallNode, Operand, Path, PathNode

Getter: TypeAlias = Callable[[Item, Values], Value | None]
Comparison: TypeAlias = Callable[[Any, Any], bool]

ORDERINGS: dict[str, Comparison] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def compile_operand(node: Operand, scope: Scope) -> Getter:
    """A getter of the operand. Only `size` is a function here. Raises ExpressionError for unknown placeholders."""
    if isinstance(node, PathNode):
        return compile_path(scope.path(node))
    if isinstance(node, CallNode):
        inner = compile_operand(node.args[0], scope)
        return lambda item, values: size_of(inner(item, values))
    name = node.name
    scope.value_type(node)
    return lambda item, values: values[name]


def compile_path(path: Path) -> Getter:
    """A getter of a document path."""
    if len(path) == 1:
        name = str(path[0])
        return lambda item, values: item.get(name)
    return lambda item, values: look_up(item, path)


def look_up(item: Item, path: Path) -> Value | None:
    """The value at a path, or None."""
    found: Any = item.get(str(path[0]))
    for part in path[1:]:
        if found is None:
            return None
        if isinstance(part, int):
            members = found.get("L")
            if members is None or part >= len(members):
                return None
            found = members[part]
        else:
            members = found.get("M")
            if members is None:
                return None
            found = members.get(part)
    return found  # type: ignore[no-any-return]


def comparable(kind: str, inner: Any) -> Any:
    """What S, N and B values are ordered by; None for other types."""
    if kind == "S":
        return inner
    if kind == "N":
        return Decimal(inner)
    if kind == "B":
        return binascii.a2b_base64(inner)
    return None


def is_ordered(compare: Comparison, left: Value | None, right: Value | None) -> bool:
    """Whether two values of one type, S, N or B, compare so."""
    if left is None or right is None:
        return False
    kind = type_of(left)
    other = right.get(kind)
    if other is None:
        return False
    a = comparable(kind, left[kind])
    return a is not None and compare(a, comparable(kind, other))


def size_of(value: Value | None) -> Value | None:
    """The `size` function: bytes of S and B, members of the others; None where it does not apply."""
    if value is None:
        return None
    kind = type_of(value)
    inner = value[kind]
    if kind == "S":
        return {"N": str(utf8_size(inner))}
    if kind == "B":
        return {"N": str(len(binascii.a2b_base64(inner)))}
    if kind in ("SS", "NS", "BS", "L", "M"):
        return {"N": str(len(inner))}
    return None


def begins_with(value: Value | None, prefix: Value | None) -> bool:
    """The `begins_with` function, on S and B."""
    if value is None or prefix is None:
        return False
    if "S" in value:
        return "S" in prefix and value["S"].startswith(prefix["S"])
    if "B" in value and "B" in prefix:
        return binascii.a2b_base64(value["B"]).startswith(binascii.a2b_base64(prefix["B"]))
    return False


def contains(value: Value | None, part: Value | None) -> bool:
    """The `contains` function: part of a string or binary, member of a set or list."""
    if value is None or part is None:
        return False
    kind = type_of(value)
    inner = value[kind]
    if kind == "L":
        return part in inner
    if kind in ("SS", "NS", "BS"):
        return part.get(kind[0]) in inner
    if kind == "S":
        return "S" in part and part["S"] in inner
    if kind == "B":
        return "B" in part and binascii.a2b_base64(part["B"]) in binascii.a2b_base64(inner)
    return False
