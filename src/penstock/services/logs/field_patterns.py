"""Filter patterns for space-delimited log events: [ip, user, ..., status_code = 4*, bytes > 1000]
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
"""

from __future__ import annotations

import re
from collections.abc import Callable

from penstock.services.logs.conditions import Condition, Operand, compile_condition, invalid_pattern

_FIELD = re.compile(r'\[[^\]]*\]|"[^"]*"|\S+')
_SLOT = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^,"])*')
_NAME = re.compile(r"[\w$.-]+")


def compile_fields(inner: str) -> Callable[[str], bool]:
    """The test for what stands between the brackets: as many fields, in order, each meeting its condition.

    Text in quotes or brackets is one field. An ellipsis stands for any number of fields.
    Raises AwsError InvalidParameterException.
    """
    slots = [slot.strip() for slot in _slots(inner)]
    if slots.count("...") > 1:
        raise invalid_pattern()
    if "..." not in slots:
        tests = [_test(slot) for slot in slots]
        return lambda message: _meet(tests, _fields(message))
    at = slots.index("...")
    head, tail = [_test(slot) for slot in slots[:at]], [_test(slot) for slot in slots[at + 1 :]]

    def matches(message: str) -> bool:
        fields = _fields(message)
        if len(fields) < len(head) + len(tail):
            return False
        return _meet(head, fields[: len(head)]) and _meet(tail, fields[len(fields) - len(tail) :])

    return matches


def _slots(inner: str) -> list[str]:
    slots = []
    at = 0
    while True:
        match = _SLOT.match(inner, at)
        if match is None or not match[0].strip():
            raise invalid_pattern()
        slots.append(match[0])
        at = match.end()
        if at == len(inner):
            return slots
        if inner[at] != ",":
            raise invalid_pattern()
        at += 1


def _test(slot: str) -> Condition | None:
    """None: the slot only gives the field a name."""
    if _NAME.fullmatch(slot):
        return None
    names: set[str] = set()

    def operand(name: str) -> Operand:
        names.add(name)
        return lambda field: field

    condition = compile_condition(slot, operand)
    if len(names) != 1:
        raise invalid_pattern()
    return condition


def _fields(message: str) -> list[str]:
    return [f[1:-1] if f[0] in '["' and len(f) > 1 else f for f in _FIELD.findall(message)]


def _meet(tests: list[Condition | None], fields: list[str]) -> bool:
    if len(tests) != len(fields):
        return False
    return all(test is None or test(field) for test, field in zip(tests, fields, strict=True))
