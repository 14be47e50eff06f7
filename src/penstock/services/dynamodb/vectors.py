"""Vector indexes as tables have them: checked, made, described, added and removed.

Source: "Vector search" and "Quotas in Amazon DynamoDB" of the developer guide.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from penstock.services.dynamodb import indexes, keys, table
from penstock.services.dynamodb.errors import INVALID, invalid
from penstock.services.dynamodb.table_records import TableRecord, VectorRecord
from penstock.services.dynamodb.table_rules import check_projection
from penstock.store.api import Transaction
from penstock.store.tuples import prefix_end
from penstock.wire.errors import AwsError

MAX_INDEXES = 5
MAX_DIMENSIONS = 4096
MAX_FILTERS = 18


def made(params: Mapping[str, Any], first_id: int) -> list[VectorRecord]:
    """The vector indexes that a CreateTable asks for, checked. Raises ValidationException."""
    wanted = params.get("VectorIndexes") or []
    types = {each["AttributeName"]: each["AttributeType"] for each in params["AttributeDefinitions"]}
    taken = [
        each["IndexName"]
        for kind in ("LocalSecondaryIndexes", "GlobalSecondaryIndexes")
        for each in params.get(kind) or ()
    ]
    found: list[VectorRecord] = []
    for number, given in enumerate(wanted, first_id):
        if given["IndexName"] in (*taken, *(each.name for each in found)):
            raise invalid(f"{INVALID}Duplicate index name: {given['IndexName']}")
        found.append(_record(given, number, types, found))
    _check_table(params.get("BillingMode") == "PAY_PER_REQUEST", found)
    return found


def _check_table(on_demand: bool, vectors: list[VectorRecord]) -> None:
    if vectors and not on_demand:
        raise invalid(f"{INVALID}Vector indexes are only supported on tables with BillingMode PAY_PER_REQUEST")
    if len(vectors) > MAX_INDEXES:
        raise invalid(f"{INVALID}VectorIndex count exceeds the per-table limit of {MAX_INDEXES}")


def _record(
    given: dict[str, Any], number: int, types: Mapping[str, str], others: Iterable[VectorRecord]
) -> VectorRecord:
    """A new index. types: the attribute definitions. Raises ValidationException."""
    by_kind: dict[str, list[str]] = {"HASH": [], "INLINE_FILTER": []}
    for element in given.get("SearchSchema") or ():
        name = element["AttributeName"]
        if name not in types:
            raise invalid(f"{INVALID}One element in SearchSchema is not defined in attribute definitions")
        if any(name in names for names in by_kind.values()):
            raise invalid(f"{INVALID}SearchSchema names an attribute twice: {name}")
        by_kind[element["SearchSchemaElementType"]].append(name)
    hashes, filters = by_kind["HASH"], by_kind["INLINE_FILTER"]
    if len(hashes) > 1 or len(filters) > MAX_FILTERS:
        raise invalid(f"{INVALID}A SearchSchema has at most one HASH and {MAX_FILTERS} INLINE_FILTER elements")
    dimensions, attribute = given["Dimensions"], given["VectorAttribute"]["AttributeName"]
    if dimensions > MAX_DIMENSIONS:
        raise invalid(f"{INVALID}Dimensions must be between 1 and {MAX_DIMENSIONS}")
    if any(each.attribute == attribute and each.dimensions != dimensions for each in others):
        raise invalid(f"{INVALID}All vector indexes of attribute {attribute} must have the same number of dimensions")
    if attribute in types:
        raise invalid(f"{INVALID}The vector attribute {attribute} cannot be defined in AttributeDefinitions")
    check_projection(given["Projection"])
    return VectorRecord(
        given["IndexName"], number, attribute, dimensions, given["DistanceFunction"], hashes[0] if hashes else "", filters,
        given["Projection"]["ProjectionType"], given["Projection"].get("NonKeyAttributes") or [],
    )  # fmt: skip


def definition(vectors: VectorRecord) -> dict[str, Any]:
    """A VectorIndexInfo: what an index was made with."""
    projection: dict[str, Any] = {"ProjectionType": vectors.projection}
    if vectors.non_key_attributes:
        projection["NonKeyAttributes"] = vectors.non_key_attributes
    schema = [{"AttributeName": vectors.hash_key, "SearchSchemaElementType": "HASH"}] if vectors.hash_key else []
    schema += [{"AttributeName": name, "SearchSchemaElementType": "INLINE_FILTER"} for name in vectors.filters]
    shown: dict[str, Any] = {
        "IndexName": vectors.name,
        "VectorAttribute": {"AttributeName": vectors.attribute},
        "Projection": projection,
        "Dimensions": vectors.dimensions,
        "DistanceFunction": vectors.distance,
    }
    if schema:
        shown["SearchSchema"] = schema
    return shown


def describe(record: TableRecord, status: str, sizes: dict[int, tuple[int, int]]) -> dict[str, Any]:
    """The VectorIndexes member of a TableDescription. sizes: index id -> entries, bytes."""
    found = []
    for vectors in record.vectors:
        count, size_bytes = sizes.get(vectors.id, (0, 0))
        shown = {
            **definition(vectors),
            "IndexStatus": "CREATING" if vectors.backfilling or status == "CREATING" else "ACTIVE",
            "IndexSizeBytes": size_bytes,
            "ItemCount": count,
            "IndexArn": f"{record.arn}/index/{vectors.name}",
        }
        if vectors.backfilling:
            shown["Backfilling"] = True
        found.append(shown)
    return {"VectorIndexes": found} if found else {}


def change(
    txn: Transaction, record_key: bytes, record: TableRecord, updates: list[dict[str, Any]], new_types: dict[str, str]
) -> TableRecord:
    """Carry out VectorIndexUpdates. new_types: the request's AttributeDefinitions. Raises AwsError."""
    indexes.check_alone(record, updates)
    for each in updates:
        if "Create" in each:
            record = _create(txn, record_key, record, each["Create"], new_types)
        elif "Delete" in each:
            record = _delete(txn, record, each["Delete"]["IndexName"])
    return indexes.with_used_attributes(record)


def _create(
    txn: Transaction, record_key: bytes, record: TableRecord, given: dict[str, Any], new_types: dict[str, str]
) -> TableRecord:
    types = indexes.types_with(record, new_types)
    indexes.refuse_known(record, given["IndexName"])
    new = _record(given, record.last_index_id + 1, types, record.vectors)
    _check_table(record.on_demand, [*record.vectors, new])
    new.backfilling = True
    indexes.begin_filling(txn, record_key, record, new.id)
    return table.changed(record, attributes=types, vectors=[*record.vectors, new], last_index_id=new.id)


def _delete(txn: Transaction, record: TableRecord, name: str) -> TableRecord:
    gone = next((each for each in record.vectors if each.name == name), None)
    if gone is None:
        raise AwsError(
            "ResourceNotFoundException", f"Requested resource not found: Index: {name} of table {record.name} not found"
        )
    clear(txn, uuid.UUID(record.id).bytes, [gone])
    return table.changed(record, vectors=[each for each in record.vectors if each is not gone])


def clear(txn: Transaction, table_id: bytes, vectors: Iterable[VectorRecord]) -> None:
    """Remove all entries, counters and state of vector indexes."""
    for each in vectors:
        prefix = keys.vectors(table_id, each.id)
        txn.clear(prefix, prefix_end(prefix))
        for kept in (
            keys.index_count(table_id, each.id), keys.index_bytes(table_id, each.id), keys.backfill(table_id, each.id)
        ):  # fmt: skip
            txn.clear(kept)
