"""All expressions of one request, compiled together and kept for the next request that looks the same.

What is cached depends on the texts, the names, and the *types* of the values, never on the values: those are handed to
the closures each time. `Expressions.check` makes the few checks that need the values themselves.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from penstock.services.dynamodb.attributes import Value, check_value, type_of
from penstock.services.dynamodb.errors import Counted, counted, invalid
from penstock.services.dynamodb.expressions.condition import Predicate, compile_condition, path_heads
from penstock.services.dynamodb.expressions.key_condition import KeyCondition, extract
from penstock.services.dynamodb.expressions.lexer import MAX_BYTES, ExpressionError
from penstock.services.dynamodb.expressions.parser import (
    ParsedCondition,
    ParsedUpdate,
    parse_condition,
    parse_projection,
    parse_update,
)
from penstock.services.dynamodb.expressions.projection import Projector, compile_projection
from penstock.services.dynamodb.expressions.scope import Check, Scope, Values
from penstock.services.dynamodb.expressions.syntax import Path, PathNode
from penstock.services.dynamodb.expressions.update import Update, compile_update
from penstock.wire.errors import AwsError

T = TypeVar("T")
NO_VALUES: Values = {}
MAX_PLACEHOLDER_BYTES = 255
MAX_VALUES_BYTES = 2 * 1024 * 1024
"""Of all values that expressions stand for, with their placeholders."""


class Expressions:
    """What the expressions of a request compiled to; None for one that is not there."""

    __slots__ = (
        "checks", "condition", "filter", "filter_heads", "key_conditions", "projected", "projection", "scope", "update",
    )  # fmt: skip

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.update: Update | None = None
        self.condition: Predicate | None = None
        self.key_conditions: dict[str, KeyCondition] = {}
        self.filter: Predicate | None = None
        self.filter_heads: dict[str, bool] = {}
        """Attribute names that the filter looks at -> whether below them."""
        self.projection: Projector | None = None
        self.projected: list[Path] = []
        self.checks: tuple[tuple[str, Check], ...] = ()

    def showing(self, projection: Projector) -> Expressions:
        """The same with another projection of the same paths."""
        changed = copy.copy(self)
        changed.projection = projection
        return changed

    def check(self, values: Values) -> None:
        """What the types alone did not tell. Raises ValidationException."""
        for parameter, check in self.checks:
            try:
                check(values)
            except ExpressionError as error:
                raise error.named(parameter) from None


def compile_request(params: Mapping[str, Any]) -> tuple[Expressions, Values]:
    """The request's expressions and its values (made canonical). Raises ValidationException in AWS's order."""
    names = params.get("ExpressionAttributeNames")
    values: dict[str, Value] | None = params.get("ExpressionAttributeValues")
    if names is not None:
        _check_names(names)
    if values is not None:
        _check_values(values)
    compiled = _compile(
        params.get("UpdateExpression"),
        params.get("ConditionExpression"),
        params.get("KeyConditionExpression"),
        params.get("FilterExpression"),
        params.get("ProjectionExpression"),
        None if names is None else tuple(names.items()),
        None if values is None else tuple([(name, type_of(value)) for name, value in values.items()]),
    )
    values = values or {}
    if compiled.checks:
        compiled.check(values)
    return compiled, values


def _check_names(names: Mapping[str, str]) -> None:
    if not names:
        raise invalid("ExpressionAttributeNames must not be empty")
    for name in names:
        _check_length("ExpressionAttributeNames", name)
        if not _is_placeholder(name, "#"):
            raise invalid(f'ExpressionAttributeNames contains invalid key: Syntax error; key: "{name}"')


def _check_values(values: Mapping[str, Value]) -> None:
    if not values:
        raise counted("ExpressionAttributeValues must not be empty")
    for name in values:
        _check_length("ExpressionAttributeValues", name)
        if not _is_placeholder(name, ":"):
            raise invalid(f'ExpressionAttributeValues contains invalid key: Syntax error; key: "{name}"')
    size = 0
    for name, value in values.items():
        try:
            size += len(name) + check_value(value)
        except AwsError as error:
            if error.code != "ValidationException":
                raise
            if isinstance(error, Counted):
                raise
            raise invalid(f"ExpressionAttributeValues contains invalid value: {error.message} for key {name}") from None
    if size > MAX_VALUES_BYTES:
        raise invalid(f"ExpressionAttributeValues exceeds max size of {MAX_VALUES_BYTES} bytes; size: {size}")


def _check_length(parameter: str, name: str) -> None:
    if len(name) > MAX_PLACEHOLDER_BYTES:
        raise invalid(f"{parameter} contains invalid key: The expression attribute map contains a key that is too long")


def _is_placeholder(name: str, sign: str) -> bool:
    return len(name) > 1 and name[0] == sign and name.isascii() and name[1:].replace("_", "a").isalnum()


@lru_cache(maxsize=512)
def _compile(
    update: str | ParsedUpdate | None,
    condition: str | ParsedCondition | None,
    key_condition: str | ParsedCondition | None,
    filter_: str | ParsedCondition | None,
    projection: str | tuple[PathNode, ...] | None,
    names: tuple[tuple[str, str], ...] | None,
    types: tuple[tuple[str, str], ...] | None,
) -> Expressions:
    scope = Scope(dict(names or ()), dict(types or ()))
    compiled = Expressions(scope)
    checks: list[tuple[str, Check]] = []

    def each(parameter: str, text: object, compile_: Callable[[], T]) -> T:
        size = len(text.encode()) if isinstance(text, str) else 0  # the length of trees is bounded by their statement's
        try:
            if size > MAX_BYTES:
                raise ExpressionError(f"Expression size has exceeded the maximum allowed size; expression size: {size}")
            result = compile_()
        except ExpressionError as error:
            raise error.named(parameter) from None
        checks.extend((parameter, check) for check in scope.checks)
        scope.checks = []
        return result

    if update is not None:
        compiled.update = each("UpdateExpression", update, lambda: compile_update(parse_update(update), scope))
    if condition is not None:
        compiled.condition = each(
            "ConditionExpression", condition, lambda: compile_condition(parse_condition(condition), scope)
        )
    parsed_keys: ParsedCondition | None = None
    if key_condition is not None:

        def compile_key_condition() -> ParsedCondition:
            parsed = parse_condition(key_condition)
            compile_condition(parsed, scope)
            return parsed

        parsed_keys = each("KeyConditionExpression", key_condition, compile_key_condition)
    if filter_ is not None:

        def compile_filter() -> Predicate:
            parsed = parse_condition(filter_)
            predicate = compile_condition(parsed, scope)
            compiled.filter_heads = path_heads(parsed, scope)
            return predicate

        compiled.filter = each("FilterExpression", filter_, compile_filter)
    if projection is not None:
        compiled.projection, compiled.projected = each(
            "ProjectionExpression", projection, lambda: compile_projection(parse_projection(projection), scope)
        )
    _refuse_unused("ExpressionAttributeNames", names, scope.used_names)
    _refuse_unused("ExpressionAttributeValues", types, scope.used_values)
    if parsed_keys is not None:
        compiled.key_conditions = extract(parsed_keys, scope)
    compiled.checks = tuple(checks)
    return compiled


def _refuse_unused(parameter: str, given: tuple[tuple[str, str], ...] | None, used: set[str]) -> None:
    unused = [name for name, _ in given or () if name not in used]
    if unused:
        raise counted(f"Value provided in {parameter} unused in expressions: keys: {{{', '.join(unused)}}}")
