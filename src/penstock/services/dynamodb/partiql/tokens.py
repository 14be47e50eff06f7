"""Statement text to tokens."""

from __future__ import annotations

import re
from typing import NamedTuple

from penstock.services.dynamodb.errors import invalid
from penstock.wire.errors import AwsError

_TOKEN = re.compile(
    r"(?P<space>\s+|--[^\n]*|/\*.*?\*/)"
    r"|(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<word>[A-Za-z_$][A-Za-z0-9_$]*)"
    r'|(?P<quoted>"(?:[^"]|"")*")'
    r"|(?P<string>'(?:[^']|'')*')"
    r"|(?P<symbol><<|>>|<=|>=|<>|!=|[=<>()\[\]{},.:?*+\-;])"
    r"|(?P<bad>.)",
    re.DOTALL,
)

KEYWORDS = frozenset(
    (
        "ALTER", "AND", "AS", "BETWEEN", "BY", "CASE", "CREATE", "CROSS", "DELETE", "DISTINCT", "DROP", "ELSE", "EXCEPT",
        "EXISTS", "FALSE", "FROM", "GROUP", "HAVING", "IN", "INNER", "INSERT", "INTERSECT", "INTO", "IS", "JOIN", "LEFT",
        "LIKE", "LIMIT", "MISSING", "NOT", "NULL", "OFFSET", "ON", "OR", "ORDER", "OUTER", "PIVOT", "RIGHT", "SELECT", "SET",
        "TABLE", "THEN", "TRUE", "UNION", "UNPIVOT", "UPDATE", "VALUES", "WHEN", "WHERE",
    )
)  # fmt: skip
"""Words that are no attribute's name unless quoted."""


class Token(NamedTuple):
    """kind: word, quoted (a name), string, number, symbol or end. text: without quotes."""

    kind: str
    text: str


_END = Token("end", "")


def malformed(what: str) -> AwsError:
    """The ValidationException for a statement that is not in the language."""
    return invalid(f"Statement wasn't well formed, can't be processed: {what}")


def tokens(text: str) -> list[Token]:
    """All tokens, the last of kind "end". Raises ValidationException for what is none."""
    found = []
    for match in _TOKEN.finditer(text):
        kind, written = match.lastgroup or "", match.group()
        if kind == "space":
            continue
        if kind == "bad":
            raise malformed("Unexpected character" if written not in "\"'" else "Unclosed quotes")
        if kind in ("quoted", "string"):
            quote = written[0]
            written = written[1:-1].replace(quote + quote, quote)
        found.append(Token(kind, written))
    found.append(_END)
    return found


class Cursor:
    """Where a parser is in the tokens of a statement."""

    __slots__ = ("_all", "_at", "current")

    def __init__(self, text: str) -> None:
        self._all = tokens(text)
        self._at = 0
        self.current = self._all[0]

    def advance(self) -> Token:
        """Take the current token."""
        taken = self.current
        self._at = min(self._at + 1, len(self._all) - 1)
        self.current = self._all[self._at]
        return taken

    def peek(self) -> Token:
        """The token after the current one."""
        return self._all[min(self._at + 1, len(self._all) - 1)]

    def is_word(self, *words: str) -> bool:
        """Whether the current token is one of these keywords (upper case), in any case."""
        return self.current.kind == "word" and self.current.text.upper() in words

    def is_symbol(self, *symbols: str) -> bool:
        """Whether the current token is one of these symbols."""
        return self.current.kind == "symbol" and self.current.text in symbols

    def take_word(self, word: str) -> bool:
        """Take the keyword if it is there."""
        found = self.is_word(word)
        if found:
            self.advance()
        return found

    def take_symbol(self, symbol: str) -> bool:
        """Take the symbol if it is there."""
        found = self.is_symbol(symbol)
        if found:
            self.advance()
        return found

    def expect_word(self, word: str) -> None:
        """Take the keyword. Raises ValidationException where it is not."""
        if not self.take_word(word):
            raise self.unexpected()

    def expect_symbol(self, symbol: str) -> None:
        """Take the symbol. Raises ValidationException where it is not."""
        if not self.take_symbol(symbol):
            raise self.unexpected()

    def unexpected(self) -> AwsError:
        """The ValidationException for a token that cannot stand here."""
        if self.current.kind == "end":
            return malformed("Unexpected end of statement")
        if self.current.kind == "word" and self.current.text.upper() in KEYWORDS:
            return malformed("Unexpected keyword")
        return malformed("Unexpected token")
