"""Update expressions: checked, compiled, applied to an item in place.

All operands see the item as it was before. SET comes first, then ADD, DELETE and REMOVE, and list elements are removed
last, from the end, so that an index always means the element that it meant when the request was made.
Source: "Update expressions" of the developer guide.
"""

from __future__ import annotations

import binascii
import copy
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeAlias

from penstock.services.dynamodb import numbers
from penstock.services.dynamodb.attributes import Item, Value, type_of
from penstock.services.dynamodb.errors import invalid
from penstock.services.dynamodb.expressions.lexer import CountedExpressionError, ExpressionError
from penstock.services.dynamodb.expressions.operands import look_up
from penstock.services.dynamodb.expressions.parser import ParsedUpdate
from penstock.services.dynamodb.expressions.projection import Projector, projector, tree_of
from penstock.services.dynamodb.expressions.scope import Scope, Values, check_reserved
from penstock.services.dynamodb.expressions.syntax import Action, CallNode, Node, Operand, Path, PathNode
from penstock.wire.errors import AwsError

Step: TypeAlias = Callable[[Item, Values], None]
OperandGetter: TypeAlias = Callable[[Item, Values], Value]

_ARGUMENTS = {"if_not_exists": 2, "list_append": 2, "+": 2, "-": 2}
_LONG_NAMES = {
    "S": "STRING", "N": "NUMBER", "B": "BINARY", "NULL": "NULL", "BOOL": "BOOLEAN", "L": "LIST", "M": "MAP",
}  # fmt: skip
WRONG_TYPE = "An operand in the update expression has an incorrect data type"
_SORT_KEYS: dict[str, Callable[[str], Any] | None] = {"SS": None, "NS": Decimal, "BS": binascii.a2b_base64}


def wrong_type() -> AwsError:
    """An operand does not fit what the item holds."""
    return invalid(WRONG_TYPE)


def bad_path() -> AwsError:
    """A path whose parent is not there or is no list or map."""
    return invalid("The document path provided in the update expression is invalid for update")


class Update:
    """A compiled update."""

    __slots__ = ("_removals", "_sets", "_steps", "creates", "heads", "paths", "touched")

    def __init__(
        self,
        actions: list[tuple[str, Path, OperandGetter | None]],
        paths: list[Path],
        mismatch: str = WRONG_TYPE,
    ) -> None:
        self.paths = paths
        self.heads = {str(path[0]): len(path) > 1 for path in paths}
        """Attribute names that are updated -> whether only below them."""
        self.creates = any(section in ("SET", "ADD") for section, _, _ in actions)
        """Whether it makes an item where there is none; REMOVE and DELETE alone do not."""
        self.touched: Projector = projector(paths)
        """Cuts an item down to the updated paths."""
        sets = [(path, get) for section, path, get in actions if section == "SET" and get is not None]
        self._sets = sorted(sets, key=_list_index_last)
        self._steps = [
            _add(path, get, mismatch) if section == "ADD" else _delete(path, get, mismatch)
            for section, path, get in actions
            if section in ("ADD", "DELETE") and get is not None
        ]
        self._removals = [path for section, path, _ in actions if section == "REMOVE"]

    def apply(self, item: Item, values: Values) -> None:
        """Update `item` in place. Raises ValidationException where the item does not allow it."""
        computed = [(path, get(item, values)) for path, get in self._sets]
        for path, value in computed:
            _put(item, path, value)
        for step in self._steps:
            step(item, values)
        if self._removals:
            _remove(item, self._removals)


def _list_index_last(action: tuple[Path, OperandGetter]) -> int:
    last = action[0][-1]
    return last if isinstance(last, int) else -1


def compile_update(parsed: ParsedUpdate, scope: Scope) -> Update:
    """Check in AWS's order and compile. Raises ExpressionError."""
    actions = parsed.actions
    operands = [node for action in actions if action.operand is not None for node in _walk(action.operand)]
    for node in [*(action.path for action in actions), *operands]:
        if isinstance(node, PathNode):
            check_reserved(node)
    calls = [node for node in operands if isinstance(node, CallNode)]
    for call in calls:
        if call.name not in _ARGUMENTS:
            raise ExpressionError(f"Invalid function name; function: {call.name}")
    if parsed.repeated_section:
        raise CountedExpressionError(
            f'The "{parsed.repeated_section}" section can only be used once in an update expression;'
        )
    paths = [scope.path(action.path) for action in actions]
    for node in operands:
        if isinstance(node, PathNode):
            scope.path(node)
    for node in operands:
        scope.value_type(node)
    tree_of(paths)
    for action in actions:
        _check_operand(action, scope)
    for call in calls:
        _check_call(call, scope)
    compiled = [
        (action.section, path, None if action.operand is None else _compile(action.operand, scope))
        for action, path in zip(actions, paths, strict=True)
    ]
    return Update(compiled, paths)


def _walk(node: Operand) -> list[Node]:
    if isinstance(node, CallNode):
        return [node, *(below for arg in node.args for below in _walk(arg))]
    return [node]


def _check_operand(action: Action, scope: Scope) -> None:
    if action.section not in ("ADD", "DELETE") or action.operand is None:
        return
    kind = scope.value_type(action.operand) or ""
    if kind in _LONG_NAMES and not (action.section == "ADD" and kind == "N"):
        raise ExpressionError(
            "Incorrect operand type for operator or function; "
            f"operator: {action.section}, operand type: {_LONG_NAMES[kind]}"
        )


def _check_call(call: CallNode, scope: Scope) -> None:
    if len(call.args) != _ARGUMENTS[call.name]:
        raise ExpressionError(
            "Incorrect number of operands for operator or function; "
            f"operator or function: {call.name}, number of operands: {len(call.args)}"
        )
    if call.name == "if_not_exists":
        if not isinstance(call.args[0], PathNode):
            raise ExpressionError(f"Operator or function requires a document path; operator or function: {call.name}")
        return
    wanted = "L" if call.name == "list_append" else "N"
    for arg in call.args:
        kind = scope.value_type(arg)
        if kind is not None and kind != wanted:
            raise ExpressionError(
                "Incorrect operand type for operator or function; "
                f"operator or function: {call.name}, operand type: {kind}"
            )


def _compile(node: Operand, scope: Scope) -> OperandGetter:
    if isinstance(node, PathNode):
        path = scope.path(node)

        def read(item: Item, values: Values) -> Value:
            found = look_up(item, path)
            if found is None:
                raise invalid("The provided expression refers to an attribute that does not exist in the item")
            return _own(found)

        return read
    if isinstance(node, CallNode):
        return _compile_call(node, scope)
    name = node.name
    return lambda item, values: values[name]


def _own(value: Value) -> Value:
    """A copy of what is in the item, since the item is about to change; scalars never change in place."""
    return value if type_of(value) in ("S", "N", "B", "BOOL", "NULL") else copy.deepcopy(value)


def _compile_call(node: CallNode, scope: Scope) -> OperandGetter:
    second = _compile(node.args[1], scope)
    if node.name == "if_not_exists" and isinstance(node.args[0], PathNode):
        path = scope.path(node.args[0])

        def if_not_exists(item: Item, values: Values) -> Value:
            found = look_up(item, path)
            return second(item, values) if found is None else _own(found)

        return if_not_exists
    first = _compile(node.args[0], scope)
    if node.name == "list_append":

        def list_append(item: Item, values: Values) -> Value:
            a, b = first(item, values).get("L"), second(item, values).get("L")
            if a is None or b is None:
                raise wrong_type()
            return {"L": a + b}

        return list_append
    calculate = numbers.add if node.name == "+" else numbers.subtract

    def arithmetic(item: Item, values: Values) -> Value:
        a, b = first(item, values).get("N"), second(item, values).get("N")
        if a is None or b is None:
            raise wrong_type()
        return {"N": _exact(calculate, a, b)}

    return arithmetic


def _exact(calculate: Callable[[str, str], str], a: str, b: str) -> str:
    try:
        return calculate(a, b)
    except numbers.NumberError as error:
        raise invalid(str(error)) from None


def _parent(item: Item, path: Path) -> Any:
    """The dict or list that holds the path's last part. Raises ValidationException where there is none."""
    if len(path) == 1:
        return item
    holder = look_up(item, path[:-1])
    inner = None if holder is None else holder.get("L" if isinstance(path[-1], int) else "M")
    if inner is None:
        raise bad_path()
    return inner


def _put(item: Item, path: Path, value: Value | None) -> None:
    holder = _parent(item, path)
    last = path[-1]
    if isinstance(last, int) and last >= len(holder):
        holder.append(value)
    else:
        holder[last] = value


def _present(holder: Any, last: str | int) -> Value | None:
    if isinstance(last, int):
        return holder[last] if last < len(holder) else None
    return holder.get(last)  # type: ignore[no-any-return]


def _add(path: Path, get: OperandGetter, mismatch: str) -> Step:
    def step(item: Item, values: Values) -> None:
        holder = _parent(item, path)
        old, operand = _present(holder, path[-1]), get(item, values)
        if old is None:
            _put(item, path, operand)
            return
        kind = type_of(operand)
        if kind not in old:
            raise invalid(mismatch)
        if kind == "N":
            new: Any = _exact(numbers.add, old[kind], operand[kind])
        elif kind == "L":  # only AttributeUpdates can
            new = old[kind] + operand[kind]
        else:
            new = sorted({*old[kind], *operand[kind]}, key=_SORT_KEYS[kind])
        holder[path[-1]] = {kind: new}

    return step


def _delete(path: Path, get: OperandGetter, mismatch: str) -> Step:
    def step(item: Item, values: Values) -> None:
        holder = _parent(item, path)
        old, operand = _present(holder, path[-1]), get(item, values)
        if old is None:
            return
        kind = type_of(operand)
        if kind not in old:
            raise invalid(mismatch)
        gone = set(operand[kind])
        left = [member for member in old[kind] if member not in gone]
        if left:
            holder[path[-1]] = {kind: left}
        else:
            _remove(item, [path])

    return step


def _remove(item: Item, paths: list[Path]) -> None:
    elements: list[tuple[int, list[Any]]] = []
    for path in paths:
        holder = _parent(item, path)
        last = path[-1]
        if isinstance(last, int):
            elements.append((last, holder))
        else:
            holder.pop(last, None)
    elements.sort(key=lambda element: element[0], reverse=True)
    for index, holder in elements:
        if index < len(holder):
            del holder[index]
