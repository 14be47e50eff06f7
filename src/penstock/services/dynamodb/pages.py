"""One page of a Query or Scan: what is read, what of it is shown, and where the next page begins."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from penstock.core.operation import Params, Result
from penstock.services.dynamodb import capacity, records
from penstock.services.dynamodb.attributes import Item, check_item
from penstock.services.dynamodb.errors import invalid
from penstock.services.dynamodb.expressions.request import Expressions
from penstock.services.dynamodb.expressions.scope import Values
from penstock.services.dynamodb.table import Table
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

MAX_PAGE_BYTES = 1024 * 1024


class Page(NamedTuple):
    """What was read.

    bodies: the items' JSON; empty where only a count is wanted. last: the last one's JSON if more may follow.
    """

    bodies: list[bytes]
    scanned: int
    size_bytes: int
    last: bytes


def read(
    txn: Transaction, table: Table, begin: bytes, end: bytes, *, limit: int, reverse: bool, count_only: bool
) -> Page:
    """Items of a range until `limit` (0: none) or 1 MB is reached. AWS counts what it reads, before any filter."""
    bodies: list[bytes] = []
    count = size_bytes = 0
    for key, stored in txn.scan(begin, end, limit, reverse):
        count += 1
        size_bytes += records.size_of(stored)
        if not count_only:
            bodies.append(records.body_of(txn, table, key, stored))
        if count == limit or size_bytes >= MAX_PAGE_BYTES:
            return Page(bodies, count, size_bytes, records.body_of(txn, table, key, stored))
    return Page(bodies, count, size_bytes, b"")


def check_select(params: Params, verb: str) -> None:
    """Raises ValidationException where Select contradicts the other parameters. verb: Querying or Scanning."""
    select = params.get("Select")
    if select is None:
        return
    chosen = next((name for name in ("AttributesToGet", "ProjectionExpression") if name in params), None)
    if select == "SPECIFIC_ATTRIBUTES":
        if chosen is None:
            raise invalid(
                "Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES"
            )
        return
    if chosen is not None:
        what = "only the Count" if select == "COUNT" else select
        raise invalid(f"Cannot specify the {chosen} when choosing to get {what}")
    if select == "ALL_PROJECTED_ATTRIBUTES" and "IndexName" not in params:
        raise invalid(f"ALL_PROJECTED_ATTRIBUTES can be used only when {verb} using an IndexName")


def check_start_key(params: Params) -> Item | None:
    """The ExclusiveStartKey with checked values, or None. Raises ValidationException."""
    start: Item | None = params.get("ExclusiveStartKey")
    if start is None:
        return None
    try:
        check_item(start)
    except AwsError as error:
        if error.code != "ValidationException" or _stands_alone(error.message):
            raise
        raise invalid(f"The provided starting key is invalid: {error.message}") from None
    return start


def _stands_alone(message: str) -> bool:
    """AWS leaves its prefix off messages about numbers and duplicates."""
    return any(part in message for part in ("contains duplicates", "numeric value", "significant digits", "magnitude"))


def start_key_of(table: Table, start: Item) -> bytes:
    """The key bytes of an ExclusiveStartKey. Raises ValidationException."""
    try:
        return table.key_of_key(start)
    except AwsError as error:
        raise invalid(f"The provided starting key is invalid: {error.message}") from None


def reply(params: Params, table: Table, page: Page, expressions: Expressions, values: Values) -> Result:
    """The result of a page: filtered, cut down, counted."""
    found: list[Any]
    count = page.scanned
    predicate, projection = expressions.filter, expressions.projection
    if predicate is None and projection is None:
        found = [msgspec.Raw(body) for body in page.bodies]
    else:
        found = [records.decode(body) for body in page.bodies]
        if predicate is not None:
            found = [item for item in found if predicate(item, values)]
            count = len(found)
        if projection is not None:
            found = [projection(item) for item in found]
    result: Result = {"Count": count, "ScannedCount": page.scanned}
    if params.get("Select") != "COUNT":
        result["Items"] = found
    if page.last:
        result["LastEvaluatedKey"] = table.key_attributes(records.decode(page.last))
    units = capacity.read_units(page.size_bytes, bool(params.get("ConsistentRead")))
    used = capacity.consumed(params, table.record.name, units)
    if used is not None:
        result["ConsumedCapacity"] = used
    return result
