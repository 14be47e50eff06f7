"""DescribeGlobalTableSettings, UpdateGlobalTableSettings: capacity of all tables of a global table of version 2017.11.29."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock.core.call import Call
from penstock.core.identity import root
from penstock.core.operation import Params, Result, operation
from penstock.services.dynamodb import global_tables, replicas, scaling
from penstock.services.dynamodb.errors import INVALID, invalid
from penstock.services.dynamodb.global_tables import region_of
from penstock.services.dynamodb.table_records import TableRecord
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError


async def _members(call: Call, name: str) -> dict[str, TableRecord]:
    """The tables of a global table by region. Raises GlobalTableNotFoundException."""

    def body(txn: Transaction) -> list[TableRecord]:
        _, record = global_tables.load(txn, call, name)
        return [record, *(other for _, other in replicas.others(txn, record))]

    return {region_of(record): record for record in await call.store.transact(body, read_only=True)}


@operation("dynamodb:DescribeGlobalTableSettings", resource=global_tables.resource)
async def describe_global_table_settings(call: Call, params: Params) -> Result:
    """Each region's capacity, and what keeps it."""
    return await _describe(call, params["GlobalTableName"], "ACTIVE")


async def _describe(call: Call, name: str, status: str) -> Result:
    shown = [
        await _replica(call, region, record, status) for region, record in sorted((await _members(call, name)).items())
    ]
    return {"GlobalTableName": name, "ReplicaSettings": shown}


async def _replica(call: Call, region: str, record: TableRecord, status: str) -> dict[str, Any]:
    """ReplicaSettingsDescription."""
    kept = await scaling.settings_of(call, region, record)
    found: dict[str, Any] = {"RegionName": region, "ReplicaStatus": status}
    if record.on_demand_since:
        found["ReplicaBillingModeSummary"] = {
            "BillingMode": "PAY_PER_REQUEST" if record.on_demand else "PROVISIONED",
            "LastUpdateToPayPerRequestDateTime": record.on_demand_since,
        }
    for kind, units in (("Read", record.read_units), ("Write", record.write_units)):
        found[f"ReplicaProvisioned{kind}CapacityUnits"] = units
        found[f"ReplicaProvisioned{kind}CapacityAutoScalingSettings"] = kept("", kind)
    indexes = []
    for index in record.indexes:
        if index.is_global:
            shown: dict[str, Any] = {
                "IndexName": index.name,
                "IndexStatus": "CREATING" if index.backfilling else "ACTIVE",
            }
            for kind, units in (("Read", index.read_units), ("Write", index.write_units)):
                shown[f"Provisioned{kind}CapacityUnits"] = units
                shown[f"Provisioned{kind}CapacityAutoScalingSettings"] = kept(index.name, kind)
            indexes.append(shown)
    if indexes:
        found["ReplicaGlobalSecondaryIndexSettings"] = indexes
    if record.table_class:
        found["ReplicaTableClassSummary"] = {"TableClass": record.table_class}
    return found


@operation("dynamodb:UpdateGlobalTableSettings", resource=global_tables.resource)
async def update_global_table_settings(call: Call, params: Params) -> Result:
    """Change writes of all regions, and reads and table class of those that are named: one table after the other."""
    name = params["GlobalTableName"]
    members = await _members(call, name)
    own = {each["RegionName"]: each for each in params.get("ReplicaSettingsUpdate", ())}
    for region in own:
        if region not in members:
            raise AwsError("ReplicaNotFoundException", f"Replica not found: {name} has no replica in region '{region}'")
    any_member = next(iter(members.values()))
    known = {index.name for index in any_member.indexes if index.is_global}
    for index in _indexes_in(params):
        if index not in known:
            raise AwsError("IndexNotFoundException", f"Index not found: {index}")
    if not params.keys() - {"GlobalTableName"}:
        raise invalid(f"{INVALID}At least one setting must be specified")
    for region, record in members.items():
        await _update(call, region, record, params, own.get(region, {}))
    return await _describe(call, name, "UPDATING")


def _indexes_in(params: Params) -> Iterator[str]:
    for each in params.get("GlobalTableGlobalSecondaryIndexSettingsUpdate", ()):
        yield each["IndexName"]
    for replica in params.get("ReplicaSettingsUpdate", ()):
        for each in replica.get("ReplicaGlobalSecondaryIndexSettingsUpdate", ()):
            yield each["IndexName"]


async def _update(call: Call, region: str, record: TableRecord, params: Params, own: dict[str, Any]) -> None:
    """Change one region's table, by UpdateTable and Application Auto Scaling."""
    writes = {each["IndexName"]: each for each in params.get("GlobalTableGlobalSecondaryIndexSettingsUpdate", ())}
    reads = {each["IndexName"]: each for each in own.get("ReplicaGlobalSecondaryIndexSettingsUpdate", ())}
    mode = params.get("GlobalTableBillingMode", "PAY_PER_REQUEST" if record.on_demand else "PROVISIONED")
    wanted: dict[str, Any] = {}
    if (mode == "PAY_PER_REQUEST") != record.on_demand:
        wanted["BillingMode"] = mode
    units = {
        "ReadCapacityUnits": own.get("ReplicaProvisionedReadCapacityUnits", record.read_units),
        "WriteCapacityUnits": params.get("GlobalTableProvisionedWriteCapacityUnits", record.write_units),
    }
    if units != {"ReadCapacityUnits": record.read_units, "WriteCapacityUnits": record.write_units}:
        wanted["ProvisionedThroughput"] = units
    changed = []
    for index in record.indexes:
        if index.is_global:
            given = {
                "ReadCapacityUnits": reads.get(index.name, {}).get("ProvisionedReadCapacityUnits", index.read_units),
                "WriteCapacityUnits": writes.get(index.name, {}).get(
                    "ProvisionedWriteCapacityUnits", index.write_units
                ),
            }
            if given != {"ReadCapacityUnits": index.read_units, "WriteCapacityUnits": index.write_units}:
                changed.append({"Update": {"IndexName": index.name, "ProvisionedThroughput": given}})
    if changed:
        wanted["GlobalSecondaryIndexUpdates"] = changed
    if "ReplicaTableClass" in own:
        wanted["TableClass"] = own["ReplicaTableClass"]
    if wanted:
        # Permitted already: this operation's own action covers each of the tables.
        await call.node.call(
            "dynamodb", "UpdateTable", {"TableName": record.name, **wanted}, principal=root(call.account),
            account=call.account, region=region,
        )  # fmt: skip
    for index_name, kind, update in _scaled(params, own, writes, reads):
        await scaling.keep(call, region, record, index_name, kind, update)


def _scaled(
    params: Params, own: dict[str, Any], writes: dict[str, Any], reads: dict[str, Any]
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(index or "", Read or Write, update) of what is to be scaled."""
    if "GlobalTableProvisionedWriteCapacityAutoScalingSettingsUpdate" in params:
        yield "", "Write", params["GlobalTableProvisionedWriteCapacityAutoScalingSettingsUpdate"]
    if "ReplicaProvisionedReadCapacityAutoScalingSettingsUpdate" in own:
        yield "", "Read", own["ReplicaProvisionedReadCapacityAutoScalingSettingsUpdate"]
    for kind, listed in (("Write", writes), ("Read", reads)):
        for name, each in listed.items():
            if f"Provisioned{kind}CapacityAutoScalingSettingsUpdate" in each:
                yield name, kind, each[f"Provisioned{kind}CapacityAutoScalingSettingsUpdate"]
