"""What a statement says, before it is known which values its parameters have and what its table's keys are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from penstock.services.dynamodb.expressions.syntax import Action, Condition, PathNode


@dataclass(frozen=True, slots=True)
class Scalar:
    """A literal: its type (S, N, BOOL, NULL) and its value in wire form."""

    kind: str
    inner: str | bool


@dataclass(frozen=True, slots=True)
class Parameter:
    """The nth `?` of a statement, from 0."""

    number: int


@dataclass(frozen=True, slots=True)
class ListLiteral:
    """[..]"""

    members: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class SetLiteral:
    """<<..>>"""

    members: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class MapLiteral:
    """{'name': ..}"""

    members: tuple[tuple[str, Literal], ...]


Literal: TypeAlias = Scalar | Parameter | ListLiteral | SetLiteral | MapLiteral


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement. Names in its nodes are placeholders "#n", literals ":n": numbers in `names` and `literals`.

    kind: SELECT, INSERT, UPDATE, DELETE, or EXISTS, which is a SELECT to be tested in a transaction.
    """

    kind: str
    table: str
    index: str
    names: tuple[str, ...]
    literals: tuple[Literal, ...]
    parameters: int
    """How many `?` there are."""
    where: Condition | None = None
    shown: tuple[PathNode, ...] = ()
    """What SELECT shows; nothing for *."""
    order: tuple[tuple[str, bool], ...] = ()
    """Attribute names of ORDER BY, each with whether it is descending."""
    actions: tuple[Action, ...] = ()
    """What UPDATE does."""
    item: Literal | None = None
    """What INSERT writes."""
    returning: str = ""
    """ReturnValues as UpdateItem calls it; empty for none."""
