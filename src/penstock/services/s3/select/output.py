"""Records as they are sent: CSV or JSON. https://docs.aws.amazon.com/AmazonS3/latest/API/API_OutputSerialization.html"""

from __future__ import annotations

import datetime
import decimal
import json
from collections.abc import Callable, Sequence
from typing import Any

from penstock.services.s3.select.terms import invalid

Write = Callable[[Sequence[Any]], str]
"""One row as text."""


def writer(options: dict[str, Any], names: Sequence[str], json_columns: Sequence[bool], *, whole: bool) -> Write:
    """How rows are written. json_columns: those that hold JSON as text. whole: the one column is the whole record.

    Raises AwsError InvalidRequestParameter.
    """
    if ("CSV" in options) == ("JSON" in options):
        raise invalid("InvalidRequestParameter", "OutputSerialization needs one of CSV and JSON.")
    if "JSON" in options:
        delimiter = (options["JSON"] or {}).get("RecordDelimiter", "\n")
        return _json_writer(names, json_columns, delimiter, whole)
    return _csv_writer(options["CSV"] or {}, json_columns, whole)


def _json_writer(names: Sequence[str], json_columns: Sequence[bool], delimiter: str, whole: bool) -> Write:
    if whole:

        def write_whole(row: Sequence[Any]) -> str:
            return f"{_json(json.loads(row[0]))}{delimiter}"

        return write_whole

    def write(row: Sequence[Any]) -> str:
        record = {
            name: json.loads(value) if is_json else _plain(value)
            for name, value, is_json in zip(names, row, json_columns, strict=True)
            if not (is_json and value is None)
        }
        return f"{_json(record)}{delimiter}"

    return write


def _csv_writer(options: dict[str, Any], json_columns: Sequence[bool], whole: bool) -> Write:
    field, record = options.get("FieldDelimiter", ","), options.get("RecordDelimiter", "\n")
    quote, escape = options.get("QuoteCharacter", '"'), options.get("QuoteEscapeCharacter", '"')
    always = options.get("QuoteFields", "ASNEEDED") == "ALWAYS"
    special = [text for text in (field, record, quote, "\n", "\r") if text]

    def cell(value: Any) -> str:
        text: str = value if isinstance(value, str) else "" if value is None else _text(value)
        if quote and (always or any(mark in text for mark in special)):
            return f"{quote}{text.replace(quote, escape + quote)}{quote}"
        return text

    def write(row: Sequence[Any]) -> str:
        values: list[Any] = [
            json.loads(value) if is_json and value is not None else value
            for value, is_json in zip(row, json_columns, strict=True)
        ]
        if whole:
            values = list(values[0].values()) if isinstance(values[0], dict) else values
        return f"{field.join(map(cell, values))}{record}"

    return write


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (str, int, float)) else _text(value)


def _text(value: Any) -> str:
    """A value as CSV has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, decimal.Decimal):
        return str(int(value)) if value == value.to_integral_value() else str(value.normalize())
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec="milliseconds" if value.microsecond else "seconds").removesuffix("+00:00") + "Z"
    if isinstance(value, datetime.date):
        return f"{value.isoformat()}T00:00:00Z"
    if isinstance(value, (dict, list)):
        return _json(_plain(value))
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
