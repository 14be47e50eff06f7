"""From a statement to the parameters of the operations that it means.

Conditions on keys at the top of WHERE say what is read: an equality on the partition key makes a Query of a SELECT, IN makes
several, anything else a Scan. UPDATE and DELETE need an equality on every key attribute; what is left is their condition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from penstock.services.dynamodb.attributes import Item, Value, check_value
from penstock.services.dynamodb.errors import invalid
from penstock.services.dynamodb.expressions.condition import walk
from penstock.services.dynamodb.expressions.parser import ParsedCondition, ParsedUpdate
from penstock.services.dynamodb.expressions.syntax import (
    AndNode,
    BetweenNode,
    CallNode,
    CompareNode,
    Condition,
    InNode,
    Node,
    Operand,
    PathNode,
    ValueNode,
)
from penstock.services.dynamodb.index import CompositeIndex
from penstock.services.dynamodb.key_space import KeySpace
from penstock.services.dynamodb.partiql.literals import value_of
from penstock.services.dynamodb.partiql.syntax import Statement
from penstock.services.dynamodb.table import Table

MAX_PARTITIONS = 50
"""Partition keys that IN may list."""
NO_KEY = "Where clause does not contain a mandatory equality on all key attributes"
_MIRRORED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


class Bound:
    """A statement with the values of its parameters."""

    __slots__ = ("_checked", "names", "parameters", "statement")

    def __init__(self, statement: Statement, parameters: Sequence[Value]) -> None:
        """Raises ValidationException where there are more or fewer parameters than question marks."""
        if len(parameters) != statement.parameters:
            raise invalid("Number of parameters in request and statement don't match.")
        self.statement = statement
        self.parameters = parameters
        self.names = {f"#{number}": name for number, name in enumerate(statement.names)}
        self._checked: dict[str, Value] = {}

    def value(self, placeholder: str) -> Value:
        """The value of a literal. Raises ValidationException where it is none."""
        found = self._checked.get(placeholder)
        if found is None:
            found = value_of(self.statement.literals[int(placeholder[1:])], self.parameters)
            check_value(found)
            self._checked[placeholder] = found
        return found

    def name_of(self, node: Node) -> str:
        """The attribute's name where the node is a path of one part, else nothing."""
        if isinstance(node, PathNode) and len(node.parts) == 1:
            return self.names[str(node.parts[0])]
        return ""

    def placeholders(self, nodes: Iterable[Node]) -> dict[str, Any]:
        """ExpressionAttributeNames and ExpressionAttributeValues for what is in the nodes."""
        names: dict[str, str] = {}
        values: dict[str, Value] = {}
        for root in nodes:
            for node in walk(root):
                if isinstance(node, PathNode):
                    names.update((part, self.names[part]) for part in node.parts if isinstance(part, str))
                elif isinstance(node, ValueNode):
                    values[node.name] = self.value(node.name)
        found: dict[str, Any] = {}
        if names:
            found["ExpressionAttributeNames"] = names
        if values:
            found["ExpressionAttributeValues"] = values
        return found

    def item(self) -> Item:
        """What INSERT writes. Raises ValidationException where it is no map."""
        assert self.statement.item is not None
        found = value_of(self.statement.item, self.parameters)
        if "M" not in found:
            raise invalid("The value of an INSERT statement must be a map of attributes")
        item: Item = found["M"]
        return item


def key_and_condition(bound: Bound, found: Table) -> tuple[Item, Condition | None]:
    """The key that WHERE names, and what else it demands. Raises ValidationException where it names none."""
    key: Item = {}
    rest: list[Condition] = []
    for condition in _conjuncts(bound.statement.where):
        name, operator, operands = _about(bound, condition)
        if name in found.key_names and operator == "=" and name not in key:
            key[name] = bound.value(operands[0])
        else:
            rest.append(condition)
    if len(key) != len(found.key_names):
        raise invalid(NO_KEY)
    return key, _all_of(rest)


class Reads(NamedTuple):
    """What a SELECT reads: a Query for each of `partitions`, or a Scan where there are none.

    keyed: what the other attributes of the key must be. rest: what is tested after reading. is_exact: whether it is
    one item at most.
    """

    hash_name: str
    partitions: list[Value]
    keyed: list[Condition]
    rest: Condition | None
    is_exact: bool
    reverse: bool


def reads(bound: Bound, found: Table) -> Reads:
    """What a SELECT reads. Raises ValidationException for an index that is not there or an order that cannot be had."""
    statement = bound.statement
    if statement.index and not any(index.record.name == statement.index for index in found.indexes):
        raise invalid("The table does not have the specified index")
    space: KeySpace = found.index(statement.index) if statement.index else found
    partitions: list[Value] = []
    keyed: list[Condition] = []
    is_exact = False
    rest = _conjuncts(statement.where)
    hash_names, range_names = _key_names(space)
    by_hash = [_first(bound, rest, name, only_equal=True) for name in hash_names]
    in_list = next((c for c in rest if isinstance(c, InNode) and _lists(bound, c, space.hash_name)), None)
    if len(by_hash) == 1 and by_hash[0] is None and in_list is not None:
        partitions = _partitions(bound, in_list)
        rest.remove(in_list)
        keyed = _sort_conditions(bound, rest, range_names)
    elif all(by_hash):
        keyed = [condition for condition in by_hash if condition is not None]
        for condition in keyed:
            rest.remove(condition)
        partitions = [bound.value(_about(bound, keyed.pop(0))[2][0])]
        by_sort = _sort_conditions(bound, rest, range_names)
        is_exact = not statement.index and len(by_sort) == len(range_names)
        is_exact = is_exact and all(_about(bound, each)[1] == "=" for each in by_sort)
        keyed += by_sort
    reverse = _order(bound, space, partitions, has_where=statement.where is not None)
    return Reads(space.hash_name, partitions, keyed, _all_of(rest), is_exact, reverse)


def _key_names(space: KeySpace) -> tuple[list[str], list[str]]:
    """The attributes of the partition key and of the sort key."""
    if isinstance(space, CompositeIndex):
        return space.record.hash_keys, space.record.range_keys
    return [space.hash_name], [space.range_name] if space.range_name else []


def _first(bound: Bound, conditions: list[Condition], name: str, *, only_equal: bool = False) -> Condition | None:
    """The first of the conditions that a key attribute of that name can have."""
    for condition in conditions:
        about, operator, _ = _about(bound, condition)
        if about == name and (operator == "=" or not only_equal):
            return condition
    return None


def _sort_conditions(bound: Bound, rest: list[Condition], range_names: list[str]) -> list[Condition]:
    """What can be said of the sort key, from its first attribute on; taken out of `rest`."""
    found: list[Condition] = []
    for name in range_names:
        condition = _first(bound, rest, name)
        if condition is None:
            break
        found.append(condition)
        rest.remove(condition)
        if _about(bound, condition)[1] != "=":
            break
    return found


def _lists(bound: Bound, condition: InNode, name: str) -> bool:
    return bound.name_of(condition.operand) == name and all(isinstance(each, ValueNode) for each in condition.choices)


def _partitions(bound: Bound, condition: InNode) -> list[Value]:
    found: list[Value] = []
    for choice in condition.choices:
        assert isinstance(choice, ValueNode)
        value = bound.value(choice.name)
        if value not in found:
            found.append(value)
    if len(found) > MAX_PARTITIONS:
        raise invalid(f"The IN operator is provided with too many operands; number of operands: {len(found)}")
    return found


def _order(bound: Bound, space: KeySpace, partitions: list[Value], *, has_where: bool) -> bool:
    """Whether to read backwards; puts several partitions in order. Raises ValidationException."""
    order = bound.statement.order
    if not order:
        return False
    if not has_where:
        raise invalid("Must have WHERE clause in the statement when using ORDER BY clause.")
    if not partitions:
        raise invalid(
            "Must have at least one non-optional hash key condition in WHERE clause when using ORDER BY clause."
        )
    by = dict(order)
    for name in by:
        if name not in space.own_key_names:
            raise invalid(f"Variable reference {name} in ORDER BY clause must be part of the primary key")
    if space.hash_name in by:
        partitions.sort(key=lambda v: space.hash_encode(v.get(space.hash_type, "")), reverse=by[space.hash_name])
    elif len(partitions) > 1:
        raise invalid(
            "When using multiple values of the hash key in WHERE clause, ORDER BY clause must begin with the hash key"
        )
    directions = {by[name] for name in _key_names(space)[1] if name in by}
    if len(directions) > 1:
        raise invalid("All attributes of the sort key in an ORDER BY clause must have one direction")
    return True in directions


def read_parameters(bound: Bound, wanted: Reads, partition: Value | None) -> dict[str, Any]:
    """The parameters of the Query of a partition, or of the Scan, without paging."""
    statement = bound.statement
    params: dict[str, Any] = {"TableName": statement.table}
    if statement.index:
        params["IndexName"] = statement.index
    nodes: list[Node] = list(statement.shown)
    if wanted.rest is not None:
        params["FilterExpression"] = ParsedCondition(wanted.rest, False)
        nodes.append(wanted.rest)
    if statement.shown:
        params["ProjectionExpression"] = statement.shown
    if partition is not None:
        nodes += wanted.keyed
    params.update(bound.placeholders(nodes))
    if partition is not None:
        by_hash = CompareNode("=", PathNode(("#partition",)), ValueNode(":partition"))
        params["KeyConditionExpression"] = ParsedCondition(
            AndNode((by_hash, *wanted.keyed)) if wanted.keyed else by_hash, False
        )
        params.setdefault("ExpressionAttributeNames", {})["#partition"] = wanted.hash_name
        params.setdefault("ExpressionAttributeValues", {})[":partition"] = partition
        if wanted.reverse:
            params["ScanIndexForward"] = False
    return params


def write_parameters(bound: Bound, found: Table) -> dict[str, Any]:
    """The parameters of the PutItem, UpdateItem or DeleteItem (or ConditionCheck) that the statement means."""
    statement = bound.statement
    if statement.index:
        raise invalid("Only a table can be written to, not an index")
    params: dict[str, Any] = {"TableName": statement.table}
    exists = PathNode(("#partition",))
    condition: Condition | None
    nodes: list[Node] = []
    names: dict[str, str] = {}
    if statement.kind == "INSERT":
        params["Item"] = bound.item()
        condition = CallNode("attribute_not_exists", (exists,))
        names["#partition"] = found.hash_name
    else:
        params["Key"], condition = key_and_condition(bound, found)
        if condition is not None:
            nodes.append(condition)
        if statement.kind in ("UPDATE", "EXISTS"):
            there = CallNode("attribute_exists", (exists,))
            condition = there if condition is None else AndNode((there, condition))
            names["#partition"] = found.hash_name
    if statement.kind == "UPDATE":
        params["UpdateExpression"] = ParsedUpdate(statement.actions, "")
        for action in statement.actions:
            nodes.append(action.path)
            if action.operand is not None:
                nodes.append(action.operand)
            if isinstance(action.operand, ValueNode) and action.section != "SET":
                _require_set(bound.value(action.operand.name))
    if condition is not None:
        params["ConditionExpression"] = ParsedCondition(condition, False)
    params.update(bound.placeholders(nodes))
    if names:
        params["ExpressionAttributeNames"] = {**params.get("ExpressionAttributeNames", {}), **names}
    return params


def _require_set(value: Value) -> None:
    if not value.keys() & {"SS", "NS", "BS"}:
        raise invalid("The second operand of set_add and set_delete must be a set")


def _conjuncts(where: Condition | None) -> list[Condition]:
    if where is None:
        return []
    if isinstance(where, AndNode):
        return [below for operand in where.operands for below in _conjuncts(operand)]
    return [where]


def _all_of(conditions: list[Condition]) -> Condition | None:
    if len(conditions) < 2:
        return conditions[0] if conditions else None
    return AndNode(tuple(conditions))


def _about(bound: Bound, condition: Condition) -> tuple[str, str, list[str]]:
    """(attribute, operator, literals) of a condition that a key could have; empty strings for any other."""
    operands: tuple[Operand, ...]
    match condition:
        case CompareNode(operator, ValueNode() as left, PathNode() as right):
            operator, operands = _MIRRORED[operator], (right, left)
        case CompareNode(operator, left, right):
            operands = (left, right)
        case BetweenNode(operand, low, high):
            operator, operands = "BETWEEN", (operand, low, high)
        case CallNode("begins_with", args) if len(args) == 2:
            operator, operands = "begins_with", args
        case _:
            return "", "", []
    literals = [each.name for each in operands[1:] if isinstance(each, ValueNode)]
    name = bound.name_of(operands[0])
    if not name or operator == "<>" or len(literals) != len(operands) - 1:
        return "", "", []
    return name, operator, literals
