"""Conditions as JSON and space-delimited filter patterns hold them: comparisons joined by && and ||, with parentheses.

Compiled once to closures, in time linear in the pattern; so is matching: * is no regular expression here, so that no
pattern can keep the server busy.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

from penstock.services.logs import errors

Condition: TypeAlias = Callable[[Any], bool]
"""Whether something (a JSON document, a field) meets it."""
Operand: TypeAlias = Callable[[Any], Any]
"""What of that thing is compared; MISSING where it has no such part."""

MISSING: Any = object()
_DEPTH = 50
_TOKEN = re.compile(
    r"""\s*(?:(?P<compare>!=|<=|>=|=|<|>)|(?P<join>&&|\|\|)|(?P<paren>[()])"""
    r"""|(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<word>[^\s()=<>!&|"]+))"""
)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def compile_condition(text: str, operand: Callable[[str], Operand]) -> Condition:
    """The condition that `text` says; `operand` makes sense of the words on the left of its comparisons.

    Raises AwsError InvalidParameterException.
    """
    parser = _Parser(text, operand)
    condition = parser.either(0)
    if parser.kind:
        raise invalid_pattern()
    return condition


def invalid_pattern() -> Exception:
    return errors.invalid("Invalid filter pattern")


class _Parser:
    """Recursive descent over the tokens; `kind` and `value` are the next one's, "" at the end."""

    def __init__(self, text: str, operand: Callable[[str], Operand]) -> None:
        self._text = text.rstrip()
        self._at = 0
        self._operand = operand
        self.kind = self.value = ""
        self._step()

    def _step(self) -> str:
        """Move on; returns what was passed."""
        passed = self.value
        if self._at == len(self._text):
            self.kind = self.value = ""
            return passed
        match = _TOKEN.match(self._text, self._at)
        if match is None:
            raise invalid_pattern()
        self._at = match.end()
        self.kind = match.lastgroup or ""
        self.value = match[self.kind]
        return passed

    def either(self, depth: int) -> Condition:
        if depth > _DEPTH:
            raise invalid_pattern()
        found = [self._both(depth)]
        while self.value == "||" and self.kind == "join":
            self._step()
            found.append(self._both(depth))
        return found[0] if len(found) == 1 else lambda thing: any(c(thing) for c in found)

    def _both(self, depth: int) -> Condition:
        found = [self._one(depth)]
        while self.value == "&&" and self.kind == "join":
            self._step()
            found.append(self._one(depth))
        return found[0] if len(found) == 1 else lambda thing: all(c(thing) for c in found)

    def _one(self, depth: int) -> Condition:
        if self.kind == "paren" and self.value == "(":
            self._step()
            inner = self.either(depth + 1)
            if self._step() != ")":
                raise invalid_pattern()
            return inner
        if self.kind != "word":
            raise invalid_pattern()
        part = self._operand(self._step())
        if self.kind == "compare":
            operator = self._step()
            if self.kind not in ("word", "quoted"):
                raise invalid_pattern()
            quoted = self.kind == "quoted"
            test = comparison(operator, self._step(), quoted)
            return lambda thing: test(part(thing))
        return self._keywords(part)

    def _keywords(self, part: Operand) -> Condition:
        said = (self._step().upper(), self._step().upper())
        if said == ("NOT", "EXISTS"):
            return lambda thing: part(thing) is MISSING
        constants = {("IS", "NULL"): None, ("IS", "TRUE"): True, ("IS", "FALSE"): False}
        if said not in constants:
            raise invalid_pattern()
        constant = constants[said]
        return lambda thing: part(thing) is constant


def comparison(operator: str, text: str, quoted: bool) -> Condition:
    """Whether a value compares so to `text`. A missing value does not compare to anything, by != neither."""
    if quoted:
        text = re.sub(r"\\(.)", r"\1", text[1:-1])
    number = None if quoted or not _NUMBER.fullmatch(text) else float(text)
    if operator in ("=", "!="):
        return _equality(operator == "=", text, number)
    if number is None:
        raise invalid_pattern()
    bound = number
    tests: dict[str, Callable[[float], bool]] = {
        "<": lambda n: n < bound, "<=": lambda n: n <= bound, ">": lambda n: n > bound, ">=": lambda n: n >= bound,
    }  # fmt: skip
    test = tests[operator]
    return lambda value: (n := _number(value)) is not None and test(n)


def _equality(wanted: bool, text: str, number: float | None) -> Condition:
    like = _wildcard(text)

    def test(value: Any) -> bool:
        if value is MISSING or value is None or isinstance(value, (dict, list)):
            return False
        if number is not None and (n := _number(value)) is not None:
            return (n == number) is wanted
        return like(_text(value)) is wanted

    return test


def _wildcard(text: str) -> Callable[[str], bool]:
    """Whether a string is like `text`, whose every * stands for any characters."""
    first, *rest = text.split("*")
    if not rest:
        return lambda value: value == text
    *middle, last = rest

    def test(value: str) -> bool:
        end = len(value) - len(last)
        if len(first) > end or not value.startswith(first) or not value.endswith(last):
            return False
        at = len(first)
        for part in middle:
            found = value.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True

    return test


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return float(value) if abs(value) < 1e308 else None
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else None


def _text(value: Any) -> str:
    if value is True:
        return "true"
    if value is False:
        return "false"
    return str(value)
