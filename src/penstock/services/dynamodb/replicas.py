"""The tables of a global table (version 2019.11.21): how UpdateTable adds, changes and removes them, and how they are shown.

Each region's table has a record of its own, which names the others; all of them are changed in one transaction. What
replicas share (indexes, billing mode, write capacity) is changed on all at once; the rest is each one's own.
Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/V2globaltables_HowItWorks.html
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from penstock.core.authz import require as require_permission
from penstock.core.call import Call
from penstock.core.operation import Params
from penstock.services.dynamodb import encryption, expirations, jobs, keys, names, streams, table, versions
from penstock.services.dynamodb.errors import INVALID, invalid
from penstock.services.dynamodb.table import Table
from penstock.services.dynamodb.table_records import Encryption, IndexRecord, ReplicaRecord, TableRecord
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError, not_implemented

VERSION = "2019.11.21"
STREAM_VIEW = "NEW_AND_OLD_IMAGES"
"""Of the stream that every table of a global table has."""
_ACTIONS = ("Create", "Update", "Delete")
_REGION = re.compile(r"[a-z]{2,3}(-[a-z]+){1,2}-[0-9]{1,2}\Z").match
NOT_PART = "Update global table operation failed because one or more replicas were not part of the global table."


class Copy(msgspec.Struct):
    """How far a new replica is filled. after: the place that was copied last."""

    name: str
    source_region: str
    target_region: str
    after: bytes = b""


encode_copy = msgspec.json.Encoder().encode
decode_copy = msgspec.json.Decoder(Copy).decode


def describe(record: TableRecord) -> dict[str, Any]:
    """The members of a TableDescription about replicas."""
    if not record.replicas or record.legacy_global_since:
        return {}
    shown = []
    for replica in record.replicas:
        each: dict[str, Any] = {
            "RegionName": replica.region,
            "ReplicaStatus": replica.status,
            "ReplicaArn": names.arn(record.arn.split(":", 5)[4], replica.region, record.name),
        }
        each.update(_overrides(replica.read_units, replica.max_read_units))
        names_of_indexes = dict.fromkeys((*replica.index_reads, *replica.index_max_reads))
        if names_of_indexes:
            each["GlobalSecondaryIndexes"] = [
                {
                    "IndexName": name,
                    **_overrides(replica.index_reads.get(name, 0), replica.index_max_reads.get(name, 0)),
                }
                for name in names_of_indexes
            ]
        if replica.kms_key:
            each["KMSMasterKeyId"] = replica.kms_key
        if replica.table_class:
            each["ReplicaTableClassSummary"] = {"TableClass": replica.table_class}
        shown.append(each)
    return {"GlobalTableVersion": VERSION, "Replicas": shown, "MultiRegionConsistency": "EVENTUAL"}


def _overrides(read_units: int, max_read_units: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if read_units:
        found["ProvisionedThroughputOverride"] = {"ReadCapacityUnits": read_units}
    if max_read_units:
        found["OnDemandThroughputOverride"] = {"MaxReadRequestUnits": max_read_units}
    return found


async def check(call: Call, params: Params) -> None:
    """What can be told of ReplicaUpdates without the tables. Raises ValidationException, AccessDeniedException."""
    named = set()
    for update in params["ReplicaUpdates"]:
        if "Disassociate" in update:
            raise not_implemented("dynamodb:UpdateTable with ReplicaUpdates.Disassociate")
        kinds = [kind for kind in _ACTIONS if kind in update]
        if len(kinds) != 1:
            raise invalid(f"{INVALID}Exactly one action must be specified for a replica update")
        given = update[kinds[0]]
        region = given["RegionName"]
        if region == call.region:
            raise invalid(
                f"{INVALID}Cannot add, delete, or update the local region through ReplicaUpdates. Use CreateTable, "
                "DeleteTable, or UpdateTable as required."
            )
        if not _REGION(region):
            raise invalid(f"{INVALID}Invalid region specified: {region}")
        if region in named:
            raise invalid(f"{INVALID}Only one action per replica can be specified: {region}")
        named.add(region)
        action = {"Create": "dynamodb:CreateTableReplica", "Delete": "dynamodb:DeleteTableReplica"}.get(kinds[0])
        if action is not None:
            name = names.resolve(call.account, call.region, params["TableName"])
            await require_permission(call, params, action, names.arn(call.account, region, name))


def refuse_streamless(record: TableRecord, params: Params) -> None:
    """Raises ValidationException for an UpdateTable that takes a replica's stream away."""
    if record.replicas and streams.wanted(params) == "":
        raise invalid(f"{INVALID}The stream of a table with replicas cannot be disabled: {record.name}")


def created(params: Params) -> list[str]:
    """The regions that get a new replica."""
    return [each["Create"]["RegionName"] for each in params.get("ReplicaUpdates") or () if "Create" in each]


def others(txn: Transaction, record: TableRecord) -> Iterator[tuple[bytes, TableRecord]]:
    """The (key, record) of each other table of a global table."""
    for replica in record.replicas:
        key = key_of(record, replica.region)
        yield key, table.decode(txn.get(key) or b"").record


def alike(txn: Transaction, record: TableRecord) -> Iterator[tuple[bytes, TableRecord]]:
    """The (key, record) of each other table that shares settings with this one: not those of version 2017.11.29."""
    return iter(()) if record.legacy_global_since else others(txn, record)


def refuse_legacy(record: TableRecord) -> None:
    """Raises ValidationException for a table of a global table of version 2017.11.29: it has no replicas of its own."""
    if record.legacy_global_since:
        raise invalid(
            f"{INVALID}Table {record.name} is part of a global table of version 2017.11.29: use UpdateGlobalTable"
        )


def key_of(record: TableRecord, region: str) -> bytes:
    """Where the record of a table's replica in a region is."""
    return keys.table(record.arn.split(":", 5)[4], region, record.name)


def change(
    txn: Transaction,
    call: Call,
    record: TableRecord,
    updates: list[dict[str, Any]],
    encryptions: Mapping[str, Encryption],
) -> TableRecord:
    """Carry out checked ReplicaUpdates; the caller saves the record that is returned. Raises ValidationException.

    encryptions: region -> what its table is to be encrypted under.
    """
    for update in updates:
        if "Create" in update:
            record = _create(txn, call, record, update["Create"], encryptions.get(update["Create"]["RegionName"]))
        elif "Update" in update:
            record = _update(txn, call, record, update["Update"], encryptions.get(update["Update"]["RegionName"]))
        else:
            record = _delete(txn, call, record, update["Delete"]["RegionName"])
    return record


def _create(
    txn: Transaction, call: Call, record: TableRecord, given: dict[str, Any], sealed: Encryption | None
) -> TableRecord:
    region = given["RegionName"]
    key = key_of(record, region)
    if txn.get(key) is not None:
        raise invalid(
            f"Failed to create a the new replica of table with name: '{record.name}' because one or more replicas "
            "already existed as tables."
        )
    if record.stream_view not in ("", STREAM_VIEW):
        raise invalid(f"{INVALID}Table must have DynamoDB Streams enabled with StreamViewType set to {STREAM_VIEW}")
    new = _overridden(record, ReplicaRecord(region, "CREATING"), given)
    others_of_new = [msgspec.structs.replace(each) for each in record.replicas]
    target = TableRecord(
        name=record.name,
        arn=names.arn(call.account, region, record.name),
        id=str(uuid.uuid4()),
        created_at=call.now,
        attributes=record.attributes,
        hash_key=record.hash_key,
        range_key=record.range_key,
        on_demand=record.on_demand,
        on_demand_since=call.now if record.on_demand else 0.0,
        read_units=new.read_units or record.read_units,
        write_units=record.write_units,
        max_read_units=new.max_read_units or record.max_read_units,
        max_write_units=record.max_write_units,
        warm_read_units=record.warm_read_units,
        warm_write_units=record.warm_write_units,
        table_class=new.table_class or record.table_class,
        indexes=[msgspec.structs.replace(each, backfilling=False) for each in _with_reads(record.indexes, new)],
        last_index_id=record.last_index_id,
        vectors=[msgspec.structs.replace(each, backfilling=False) for each in record.vectors],
        filling=True,
        encryption=sealed,
        replicas=[ReplicaRecord(call.region), *others_of_new],
    )
    for other_key, other in others(txn, record):
        txn.set(other_key, table.encode(table.changed(other, replicas=[*other.replicas, new])))
    if record.ttl_attribute:
        target = expirations.switch(txn, key, target, record.ttl_attribute)
    txn.set(key, table.encode(target))
    encryption.note(txn, key, target)
    txn.set(keys.global_table(key), b"")
    txn.set(keys.global_table(key_of(record, call.region)), b"")
    txn.set(keys.replica(target.id), encode_copy(Copy(record.name, call.region, region)))
    jobs.start(txn, call, "replica", target.id)
    if not record.stream_view:
        record = streams.open_stream(txn, key_of(record, call.region), record, STREAM_VIEW, call.now)
    return table.changed(record, replicas=[*record.replicas, new])


def _with_reads(indexes: list[IndexRecord], replica: ReplicaRecord) -> list[IndexRecord]:
    """A replica's indexes with what is overridden of them."""
    return [
        msgspec.structs.replace(
            each,
            read_units=replica.index_reads.get(each.name, each.read_units),
            max_read_units=replica.index_max_reads.get(each.name, each.max_read_units),
        )
        for each in indexes
    ]


def _overridden(record: TableRecord, replica: ReplicaRecord, given: dict[str, Any]) -> ReplicaRecord:
    """The replica with the settings that an update gives it. Raises ValidationException."""
    indexes = given.get("GlobalSecondaryIndexes", ())
    for each in indexes:
        if not any(index.is_global and index.name == each["IndexName"] for index in record.indexes):
            raise invalid(f"{INVALID}Global Secondary Index: {each['IndexName']} does not exist on the table")
    refused = "ProvisionedThroughputOverride" if record.on_demand else "OnDemandThroughputOverride"
    if any(refused in each for each in (given, *indexes)):
        mode = "PAY_PER_REQUEST" if record.on_demand else "PROVISIONED"
        raise invalid(f"{INVALID}{refused} cannot be specified for a replica when BillingMode is {mode}")
    reads = {each["IndexName"]: _units(each) for each in indexes if _units(each)}
    changed = msgspec.structs.replace(replica, table_class=given.get("TableClassOverride") or replica.table_class)
    changed.kms_key = given.get("KMSMasterKeyId", replica.kms_key)
    if record.on_demand:
        changed.max_read_units = _units(given) or replica.max_read_units
        changed.index_max_reads = {**replica.index_max_reads, **reads}
    else:
        changed.read_units = _units(given) or replica.read_units
        changed.index_reads = {**replica.index_reads, **reads}
    return changed


def _units(given: dict[str, Any]) -> int:
    """The read units that an override gives; 0 for none. Raises ValidationException."""
    override = given.get("OnDemandThroughputOverride")
    if override is None:
        units: int = given.get("ProvisionedThroughputOverride", {}).get("ReadCapacityUnits", 0)
        return units
    most: int = override.get("MaxReadRequestUnits", 0)
    if "MaxReadRequestUnits" in override and most < 1:
        raise invalid(f"{INVALID}MaxReadRequestUnits of an override must be at least 1")
    return most


def _update(
    txn: Transaction, call: Call, record: TableRecord, given: dict[str, Any], sealed: Encryption | None
) -> TableRecord:
    if not given.keys() - {"RegionName"}:
        raise invalid(f"{INVALID}At least one setting must be specified to update a replica")
    replica = _find(record, given["RegionName"])
    changed = _overridden(record, replica, given)
    _tell_others(txn, record, changed)
    key = key_of(record, replica.region)
    theirs = table.decode(txn.get(key) or b"").record
    theirs = table.changed(
        theirs,
        read_units=changed.read_units or theirs.read_units,
        max_read_units=changed.max_read_units or theirs.max_read_units,
        table_class=changed.table_class or theirs.table_class,
        indexes=_with_reads(theirs.indexes, changed),
    )
    if sealed is not None and sealed != theirs.encryption:
        theirs = encryption.switch(txn, call, key, theirs, sealed)
        streams.encrypted(txn, theirs)
    txn.set(key, table.encode(theirs))
    return _with(record, changed)


def switched(record: TableRecord) -> TableRecord:
    """The record of a table whose billing mode has changed: what was overridden for the other mode is over."""
    replicas = [
        msgspec.structs.replace(each, max_read_units=0, index_max_reads={})
        if not record.on_demand
        else msgspec.structs.replace(each, read_units=0, index_reads={})
        for each in record.replicas
    ]
    return table.changed(record, replicas=replicas)


def _find(record: TableRecord, region: str) -> ReplicaRecord:
    """The replica. Raises ValidationException where there is none, ResourceInUseException while it is being made."""
    found = next((each for each in record.replicas if each.region == region), None)
    if found is None:
        raise invalid(NOT_PART)
    if found.status != "ACTIVE":
        raise in_use(f"Replica {region} of table {record.name} is {found.status}")
    return found


def in_use(what: str) -> AwsError:
    """What is said of a table or replica that is being changed already."""
    return AwsError("ResourceInUseException", f"Attempt to change a resource which is still in use: {what}")


def _with(record: TableRecord, replica: ReplicaRecord) -> TableRecord:
    replicas = [replica if each.region == replica.region else each for each in record.replicas]
    return table.changed(record, replicas=replicas)


def _tell_others(txn: Transaction, record: TableRecord, replica: ReplicaRecord) -> None:
    """Have all other tables but the replica's own know of its new state."""
    for key, other in others(txn, record):
        if any(each.region == replica.region for each in other.replicas):
            txn.set(key, table.encode(_with(other, replica)))


def _delete(txn: Transaction, call: Call, record: TableRecord, region: str) -> TableRecord:
    _find(record, region)
    key, own_key = key_of(record, region), key_of(record, call.region)
    txn.set(own_key, table.encode(record))
    leave(txn, call, key, table.decode(txn.get(key) or b"").record)
    return table.decode(txn.get(own_key) or b"").record


def leave(txn: Transaction, call: Call, key: bytes, record: TableRecord) -> TableRecord:
    """Begin to delete one table of a global table: a job carries its last changes to the others first.

    Raises ValidationException for a protected one, ResourceInUseException while another one is being filled from it.
    """
    refuse_protected(record)
    if record.filling or record.leaving or any(each.status == "CREATING" for each in record.replicas):
        raise in_use(f"Replicas of table {record.name} are being created")
    if record.holds:
        raise in_use(f"Table is being backed up or exported: {record.name}")
    region = record.arn.split(":", 4)[3]
    for other_key, other in others(txn, record):
        mine = next(each for each in other.replicas if each.region == region)
        txn.set(other_key, table.encode(_with(other, msgspec.structs.replace(mine, status="DELETING"))))
    left = table.changed(record, leaving=True)
    txn.set(key, table.encode(left))
    txn.set(keys.replica(record.id), encode_copy(Copy(record.name, region, "")))
    jobs.start(txn, call, "replica", record.id)
    return left


def refuse_protected(record: TableRecord) -> None:
    """Raises ValidationException for a table that is protected against deletion."""
    if record.deletion_protection:
        raise invalid(
            "Resource cannot be deleted as it is currently protected against deletion. "
            "Disable deletion protection first."
        )


def filled(txn: Transaction, key: bytes, record: TableRecord, now: float) -> None:
    """A new replica has all items of its source: it is ACTIVE, has a stream from now on, and all tables know."""
    opened = table.changed(streams.open_stream(txn, key, record, STREAM_VIEW, now), filling=False)
    txn.set(key, table.encode(opened))
    region = record.arn.split(":", 4)[3]
    for other_key, other in others(txn, record):
        mine = next(each for each in other.replicas if each.region == region)
        txn.set(other_key, table.encode(_with(other, msgspec.structs.replace(mine, status="ACTIVE"))))


def left(txn: Transaction, gone: Table) -> None:
    """A table is deleted: the others forget it, and the last one is global no more."""
    for key, other in others(txn, gone.record):
        remaining = [each for each in other.replicas if each.region != gone.region]
        txn.set(key, table.encode(table.changed(other, replicas=remaining)))
        other_id = uuid.UUID(other.id).bytes
        txn.clear(keys.replicated(other_id, gone.region))
        if not remaining:
            txn.clear(keys.global_table(key))
            versions.forget(txn, other_id)
    txn.clear(keys.global_table(key_of(gone.record, gone.region)))
    versions.forget(txn, gone.id)
