"""The parameters that expressions replaced, translated to what expressions compile to.

Expected, AttributeUpdates, KeyConditions, QueryFilter, ScanFilter, ConditionalOperator, AttributesToGet.
Source: "Legacy conditional parameters" of the developer guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.services.dynamodb.attributes import Value, check_value, type_of
from penstock.services.dynamodb.errors import INVALID, invalid
from penstock.services.dynamodb.expressions.condition import Predicate, compile_tree
from penstock.services.dynamodb.expressions.key_condition import KeyCondition
from penstock.services.dynamodb.expressions.operands import ORDERINGS, is_ordered
from penstock.services.dynamodb.expressions.projection import projector
from penstock.services.dynamodb.expressions.request import Expressions, compile_request
from penstock.services.dynamodb.expressions.scope import Scope, Values
from penstock.services.dynamodb.expressions.syntax import (
    AndNode,
    BetweenNode,
    CallNode,
    CompareNode,
    Condition,
    InNode,
    NotNode,
    OrNode,
    PathNode,
    ValueNode,
)
from penstock.services.dynamodb.expressions.update import OperandGetter, Update

PARAMETERS = frozenset(
    ("Expected", "AttributeUpdates", "KeyConditions", "QueryFilter", "ScanFilter", "ConditionalOperator",
     "AttributesToGet")
)  # fmt: skip

_SCALARS = ("S", "N", "B")
_SETS = ("SS", "NS", "BS")
_ANY = ("S", "N", "B", "SS", "NS", "BS", "M", "L", "NULL", "BOOL")
_OPERANDS: dict[str, tuple[int, int, tuple[str, ...]]] = {
    "NULL": (0, 0, ()),
    "NOT_NULL": (0, 0, ()),
    "EQ": (1, 1, _ANY),
    "NE": (1, 1, _ANY),
    "LE": (1, 1, _SCALARS),
    "LT": (1, 1, _SCALARS),
    "GE": (1, 1, _SCALARS),
    "GT": (1, 1, _SCALARS),
    "CONTAINS": (1, 1, _SCALARS),
    "NOT_CONTAINS": (1, 1, _SCALARS),
    "BEGINS_WITH": (1, 1, ("S", "B")),
    "IN": (1, 100, _SCALARS),
    "BETWEEN": (2, 2, _SCALARS),
}
"""Operator -> fewest and most operands, and their types."""
_COMPARISONS = {"EQ": "=", "NE": "<>", "LE": "<=", "LT": "<", "GE": ">=", "GT": ">"}
_KEY_OPERATORS = {"EQ": "=", "LE": "<=", "LT": "<", "GE": ">=", "GT": ">", "BEGINS_WITH": "begins_with",
                  "BETWEEN": "BETWEEN"}  # fmt: skip


def compile_either(params: Mapping[str, Any]) -> tuple[Expressions, Values]:
    """The request's expressions or legacy parameters, and the values. Raises ValidationException.

    KeyConditions may stand beside a FilterExpression; the rest do not mix, which `rules` has checked.
    """
    if PARAMETERS.isdisjoint(params):
        return compile_request(params)
    return _Legacy(params).compile()


class _Legacy:
    def __init__(self, params: Mapping[str, Any]) -> None:
        self.params = params
        self.names: dict[str, str] = {}
        self.values: dict[str, Value] = {}

    def compile(self) -> tuple[Expressions, Values]:
        params = self.params
        base, given = compile_request(params)
        found = Expressions(base.scope)
        found.filter, found.filter_heads = base.filter, base.filter_heads
        found.projection, found.projected = base.projection, base.projected
        if "ConditionalOperator" in params and not params.keys() & {"Expected", "QueryFilter", "ScanFilter"}:
            raise invalid("ConditionalOperator cannot be used without Filter or Expected")
        if "AttributeUpdates" in params:
            found.update = self.update(params["AttributeUpdates"])
        if "Expected" in params:
            found.condition = self.predicate({name: _expected(name, each) for name, each in params["Expected"].items()})
        for filter_name in ("QueryFilter", "ScanFilter"):
            if filter_name in params:
                conditions = {name: _condition(each) for name, each in params[filter_name].items()}
                found.filter = self.predicate(conditions)
                found.filter_heads = dict.fromkeys(conditions, False)
        if "KeyConditions" in params:
            found.key_conditions = self.key_conditions(params["KeyConditions"])
        if "AttributesToGet" in params:
            found.projected = [(name,) for name in _distinct(params["AttributesToGet"])]
            found.projection = projector(found.projected)
        return found, {**given, **self.values}

    def bind(self, value: Value) -> ValueNode:
        name = f":legacy{len(self.values)}"
        self.values[name] = value
        return ValueNode(name)

    def predicate(self, conditions: dict[str, tuple[str, list[Value]]]) -> Predicate | None:
        nodes = [self.node(name, *condition) for name, condition in conditions.items()]
        if not nodes:
            return None
        any_of = self.params.get("ConditionalOperator") == "OR"
        root = nodes[0] if len(nodes) == 1 else OrNode(tuple(nodes)) if any_of else AndNode(tuple(nodes))
        types = {name: type_of(value) for name, value in self.values.items()}
        return compile_tree(root, Scope(self.names, types))

    def node(self, name: str, operator: str, operands: list[Value]) -> Condition:
        alias = f"#legacy{len(self.names)}"
        self.names[alias] = name
        path = PathNode((alias,))
        bound = [self.bind(value) for value in operands]
        if operator in _COMPARISONS:
            return CompareNode(_COMPARISONS[operator], path, bound[0])
        match operator:
            case "NULL":
                return CallNode("attribute_not_exists", (path,))
            case "NOT_NULL":
                return CallNode("attribute_exists", (path,))
            case "CONTAINS":
                return CallNode("contains", (path, bound[0]))
            case "NOT_CONTAINS":
                return NotNode(CallNode("contains", (path, bound[0])))
            case "BEGINS_WITH":
                return CallNode("begins_with", (path, bound[0]))
            case "IN":
                return InNode(path, tuple(bound))
            case _:
                return BetweenNode(path, bound[0], bound[1])

    def key_conditions(self, conditions: Mapping[str, Mapping[str, Any]]) -> dict[str, KeyCondition]:
        found = {}
        for name, each in conditions.items():
            operator, operands = _condition(each)
            if operator not in _KEY_OPERATORS:
                raise invalid("Attempted conditional constraint is not an indexable operation")
            bound = tuple(self.bind(value).name for value in operands)
            found[name] = KeyCondition(_KEY_OPERATORS[operator], bound)
        return found

    def update(self, updates: Mapping[str, Mapping[str, Any]]) -> Update:
        actions: list[tuple[str, tuple[str | int, ...], OperandGetter | None]] = []
        for name, each in updates.items():
            value, action = each.get("Value"), each.get("Action", "PUT")
            section = _update_section(action, value)
            getter = None if value is None else self.getter(value)
            actions.append((section, (name,), getter))
        return Update(actions, [path for _, path, _ in actions], "Type mismatch for attribute to update")

    def getter(self, value: Value) -> OperandGetter:
        name = self.bind(value).name
        return lambda item, values: values[name]


def _update_section(action: str, value: Value | None) -> str:
    if value is None:
        if action != "DELETE":
            raise invalid(INVALID + "Only DELETE action is allowed when no attribute value is specified")
        return "REMOVE"
    check_value(value)
    kind = type_of(value)
    if action == "DELETE" and kind not in _SETS:
        raise invalid(f"{INVALID}DELETE action with value is not supported for the type {kind}")
    if action == "ADD" and kind not in (*_SETS, "N", "L"):
        raise invalid(f"{INVALID}ADD action is not supported for the type {kind}")
    return "SET" if action == "PUT" else action


def _distinct(names: list[str]) -> list[str]:
    for i, name in enumerate(names):
        if name in names[:i]:
            raise invalid(f"{INVALID}Duplicate value in attribute name: {name}")
    return names


def _expected(name: str, given: Mapping[str, Any]) -> tuple[str, list[Value]]:
    """(operator, operands) of an Expected. Raises ValidationException."""
    operands: list[Value] | None = given.get("AttributeValueList")
    value: Value | None = given.get("Value")
    operator: str | None = given.get("ComparisonOperator")
    if operands is not None and value is not None:
        raise invalid(f"{INVALID}Value and AttributeValueList cannot be used together for Attribute: {name}")
    if operator is not None:
        if "Exists" in given:
            raise invalid(f"{INVALID}Exists and ComparisonOperator cannot be used together for Attribute: {name}")
        if operands is None and value is None and operator not in ("NULL", "NOT_NULL"):
            raise invalid(
                f"{INVALID}Value or AttributeValueList must be used with ComparisonOperator: {operator} "
                f"for Attribute: {name}"
            )
        return _checked(operator, operands if operands is not None else [value] if value is not None else [])
    if operands is not None:
        raise invalid(f"{INVALID}AttributeValueList can only be used with a ComparisonOperator for Attribute: {name}")
    exists = given.get("Exists")
    if exists is False:
        if value is not None:
            raise invalid(f"{INVALID}Value cannot be used when Exists is false for Attribute: {name}")
        return "NULL", []
    if value is None:
        shown = "null" if exists is None else "true"
        raise invalid(f"{INVALID}Value must be provided when Exists is {shown} for Attribute: {name}")
    return _checked("EQ", [value])


def _condition(given: Mapping[str, Any]) -> tuple[str, list[Value]]:
    """(operator, operands) of a filter's or key's Condition. Raises ValidationException."""
    return _checked(given["ComparisonOperator"], given.get("AttributeValueList") or [])


def _checked(operator: str, operands: list[Value]) -> tuple[str, list[Value]]:
    for value in operands:
        check_value(value)
    fewest, most, types = _OPERANDS[operator]
    if not fewest <= len(operands) <= most:
        raise invalid(f"{INVALID}Invalid number of argument(s) for the {operator} ComparisonOperator")
    kinds = [type_of(value) for value in operands]
    if len(set(kinds)) > 1:
        raise invalid(INVALID + "AttributeValues inside AttributeValueList must be of same type")
    for kind in kinds:
        if kind not in types:
            raise invalid(f"{INVALID}ComparisonOperator {operator} is not valid for {kind} AttributeValue type")
    if operator == "BETWEEN" and is_ordered(ORDERINGS[">"], operands[0], operands[1]):
        raise invalid(
            "The BETWEEN condition was provided a range where the lower bound is greater than the upper bound"
        )
    return operator, operands
