"""CreateBackup, DescribeBackup, ListBackups, DeleteBackup, and the job that copies a table's items.

A backup holds the items as they were when it was asked for, whatever is written while it is made (see `history`). They
lie in blobs of compressed JSON lines, so a backup shares nothing with its table: it survives that table's deletion.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

from penstock.core import arn as arns
from penstock.core.call import Call
from penstock.core.node import Node
from penstock.core.operation import Params, Result, operation
from penstock.services.dynamodb import descriptions, history, jobs, keys, names, table, table_keys, tables, vectors
from penstock.services.dynamodb.backup_records import BackupRecord, Part, decode, decode_part, encode, find, made, save
from penstock.services.dynamodb.errors import invalid
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

_PART_BYTES = 8 << 20
_LOOKED_AT_ONCE = 500
_BYTES_AT_ONCE = 1 << 20
_PAGE = 100


def resource(call: Call, params: Params) -> str:
    """The backup's ARN, for the permission check."""
    return str(params["BackupArn"])


@operation("dynamodb:CreateBackup", resource=names.resource)
async def create_backup(call: Call, params: Params) -> Result:
    """Note what is to be copied; the items of this moment are copied by a job."""
    name = params["TableName"]
    key = names.record_key(call, name)
    moments = call.node.own(history.Moments)

    def body(txn: Transaction) -> BackupRecord:
        stored = txn.get(key)
        if stored is None:
            raise AwsError("TableNotFoundException", f"Table not found: {name}")
        found = table.decode(stored)
        if found.record.filling:
            raise AwsError("TableInUseException", f"Table is being created: {found.record.name}")
        at_us = moments.of(txn)
        sized = descriptions.sizes(txn, found)
        record = made(params["BackupName"], at_us / 1e6, stored, sized.items, sized.size_bytes)
        record.at_us = at_us
        txn.set(key, table.encode(history.hold(found.record, record.id, at_us)))
        save(txn, call.account, call.region, record)
        jobs.start(txn, call, "backup", record.id)
        return record

    record = await call.store.transact(body)
    await jobs.settle(call, "backup", record.id)
    return {"BackupDetails": details(record)}


def load(txn: Transaction, call: Call, arn: str, *, any_region: bool = False) -> BackupRecord:
    """The account's backup of that ARN, in the call's region or in any. Raises ValidationException, BackupNotFoundException."""
    parsed = arns.parse(arn) if arns.is_arn(arn) else None
    if parsed is None or parsed.service != "dynamodb" or "/backup/" not in parsed.resource:
        raise invalid(f"Invalid BackupArn: Invalid ResourceArn provided as input {arn}")
    region = parsed.region if any_region else call.region
    found = find(txn, call.account, region, arn.rpartition("/")[2])
    if found is None or found.arn != arn:
        raise AwsError("BackupNotFoundException", f"Backup not found: {arn}")
    return found


def in_use() -> AwsError:
    """What is said of a backup that is being made or restored."""
    return AwsError(
        "BackupInUseException",
        "There is another ongoing conflicting backup control plane operation on the table. The backup is either being "
        "created, deleted or restored to a table.",
    )


def details(record: BackupRecord, status: str = "") -> dict[str, Any]:
    """BackupDetails."""
    shown: dict[str, Any] = {
        "BackupArn": record.arn,
        "BackupName": record.name,
        "BackupSizeBytes": record.size_bytes,
        "BackupStatus": status or ("AVAILABLE" if record.available else "CREATING"),
        "BackupType": record.kind,
        "BackupCreationDateTime": record.created_at,
    }
    if record.expires_at:
        shown["BackupExpiryDateTime"] = record.expires_at
    return shown


def description(record: BackupRecord, status: str = "") -> dict[str, Any]:
    """BackupDescription: the backup, and the table as it was."""
    source = record.table.record
    shown = descriptions.describe(descriptions.Sized(source, record.items, record.size_bytes, {}), "ACTIVE")
    of_table = {
        "TableName": source.name,
        "TableId": source.id,
        "TableArn": source.arn,
        "TableSizeBytes": record.size_bytes,
        "KeySchema": shown["KeySchema"],
        "TableCreationDateTime": source.created_at,
        "ProvisionedThroughput": _units(shown),
        "ItemCount": record.items,
        "BillingMode": "PAY_PER_REQUEST" if source.on_demand else "PROVISIONED",
    }
    features: dict[str, Any] = {}
    for kind in ("LocalSecondaryIndexes", "GlobalSecondaryIndexes"):
        for index in shown.get(kind, ()):
            listed = {name: index[name] for name in ("IndexName", "KeySchema", "Projection")}
            if kind == "GlobalSecondaryIndexes":
                listed["ProvisionedThroughput"] = _units(index)
            features.setdefault(kind, []).append(listed)
    if "OnDemandThroughput" in shown:
        of_table["OnDemandThroughput"] = shown["OnDemandThroughput"]
    for name, as_name in (("StreamSpecification", "StreamDescription"), ("SSEDescription", "SSEDescription")):
        if name in shown:
            features[as_name] = shown[name]
    if source.vectors:
        features["VectorIndexes"] = [vectors.definition(each) for each in source.vectors]
    if source.ttl_attribute:
        features["TimeToLiveDescription"] = {"TimeToLiveStatus": "ENABLED", "AttributeName": source.ttl_attribute}
    return {
        "BackupDetails": details(record, status),
        "SourceTableDetails": of_table,
        "SourceTableFeatureDetails": features,
    }


def _units(shown: dict[str, Any]) -> dict[str, int]:
    return {name: shown["ProvisionedThroughput"][name] for name in ("ReadCapacityUnits", "WriteCapacityUnits")}


@operation("dynamodb:DescribeBackup", resource=resource)
async def describe_backup(call: Call, params: Params) -> Result:
    """A backup and the table that it is of."""
    found = await call.store.transact(lambda txn: load(txn, call, params["BackupArn"]), read_only=True)
    return {"BackupDescription": description(found)}


@operation("dynamodb:DeleteBackup", resource=resource)
async def delete_backup(call: Call, params: Params) -> Result:
    """Remove a backup with its items."""

    def body(txn: Transaction) -> BackupRecord:
        found = load(txn, call, params["BackupArn"])
        if not found.available or found.restores:
            raise in_use()
        remove(txn, call.node.blobs, keys.backup(call.account, call.region, found.id), found)
        return found

    return {"BackupDescription": description(await call.store.transact(body), "DELETED")}


def remove(txn: Transaction, blobs: Any, key: bytes, record: BackupRecord) -> None:
    """Remove a backup's record, its parts and their blobs."""
    for part_key, stored in list(txn.scan(*keys.backup_parts(record.id))):
        blobs.release(txn, decode_part(stored).blob)
        txn.clear(part_key)
    txn.clear(key)
    if record.expires_at:
        txn.clear(keys.backup_due(record.expires_at, key))


@operation("dynamodb:ListBackups")
async def list_backups(call: Call, params: Params) -> Result:
    """Backups in the order in which they were made: of a table, of a kind, of a range of time (its end excluded)."""
    limit, kind = params.get("Limit", _PAGE), params.get("BackupType", "USER")
    begin, end = keys.backups(call.account, call.region)
    if after := params.get("ExclusiveStartBackupArn"):
        begin = keys.backup(call.account, call.region, after.rpartition("/")[2]) + b"\0"
    name = params.get("TableName")
    if name is not None:
        name = names.resolve(call.account, call.region, name)
    lower, upper = params.get("TimeRangeLowerBound", 0.0), params.get("TimeRangeUpperBound", float("inf"))

    def body(txn: Transaction) -> list[BackupRecord]:
        found = []
        for _, stored in txn.scan(begin, end):
            record = decode(stored)
            right = name in (None, record.table.record.name) and kind in ("ALL", record.kind)
            if right and lower <= record.created_at < upper:
                found.append(record)
                if len(found) > limit:
                    break
        return found

    found = await call.store.transact(body, read_only=True)
    result: Result = {"BackupSummaries": [_summary(record) for record in found[:limit]]}
    if len(found) > limit:
        result["LastEvaluatedBackupArn"] = found[limit - 1].arn
    return result


def _summary(record: BackupRecord) -> dict[str, Any]:
    source = record.table.record
    return {"TableName": source.name, "TableId": source.id, "TableArn": source.arn, **details(record)}


@jobs.handles("backup")
async def copy(step: jobs.Step) -> None:
    """Copy a table's items of the backup's time into blobs, a part at a time."""
    node, job = step.node, step.job
    while True:
        record = await node.store.transact(lambda txn: find(txn, job.account, job.region, job.id), read_only=True)
        if record is None or record.available:
            await node.store.transact(step.end)
            return
        lines, items, after = await _read_part(step, record)
        blob = None
        if lines:
            packed = await asyncio.to_thread(zlib.compress, b"".join(lines), 1)
            if record.table.lock is not None:
                packed = await table_keys.sealed(node, record.table.lock, packed, record.id.encode())
            writer = await node.blobs.create()
            await writer.write(packed)
            await writer.finish()
            blob = Part(writer.name, len(packed), items)
        await node.store.transact(lambda txn, part=blob, to=after: _copied(txn, step, part, to))  # type: ignore[misc]
        if not after:
            return


async def _read_part(step: jobs.Step, record: BackupRecord) -> tuple[list[bytes], int, bytes]:
    """The next items as JSON lines, how many they are, and the last place of them: empty at the end."""
    source, after = record.table, record.after
    at_us = record.at_us or 1 << 62
    lines: list[bytes] = []
    size_bytes = items = 0
    while size_bytes < _PART_BYTES:
        found, after = await table_keys.transact(
            step.node,
            lambda txn, begin=after: history.items_at(txn, source, begin, at_us, _LOOKED_AT_ONCE, _BYTES_AT_ONCE),  # type: ignore[misc]
            read_only=True,
        )
        for was in found:
            lines += (was.body, b"\n")
            size_bytes += len(was.body) + 1
        items += len(found)
        if not after:
            break
        await asyncio.sleep(0)
    return lines, items, after


def _copied(txn: Transaction, step: jobs.Step, part: Part | None, after: bytes) -> None:
    """Note a part; at the end, let go of the table's history, or of the items of one that has been deleted."""
    job = step.job
    record = find(txn, job.account, job.region, job.id)
    assert record is not None
    step.check(txn)
    if part is not None:
        step.node.blobs.adopt(txn, part.blob)
        txn.set(keys.backup_part(record.id, record.parts), encode(part))
        record.parts += 1
    record.after = after
    if not after:
        record.available = True
        source = record.table
        if record.at_us:
            record_key = keys.table(job.account, job.region, source.record.name)
            history.let_go(txn, record_key, source.record.id, record.id)
        else:
            tables.clear_items(txn, source.record)
        step.end(txn)
    save(txn, job.account, job.region, record)


async def lines_of(node: Node, backup: BackupRecord, number: int) -> list[bytes] | None:
    """The items of a part of a backup, as JSON; None behind the last part. Raises BlobMissing, KmsRefused."""
    stored = await node.store.transact(lambda txn: txn.get(keys.backup_part(backup.id, number)), read_only=True)
    if stored is None:
        return None
    part = decode_part(stored)
    packed = b"".join([piece async for piece in node.blobs.read(part.blob, 0, part.size_bytes)])
    if backup.table.lock is not None:
        packed = await table_keys.unsealed(node, backup.table.lock, packed, backup.id.encode())
    lines: list[bytes] = (await asyncio.to_thread(zlib.decompress, packed)).split(b"\n")
    return lines[:-1]


def forget_expired(txn: Transaction, blobs: Any, now: float) -> bool:
    """Remove a backup whose time is over. Returns whether there was one."""
    for due_key, _ in list(txn.scan(*keys.backups_due_before(now), 1)):
        key = keys.backup_of_due(due_key)
        stored = txn.get(key)
        if stored is not None:
            record = decode(stored)
            if not record.available or record.restores:
                return False  # it is looked at again soon
            remove(txn, blobs, key, record)
        txn.clear(due_key)
        return True
    return False
