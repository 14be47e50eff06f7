"""Global tables of the older version (2017.11.29): CreateGlobalTable, DescribeGlobalTable, ListGlobalTables, UpdateGlobalTable.

Such a group is of tables that are there already, alike and empty. Each keeps settings of its own, and leaves the group
without being deleted; what is written travels as in the current version (see `replication`).
Source: "Global tables version 2017.11.29 (Legacy)" of the developer guide.
"""

from __future__ import annotations

import uuid
from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.dynamodb import keys, names, replicas, replication, table, versions
from penstock.services.dynamodb.errors import INVALID, invalid
from penstock.services.dynamodb.table_records import IndexRecord, ReplicaRecord, TableRecord
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

MAX_LISTED = 100
_TRIES = 10
"""How often what a leaving table has to tell is looked for, while it is being written to."""


def resource(call: Call, params: Params) -> list[str]:
    """The global table's ARN, and those of the tables that a request names."""
    name = str(params["GlobalTableName"])
    updated = [part for each in params.get("ReplicaUpdates", ()) for part in each.values()]
    listed = [*params.get("ReplicationGroup", ()), *updated]
    regions = [str(each["RegionName"]) for each in listed if "RegionName" in each]
    return [arn(call.account, name), *(names.arn(call.account, region, name) for region in regions)]


def arn(account: str, name: str) -> str:
    """The ARN of a global table, which is in no region."""
    return f"arn:aws:dynamodb::{account}:global-table/{name}"


def describe(record: TableRecord, status: str = "ACTIVE") -> dict[str, Any]:
    """GlobalTableDescription, as any table of the group has it."""
    account = record.arn.split(":", 5)[4]
    members = sorted([(region_of(record), "ACTIVE"), *((each.region, each.status) for each in record.replicas)])
    return {
        "ReplicationGroup": [{"RegionName": region, "ReplicaStatus": each} for region, each in members],
        "GlobalTableArn": arn(account, record.name),
        "CreationDateTime": record.legacy_global_since,
        "GlobalTableStatus": status,
        "GlobalTableName": record.name,
    }


def region_of(record: TableRecord) -> str:
    """The region that a table is in."""
    return record.arn.split(":", 4)[3]


def _find_in(txn: Transaction, call: Call, region: str, name: str) -> tuple[bytes, TableRecord]:
    """The table of a region. Raises TableNotFoundException; ResourceInUseException for one that is not ACTIVE."""
    key = keys.table(call.account, region, name)
    stored = txn.get(key)
    if stored is None:
        raise AwsError("TableNotFoundException", f"Table not found: {name} in region {region}")
    record = table.decode(stored).record
    if record.filling or record.leaving:
        raise replicas.in_use(f"Table {name} in region {region} is not ACTIVE")
    return key, record


def load(txn: Transaction, call: Call, name: str) -> tuple[bytes, TableRecord]:
    """A table of the global table: the region's own, or that of another region. Raises GlobalTableNotFoundException."""
    own = keys.table(call.account, call.region, name)
    stored = txn.get(own)
    record = None if stored is None else table.decode(stored).record
    if record is None or not record.legacy_global_since:
        raise AwsError(
            "GlobalTableNotFoundException", f"Global table not found: Global table with name: '{name}' does not exist."
        )
    return own, record


@operation("dynamodb:CreateGlobalTable", resource=resource)
async def create_global_table(call: Call, params: Params) -> Result:
    """Make one global table of the tables of that name in the regions."""
    name = params["GlobalTableName"]
    regions = [str(each.get("RegionName", "")) for each in params["ReplicationGroup"]]
    if not regions or len(set(regions)) != len(regions):
        raise invalid(f"{INVALID}ReplicationGroup must name each region once, and at least one")

    def body(txn: Transaction) -> TableRecord:
        found = [_find_in(txn, call, region, name) for region in regions]
        if any(record.legacy_global_since for _, record in found):
            raise AwsError(
                "GlobalTableAlreadyExistsException",
                f"Global table with name: '{name}' already exists.",
            )
        for _, record in found:
            _check_fit(txn, record, found[0][1])
        for key, record in found:
            others = [ReplicaRecord(region) for region in regions if region != region_of(record)]
            txn.set(key, table.encode(table.changed(record, legacy_global_since=call.now, replicas=others)))
            if others:
                txn.set(keys.global_table(key), b"")
        return table.changed(
            found[0][1], legacy_global_since=call.now, replicas=[ReplicaRecord(r) for r in regions[1:]]
        )

    return {"GlobalTableDescription": describe(await call.store.transact(body), "CREATING")}


def _check_fit(txn: Transaction, record: TableRecord, model: TableRecord) -> None:
    """Raises ValidationException for a table that cannot be in a group with the other one."""
    where = f"Table '{record.name}' in region {region_of(record)}"
    if record.replicas:
        raise invalid(f"{INVALID}{where} is part of a global table of version {replicas.VERSION}")
    if record.stream_view != replicas.STREAM_VIEW:
        raise invalid(
            f"{INVALID}{where} must have DynamoDB Streams enabled with StreamViewType set to {replicas.STREAM_VIEW}"
        )
    if txn.get(keys.item_count(uuid.UUID(record.id).bytes)) and next(_items(txn, record), None) is not None:
        raise invalid(f"{INVALID}{where} contains data: all tables of a global table must be empty")
    if _keys_of(record) != _keys_of(model):
        raise invalid(f"{INVALID}{where} does not have the key schema and indexes of the other tables")
    if (record.on_demand, record.write_units) != (model.on_demand, model.write_units):
        raise invalid(f"{INVALID}{where} does not have the write capacity of the other tables")


def _items(txn: Transaction, record: TableRecord) -> Any:
    prefix = keys.items(uuid.UUID(record.id).bytes)
    return txn.scan(prefix, prefix + b"\xff", 1)


def _keys_of(record: TableRecord) -> Any:
    """What all tables of a group have in common."""

    def of_index(index: IndexRecord) -> Any:
        return index.name, index.is_global, index.hash_keys, index.range_keys

    used = {name: record.attributes[name] for name in sorted(record.attributes)}
    return record.hash_key, record.range_key, used, sorted(map(of_index, record.indexes), key=str)


@operation("dynamodb:DescribeGlobalTable", resource=resource)
async def describe_global_table(call: Call, params: Params) -> Result:
    """A global table, as the region's own table of it knows it."""
    name = params["GlobalTableName"]
    _, record = await call.store.transact(lambda txn: load(txn, call, name), read_only=True)
    return {"GlobalTableDescription": describe(record)}


@operation("dynamodb:ListGlobalTables")
async def list_global_tables(call: Call, params: Params) -> Result:
    """Global tables that have a table in the region, in order of name."""
    limit = params.get("Limit", MAX_LISTED)
    region = params.get("RegionName", call.region)
    begin, end = keys.tables(call.account, region)
    if (after := params.get("ExclusiveStartGlobalTableName")) is not None:
        begin = keys.table(call.account, region, after) + b"\0"

    def body(txn: Transaction) -> list[TableRecord]:
        found = []
        for _, stored in txn.scan(begin, end):
            record = table.decode(stored).record
            if record.legacy_global_since:
                found.append(record)
                if len(found) > limit:
                    break
        return found

    found = await call.store.transact(body, read_only=True)
    shown = [
        {
            "GlobalTableName": record.name,
            "ReplicationGroup": [
                {"RegionName": each} for each in sorted([region, *(r.region for r in record.replicas)])
            ],
        }
        for record in found[:limit]
    ]
    result: Result = {"GlobalTables": shown}
    if len(found) > limit:
        result["LastEvaluatedGlobalTableName"] = found[limit - 1].name
    return result


@operation("dynamodb:UpdateGlobalTable", resource=resource)
async def update_global_table(call: Call, params: Params) -> Result:
    """Have tables of other regions join a global table, or leave it with the items that they have."""
    name = params["GlobalTableName"]
    updates = params["ReplicaUpdates"]
    if not updates or any(len(each) != 1 for each in updates):
        raise invalid(f"{INVALID}Exactly one action must be specified for a replica update")
    joining = [each["Create"]["RegionName"] for each in updates if "Create" in each]
    leaving = [each["Delete"]["RegionName"] for each in updates if "Delete" in each]
    if len({*joining, *leaving}) != len(updates):
        raise invalid(f"{INVALID}Only one action per replica can be specified")

    def check(txn: Transaction) -> TableRecord:
        _, record = load(txn, call, name)
        members = {region_of(record), *(each.region for each in record.replicas)}
        for region in joining:
            if region in members:
                raise AwsError(
                    "ReplicaAlreadyExistsException",
                    f"Failed to create a the new replica of table with name: '{name}' because a replica already exists in "
                    f"region: '{region}'.",
                )
        for region in leaving:
            if region not in members:
                raise AwsError(
                    "ReplicaNotFoundException",
                    f"Failed to delete the replica of table with name: '{name}' because no replica exists in region: "
                    f"'{region}'.",
                )
        return record

    def join(txn: Transaction) -> TableRecord:
        record = check(txn)
        for region in joining:
            record = _join(txn, call, record, region)
        return record

    record = await call.store.transact(join)
    for region in leaving:
        record = await _leave(call, record, region) or record
    return {"GlobalTableDescription": describe(record, "UPDATING")}


def _join(txn: Transaction, call: Call, record: TableRecord, region: str) -> TableRecord:
    """Have a region's table join. Returns the record of the table that was asked."""
    key, new = _find_in(txn, call, region, record.name)
    _check_fit(txn, new, record)
    members = [(replicas.key_of(record, region_of(record)), record), *replicas.others(txn, record)]
    for other_key, other in members:
        if next(_items(txn, other), None) is not None:
            raise invalid(
                f"{INVALID}Table '{record.name}' in region {region_of(other)} contains data: a replica can be added while "
                "all tables of a global table are empty"
            )
        changed = table.changed(other, replicas=[*other.replicas, ReplicaRecord(region)])
        txn.set(other_key, table.encode(changed))
        txn.set(keys.global_table(other_key), b"")
    theirs = [ReplicaRecord(region_of(other)) for _, other in members]
    txn.set(key, table.encode(table.changed(new, legacy_global_since=record.legacy_global_since, replicas=theirs)))
    txn.set(keys.global_table(key), b"")
    return table.changed(record, replicas=[*record.replicas, ReplicaRecord(region)])


async def _leave(call: Call, record: TableRecord, region: str) -> TableRecord | None:
    """Have a region's table leave once it has told the others all it knows. Returns a remaining table's record.

    Raises ResourceInUseException where it is written to faster than it can tell.
    """
    key = replicas.key_of(record, region)
    for _ in range(_TRIES):
        await replication.carry_all(call.node)
        gone, remaining = await call.store.transact(lambda txn: _leave_if_told(txn, key))
        if gone:
            return remaining
    raise replicas.in_use(f"Replica {region} of table {record.name} is being written to")


def _leave_if_told(txn: Transaction, key: bytes) -> tuple[bool, TableRecord | None]:
    leaving = table.decode(txn.get(key) or b"")
    region = region_of(leaving.record)
    if leaving.unreplicated is not None:
        for other in leaving.record.replicas:
            told = txn.get(keys.replicated(leaving.id, other.region)) or b""
            if leaving.unreplicated.read(txn, told, 1):
                return False, None
    remaining = None
    for other_key, member in replicas.others(txn, leaving.record):
        left = [each for each in member.replicas if each.region != region]
        remaining = table.changed(member, replicas=left)
        txn.set(other_key, table.encode(remaining))
        other_id = uuid.UUID(member.id).bytes
        txn.clear(keys.replicated(other_id, region))
        if not left:
            txn.clear(keys.global_table(other_key))
            versions.forget(txn, other_id)
    txn.set(key, table.encode(table.changed(leaving.record, replicas=[], legacy_global_since=0.0)))
    txn.clear(keys.global_table(key))
    versions.forget(txn, leaving.id)
    return True, remaining
