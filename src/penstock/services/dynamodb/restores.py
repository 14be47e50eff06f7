"""RestoreTableFromBackup, RestoreTableToPointInTime, and the job that fills the new table.

A restored table has the keys, indexes and capacity of its source unless they are overridden. As on AWS it has none of the
source's tags, policies, streams, time to live and recovery settings:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CreateBackup.html
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.dynamodb import (
    backup_records,
    backups,
    billing,
    descriptions,
    encryption,
    filling,
    history,
    jobs,
    keys,
    names,
    table,
    table_keys,
    vectors,
)
from penstock.services.dynamodb.errors import INVALID, invalid
from penstock.services.dynamodb.table_records import IndexRecord, Restored, TableRecord, VectorRecord
from penstock.services.dynamodb.table_rules import check_throughput, check_units
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

_DAY_S = 86400
_AT_ONCE = 64
"""Items of a transaction: others wait while one runs, so they are small."""
_BYTES_AT_ONCE = 1 << 20
UNSUPPORTED: dict[str, tuple[Any, ...]] = {}


class Restore(msgspec.Struct, omit_defaults=True):
    """What is stored of a restore under way.

    backup_id: what it reads, or source and at_us: a table at that time. after: the place that was read last, or
    part: the part of the backup that is being read, and done: how many of its items have been written.
    """

    target: str
    table_id: str
    region: str
    """Of what it reads."""
    backup_id: str = ""
    source: str = ""
    source_id: str = ""
    at_us: int = 0
    after: bytes = b""
    part: int = 0
    done: int = 0


_decode = msgspec.json.Decoder(Restore).decode
_encode = msgspec.json.Encoder().encode


def _from_backup(call: Call, params: Params) -> list[str]:
    return [str(params["BackupArn"]), names.arn(call.account, call.region, params["TargetTableName"])]


@operation("dynamodb:RestoreTableFromBackup", resource=_from_backup, unsupported=UNSUPPORTED)
async def restore_table_from_backup(call: Call, params: Params) -> Result:
    """Make a table of a backup's items; a job writes them."""
    seen = await call.store.transact(
        lambda txn: backups.load(txn, call, params["BackupArn"], any_region=True), read_only=True
    )
    sealed = await encryption.for_restored(call, params, seen.table.record)

    def body(txn: Transaction) -> TableRecord:
        backup = backups.load(txn, call, params["BackupArn"], any_region=True)
        if not backup.available:
            raise backups.in_use()
        source = backup.table.record
        target = _target(call, params, source, Restored(backup.created_at, backup.arn, source.arn))
        target.encryption = sealed
        _create(txn, call, target, Restore(target.name, target.id, backup.region, backup_id=backup.id))
        backup.restores += 1
        backup_records.save(txn, call.account, backup.region, backup)
        return target

    target = await call.store.transact(body)
    await jobs.settle(call, "restore", target.id)
    return {"TableDescription": descriptions.describe(descriptions.Sized(target, 0, 0, {}), "CREATING")}


def _to_point_in_time(call: Call, params: Params) -> list[str]:
    source = params.get("SourceTableArn") or params.get("SourceTableName") or "*"
    return [names.resource(call, {"TableName": name}) for name in (source, params["TargetTableName"])]


@operation("dynamodb:RestoreTableToPointInTime", resource=_to_point_in_time, unsupported=UNSUPPORTED)
async def restore_table_to_point_in_time(call: Call, params: Params) -> Result:
    """Make a table of what another had at a time; a job writes its items."""
    if ("SourceTableName" in params) == ("SourceTableArn" in params):
        raise invalid("One and only one of SourceTableName and SourceTableArn must be specified")
    latest, wanted = params.get("UseLatestRestorableTime", False), params.get("RestoreDateTime")
    if bool(latest) == (wanted is not None):
        raise invalid("One and only one of UseLatestRestorableTime and RestoreDateTime must be specified")
    name = params.get("SourceTableName") or params["SourceTableArn"]
    region = _region_of(call, name)
    key = keys.table(call.account, region, names.resolve(call.account, region, name))
    moments = call.node.own(history.Moments)
    seen = await call.store.transact(lambda txn: txn.get(key), read_only=True)
    sealed = None if seen is None else await encryption.for_restored(call, params, table.decode(seen).record)

    def body(txn: Transaction) -> TableRecord:
        stored = txn.get(key)
        if stored is None:
            raise AwsError("TableNotFoundException", f"Table not found: {name}")
        found = table.decode(stored)
        source = found.record
        if not source.recovery_since:
            raise recovery_is_off(source)
        now_us = moments.of(txn)
        at_us = now_us if wanted is None else round(wanted * 1e6)
        check_time(source, at_us, now_us, "InvalidRestoreTimeException", "RestoreDateTime")
        target = _target(call, params, source, Restored(at_us / 1e6, table_arn=source.arn))
        target.encryption = sealed
        restore = Restore(target.name, target.id, region, source=source.name, source_id=source.id, at_us=at_us)
        _create(txn, call, target, restore)
        # What is written from now on is later than the time that is restored, whatever a node's clock says.
        held = table.changed(
            history.hold(source, target.id, at_us), history_after_us=max(source.history_after_us, now_us)
        )
        txn.set(key, table.encode(held))
        return target

    target = await call.store.transact(body)
    await jobs.settle(call, "restore", target.id)
    return {"TableDescription": descriptions.describe(descriptions.Sized(target, 0, 0, {}), "CREATING")}


def _region_of(call: Call, name: str) -> str:
    """The region of a table's ARN, the call's of a name: a table of one region can be restored in another."""
    return name.split(":")[3] if name.startswith("arn:") and name.count(":") >= 3 else call.region


def recovery_is_off(source: TableRecord) -> AwsError:
    """What is said of a table whose changes are not kept."""
    return AwsError(
        "PointInTimeRecoveryUnavailableException", f"Point in time recovery is not enabled for table '{source.name}'"
    )


def earliest(source: TableRecord, now: float) -> float:
    """The earliest time that a table can be restored to."""
    return max(source.recovery_since, now - source.recovery_days * _DAY_S)


def check_time(source: TableRecord, at_us: int, now_us: int, code: str, name: str) -> None:
    """Raises AwsError `code` for a time that the table cannot be had of."""
    # Clients send whole seconds: the second in which recovery was enabled means its beginning, so it counts too.
    if not int(earliest(source, now_us / 1e6)) * 1_000_000 <= at_us <= now_us:
        raise AwsError(
            code,
            f"An invalid {'restore' if 'Restore' in name else 'export'} time was specified. {name} must be between "
            "EarliestRestorableDateTime and LatestRestorableDateTime.",
        )


def _target(call: Call, params: Params, source: TableRecord, restored: Restored) -> TableRecord:
    """The record of the new table. Raises ValidationException for overrides that do not fit."""
    name = params["TargetTableName"]
    mode = params.get("BillingModeOverride")
    on_demand = source.on_demand if mode is None else mode == "PAY_PER_REQUEST"
    throughput = params.get("ProvisionedThroughputOverride")
    if throughput is not None or (not on_demand and source.on_demand):
        check_throughput(
            {"BillingMode": "PAY_PER_REQUEST" if on_demand else "PROVISIONED", "ProvisionedThroughput": throughput}
        )
    units = throughput or {"ReadCapacityUnits": source.read_units, "WriteCapacityUnits": source.write_units}
    local = params.get("LocalSecondaryIndexOverride")
    global_ = params.get("GlobalSecondaryIndexOverride")
    indexes = [*_kept(source, local, False, on_demand), *_kept(source, global_, True, on_demand)]
    searched = _kept_vectors(source, params.get("VectorIndexOverride"), on_demand)
    used = {source.hash_key, source.range_key, *(n for index in indexes for n in (*index.hash_keys, *index.range_keys))}
    used.update(name for each in searched for name in (each.hash_key, *each.filters))
    wanted = params.get("OnDemandThroughputOverride")
    given = {} if wanted is None else {"OnDemandThroughput": wanted}
    most = billing.maximums(given, on_demand, _most(source, on_demand))
    return TableRecord(
        name=name,
        arn=names.arn(call.account, call.region, name),
        id=str(uuid.uuid4()),
        created_at=call.now,
        attributes={each: kind for each, kind in source.attributes.items() if each in used},
        hash_key=source.hash_key,
        range_key=source.range_key,
        on_demand=on_demand,
        read_units=0 if on_demand else units["ReadCapacityUnits"],
        write_units=0 if on_demand else units["WriteCapacityUnits"],
        max_read_units=most[0],
        max_write_units=most[1],
        table_class=source.table_class,
        on_demand_since=call.now if on_demand else 0.0,
        indexes=indexes,
        last_index_id=source.last_index_id,
        vectors=searched,
        filling=True,
        restored=restored,
    )


def _kept(
    source: TableRecord, override: list[dict[str, Any]] | None, is_global: bool, on_demand: bool
) -> list[IndexRecord]:
    """The source's indexes of a kind, or those of them that the override names: it can leave out, not add or change."""
    there = {each.name: each for each in source.indexes if each.is_global == is_global}
    chosen: list[tuple[IndexRecord, dict[str, Any]]] = [(index, {}) for index in there.values()]
    if override is not None:
        chosen = [(_same(there.get(given["IndexName"]), given), given) for given in override]
    kept = []
    for index, given in chosen:
        throughput = given.get("ProvisionedThroughput")
        read, write = index.read_units, index.write_units
        if throughput is not None:
            if on_demand:
                raise invalid(
                    f"{INVALID}ProvisionedThroughput should not be specified for index: {index.name} when BillingMode is "
                    "PAY_PER_REQUEST"
                )
            check_units(throughput)
            read, write = throughput["ReadCapacityUnits"], throughput["WriteCapacityUnits"]
        if is_global and not on_demand and not read:
            raise invalid(f"{INVALID}ProvisionedThroughput must be specified for index: {index.name}")
        read, write = (0, 0) if on_demand else (read, write)
        most = _most(index, on_demand)
        new = msgspec.structs.replace(
            index, backfilling=False, read_units=read, write_units=write, max_read_units=most[0],
            max_write_units=most[1], warm_read_units=0, warm_write_units=0,
        )  # fmt: skip
        billing.set_index(new, given, on_demand)
        kept.append(new)
    return kept


def _kept_vectors(source: TableRecord, override: list[dict[str, Any]] | None, on_demand: bool) -> list[VectorRecord]:
    """The source's vector indexes, or those of them that the override names. Raises ValidationException."""
    kept = [msgspec.structs.replace(each, backfilling=False) for each in source.vectors]
    if override is not None:
        there = {each.name: each for each in kept}
        kept = []
        for given in override:
            found = there.get(given["IndexName"])
            if found is None or vectors.definition(found) != given:
                raise invalid(
                    f"{INVALID}Index override does not match an index of the source table: {given['IndexName']}. Indexes "
                    "can be left out of a restore, not added or changed"
                )
            kept.append(found)
    if kept and not on_demand:
        raise invalid(f"{INVALID}Vector indexes are only supported on tables with BillingMode PAY_PER_REQUEST")
    return kept


def _most(source: TableRecord | IndexRecord, on_demand: bool) -> tuple[int, int]:
    """The maximum throughput on demand that a restored table or index has unless it is overridden."""
    return (source.max_read_units, source.max_write_units) if on_demand else (0, 0)


def _same(index: IndexRecord | None, given: Mapping[str, Any]) -> IndexRecord:
    """Raises ValidationException unless the index is the source's own."""
    hashes, ranges = (
        [element["AttributeName"] for element in given["KeySchema"] if element["KeyType"] == kind]
        for kind in ("HASH", "RANGE")
    )
    projection = given["Projection"]
    asked = (hashes, ranges, projection.get("ProjectionType"), sorted(projection.get("NonKeyAttributes") or ()))
    if index is None or asked != (
        index.hash_keys, index.range_keys, index.projection, sorted(index.non_key_attributes)
    ):  # fmt: skip
        raise invalid(
            f"{INVALID}Index override does not match an index of the source table: {given['IndexName']}. Indexes can be "
            "left out of a restore, not added or changed"
        )
    return index


def _create(txn: Transaction, call: Call, target: TableRecord, restore: Restore) -> None:
    """Write the new table's record and start the job. Raises TableAlreadyExistsException, LimitExceededException."""
    filling.create(txn, call, target, "TableAlreadyExistsException")
    jobs.start(txn, call, "restore", target.id)
    txn.set(keys.restore(target.id), _encode(restore))


@jobs.handles("restore")
async def fill(step: jobs.Step) -> None:
    """Write the new table's items, some in each transaction, and then open it."""
    node, job = step.node, step.job
    while True:
        stored = await node.store.transact(lambda txn: txn.get(keys.restore(job.id)), read_only=True)
        if stored is None:
            await node.store.transact(step.end)
            return
        restore = _decode(stored)
        done = await (_some_of_backup if restore.backup_id else _some_of_table)(step, restore)
        if done:
            await node.store.transact(lambda txn, last=restore: _finish(txn, step, last))  # type: ignore[misc]
            return


async def _some_of_table(step: jobs.Step, restore: Restore) -> bool:
    """Copy the next items of the source table. Returns whether these were the last."""
    source_key = keys.table(step.job.account, restore.region, restore.source)

    def body(txn: Transaction) -> bool:
        step.check(txn)
        source = table.decode(txn.get(source_key) or b"")
        found, after = history.items_at(txn, source, restore.after, restore.at_us, _AT_ONCE, _BYTES_AT_ONCE)
        filling.write(txn, _target_of(txn, step, restore), [was.body for was in found], step.node)
        txn.set(keys.restore(step.job.id), _encode(msgspec.structs.replace(restore, after=after)))
        return not after

    done = await table_keys.transact(step.node, body)
    await asyncio.sleep(0)
    return done


async def _some_of_backup(step: jobs.Step, restore: Restore) -> bool:
    """Write the items of the next part of the backup. Returns whether there was none."""
    backup = await step.node.store.transact(
        lambda txn: backup_records.find(txn, step.job.account, restore.region, restore.backup_id), read_only=True
    )
    assert backup is not None, "a backup that is being restored cannot be deleted"
    lines = await backups.lines_of(step.node, backup, restore.part)
    if lines is None:
        return True
    while restore.done < len(lines):
        some = filling.some_of(lines, restore.done, _AT_ONCE, _BYTES_AT_ONCE)
        restore.done += len(some)
        await _write(step, restore, some)
    restore.part, restore.done = restore.part + 1, 0
    await _write(step, restore, [])
    return False


async def _write(step: jobs.Step, restore: Restore, lines: list[bytes]) -> None:
    def body(txn: Transaction) -> None:
        step.check(txn)
        filling.write(txn, _target_of(txn, step, restore), lines, step.node)
        txn.set(keys.restore(step.job.id), _encode(restore))

    await table_keys.transact(step.node, body)
    await asyncio.sleep(0)


def _target_of(txn: Transaction, step: jobs.Step, restore: Restore) -> table.Table:
    return filling.load(txn, keys.table(step.job.account, step.job.region, restore.target))


def _finish(txn: Transaction, step: jobs.Step, restore: Restore) -> None:
    job = step.job
    filling.open_table(txn, keys.table(job.account, job.region, restore.target))
    if restore.backup_id:
        backup = backup_records.find(txn, job.account, restore.region, restore.backup_id)
        assert backup is not None
        backup.restores -= 1
        backup_records.save(txn, job.account, restore.region, backup)
    else:
        history.let_go(txn, keys.table(job.account, restore.region, restore.source), restore.source_id, job.id)
    txn.clear(keys.restore(job.id))
    step.end(txn)
