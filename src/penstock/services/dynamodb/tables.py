"""CreateTable, DescribeTable, UpdateTable, DeleteTable, ListTables.

A change of a table is done when its transaction is: the reply names the status that AWS gives while it works (CREATING,
UPDATING, DELETING), and whoever asks next sees the end of it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.dynamodb import (
    billing,
    descriptions,
    encryption,
    expirations,
    history,
    indexes,
    keys,
    names,
    quotas,
    replicas,
    resource_policies,
    scaling,
    streams,
    table,
    vectors,
)
from penstock.services.dynamodb.backup_records import keep_deleted
from penstock.services.dynamodb.errors import INVALID, invalid, table_missing_by_name
from penstock.services.dynamodb.table_records import TableRecord
from penstock.services.dynamodb.table_rules import (
    check_create,
    check_throughput,
    check_units,
)
from penstock.services.dynamodb.tags import checked, save_tags
from penstock.store.api import Transaction
from penstock.store.chunked import clear_large_range
from penstock.store.tuples import prefix_end, unpack
from penstock.wire.errors import AwsError

MAX_LISTED = 100
_NOT_YET: dict[str, tuple[Any, ...]] = {
    "GlobalTableSettingsReplicationMode": (),
}
_NOT_CREATED = {
    "GlobalTableSourceArn": (),
    **_NOT_YET,
}
_NOT_UPDATED = {
    "GlobalTableWitnessUpdates": ([],),
    "MultiRegionConsistency": ("EVENTUAL",),
    "DisassociationProtectionEnabled": (False,),
    **_NOT_YET,
}


def new_record(call: Call, params: Mapping[str, Any]) -> TableRecord:
    """The record of a table that CreateTable's (checked) parameters ask for. Raises ValidationException for no name."""
    name = names.resolve(call.account, call.region, params["TableName"])
    throughput = params.get("ProvisionedThroughput") or {"ReadCapacityUnits": 0, "WriteCapacityUnits": 0}
    by_type = {element["KeyType"]: element["AttributeName"] for element in params["KeySchema"]}
    on_demand = params.get("BillingMode") == "PAY_PER_REQUEST"
    record = TableRecord(
        name=name,
        arn=names.arn(call.account, call.region, name),
        id=str(uuid.uuid4()),
        created_at=call.now,
        attributes={each["AttributeName"]: each["AttributeType"] for each in params["AttributeDefinitions"]},
        hash_key=by_type["HASH"],
        range_key=by_type.get("RANGE", ""),
        on_demand=on_demand,
        read_units=throughput["ReadCapacityUnits"],
        write_units=throughput["WriteCapacityUnits"],
        table_class=params.get("TableClass", ""),
        deletion_protection=params.get("DeletionProtectionEnabled", False),
        on_demand_since=call.now if on_demand else 0.0,
        indexes=indexes.made(params),
    )
    record.vectors = vectors.made(params, len(record.indexes) + 1)
    record.last_index_id = len(record.indexes) + len(record.vectors)
    billing.set_created(record, params)
    return record


@operation("dynamodb:CreateTable", resource=names.resource, unsupported=_NOT_CREATED)
async def create_table(call: Call, params: Params) -> Result:
    """Make an empty table. Its items' keys hold a new id, so nothing of an earlier table of that name can show."""
    check_create(params)
    view = streams.wanted(params)
    record = new_record(call, params)
    name = record.name
    record.encryption = await encryption.for_new(
        call, call.region, name, encryption.wanted(params.get("SSESpecification"))
    )
    key = keys.table(call.account, call.region, name)
    given_tags = checked(params.get("Tags"))
    policy = params.get("ResourcePolicy")
    if policy is not None:
        resource_policies.check(policy, record.arn)

    def body(txn: Transaction) -> TableRecord:
        if txn.get(key) is not None:
            raise AwsError("ResourceInUseException", f"Table already exists: {name}")
        quotas.check_count(txn, call, call.region)
        quotas.check_provisioned(txn, call, record)
        made = streams.open_stream(txn, key, record, view, call.now) if view else record
        txn.set(key, table.encode(made))
        encryption.note(txn, key, made)
        save_tags(txn, uuid.UUID(record.id).bytes, given_tags)
        if policy is not None:
            resource_policies.save_first(txn, call, name, policy)
        return made

    described = descriptions.describe(descriptions.Sized(await call.store.transact(body), 0, 0, {}), "CREATING")
    if "WarmThroughput" not in params:
        del described["WarmThroughput"]  # AWS's answer has none yet (recorded in November 2025)
    return {"TableDescription": described}


@operation("dynamodb:DescribeTable", resource=names.resource, policy=resource_policies.load)
async def describe_table(call: Call, params: Params) -> Result:
    """The table's description; counts are exact, not six hours old as on AWS."""
    name = params["TableName"]
    key = names.record_key(call, name)

    def body(txn: Transaction) -> descriptions.Sized:
        return _read(txn, key, name)

    found = await call.store.transact(body, read_only=True)
    return {"Table": descriptions.describe(found, descriptions.status_of(found.record))}


def _read(txn: Transaction, key: bytes, name: str) -> descriptions.Sized:
    """The table's record and sizes. Raises ResourceNotFoundException with the name."""
    stored = txn.get(key)
    if stored is None:
        raise table_missing_by_name(name)
    return descriptions.sizes(txn, table.decode(stored))


def refuse_busy(record: TableRecord) -> None:
    """Raises ResourceInUseException for a table that is being filled or copied, and so not to be changed or deleted."""
    if record.leaving:
        what = f"Table is being deleted: {record.name}"
    elif record.filling:
        what = f"Table is being created: {record.name}"
    elif record.holds:
        what = f"Table is being backed up or exported: {record.name}"
    else:
        return
    raise AwsError("ResourceInUseException", f"Attempt to change a resource which is still in use: {what}")


@operation("dynamodb:DeleteTable", resource=names.resource, policy=resource_policies.load)
async def delete_table(call: Call, params: Params) -> Result:
    """Remove a table with all its items; one of a global table once its last changes are with the others."""
    name = params["TableName"]
    key = names.record_key(call, name)

    def body(txn: Transaction) -> descriptions.Sized:
        found = _read(txn, key, name)
        replicas.refuse_protected(found.record)
        refuse_busy(found.record)
        if found.record.replicas:
            replicas.leave(txn, call, key, found.record)
        else:
            erase(txn, call, key, found)
        return found

    shown = descriptions.describe(await call.store.transact(body), "DELETING")
    for name in ("AttributeDefinitions", "KeySchema", "CreationDateTime"):
        del shown[name]
    return {"TableDescription": shown}


def erase(txn: Transaction, call: Call, key: bytes, found: descriptions.Sized) -> None:
    """Remove a table, whose record is at `key`, and all that belongs to it."""
    record = found.record
    if record.stream_view:
        record = streams.close_stream(txn, record, call.now)
    table_id = uuid.UUID(record.id).bytes
    resource_policies.forget(txn, record.arn)
    if record.recovery_since:
        keep_deleted(txn, call, table.encode(record), found.items, found.size_bytes)
    else:
        clear_items(txn, record)
    txn.clear(key)
    txn.clear(keys.recovered(key))
    txn.clear(keys.encrypted(key))
    if record.ttl_attribute:
        expirations.forget(txn, key, table_id)
    txn.clear(*keys.collections(table_id))
    indexes.clear(txn, table_id, record.indexes)
    vectors.clear(txn, table_id, record.vectors)
    for kept in (keys.tags(table_id), keys.item_count(table_id), keys.item_bytes(table_id)):
        txn.clear(kept)


def clear_items(txn: Transaction, record: TableRecord) -> None:
    """Remove all items of a table, and what they were before."""
    table_id = uuid.UUID(record.id).bytes
    prefix = keys.items(table_id)
    txn.clear(prefix, prefix_end(prefix))
    clear_large_range(txn, *keys.all_large(table_id))
    if record.keeps_history:
        history.forget(txn, table_id)


@operation("dynamodb:ListTables")
async def list_tables(call: Call, params: Params) -> Result:
    """Names in order, at most 100 at a time."""
    limit = params.get("Limit", MAX_LISTED)
    begin, end = keys.tables(call.account, call.region)
    after = params.get("ExclusiveStartTableName")
    if after is not None:
        begin = keys.table(call.account, call.region, after) + b"\0"

    def body(txn: Transaction) -> list[str]:
        return [unpack(key)[-1] for key, _ in txn.scan(begin, end, limit + 1)]

    found = await call.store.transact(body, read_only=True)
    result: Result = {"TableNames": found[:limit]}
    if len(found) > limit:
        result["LastEvaluatedTableName"] = found[limit - 1]
    return result


@operation("dynamodb:UpdateTable", resource=names.resource, policy=resource_policies.load, unsupported=_NOT_UPDATED)
async def update_table(call: Call, params: Params) -> Result:
    """Change billing mode, throughput, class, deletion protection, indexes, replicas or the stream."""
    if not params.keys() & {
        "ProvisionedThroughput",
        "BillingMode",
        "TableClass",
        "DeletionProtectionEnabled",
        "GlobalSecondaryIndexUpdates",
        "StreamSpecification",
        "ReplicaUpdates",
        "OnDemandThroughput",
        "WarmThroughput",
        "SSESpecification",
        "VectorIndexUpdates",
    }:
        raise invalid(
            "At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, GlobalSecondaryIndexUpdates or "
            "SSESpecification or ReplicaUpdates is required"
        )
    if "BillingMode" in params:
        check_throughput(params)
    elif "ProvisionedThroughput" in params:
        check_units(params["ProvisionedThroughput"])
    if params.get("ReplicaUpdates"):
        await replicas.check(call, params)
    name = params["TableName"]
    key = names.record_key(call, name)
    new_regions = replicas.created(params)
    kms_key = encryption.wanted(params.get("SSESpecification"))
    to, of_replicas = None, {}
    if params.get("ReplicaUpdates") or kms_key is not None:
        before = await call.store.transact(lambda txn: _read(txn, key, name).record, read_only=True)
        if new_regions and params.get("BillingMode") != "PAY_PER_REQUEST":
            await scaling.require_scaled_writes(call, before)
        if kms_key is not None:
            to = await encryption.changed_to(call, before, kms_key)
        of_replicas = await encryption.for_replicas(call, before, params.get("ReplicaUpdates") or [])

    def body(txn: Transaction) -> descriptions.Sized:
        sized = _read(txn, key, name)
        if sized.record.filling or sized.record.leaving:
            refuse_busy(sized.record)
        replicas.refuse_streamless(sized.record, params)
        changed = _update(txn, key, sized.record, params, call)
        quotas.check_provisioned(txn, call, changed, sized.record)
        if to is not None and to != changed.encryption:
            changed = encryption.switch(txn, call, key, changed, to)
            streams.encrypted(txn, changed)
        txn.set(key, table.encode(changed))
        for other_key, other in replicas.alike(txn, changed):
            txn.set(other_key, table.encode(_update(txn, other_key, other, _shared(params, other), call)))
        if params.get("ReplicaUpdates"):
            replicas.refuse_legacy(changed)
            for region in new_regions:
                quotas.check_count(txn, call, region)
            changed = replicas.change(txn, call, changed, params["ReplicaUpdates"], of_replicas)
            txn.set(key, table.encode(changed))
        return sized._replace(record=changed)

    done = await call.store.transact(body)
    await scaling.keep_alike(call, done.record, new_regions)
    return {"TableDescription": descriptions.describe(done, "UPDATING")}


def _update(txn: Transaction, key: bytes, record: TableRecord, params: Params, call: Call) -> TableRecord:
    given = {each["AttributeName"]: each["AttributeType"] for each in params.get("AttributeDefinitions", ())}
    changed = _changed(record, params, call.now, limits=call.node.settings.limits)
    changed = streams.change(txn, key, changed, params, call.now)
    if params.get("GlobalSecondaryIndexUpdates"):
        changed = indexes.change(txn, key, changed, params["GlobalSecondaryIndexUpdates"], given)
    if params.get("VectorIndexUpdates"):
        if params.get("GlobalSecondaryIndexUpdates"):
            indexes.check_alone(changed, [*params["GlobalSecondaryIndexUpdates"], *params["VectorIndexUpdates"]])
        changed = vectors.change(txn, key, changed, params["VectorIndexUpdates"], given)
    if changed.vectors and not changed.on_demand:
        raise invalid(
            f"{INVALID}Vector indexes are only supported on tables with BillingMode PAY_PER_REQUEST: {changed.name}"
        )
    return replicas.switched(changed) if changed.on_demand != record.on_demand else changed


def _shared(params: Params, replica: TableRecord) -> Params:
    """What an UpdateTable changes on a replica too: indexes, billing mode, write capacity, warm throughput."""
    shared: Params = {
        name: params[name]
        for name in ("AttributeDefinitions", "BillingMode", "WarmThroughput", "VectorIndexUpdates")
        if name in params
    }
    if "MaxWriteRequestUnits" in params.get("OnDemandThroughput", {}):
        shared["OnDemandThroughput"] = _writes_of(params["OnDemandThroughput"])
    if "GlobalSecondaryIndexUpdates" in params:
        shared["GlobalSecondaryIndexUpdates"] = [
            _of_replica(each, replica) for each in params["GlobalSecondaryIndexUpdates"]
        ]
    throughput = params.get("ProvisionedThroughput")
    if throughput and (replica.on_demand or throughput["WriteCapacityUnits"] != replica.write_units):
        reads = throughput["ReadCapacityUnits"] if replica.on_demand else replica.read_units
        shared["ProvisionedThroughput"] = {**throughput, "ReadCapacityUnits": reads}
    return shared


def _writes_of(throughput: dict[str, int]) -> dict[str, int]:
    return {name: units for name, units in throughput.items() if name == "MaxWriteRequestUnits"}


def _of_replica(update: dict[str, Any], replica: TableRecord) -> dict[str, Any]:
    """The change of an index as a replica has it: its reads stay its own."""
    given = update.get("Update")
    index = next((each for each in replica.indexes if given and each.name == given["IndexName"]), None)
    if given is None or index is None:
        return update
    changed = dict(given)
    if index.read_units and "ProvisionedThroughput" in given:
        changed["ProvisionedThroughput"] = {**given["ProvisionedThroughput"], "ReadCapacityUnits": index.read_units}
    if "OnDemandThroughput" in given:
        changed["OnDemandThroughput"] = _writes_of(given["OnDemandThroughput"])
    return {"Update": changed}


def _changed(record: TableRecord, params: Params, now: float, *, limits: bool) -> TableRecord:
    record = msgspec.structs.replace(record)
    if "TableClass" in params:
        record.table_class = params["TableClass"]
    if "DeletionProtectionEnabled" in params:
        record.deletion_protection = params["DeletionProtectionEnabled"]
    billing.change(record, params, now, limits=limits)
    return record
