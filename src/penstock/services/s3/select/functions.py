"""The functions of S3 Select, and none but these.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-select-sql-reference-sql-functions.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from penstock.services.s3.select.terms import BOOL, NUMBER, TEXT, TIME, Term, invalid, number, quoted, time

if TYPE_CHECKING:
    from penstock.services.s3.select.grammar import Parser

AGGREGATES = frozenset(("COUNT", "SUM", "AVG", "MIN", "MAX"))
_KNOWN = AGGREGATES | frozenset(
    ("LOWER", "UPPER", "CHAR_LENGTH", "CHARACTER_LENGTH", "TO_TIMESTAMP", "NULLIF", "TO_STRING", "COALESCE")
)
_TYPES = {
    "BOOL": ("BOOLEAN", BOOL), "BOOLEAN": ("BOOLEAN", BOOL), "INT": ("BIGINT", NUMBER), "INTEGER": ("BIGINT", NUMBER),
    "STRING": ("VARCHAR", TEXT), "VARCHAR": ("VARCHAR", TEXT), "CHAR": ("VARCHAR", TEXT), "FLOAT": ("DOUBLE", NUMBER),
    "REAL": ("DOUBLE", NUMBER), "DOUBLE": ("DOUBLE", NUMBER), "DECIMAL": ("DECIMAL(38, 10)", NUMBER),
    "NUMERIC": ("DECIMAL(38, 10)", NUMBER), "TIMESTAMP": ("TIMESTAMP", TIME),
}  # fmt: skip
_PARTS = ("YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND", "TIMEZONE_HOUR", "TIMEZONE_MINUTE")
_FORMAT = (
    ("yyyy", "%Y"), ("MM", "%m"), ("dd", "%d"), ("HH", "%H"), ("mm", "%M"), ("ss", "%S"), ("yy", "%y"), ("hh", "%I"),
    ("SSS", "%g"), ("a", "%p"), ("M", "%-m"), ("d", "%-d"), ("H", "%-H"), ("m", "%-M"), ("s", "%-S"), ("y", "%Y"),
    ("X", "Z"),
)  # fmt: skip


def call(name: str, arguments: list[Term]) -> Term:
    """A function with plain arguments. Raises AwsError UnsupportedFunction, EvaluatorInvalidArguments."""
    count = len(arguments)
    one = arguments[0] if count == 1 else None
    if one is not None:
        match name:
            case "COUNT":
                return Term(f"COUNT({one.sql})", NUMBER)
            case "SUM" | "AVG" | "MIN" | "MAX":
                return Term(f"{name}({number(one)})", NUMBER)
            case "LOWER" | "UPPER":
                return Term(f"{name}(CAST({one.sql} AS VARCHAR))", TEXT)
            case "CHAR_LENGTH" | "CHARACTER_LENGTH":
                return Term(f"length(CAST({one.sql} AS VARCHAR))", NUMBER)
            case "TO_TIMESTAMP":
                return Term(f"CAST({one.sql} AS TIMESTAMP)", TIME)
    if name == "COALESCE" and count:
        return Term(f"COALESCE({', '.join(term.sql for term in arguments)})", arguments[0].kind)
    if name == "NULLIF" and count == 2:
        left, right = arguments
        both = (number(left), number(right)) if NUMBER in (left.kind, right.kind) else (left.sql, right.sql)
        return Term(f"NULLIF({both[0]}, {both[1]})", left.kind if NUMBER not in (left.kind, right.kind) else NUMBER)
    if name == "TO_STRING" and count == 2:
        return _to_string(*arguments)
    if name in _KNOWN:
        raise invalid("EvaluatorInvalidArguments", f"Incorrect number of arguments in the function call of {name}.")
    raise invalid("UnsupportedFunction", f"Encountered an unsupported SQL function: {name[:100]}.")


def cast(inner: Term, kind: str, arguments: list[str]) -> Term:
    """CAST. Raises AwsError ParseInvalidTypeParam."""
    found = _TYPES.get(kind.upper())
    if found is None:
        raise invalid("InvalidDataType", "The SQL expression contains an invalid data type.")
    name, result = found
    if kind.upper() in ("DECIMAL", "NUMERIC") and arguments:
        digits = [int(text) for text in arguments if text.isdigit() and len(text) <= 3]
        if len(digits) != len(arguments) or len(digits) > 2 or not 1 <= digits[0] <= 38 or digits[-1] > 38:
            raise invalid("ParseInvalidTypeParam", "The SQL expression contains an invalid parameter value.")
        name = f"DECIMAL({digits[0]}, {digits[1] if len(digits) == 2 else 0})"
    sql = inner.sql
    if name == "BIGINT" and inner.kind == TEXT:  # 1.0 is a whole number too
        sql = f"TRUNC(CAST({sql} AS DECIMAL(38, 10)))"
    return Term(f"CAST({sql} AS {name})", result)


def _to_string(term: Term, pattern: Term) -> Term:
    text = pattern.sql[1:-1]
    found, at = "", 0
    while at < len(text):
        for letters, code in _FORMAT:
            if text.startswith(letters, at):
                found += code
                at += len(letters)
                break
        else:
            found += "%%" if text[at] == "%" else text[at]
            at += 1
    return Term(f"strftime({time(term)}, {quoted(found)})", TEXT)


def _substring(parser: Parser) -> Term:
    text = parser.expression()
    if not parser.take("FROM"):
        parser.comma()
    start = number(parser.expression())
    length = parser.expression() if parser.take("FOR") or parser.sign(",") else None
    begin = f"CAST({start} AS BIGINT)"
    cut = "" if length is None else f", CAST({number(length)} + LEAST({begin} - 1, 0) AS BIGINT)"
    return Term(f"substring(CAST({text.sql} AS VARCHAR), GREATEST({begin}, 1){cut})", TEXT)


def _trim(parser: Parser) -> Term:
    side = "BOTH"
    for word in ("LEADING", "TRAILING", "BOTH"):
        if parser.take(word):
            side = word
            break
    characters = None
    first = None if parser.take("FROM") else parser.expression()
    if first is not None and parser.take("FROM"):
        characters, first = first, None
    text = first if first is not None else parser.expression()
    name = {"BOTH": "trim", "LEADING": "ltrim", "TRAILING": "rtrim"}[side]
    more = f", {characters.sql}" if characters is not None else ""
    return Term(f"{name}(CAST({text.sql} AS VARCHAR){more})", TEXT)


def _part(parser: Parser) -> str:
    part = parser.word()
    if part not in _PARTS:
        raise invalid("ParseExpectedDatePart", "Did not find the expected date part in the SQL expression.")
    return part


def _extract(parser: Parser) -> Term:
    part = _part(parser)
    if not parser.take("FROM"):
        raise invalid("ParseExpectedKeyword", "Did not find the expected keyword FROM in the SQL expression.")
    value = time(parser.expression())
    if part.startswith("TIMEZONE"):
        return Term(f"(CASE WHEN {value} IS NULL THEN NULL ELSE 0 END)", NUMBER)
    return Term(f"EXTRACT({part} FROM {value})", NUMBER)


def _date_add(parser: Parser) -> Term:
    part = _part(parser)
    parser.comma()
    count = number(parser.expression())
    parser.comma()
    value = time(parser.expression())
    return Term(f"({value} + CAST({count} AS INTEGER) * INTERVAL 1 {part})", TIME)


def _date_diff(parser: Parser) -> Term:
    part = _part(parser)
    parser.comma()
    first = time(parser.expression())
    parser.comma()
    second = time(parser.expression())
    return Term(f"datesub('{part.lower()}', {first}, {second})", NUMBER)


SPECIAL: Mapping[str, Callable[[Parser], Term]] = {
    "SUBSTRING": _substring, "TRIM": _trim, "EXTRACT": _extract, "DATE_ADD": _date_add, "DATE_DIFF": _date_diff,
}  # fmt: skip
"""Functions with a syntax of their own, which read their arguments themselves."""
