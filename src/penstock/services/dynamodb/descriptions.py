"""A table as DescribeTable shows it: its status, its sizes, and what all its parts say of themselves."""

from __future__ import annotations

from typing import Any, NamedTuple

from penstock.services.dynamodb import billing, encryption, indexes, keys, replicas, streams, table, vectors
from penstock.services.dynamodb.table_records import Restored, TableRecord
from penstock.store.api import Transaction


def status_of(record: TableRecord) -> str:
    """The TableStatus of a table that nothing is being done to by this very call."""
    if record.inaccessible_since and not record.leaving:
        return "INACCESSIBLE_ENCRYPTION_CREDENTIALS"
    return "DELETING" if record.leaving else "CREATING" if record.filling else "ACTIVE"


class Sized(NamedTuple):
    """A table's record with the sizes of the table and of its indexes (id -> entries, bytes)."""

    record: TableRecord
    items: int
    size_bytes: int
    indexes: dict[int, tuple[int, int]]


def sizes(txn: Transaction, found: table.Table) -> Sized:
    """A table's record and sizes."""
    return Sized(
        found.record,
        _counter(txn, found.counted),
        _counter(txn, found.sized),
        {
            number: (
                _counter(txn, keys.index_count(found.id, number)),
                _counter(txn, keys.index_bytes(found.id, number)),
            )
            for number in [each.id for each in found.record.indexes] + [each.id for each in found.record.vectors]
        },
    )


def _counter(txn: Transaction, key: bytes) -> int:
    return int.from_bytes(txn.get(key) or b"", "little", signed=True)


def describe(sized: Sized, status: str) -> dict[str, Any]:
    """A TableDescription."""
    record = sized.record
    schema = [{"AttributeName": record.hash_key, "KeyType": "HASH"}]
    if record.range_key:
        schema.append({"AttributeName": record.range_key, "KeyType": "RANGE"})
    throughput: dict[str, Any] = {
        "NumberOfDecreasesToday": record.decreases_today,
        "ReadCapacityUnits": record.read_units,
        "WriteCapacityUnits": record.write_units,
    }
    if record.increased_at:
        throughput["LastIncreaseDateTime"] = record.increased_at
    if record.decreased_at:
        throughput["LastDecreaseDateTime"] = record.decreased_at
    found: dict[str, Any] = {
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": kind} for name, kind in record.attributes.items()
        ],
        "TableName": record.name,
        "KeySchema": schema,
        "TableStatus": status,
        "CreationDateTime": record.created_at,
        "ProvisionedThroughput": throughput,
        "TableSizeBytes": sized.size_bytes,
        "ItemCount": sized.items,
        "TableArn": record.arn,
        "TableId": record.id,
        "DeletionProtectionEnabled": record.deletion_protection,
    }
    found.update(billing.describe(record, record.on_demand))
    found.update(indexes.describe(record, status, sized.indexes))
    found.update(vectors.describe(record, status, sized.indexes))
    found.update(streams.describe(record))
    found.update(replicas.describe(record))
    found.update(encryption.describe(record))
    if record.on_demand:
        summary: dict[str, Any] = {"BillingMode": "PAY_PER_REQUEST"}
        if status != "CREATING":
            summary["LastUpdateToPayPerRequestDateTime"] = record.on_demand_since
        found["BillingModeSummary"] = summary
    elif record.on_demand_since:
        found["BillingModeSummary"] = {
            "BillingMode": "PROVISIONED",
            "LastUpdateToPayPerRequestDateTime": record.on_demand_since,
        }
    if record.table_class:
        found["TableClassSummary"] = {"TableClass": record.table_class}
    if record.restored is not None:
        found["RestoreSummary"] = _restore_summary(record.restored, record.filling)
    return found


def _restore_summary(restored: Restored, under_way: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"RestoreDateTime": restored.at, "RestoreInProgress": under_way}
    if restored.backup_arn:
        shown["SourceBackupArn"] = restored.backup_arn
    if restored.table_arn:
        shown["SourceTableArn"] = restored.table_arn
    return shown
