"""Pieces of a query in DuckDB's SQL."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.wire.errors import AwsError

TEXT, NUMBER, BOOL, TIME = "text", "number", "bool", "time"
SQL_BYTES = 1024 * 1024
"""BETWEEN, IN and CASE write what they compare more than once: nested, a short query would become an endless one."""


@dataclass(frozen=True, slots=True)
class Term:
    """An expression. kind: what it is known to be; TEXT also for what may be anything. shown: how a result shows it, if
    not by `sql`. Raises AwsError where its SQL is too long."""

    sql: str
    kind: str
    shown: str = ""

    def __post_init__(self) -> None:
        check_size(len(self.sql))


def check_size(sql_bytes: int) -> None:
    """Raises AwsError ExpressionTooLong."""
    if sql_bytes > SQL_BYTES:
        raise AwsError("ExpressionTooLong", "The SQL expression is too long: what it stands for has no end.", 400)


def number(term: Term) -> str:
    """The expression as a number; text that is none is missing."""
    return term.sql if term.kind == NUMBER else f"TRY_CAST({term.sql} AS DOUBLE)"


def time(term: Term) -> str:
    """The expression as a timestamp."""
    return term.sql if term.kind == TIME else f"TRY_CAST({term.sql} AS TIMESTAMP)"


def quoted(text: str) -> str:
    """A literal."""
    if "\0" in text:
        raise invalid("LexerInvalidLiteral", "The SQL expression contains an invalid literal.")
    escaped = text.replace("'", "''")
    return f"'{escaped}'"


def named(text: str) -> str:
    """An identifier."""
    if "\0" in text:
        raise invalid("LexerInvalidLiteral", "The SQL expression contains an invalid identifier.")
    escaped = text.replace('"', '""')
    return f'"{escaped}"'


def invalid(code: str, message: str) -> AwsError:
    return AwsError(code, message, 400)
