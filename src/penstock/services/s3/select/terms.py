"""Pieces of a query in DuckDB's SQL."""

from __future__ import annotations

from typing import NamedTuple

from penstock.wire.errors import AwsError

TEXT, NUMBER, BOOL, TIME = "text", "number", "bool", "time"


class Term(NamedTuple):
    """An expression. kind: what it is known to be; TEXT also for what may be anything. shown: how a result shows it, if
    not by `sql`."""

    sql: str
    kind: str
    shown: str = ""


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
