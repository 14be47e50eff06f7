"""Expression text to tokens. A token is (kind, text, start, end)."""

from __future__ import annotations

import re
from typing import NamedTuple

from penstock.services.dynamodb.errors import counted, invalid
from penstock.wire.errors import AwsError

_TOKEN = re.compile(
    r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<alias>#[A-Za-z0-9_]+)|(?P<value>:[A-Za-z0-9_]+)|(?P<digits>[0-9]+)"
    r"|(?P<symbol><=|>=|<>|[=<>()\[\],.+\-])|(?P<space>[ \t\r\n]+)|(?P<bad>.)",
    re.DOTALL,
)
MAX_BYTES = 4096


class Token(NamedTuple):
    """kind: name, alias (#x), value (:x), digits, symbol, bad or end."""

    kind: str
    text: str
    start: int
    end: int


def tokens(text: str) -> list[Token]:
    """All tokens, the last of kind "end". Anything that is no token becomes one of kind "bad" for the parser."""
    found = [
        Token(match.lastgroup or "", match.group(), match.start(), match.end())
        for match in _TOKEN.finditer(text)
        if match.lastgroup != "space"
    ]
    found.append(Token("end", "<EOF>", len(text), len(text)))
    return found


class ExpressionError(Exception):
    """A broken expression; the message lacks the "Invalid XExpression: " that names which one."""

    is_counted = False

    def named(self, parameter: str) -> AwsError:
        """The ValidationException for the expression in `parameter`."""
        message = f"Invalid {parameter}: {self}"
        return counted(message) if self.is_counted else invalid(message)


class CountedExpressionError(ExpressionError):
    """One that `errors.detected` begins with a count."""

    is_counted = True


class Tokens:
    """A cursor over an expression's tokens."""

    __slots__ = ("_all", "_text", "at", "current")

    def __init__(self, text: str) -> None:
        self._text = text
        self._all = tokens(text)
        self.at = 0
        self.current = self._all[0]

    def advance(self) -> Token:
        """Take the current token."""
        taken = self.current
        self.at += 1
        self.current = self._all[min(self.at, len(self._all) - 1)]
        return taken

    def peek(self) -> Token:
        """The token after the current one."""
        return self._all[min(self.at + 1, len(self._all) - 1)]

    def is_symbol(self, text: str) -> bool:
        """Whether the current token is this symbol."""
        return self.current.kind == "symbol" and self.current.text == text

    def is_word(self, word: str) -> bool:
        """Whether the current token is this keyword (upper case), in any case."""
        return self.current.kind == "name" and self.current.text.upper() == word

    def take_symbol(self, text: str) -> bool:
        """Take the symbol if it is there."""
        if self.is_symbol(text):
            self.advance()
            return True
        return False

    def expect_symbol(self, text: str) -> None:
        """Take the symbol. Raises ExpressionError where it is not."""
        if not self.take_symbol(text):
            raise self.unexpected()

    def expect_end(self) -> None:
        """Raises ExpressionError unless all tokens are taken."""
        if self.current.kind != "end":
            raise self.unexpected()

    def unexpected(self) -> ExpressionError:
        """AWS's words: the token, and the text from the token before it to the one after it."""
        before = self._all[max(self.at - 1, 0)]
        after = self._all[min(self.at + 1, len(self._all) - 1)]
        near = self._text[before.start : after.end].rstrip()
        return ExpressionError(f'Syntax error; token: "{self.current.text}", near: "{near}"')
