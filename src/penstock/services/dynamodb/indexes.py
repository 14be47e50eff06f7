"""Secondary indexes as tables have them: made, described, changed, filled.

A global index added to a table with data is filled by a worker while writes go on: every write keeps the index from the
moment it is recorded, and the worker adds what was there before, in order of key.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import msgspec

from penstock.core.node import Node
from penstock.services.dynamodb import billing, keys, table, table_keys
from penstock.services.dynamodb.errors import INVALID, invalid
from penstock.services.dynamodb.index import Index
from penstock.services.dynamodb.records import item_of, size_of
from penstock.services.dynamodb.table_keys import KmsRefused
from penstock.services.dynamodb.table_records import IndexRecord, TableRecord
from penstock.services.dynamodb.table_rules import MAX_GLOBAL_INDEXES, check_global_index, check_projected, check_units
from penstock.services.dynamodb.vector_index import VectorIndex
from penstock.services.dynamodb.writes import add_entry
from penstock.store.api import Transaction
from penstock.store.chunked import clear_large_range
from penstock.store.tuples import prefix_end
from penstock.wire.errors import AwsError

_FILLED_AT_ONCE = 200
_FILLED_BYTES = 1_000_000


class Backfill(msgspec.Struct):
    """How far an index is filled. after: the last item's key that was seen."""

    record_key: bytes
    index_id: int
    after: bytes = b""


_decode = msgspec.json.Decoder(Backfill).decode


def made(params: Mapping[str, Any]) -> list[IndexRecord]:
    """The indexes that a CreateTable asks for."""
    wanted = [(each, False) for each in params.get("LocalSecondaryIndexes") or ()]
    wanted += [(each, True) for each in params.get("GlobalSecondaryIndexes") or ()]
    on_demand = params.get("BillingMode") == "PAY_PER_REQUEST"
    return [_record(each, number, is_global, on_demand) for number, (each, is_global) in enumerate(wanted, 1)]


def _record(given: dict[str, Any], number: int, is_global: bool, on_demand: bool) -> IndexRecord:
    hashes, ranges = (
        [element["AttributeName"] for element in given["KeySchema"] if element["KeyType"] == kind]
        for kind in ("HASH", "RANGE")
    )
    throughput = given.get("ProvisionedThroughput") or {"ReadCapacityUnits": 0, "WriteCapacityUnits": 0}
    index = IndexRecord(
        name=given["IndexName"],
        id=number,
        is_global=is_global,
        hash_key=hashes[0],
        range_key=ranges[0] if ranges else "",
        more_hash_keys=hashes[1:],
        more_range_keys=ranges[1:],
        projection=given["Projection"]["ProjectionType"],
        non_key_attributes=given["Projection"].get("NonKeyAttributes") or [],
        read_units=throughput["ReadCapacityUnits"],
        write_units=throughput["WriteCapacityUnits"],
    )
    billing.set_index(index, given, on_demand)
    return index


def describe(record: TableRecord, status: str, sizes: dict[int, tuple[int, int]]) -> dict[str, Any]:
    """The members of a TableDescription about indexes. sizes: index id -> entries, bytes."""
    found: dict[str, Any] = {}
    for index in record.indexes:
        schema = [{"AttributeName": name, "KeyType": "HASH"} for name in index.hash_keys]
        schema += [{"AttributeName": name, "KeyType": "RANGE"} for name in index.range_keys]
        projection: dict[str, Any] = {"ProjectionType": index.projection}
        if index.non_key_attributes:
            projection["NonKeyAttributes"] = index.non_key_attributes
        count, size_bytes = sizes.get(index.id, (0, 0))
        shown: dict[str, Any] = {
            "IndexName": index.name,
            "KeySchema": schema,
            "Projection": projection,
            "IndexSizeBytes": size_bytes,
            "ItemCount": count,
            "IndexArn": f"{record.arn}/index/{index.name}",
        }
        if index.is_global:
            shown["IndexStatus"] = "CREATING" if index.backfilling or status == "CREATING" else "ACTIVE"
            if index.backfilling:
                shown["Backfilling"] = True
            shown["ProvisionedThroughput"] = {
                "NumberOfDecreasesToday": 0,
                "ReadCapacityUnits": index.read_units,
                "WriteCapacityUnits": index.write_units,
            }
            shown.update(billing.describe(index, record.on_demand))
        found.setdefault("GlobalSecondaryIndexes" if index.is_global else "LocalSecondaryIndexes", []).append(shown)
    return found


def change(
    txn: Transaction, record_key: bytes, record: TableRecord, updates: list[dict[str, Any]], new_types: dict[str, str]
) -> TableRecord:
    """Carry out GlobalSecondaryIndexUpdates. new_types: the request's AttributeDefinitions. Raises AwsError."""
    check_alone(record, updates)
    for each in updates:
        if "Create" in each:
            record = _create(txn, record_key, record, each["Create"], new_types)
        elif "Delete" in each:
            record = _delete(txn, record, each["Delete"]["IndexName"])
        elif "Update" in each:
            record = _update(record, each["Update"])
    return with_used_attributes(record)


def check_alone(record: TableRecord, updates: list[dict[str, Any]]) -> None:
    """Raises LimitExceededException for a second index, of any kind, that is to be made or removed at a time."""
    if sum("Create" in each or "Delete" in each for each in updates) > 1 or (
        any("Create" in each for each in updates)
        and any([each.backfilling for each in record.indexes] + [each.backfilling for each in record.vectors])
    ):
        raise AwsError(
            "LimitExceededException",
            "Subscriber limit exceeded: Only 1 online index can be created or deleted simultaneously per table",
        )


def with_used_attributes(record: TableRecord) -> TableRecord:
    """The record with the definitions of those attributes alone that are keys, or that vector searches filter by."""
    used = {record.hash_key, record.range_key}
    used.update(name for index in record.indexes for name in (*index.hash_keys, *index.range_keys))
    used.update(name for vectors in record.vectors for name in (vectors.hash_key, *vectors.filters))
    return table.changed(record, attributes={n: t for n, t in record.attributes.items() if n in used})


def types_with(record: TableRecord, new_types: dict[str, str]) -> dict[str, str]:
    """The table's attribute definitions with a request's. Raises ValidationException where these contradict."""
    types = {**record.attributes, **new_types}
    for name, kind in record.attributes.items():
        if types[name] != kind:
            raise invalid(f"Attribute {name} is defined as {kind} already")
    return types


def begin_filling(txn: Transaction, record_key: bytes, record: TableRecord, index_id: int) -> None:
    """Have a new index, of any kind, filled with the items that are there."""
    txn.set(keys.backfill(uuid.UUID(record.id).bytes, index_id), msgspec.json.encode(Backfill(record_key, index_id)))
    txn.add(keys.BACKFILLS, 1)


def refuse_known(record: TableRecord, name: str) -> None:
    """Raises ValidationException for a name that an index of the table has."""
    if name in [each.name for each in record.indexes] + [each.name for each in record.vectors]:
        raise invalid(f"Attempting to create an index which already exists: {name}")


def _create(
    txn: Transaction, record_key: bytes, record: TableRecord, given: dict[str, Any], new_types: dict[str, str]
) -> TableRecord:
    types = types_with(record, new_types)
    definitions = [{"AttributeName": name, "AttributeType": kind} for name, kind in types.items()]
    check_global_index(given, definitions, record.on_demand)
    refuse_known(record, given["IndexName"])
    if sum(index.is_global for index in record.indexes) >= MAX_GLOBAL_INDEXES:
        raise AwsError(
            "LimitExceededException",
            f"GlobalSecondaryIndex count exceeds the per-table limit of {MAX_GLOBAL_INDEXES}",
        )
    index = _record(given, record.last_index_id + 1, True, record.on_demand)
    check_projected(sum(len(each.non_key_attributes) for each in (*record.indexes, index)))
    index.backfilling = True
    begin_filling(txn, record_key, record, index.id)
    return table.changed(record, attributes=types, indexes=[*record.indexes, index], last_index_id=index.id)


def _delete(txn: Transaction, record: TableRecord, name: str) -> TableRecord:
    index = _global(record, name)
    clear(txn, uuid.UUID(record.id).bytes, [index])
    insights = {owner: insight for owner, insight in record.insights.items() if owner != name}
    return table.changed(record, indexes=[each for each in record.indexes if each is not index], insights=insights)


def _update(record: TableRecord, given: dict[str, Any]) -> TableRecord:
    index = _global(record, given["IndexName"])
    changed = msgspec.structs.replace(index)
    throughput = given.get("ProvisionedThroughput")
    if throughput is not None:
        if record.on_demand:
            raise invalid(
                f"{INVALID}Neither ReadCapacityUnits nor WriteCapacityUnits can be specified for index: {index.name} when "
                "BillingMode is PAY_PER_REQUEST"
            )
        check_units(throughput)
        changed.read_units, changed.write_units = throughput["ReadCapacityUnits"], throughput["WriteCapacityUnits"]
    elif "OnDemandThroughput" not in given and "WarmThroughput" not in given:
        raise invalid(f"{INVALID}ProvisionedThroughput must be specified for index: {index.name}")
    billing.set_index(changed, given, record.on_demand)
    return table.changed(record, indexes=[changed if each is index else each for each in record.indexes])


def _global(record: TableRecord, name: str) -> IndexRecord:
    for index in record.indexes:
        if index.name == name and index.is_global:
            return index
    raise AwsError(
        "ResourceNotFoundException", f"Requested resource not found: Index: {name} of table {record.name} not found"
    )


def clear(txn: Transaction, table_id: bytes, indexes: Iterable[IndexRecord]) -> None:
    """Remove all entries, counters and state of indexes."""
    for index in indexes:
        prefix = keys.index(table_id, index.id)
        txn.clear(prefix, prefix_end(prefix))
        clear_large_range(txn, *keys.large_entries(table_id, index.id))
        for kept in (
            keys.index_count(table_id, index.id), keys.index_bytes(table_id, index.id), keys.backfill(table_id, index.id)
        ):  # fmt: skip
            txn.clear(kept)


async def fill_all(node: Node) -> None:
    """Fill the indexes that are being filled; those of a table that cannot be opened wait until KMS allows it again."""
    begin, end = keys.backfills()
    while True:
        try:
            if not await table_keys.transact(node, partial(fill_some, begin=begin)):
                return
        except KmsRefused:
            first = await node.store.transact(lambda txn, b=begin: next(txn.scan(b, end, 1), None), read_only=True)  # type: ignore[misc]
            begin = end if first is None else first[0] + b"\0"


def fill_some(txn: Transaction, begin: bytes = b"") -> bool:
    """Fill a part of the first index that is being filled, from `begin` on. Returns whether there was anything to do."""
    first, end = keys.backfills()
    waiting = list(txn.scan(max(first, begin), end, 1))
    if not waiting:
        return False
    state_key, stored = waiting[0]
    state = _decode(stored)
    record = txn.get(state.record_key)
    found = None if record is None else table.decode(record)
    index = None if found is None else _being_filled(found, state.index_id)
    if found is None or index is None:
        txn.clear(state_key)
        return True
    seen = size_bytes = 0
    begin = state.after + b"\0" if state.after else found.prefix
    for item_key, item in txn.scan(begin, prefix_end(found.prefix), _FILLED_AT_ONCE):
        if isinstance(index, VectorIndex):
            index.add(txn, item_key[len(found.prefix) :], item_of(txn, found, item_key, item))
        else:
            add_entry(txn, found, index, item_key, item)
        state.after = item_key
        seen += 1
        size_bytes += size_of(item)
        if size_bytes > _FILLED_BYTES:
            break
    if seen == _FILLED_AT_ONCE or size_bytes > _FILLED_BYTES:
        txn.set(state_key, msgspec.json.encode(state))
    else:
        _finish(txn, state, found.record, state_key)
    return True


def _being_filled(found: table.Table, index_id: int) -> Index | VectorIndex | None:
    listed: list[Index | VectorIndex] = [*found.indexes, *found.vectors]
    return next((each for each in listed if each.record.id == index_id), None)


def _finish(txn: Transaction, state: Backfill, record: TableRecord, state_key: bytes) -> None:
    indexes = [
        msgspec.structs.replace(each, backfilling=False) if each.id == state.index_id else each
        for each in record.indexes
    ]
    vectors = [
        msgspec.structs.replace(each, backfilling=False) if each.id == state.index_id else each
        for each in record.vectors
    ]
    txn.set(state.record_key, table.encode(table.changed(record, indexes=indexes, vectors=vectors)))
    txn.clear(state_key)
