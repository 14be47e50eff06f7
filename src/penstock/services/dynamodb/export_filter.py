"""Which items of a table an export has, and what of them: its FilterSpecification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.services.dynamodb import records
from penstock.services.dynamodb.attributes import Item
from penstock.services.dynamodb.errors import invalid
from penstock.services.dynamodb.expressions.request import compile_request
from penstock.services.dynamodb.items import refuse_below_keys
from penstock.services.dynamodb.key_ranges import key_range
from penstock.services.dynamodb.table import Table


class ExportFilter:
    """A compiled FilterSpecification of a table; without one, everything."""

    def __init__(self, of: Table, given: Mapping[str, Any] | None) -> None:
        """Raises ValidationException for expressions that are wrong or do not fit the table's keys."""
        self.given = bool(given)
        self._begin, self._end = b"", b"\xff"
        if not given:
            return
        self._expressions, self._values = compile_request(given)
        refuse_below_keys(of, {str(path[0]): len(path) > 1 for path in self._expressions.projected})
        if "KeyConditionExpression" in given:
            found = key_range(of, self._expressions.key_conditions, self._values)
            self._begin, self._end = found.begin, found.end
            wrong = [name for name in of.key_names if name in self._expressions.filter_heads]
            if wrong:
                raise invalid(
                    "Filter Expression can only contain non-primary key attributes: Primary key attribute: " + wrong[0]
                )

    def seen(self, key: bytes, body: bytes) -> tuple[Item | None, bytes]:
        """What the export has of an item: decoded where that was needed, and its JSON, empty where it has nothing of it."""
        if not self.given:
            return None, body
        if not self._begin <= key < self._end:
            return None, b""
        item = records.decode(body)
        if self._expressions.filter is not None and not self._expressions.filter(item, self._values):
            return None, b""
        if self._expressions.projection is None:
            return item, body
        shown = self._expressions.projection(item)
        return shown, records.encode(shown)
