"""UpdateTableReplicaAutoScaling, DescribeTableReplicaAutoScaling: auto scaling of all tables of a global table at once.

Write capacity is the same in all regions, read capacity each one's own. Either is kept by Application Auto Scaling, which is
asked for it region by region, with the caller's permissions there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.dynamodb import descriptions, names, replicas, resource_policies, table, tables
from penstock.services.dynamodb.errors import INVALID, invalid, table_missing_by_name
from penstock.services.dynamodb.scaling import keep, settings_of
from penstock.services.dynamodb.table_records import TableRecord


async def _find(call: Call, params: Params) -> TableRecord:
    """The table. Raises ResourceNotFoundException, ValidationException for one of the older version of global tables."""
    key = names.record_key(call, params["TableName"])
    stored = await call.store.transact(lambda txn: txn.get(key), read_only=True)
    if stored is None:
        raise table_missing_by_name(params["TableName"])
    record = table.decode(stored).record
    replicas.refuse_legacy(record)
    return record


def _regions(call: Call, record: TableRecord) -> list[str]:
    return [call.region, *(each.region for each in record.replicas)]


@operation(
    "dynamodb:DescribeTableReplicaAutoScaling", resource=names.resource, policy=resource_policies.load
)  # fmt: skip
async def describe_table_replica_auto_scaling(call: Call, params: Params) -> Result:
    """What keeps the capacity of a table, and of its replicas in other regions."""
    return {"TableAutoScalingDescription": await _describe(call, await _find(call, params))}


async def _describe(call: Call, record: TableRecord, status: str = "") -> dict[str, Any]:
    shown = []
    states = {each.region: each.status for each in record.replicas}
    for region in _regions(call, record):
        settings = await settings_of(call, region, record)
        found: dict[str, Any] = {
            "RegionName": region,
            "ReplicaStatus": states.get(region, "ACTIVE"),
            "ReplicaProvisionedReadCapacityAutoScalingSettings": settings("", "Read"),
            "ReplicaProvisionedWriteCapacityAutoScalingSettings": settings("", "Write"),
        }
        indexes = [
            {
                "IndexName": index.name,
                "IndexStatus": "CREATING" if index.backfilling else "ACTIVE",
                "ProvisionedReadCapacityAutoScalingSettings": settings(index.name, "Read"),
                "ProvisionedWriteCapacityAutoScalingSettings": settings(index.name, "Write"),
            }
            for index in record.indexes
            if index.is_global
        ]
        if indexes:
            found["GlobalSecondaryIndexes"] = indexes
        shown.append(found)
    return {"TableName": record.name, "TableStatus": status or descriptions.status_of(record), "Replicas": shown}


@operation(
    "dynamodb:UpdateTableReplicaAutoScaling", resource=names.resource, policy=resource_policies.load
)  # fmt: skip
async def update_table_replica_auto_scaling(call: Call, params: Params) -> Result:
    """Have capacity scaled, or no longer: writes in all regions, reads in those that are named."""
    record = await _find(call, params)
    if record.on_demand:
        raise invalid(f"{INVALID}Auto scaling settings cannot be specified when BillingMode is PAY_PER_REQUEST")
    tables.refuse_busy(record)
    wanted = list(_wanted(call, record, params))
    if not wanted:
        raise invalid(f"{INVALID}At least one auto scaling update must be specified")
    known = {each.name for each in record.indexes if each.is_global}
    for _, index, _, _ in wanted:
        if index and index not in known:
            raise invalid(f"{INVALID}Global Secondary Index: {index} does not exist on the table")
    for region, index, kind, update in wanted:
        await keep(call, region, record, index, kind, update)
    return {"TableAutoScalingDescription": await _describe(call, record, "UPDATING")}


def _wanted(call: Call, record: TableRecord, params: Params) -> Iterable[tuple[str, str, str, dict[str, Any]]]:
    """(region, index or "", Read or Write, update) of each. Raises ValidationException for a region without a replica."""
    regions = _regions(call, record)
    for region in regions:
        if "ProvisionedWriteCapacityAutoScalingUpdate" in params:
            yield region, "", "Write", params["ProvisionedWriteCapacityAutoScalingUpdate"]
        for each in params.get("GlobalSecondaryIndexUpdates", ()):
            if "ProvisionedWriteCapacityAutoScalingUpdate" in each:
                yield region, each.get("IndexName", ""), "Write", each["ProvisionedWriteCapacityAutoScalingUpdate"]
    for replica in params.get("ReplicaUpdates", ()):
        region = replica["RegionName"]
        if region not in regions:
            raise invalid(replicas.NOT_PART)
        if "ReplicaProvisionedReadCapacityAutoScalingUpdate" in replica:
            yield region, "", "Read", replica["ReplicaProvisionedReadCapacityAutoScalingUpdate"]
        for each in replica.get("ReplicaGlobalSecondaryIndexUpdates", ()):
            if "ProvisionedReadCapacityAutoScalingUpdate" in each:
                yield region, each.get("IndexName", ""), "Read", each["ProvisionedReadCapacityAutoScalingUpdate"]
