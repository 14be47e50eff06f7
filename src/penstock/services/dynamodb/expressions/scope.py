"""What the placeholders of an expression stand for, and which of them were used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from penstock.services.dynamodb.attributes import Value
from penstock.services.dynamodb.expressions.lexer import ExpressionError
from penstock.services.dynamodb.expressions.syntax import CallNode, Node, Path, PathNode, ValueNode
from penstock.services.dynamodb.reserved import RESERVED

Values: TypeAlias = Mapping[str, Value]
Check: TypeAlias = Callable[[Values], None]
"""Looks at the values of one request, where their types do not suffice. Raises ExpressionError."""


class Scope:
    """Names and the types of values of one request; collects what its expressions use."""

    __slots__ = ("_names", "_types", "checks", "used_names", "used_values")

    def __init__(self, names: Mapping[str, str], types: Mapping[str, str]) -> None:
        self._names = names
        self._types = types
        self.used_names: set[str] = set()
        self.used_values: set[str] = set()
        self.checks: list[Check] = []

    def path(self, node: PathNode) -> Path:
        """The path with its placeholders replaced. Raises ExpressionError for one that is not defined."""
        return tuple(self._name(part) if isinstance(part, str) and part[0] == "#" else part for part in node.parts)

    def _name(self, placeholder: str) -> str:
        name = self._names.get(placeholder)
        if name is None:
            raise ExpressionError(
                f"An expression attribute name used in the document path is not defined; attribute name: {placeholder}"
            )
        self.used_names.add(placeholder)
        return name

    def value_type(self, node: Node) -> str | None:
        """The type of a value placeholder; None for what is none. Raises ExpressionError if it is not defined."""
        if not isinstance(node, ValueNode):
            return None
        kind = self._types.get(node.name)
        if kind is None:
            raise ExpressionError(
                f"An expression attribute value used in expression is not defined; attribute value: {node.name}"
            )
        self.used_values.add(node.name)
        return kind

    def result_type(self, node: Node) -> str | None:
        """The type an operand is known to have before any item is seen."""
        if isinstance(node, CallNode):
            return "N" if node.name in ("size", "+", "-") else "L" if node.name == "list_append" else None
        return self.value_type(node)


def check_reserved(node: PathNode) -> None:
    """Raises ExpressionError for a reserved word in a path."""
    for part in node.parts:
        if isinstance(part, str) and part.upper() in RESERVED:
            raise ExpressionError(f"Attribute name is a reserved keyword; reserved keyword: {part}")
