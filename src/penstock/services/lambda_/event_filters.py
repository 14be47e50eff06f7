"""Filter criteria of event source mappings: which records a function is to see.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html. A pattern is compiled once to a predicate. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeAlias

Matches: TypeAlias = Callable[[Any], bool]
_MISSING = object()
_DEPTH_MAX = 100
"""Levels of a pattern: matching goes as deep. DynamoDB's records have 32."""
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "=": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


class BadPattern(ValueError):
    """A pattern that cannot be one."""


def compile_filter(text: str) -> Matches:
    """Whether a record matches the pattern, given as JSON text. Raises BadPattern."""
    try:
        pattern = json.loads(text)
    except (ValueError, RecursionError):
        raise BadPattern(text) from None
    if not isinstance(pattern, dict):
        raise BadPattern(text)
    return _object(pattern, _DEPTH_MAX)


def _object(pattern: dict[str, Any], depth: int) -> Matches:
    if not depth:
        raise BadPattern("nested too deeply")
    parts: list[tuple[str, Matches]] = []
    anyone: list[Matches] = []
    for name, wanted in pattern.items():
        if name == "$or":
            if not isinstance(wanted, list) or not all(isinstance(one, dict) for one in wanted) or not wanted:
                raise BadPattern(name)
            anyone = [_object(one, depth - 1) for one in wanted]
        elif isinstance(wanted, dict):
            parts.append((name, _object(wanted, depth - 1)))
        elif isinstance(wanted, list) and wanted:
            parts.append((name, _some([_rule(one) for one in wanted])))
        else:
            raise BadPattern(name)

    def matches(value: Any) -> bool:
        if not isinstance(value, dict):
            value = {}
        if anyone and not any(one(value) for one in anyone):
            return False
        return all(part(value.get(name, _MISSING)) for name, part in parts)

    return matches


def _some(rules: list[Matches]) -> Matches:
    def matches(value: Any) -> bool:
        if isinstance(value, list):
            return any(rule(each) for each in value for rule in rules)
        return any(rule(value) for rule in rules)

    return matches


def _rule(rule: Any) -> Matches:
    if not isinstance(rule, dict):
        if isinstance(rule, list):
            raise BadPattern(str(rule))
        return lambda value: (type(value) is type(rule) and value == rule) or _same_number(value, rule)
    if len(rule) != 1:
        raise BadPattern(str(rule))
    [(kind, wanted)] = rule.items()
    make = _KINDS.get(kind)
    if make is None:
        raise BadPattern(kind)
    return make(wanted)


def _same_number(value: Any, rule: Any) -> bool:
    return _is_number(value) and _is_number(rule) and value == rule


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text_rule(test: Callable[[str, str], bool]) -> Callable[[Any], Matches]:
    def make(wanted: Any) -> Matches:
        if not isinstance(wanted, str):
            raise BadPattern(str(wanted))
        return lambda value: isinstance(value, str) and test(value, wanted)

    return make


def _anything_but(wanted: Any) -> Matches:
    if isinstance(wanted, dict):
        inner = _rule(wanted)
        return lambda value: value is not _MISSING and not inner(value)
    several = wanted if isinstance(wanted, list) else [wanted]
    if not all(isinstance(one, str) or _is_number(one) for one in several) or not several:
        raise BadPattern(str(wanted))
    return lambda value: value is not _MISSING and value not in several


def _numeric(wanted: Any) -> Matches:
    if not isinstance(wanted, list) or len(wanted) not in (2, 4):
        raise BadPattern(str(wanted))
    tests: list[tuple[Callable[[float, float], bool], float]] = []
    for sign, bound in zip(wanted[::2], wanted[1::2], strict=True):
        if sign not in _COMPARE or not _is_number(bound):
            raise BadPattern(str(wanted))
        tests.append((_COMPARE[sign], bound))
    return lambda value: _is_number(value) and all(test(value, bound) for test, bound in tests)


def _exists(wanted: Any) -> Matches:
    if not isinstance(wanted, bool):
        raise BadPattern(str(wanted))
    return lambda value: (value is not _MISSING and not isinstance(value, dict)) is wanted


_KINDS: dict[str, Callable[[Any], Matches]] = {
    "prefix": _text_rule(lambda value, wanted: value.startswith(wanted)),
    "suffix": _text_rule(lambda value, wanted: value.endswith(wanted)),
    "equals-ignore-case": _text_rule(lambda value, wanted: value.lower() == wanted.lower()),
    "anything-but": _anything_but,
    "numeric": _numeric,
    "exists": _exists,
}
