"""A key condition expression as one condition an attribute.

Source: "Key condition expressions for the Query operation" of the developer guide.
"""

from __future__ import annotations

from typing import NamedTuple

from penstock.services.dynamodb.errors import invalid
from penstock.services.dynamodb.expressions.parser import ParsedCondition
from penstock.services.dynamodb.expressions.scope import Scope
from penstock.services.dynamodb.expressions.syntax import (
    AndNode,
    BetweenNode,
    CallNode,
    CompareNode,
    Condition,
    InNode,
    NotNode,
    Operand,
    OrNode,
    PathNode,
    ValueNode,
)
from penstock.wire.errors import AwsError


class KeyCondition(NamedTuple):
    """operator: =, <, <=, >, >=, BETWEEN or begins_with. operands: value placeholders."""

    operator: str
    operands: tuple[str, ...]


_MIRRORED = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_WHERE = "Invalid condition in KeyConditionExpression: "


def extract(parsed: ParsedCondition, scope: Scope) -> dict[str, KeyCondition]:
    """The condition for each attribute. Raises ValidationException for what a key condition may not say."""
    found: dict[str, KeyCondition] = {}
    _collect(parsed.root, scope, found)
    return found


def _collect(node: Condition, scope: Scope, found: dict[str, KeyCondition]) -> None:
    match node:
        case AndNode(operands):
            for operand in operands:
                _collect(operand, scope, found)
        case OrNode() | NotNode() | InNode():
            name = {OrNode: "OR", NotNode: "NOT", InNode: "IN"}[type(node)]
            raise _bad_operator(name)
        case CallNode(name, args):
            if name != "begins_with":
                raise _bad_operator(name)
            _add(name, args, scope, found)
        case BetweenNode(operand, low, high):
            _add("BETWEEN", (operand, low, high), scope, found)
        case CompareNode(operator, left, right):
            if operator == "<>":
                raise _bad_operator(operator)
            if not isinstance(left, PathNode) and isinstance(right, PathNode):
                operator, left, right = _MIRRORED[operator], right, left
            _add(operator, (left, right), scope, found)


def _bad_operator(name: str) -> AwsError:
    return invalid(f"Invalid operator used in KeyConditionExpression: {name}")


def _add(operator: str, operands: tuple[Operand, ...], scope: Scope, found: dict[str, KeyCondition]) -> None:
    if any(isinstance(operand, CallNode) for operand in operands):
        raise invalid("KeyConditionExpressions cannot contain nested operations")
    paths = [scope.path(operand) for operand in operands if isinstance(operand, PathNode)]
    if not paths:
        raise invalid(_WHERE + "No key attribute specified")
    if len(paths) > 1:
        raise invalid(_WHERE + "Multiple attribute names used in one condition")
    if not isinstance(operands[0], PathNode):
        raise invalid(f"{_WHERE}{operator} operator must have the key attribute as its first operand")
    if len(paths[0]) > 1:
        raise invalid("KeyConditionExpressions cannot have conditions on nested attributes")
    name = str(paths[0][0])
    if name in found:
        raise invalid("KeyConditionExpressions must only contain one condition per key")
    found[name] = KeyCondition(operator, tuple(each.name for each in operands[1:] if isinstance(each, ValueNode)))
