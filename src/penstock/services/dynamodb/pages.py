"""One page of a Query or Scan: what is read, what of it is shown, and where the next page begins."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from penstock.core.call import Call
from penstock.core.operation import Params, Result
from penstock.services.dynamodb import capacity, consumption, records, throughput
from penstock.services.dynamodb.attributes import Item, check_item
from penstock.services.dynamodb.errors import INVALID, KEY_MISMATCH, invalid
from penstock.services.dynamodb.expressions.request import Expressions
from penstock.services.dynamodb.expressions.scope import Values
from penstock.services.dynamodb.index import Index
from penstock.services.dynamodb.key_space import KeySpace
from penstock.services.dynamodb.table import Table
from penstock.store.api import StoreError, Transaction
from penstock.wire.errors import AwsError

MAX_PAGE_BYTES = 1024 * 1024


class Source(NamedTuple):
    """What is read: a table, or an index of it. whole: items are fetched from the table for what the index lacks."""

    table: Table
    secondary: Index | None
    whole: bool

    @property
    def space(self) -> KeySpace:
        return self.secondary or self.table


class Page(NamedTuple):
    """What was read.

    bodies: the items' JSON; empty where only a count is wanted. size_bytes: of what was read in the table or index;
    fetched_bytes: of what was fetched from the table besides. last: the last one's JSON if more may follow.
    """

    bodies: list[bytes]
    scanned: int
    size_bytes: int
    fetched_bytes: int
    last: bytes


def source_of(found: Table, params: Params, expressions: Expressions) -> Source:
    """The table, or the index that the request names. Raises ValidationException for what that cannot give."""
    name = params.get("IndexName")
    if name is None:
        return Source(found, None, False)
    if any(each.record.name == name for each in found.vectors):
        kind = "Query" if params.keys() & {"KeyConditionExpression", "KeyConditions"} else "Scan"
        raise invalid(f"{kind} operation not supported on this index type.")
    index = found.index(name)
    if index.record.is_global and params.get("ConsistentRead"):
        raise invalid("Consistent reads are not supported on global secondary indexes")
    if index.projects_all:
        return Source(found, index, False)
    if params.get("Select") == "ALL_ATTRIBUTES":
        if index.record.is_global:
            raise invalid(
                f"{INVALID}Select type ALL_ATTRIBUTES is not supported for global secondary index {name} because its "
                "projection type is not ALL"
            )
        return Source(found, index, True)
    lacking = [str(path[0]) for path in expressions.projected if path[0] not in index.kept]
    if lacking and index.record.is_global:
        raise invalid(f"{INVALID}Global secondary index {name} does not project [{', '.join(lacking)}]")
    return Source(found, index, bool(lacking))


def read(
    txn: Transaction, source: Source, begin: bytes, end: bytes, *, limit: int, reverse: bool, count_only: bool
) -> Page:
    """Items of a range until `limit` (0: none) or 1 MB is reached. AWS counts what it reads, before any filter."""
    if source.secondary is not None:
        return _read_index(txn, source, source.secondary, begin, end, limit=limit, reverse=reverse)
    bodies: list[bytes] = []
    count = size_bytes = 0
    for key, stored in txn.scan(begin, end, limit, reverse):
        count += 1
        size_bytes += records.size_of(stored)
        if not count_only:
            bodies.append(records.body_of(txn, source.table, key, stored))
        if count == limit or size_bytes >= MAX_PAGE_BYTES:
            return Page(bodies, count, size_bytes, 0, records.body_of(txn, source.table, key, stored))
    return Page(bodies, count, size_bytes, 0, b"")


def _read_index(
    txn: Transaction, source: Source, index: Index, begin: bytes, end: bytes, *, limit: int, reverse: bool
) -> Page:
    bodies: list[bytes] = []
    count = size_bytes = fetched_bytes = 0
    for key, stored in txn.scan(begin, end, limit, reverse):
        if index.projects_all:
            size, body = _fetch(txn, source.table, source.table.prefix + stored)
            size_bytes += size
        else:
            body = records.body_of(txn, index, key, stored)
            size_bytes += records.size_of(stored)
            if source.whole:
                size, body = _fetch(txn, source.table, source.table.key_of(records.decode(body)))
                fetched_bytes += size
        bodies.append(body)
        count += 1
        if count == limit or size_bytes + fetched_bytes >= MAX_PAGE_BYTES:
            return Page(bodies, count, size_bytes, fetched_bytes, body)
    return Page(bodies, count, size_bytes, fetched_bytes, b"")


def _fetch(txn: Transaction, table: Table, key: bytes) -> tuple[int, bytes]:
    """Size and JSON of an item that an index leads to."""
    stored = txn.get(key)
    if stored is None:
        raise StoreError(f"an index leads to {key!r}, where no item is")
    return records.size_of(stored), records.body_of(txn, table, key, stored)


def take(call: Call, params: Params, source: Source, page: Page, at: bytes = b"") -> None:
    """Take what a page cost from what is left. at: the partition that was read, if it was one. Raises when throttled."""
    consistent = bool(params.get("ConsistentRead"))
    fetched = capacity.read_units(page.fetched_bytes, consistent) if source.whole else 0.0
    units = capacity.read_units(page.size_bytes, consistent)
    throughput.read(call, source.table, source.secondary, units, fetched, at)


def check_select(params: Params, count: str = "") -> None:
    """Raises ValidationException where Select contradicts the other parameters. count: what AWS begins with."""
    select = params.get("Select")
    if select is None:
        return
    chosen = next((name for name in ("AttributesToGet", "ProjectionExpression") if name in params), None)
    if select == "SPECIFIC_ATTRIBUTES":
        if chosen is None:
            raise invalid(
                f"{count}Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES"
            )
        return
    if chosen is not None:
        what = "only the Count" if select == "COUNT" else select
        raise invalid(f"{count}Cannot specify the {chosen} when choosing to get {what}")
    if select == "ALL_PROJECTED_ATTRIBUTES" and "IndexName" not in params:
        raise invalid(f"{count}ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName")


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


def start_key_of(source: Source, start: Item) -> bytes:
    """The key bytes of an ExclusiveStartKey. Raises ValidationException."""
    table, index = source.table, source.secondary
    try:
        if index is None:
            return table.key_of_key(start)
        if start.keys() != {*table.key_names, *index.own_key_names}:
            raise invalid(KEY_MISMATCH)
        item_key = table.key_of_key({name: start[name] for name in table.key_names})
        entry_key = index.entry_key(start, table.suffix_of(item_key))
        if entry_key is None:
            raise invalid(KEY_MISMATCH)
        return entry_key
    except AwsError as error:
        raise invalid(f"The provided starting key is invalid: {error.message}") from None


def reply(call: Call, params: Params, source: Source, page: Page, expressions: Expressions, values: Values) -> Result:
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
        result["LastEvaluatedKey"] = source.table.key_attributes(records.decode(page.last), source.secondary)
    wanted = params.get("ReturnConsumedCapacity", "NONE") != "NONE"
    if wanted or not source.table.record.on_demand:
        consistent = bool(params.get("ConsistentRead"))
        units = capacity.read_units(page.size_bytes, consistent)
        indexes: list[tuple[Index, float]] = []
        if source.secondary is not None:
            indexes = [(source.secondary, units)]
            units = capacity.read_units(page.fetched_bytes, consistent) if source.whole else 0.0
        consumption.note(call, source.table, consumption.READ, units, indexes)
        if wanted:
            result["ConsumedCapacity"] = capacity.consumed(params, source.table.record.name, units, indexes)
    return result
