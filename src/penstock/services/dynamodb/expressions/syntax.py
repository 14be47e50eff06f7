"""The trees that parsers make and compilers read. Nodes are immutable; names are still placeholders until resolved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Attribute name, then map keys (str) and list indexes (int); resolved."""


@dataclass(frozen=True, slots=True)
class PathNode:
    """A document path as written. An element starting with "#" is a name placeholder."""

    parts: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class ValueNode:
    """A value placeholder, with its colon."""

    name: str


@dataclass(frozen=True, slots=True)
class CallNode:
    """A function, or "+" and "-" in an update."""

    name: str
    args: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class CompareNode:
    """left (=, <>, <, <=, >, >=) right."""

    operator: str
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class BetweenNode:
    """operand BETWEEN low AND high."""

    operand: Operand
    low: Operand
    high: Operand


@dataclass(frozen=True, slots=True)
class InNode:
    """operand IN (choices)."""

    operand: Operand
    choices: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class AndNode:
    """All of them."""

    operands: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class OrNode:
    """Any of them."""

    operands: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class NotNode:
    """Not."""

    operand: Condition


Operand: TypeAlias = PathNode | ValueNode | CallNode
Condition: TypeAlias = CompareNode | BetweenNode | InNode | AndNode | OrNode | NotNode | CallNode
Node: TypeAlias = Operand | Condition


@dataclass(frozen=True, slots=True)
class Action:
    """One clause of an update. section: SET, REMOVE, ADD or DELETE; operand is None for REMOVE."""

    section: str
    path: PathNode
    operand: Operand | None


def written(path: Path) -> str:
    """A resolved path as AWS writes it in messages: [a, [0], b]."""
    return "[" + ", ".join(f"[{part}]" if isinstance(part, int) else part for part in path) + "]"
