"""Condition trees to predicates, after the checks that AWS makes, in its order."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import TypeAlias

from penstock.services.dynamodb.attributes import TYPES, Item, type_of
from penstock.services.dynamodb.expressions.lexer import ExpressionError
from penstock.services.dynamodb.expressions.operands import (
    ORDERINGS,
    begins_with,
    compile_operand,
    contains,
    is_ordered,
)
from penstock.services.dynamodb.expressions.parser import ParsedCondition
from penstock.services.dynamodb.expressions.scope import Scope, Values, check_reserved
from penstock.services.dynamodb.expressions.syntax import (
    AndNode,
    BetweenNode,
    CallNode,
    CompareNode,
    Condition,
    InNode,
    Node,
    NotNode,
    Operand,
    OrNode,
    PathNode,
    ValueNode,
    written,
)

Predicate: TypeAlias = Callable[[Item, Values], bool]

_ARGUMENTS = {
    "attribute_exists": 1,
    "attribute_not_exists": 1,
    "attribute_type": 2,
    "begins_with": 2,
    "contains": 2,
    "size": 1,
}
_ORDERED_TYPES = ("S", "N", "B")
_MAX_CHOICES = 100
_WRONG_TYPE = "Incorrect operand type for operator or function; operator or function: {}, operand type: {}"


def compile_condition(parsed: ParsedCondition, scope: Scope) -> Predicate:
    """The predicate of a parsed expression. Raises ExpressionError."""
    if parsed.redundant_parentheses:
        raise ExpressionError("The expression has redundant parentheses;")
    nodes = list(walk(parsed.root))
    for node in nodes:
        if isinstance(node, CallNode) and node.name not in _ARGUMENTS:
            raise ExpressionError(f"Invalid function name; function: {node.name}")
    _check_positions(parsed.root)
    for node in nodes:
        if isinstance(node, PathNode):
            check_reserved(node)
    for node in nodes:
        if isinstance(node, PathNode):
            scope.path(node)
        else:
            scope.value_type(node)
    for node in nodes:
        if isinstance(node, CallNode) and len(node.args) != _ARGUMENTS[node.name]:
            raise ExpressionError(
                "Incorrect number of operands for operator or function; "
                f"operator or function: {node.name}, number of operands: {len(node.args)}"
            )
    for node in nodes:
        _check_distinct(node, scope)
    for node in nodes:
        _check_types(node, scope)
    return compile_tree(parsed.root, scope)


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it, in the order of the text."""
    yield node
    for child in _children(node):
        yield from walk(child)


def _children(node: Node) -> tuple[Node, ...]:
    match node:
        case AndNode(operands) | OrNode(operands):
            return operands
        case NotNode(operand):
            return (operand,)
        case CompareNode(_, left, right):
            return (left, right)
        case BetweenNode(operand, low, high):
            return (operand, low, high)
        case InNode(operand, choices):
            return (operand, *choices)
        case CallNode(_, args):
            return args
        case _:
            return ()


def _check_positions(node: Node, is_condition: bool = True) -> None:
    """`size` is an operand, all other functions are conditions. Raises ExpressionError."""
    if isinstance(node, CallNode) and (node.name == "size") == is_condition:
        raise ExpressionError(
            f"The function is not allowed to be used this way in an expression; function: {node.name}"
        )
    below = isinstance(node, (AndNode, OrNode, NotNode))
    for child in _children(node):
        _check_positions(child, below)


def _check_distinct(node: Node, scope: Scope) -> None:
    if isinstance(node, CompareNode):
        name, operands = node.operator, (node.left, node.right)
    elif isinstance(node, CallNode) and len(node.args) == 2:
        name, operands = node.name, (node.args[0], node.args[1])
    else:
        return
    left, right = operands
    if isinstance(left, PathNode) and isinstance(right, PathNode) and scope.path(left) == scope.path(right):
        raise ExpressionError(
            "The first operand must be distinct from the remaining operands for this operator or function; "
            f"operator: {name}, first operand: {written(scope.path(left))}"
        )


def _check_types(node: Node, scope: Scope) -> None:
    if isinstance(node, CallNode):
        _check_function(node, scope)
    elif isinstance(node, CompareNode):
        if node.operator in ORDERINGS:
            _require_types(node.operator, (node.left, node.right), _ORDERED_TYPES, scope)
    elif isinstance(node, BetweenNode):
        _check_between(node, scope)
    elif isinstance(node, InNode) and len(node.choices) > _MAX_CHOICES:
        raise ExpressionError(
            f"The IN operator is provided with too many operands; number of operands: {len(node.choices)}"
        )


def _require_types(name: str, operands: tuple[Operand, ...], allowed: tuple[str, ...], scope: Scope) -> None:
    for operand in operands:
        kind = scope.result_type(operand)
        if kind is not None and kind not in allowed:
            raise ExpressionError(_WRONG_TYPE.format(name, kind))


def _check_function(node: CallNode, scope: Scope) -> None:
    name, args = node.name, node.args
    if name in ("attribute_exists", "attribute_not_exists"):
        if not isinstance(args[0], PathNode):
            raise ExpressionError(f"Operator or function requires a document path; operator or function: {name}")
    elif name == "begins_with":
        _require_types(name, args, ("S", "B"), scope)
    elif name == "size":
        _require_types(name, args, ("S", "B", "SS", "NS", "BS", "L", "M"), scope)
    elif name == "attribute_type":
        kind = scope.value_type(args[1])
        if kind != "S" or not isinstance(args[1], ValueNode):
            raise ExpressionError(_WRONG_TYPE.format(name, kind or "{NS,SS,L,BS,N,M,B,BOOL,NULL,S}"))
        placeholder = args[1].name

        def check(values: Values) -> None:
            wanted = values[placeholder]["S"]
            if wanted not in TYPES:
                raise ExpressionError(
                    f"Invalid attribute type name found; type: {wanted}, valid types: {{B,NULL,SS,BOOL,L,BS,N,NS,S,M}}"
                )

        scope.checks.append(check)


def _check_between(node: BetweenNode, scope: Scope) -> None:
    _require_types("BETWEEN", (node.operand, node.low, node.high), _ORDERED_TYPES, scope)
    if not isinstance(node.low, ValueNode) or not isinstance(node.high, ValueNode):
        return
    low, high = node.low.name, node.high.name
    greater = ORDERINGS[">"]
    same_type = scope.value_type(node.low) == scope.value_type(node.high)

    def check(values: Values) -> None:
        if same_type and not is_ordered(greater, values[low], values[high]):
            return
        rule = (
            "upper bound to be greater than or equal to lower bound"
            if same_type
            else ("same data type for lower and upper bounds")
        )
        bounds = [f"AttributeValue: {{{type_of(values[n])}:{values[n][type_of(values[n])]}}}" for n in (low, high)]
        raise ExpressionError(
            f"The BETWEEN operator requires {rule}; lower bound operand: {bounds[0]}, upper bound operand: {bounds[1]}"
        )

    scope.checks.append(check)


def compile_tree(node: Condition, scope: Scope) -> Predicate:
    """The predicate of a checked tree."""
    match node:
        case AndNode(operands):
            all_of = [compile_tree(each, scope) for each in operands]
            if len(all_of) == 2:
                first, second = all_of
                return lambda item, values: first(item, values) and second(item, values)
            return lambda item, values: all(each(item, values) for each in all_of)
        case OrNode(operands):
            any_of = [compile_tree(each, scope) for each in operands]
            return lambda item, values: any(each(item, values) for each in any_of)
        case NotNode(operand):
            inner = compile_tree(operand, scope)
            return lambda item, values: not inner(item, values)
        case CompareNode():
            return _compile_comparison(node, scope)
        case BetweenNode(operand, low_node, high_node):
            get, low, high = (compile_operand(each, scope) for each in (operand, low_node, high_node))

            def between(item: Item, values: Values) -> bool:
                value = get(item, values)
                return is_ordered(operator.ge, value, low(item, values)) and is_ordered(
                    operator.le, value, high(item, values)
                )

            return between
        case InNode(operand, choice_nodes):
            get = compile_operand(operand, scope)
            choices = [compile_operand(each, scope) for each in choice_nodes]

            def is_in(item: Item, values: Values) -> bool:
                value = get(item, values)
                return value is not None and any(value == choice(item, values) for choice in choices)

            return is_in
        case CallNode():
            return _compile_call(node, scope)


def _compile_comparison(node: CompareNode, scope: Scope) -> Predicate:
    left = compile_operand(node.left, scope)
    right = compile_operand(node.right, scope)
    if node.operator == "=":

        def equal(item: Item, values: Values) -> bool:
            value = left(item, values)
            return value is not None and value == right(item, values)

        return equal
    if node.operator == "<>":
        return lambda item, values: left(item, values) != right(item, values)
    compare = ORDERINGS[node.operator]
    return lambda item, values: is_ordered(compare, left(item, values), right(item, values))


def _compile_call(node: CallNode, scope: Scope) -> Predicate:
    get = compile_operand(node.args[0], scope)
    if node.name == "attribute_exists":
        return lambda item, values: get(item, values) is not None
    if node.name == "attribute_not_exists":
        return lambda item, values: get(item, values) is None
    second = compile_operand(node.args[1], scope)
    if node.name == "begins_with":
        return lambda item, values: begins_with(get(item, values), second(item, values))
    if node.name == "contains":
        return lambda item, values: contains(get(item, values), second(item, values))

    def is_of_type(item: Item, values: Values) -> bool:
        value, wanted = get(item, values), second(item, values)
        return value is not None and wanted is not None and wanted["S"] in value

    return is_of_type


def path_heads(parsed: ParsedCondition, scope: Scope) -> dict[str, bool]:
    """Attribute names that the condition looks at -> whether below them (list or map elements)."""
    heads: dict[str, bool] = {}
    for node in walk(parsed.root):
        if isinstance(node, PathNode):
            path = scope.path(node)
            heads[str(path[0])] = heads.get(str(path[0]), False) or len(path) > 1
    return heads
