"""Literals: parsed, and turned into attribute values once the parameters are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.services.dynamodb.attributes import MAX_DEPTH, Value, type_of
from penstock.services.dynamodb.errors import invalid
from penstock.services.dynamodb.partiql.syntax import ListLiteral, Literal, MapLiteral, Parameter, Scalar, SetLiteral
from penstock.services.dynamodb.partiql.tokens import Cursor, malformed

_SET_TYPES = {"S": "SS", "N": "NS", "B": "BS"}
_WORDS = {"TRUE": Scalar("BOOL", True), "FALSE": Scalar("BOOL", False), "NULL": Scalar("NULL", True)}


class LiteralParser:
    """The part of a parser that reads literals; counts the parameters."""

    def __init__(self, text: str) -> None:
        self.cursor = Cursor(text)
        self.parameters = 0

    def starts_literal(self) -> bool:
        """Whether the current token begins a literal."""
        cursor = self.cursor
        return (
            cursor.current.kind in ("string", "number")
            or cursor.is_symbol("?", "[", "{", "<<")
            or cursor.is_word(*_WORDS)
            or (cursor.is_symbol("-", "+") and cursor.peek().kind == "number")
        )

    def literal(self, depth: int = 0) -> Literal:
        """A literal. Raises ValidationException."""
        cursor = self.cursor
        if depth > MAX_DEPTH + 1:
            raise invalid("Nesting Levels have exceeded supported limits")
        token = cursor.current
        if token.kind == "string":
            return Scalar("S", cursor.advance().text)
        if token.kind == "number":
            return Scalar("N", cursor.advance().text)
        if cursor.is_word(*_WORDS):
            return _WORDS[cursor.advance().text.upper()]
        if token.kind != "symbol":
            raise cursor.unexpected()
        match token.text:
            case "-" | "+":
                cursor.advance()
                if cursor.current.kind != "number":
                    raise cursor.unexpected()
                return Scalar("N", ("-" if token.text == "-" else "") + cursor.advance().text)
            case "?":
                cursor.advance()
                self.parameters += 1
                return Parameter(self.parameters - 1)
            case "[":
                return ListLiteral(self._members("]", depth))
            case "<<":
                return SetLiteral(self._members(">>", depth))
            case "{":
                return self._map(depth)
            case _:
                raise cursor.unexpected()

    def _members(self, end: str, depth: int) -> tuple[Literal, ...]:
        cursor = self.cursor
        cursor.advance()
        if cursor.take_symbol(end):
            return ()
        found = [self.literal(depth + 1)]
        while cursor.take_symbol(","):
            found.append(self.literal(depth + 1))
        cursor.expect_symbol(end)
        return tuple(found)

    def _map(self, depth: int) -> Literal:
        cursor = self.cursor
        cursor.advance()
        found: list[tuple[str, Literal]] = []
        while not cursor.take_symbol("}"):
            if found:
                cursor.expect_symbol(",")
            # AWS wants single quotes around names here; its own examples are also written with double ones.
            if cursor.current.kind not in ("string", "quoted"):
                raise cursor.unexpected()
            name = cursor.advance().text
            if any(name == other for other, _ in found):
                raise malformed(f"Duplicate field {name}")
            cursor.expect_symbol(":")
            found.append((name, self.literal(depth + 1)))
        return MapLiteral(tuple(found))


def value_of(literal: Literal, parameters: Sequence[Value]) -> Value:
    """The attribute value, as yet unchecked. Raises ValidationException for a set of what sets cannot hold."""
    if isinstance(literal, Scalar):
        return {literal.kind: literal.inner}
    if isinstance(literal, Parameter):
        return parameters[literal.number]
    if isinstance(literal, ListLiteral):
        return {"L": [value_of(each, parameters) for each in literal.members]}
    if isinstance(literal, MapLiteral):
        return {"M": {name: value_of(each, parameters) for name, each in literal.members}}
    members = [value_of(each, parameters) for each in literal.members]
    kinds = {type_of(member) for member in members if member}
    if len(kinds) != 1 or not all(members) or not kinds <= _SET_TYPES.keys():
        raise invalid("A set must hold at least one value, and only strings, only numbers or only binaries")
    kind = kinds.pop()
    inner: list[Any] = [member[kind] for member in members]
    return {_SET_TYPES[kind]: inner}
