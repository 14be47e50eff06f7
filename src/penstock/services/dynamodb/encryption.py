"""SSESpecification: tables encrypted under keys of KMS, from CreateTable and UpdateTable to restores and replicas.

What is written from then on is encrypted (items, what indexes project, history, streams, backups); what was there before is
encrypted by a job. Asking KMS takes time, so it is done before the transaction that needs the answer.
Source: "Managing encrypted tables in DynamoDB" of the developer guide.
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.core.call import Call
from penstock.core.master_key import MasterKeyError
from penstock.core.node import Node
from penstock.services.dynamodb import jobs, keys, records, table, table_keys, writes
from penstock.services.dynamodb.errors import INVALID, invalid
from penstock.services.dynamodb.key_space import KeySpace
from penstock.services.dynamodb.table import Table
from penstock.services.dynamodb.table_keys import SERVICE, KmsRefused, TableLock, ask_kms
from penstock.services.dynamodb.table_records import Encryption, TableRecord
from penstock.store.api import Transaction
from penstock.store.tuples import prefix_end
from penstock.wire.errors import AwsError

MANAGED = "alias/aws/dynamodb"
_GRANTED = ["Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey", "ReEncryptFrom", "ReEncryptTo", "RetireGrant"]
_AT_ONCE = 200
_BYTES_AT_ONCE = 1 << 20


def wanted(specification: dict[str, Any] | None) -> str | None:
    """The KMS key that an SSESpecification asks for; "" for none, None where it says nothing. Raises ValidationException."""
    if not specification:
        return None
    enabled = specification.get("Enabled", True)
    if not enabled and ("SSEType" in specification or "KMSMasterKeyId" in specification):
        raise invalid(f"{INVALID}SSEType and KMSMasterKeyId cannot be specified when SSESpecification.Enabled is false")
    if specification.get("SSEType", "KMS") != "KMS":
        raise invalid(
            f"{INVALID}SSEType {specification['SSEType']} is not supported: the only supported SSEType is KMS"
        )
    return str(specification.get("KMSMasterKeyId") or MANAGED) if enabled else ""


async def for_new(call: Call, region: str, name: str, key_id: str | None) -> Encryption | None:
    """The key of a new table, made by KMS with the caller's permissions; None for none.

    Raises ValidationException for a KMS key that cannot be used, AccessDeniedException.
    """
    if not key_id:
        return None
    lock = TableLock(call.account, region, name, Encryption("", b""))
    return await _wrapped(call, lock, key_id, None)


async def _wrapped(call: Call, lock: TableLock, key_id: str, plain: bytes | None) -> Encryption:
    """A table key encrypted under a KMS key: a fresh one, or `plain`; and DynamoDB's grant to open it by itself."""

    async def ask(operation: str, **params: Any) -> dict[str, Any]:
        account = call.principal.account or call.account
        return await ask_kms(call.node, lock.region, operation, call.principal, account, **params)

    try:
        given: dict[str, Any] = {"KeyId": key_id, "EncryptionContext": lock.context}
        if plain is None:
            answer = await ask("GenerateDataKey", **given, KeySpec="AES_256")
        else:
            answer = await ask("Encrypt", **given, Plaintext=plain)
        await ask(
            "CreateGrant", KeyId=answer["KeyId"], GranteeServicePrincipal=SERVICE, RetiringServicePrincipal=SERVICE,
            Operations=_GRANTED, Constraints={"EncryptionContextSubset": lock.context},
            Name=f"dynamodb-{lock.region}-{lock.account}-{lock.name}"[:256],
        )  # fmt: skip
    except KmsRefused as refused:
        if refused.reason == "AccessDeniedException":
            raise
        raise invalid(f"{INVALID}KMS validation error: {refused.kms_message}") from None
    return Encryption(answer["KeyId"], answer["CiphertextBlob"], key_id == MANAGED)


async def changed_to(call: Call, record: TableRecord, key_id: str) -> Encryption | None:
    """What a table is encrypted under once its KMS key is another one, or none (""). Raises as `for_new`."""
    before = record.encryption
    if before is None:
        return await for_new(call, region_of(record), record.name, key_id)
    lock = table_keys.lock_of(record.arn, before)
    assert lock is not None
    plain = await table_keys.open_key(call.node, lock, call.principal, call.principal.account or call.account)
    if key_id:
        after = await _wrapped(call, lock, key_id, plain)
        if after.key_arn == before.key_arn:
            raise invalid(f"{INVALID}Table is already encrypted by given KMSMasterKeyId")
        return after
    if not before.key_arn:
        return before
    try:
        master = await call.node.master_keys.get()
    except MasterKeyError as error:
        raise AwsError("InternalServerError", f"The table's key cannot be kept: {error}", 500) from None
    return Encryption("", master.seal(plain, table_keys.bound(lock.context)))


async def for_restored(call: Call, params: dict[str, Any], source: TableRecord) -> Encryption | None:
    """What a restored table is encrypted under: as the source is, unless the request says otherwise. Raises as `for_new`."""
    key_id = wanted(params.get("SSESpecificationOverride"))
    if key_id is None and source.encryption is not None and source.encryption.key_arn:
        key_id = MANAGED if source.encryption.is_managed else source.encryption.key_arn
        if key_id.startswith("arn:") and key_id.split(":")[3] != call.region:
            raise invalid(
                f"{INVALID}SSESpecificationOverride must be specified to restore an encrypted table in another region"
            )
    return await for_new(call, call.region, params["TargetTableName"], key_id)


async def for_replicas(call: Call, record: TableRecord, updates: list[dict[str, Any]]) -> dict[str, Encryption]:
    """Region -> what a replica is encrypted under that ReplicaUpdates make, or give another key. Raises as `for_new`."""
    found: dict[str, Encryption] = {}
    source = record.encryption
    for update in updates:
        given = update.get("Create") or update.get("Update") or {}
        key_id = given.get("KMSMasterKeyId", "")
        if source is None or not source.key_arn:
            if key_id:
                raise invalid(
                    f"{INVALID}KMSMasterKeyId cannot be specified: the table is not encrypted under a KMS key"
                )
            continue
        region = given.get("RegionName", "")
        made: Encryption | None = None
        if "Create" in update:
            if not key_id and not source.is_managed:
                raise invalid(f"{INVALID}KMSMasterKeyId must be specified for the replica in region {region}")
            made = await for_new(call, region, record.name, key_id or MANAGED)
        elif key_id:
            their_key = keys.table(call.account, region, record.name)
            stored = await call.store.transact(lambda txn, key=their_key: txn.get(key), read_only=True)  # type: ignore[misc]
            made = None if stored is None else await changed_to(call, table.decode(stored).record, key_id)
        if made is not None:
            found[region] = made
    return found


def region_of(record: TableRecord) -> str:
    """The region that a table is in."""
    return record.arn.split(":", 4)[3]


def describe(record: TableRecord) -> dict[str, Any]:
    """The SSEDescription member; none for a table without a KMS key, as AWS has it."""
    if record.encryption is None or not record.encryption.key_arn:
        return {}
    shown: dict[str, Any] = {
        "Status": "UPDATING" if record.sealing else "ENABLED",
        "SSEType": "KMS",
        "KMSMasterKeyArn": record.encryption.key_arn,
    }
    if record.inaccessible_since:
        shown["InaccessibleEncryptionDateTime"] = record.inaccessible_since
    return {"SSEDescription": shown}


def note(txn: Transaction, record_key: bytes, record: TableRecord) -> None:
    """Note that a table, about to be saved, is encrypted: its KMS key is looked after."""
    if record.encryption is not None:
        txn.set(keys.encrypted(record_key), b"")


class Sealing(msgspec.Struct):
    """How far a table's items from before are encrypted. space: -1: items, else the number of an index; after: a key."""

    record_key: bytes
    space: int = -1
    after: bytes = b""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Sealing).decode


def switch(txn: Transaction, call: Call, record_key: bytes, record: TableRecord, to: Encryption) -> TableRecord:
    """Have a table be encrypted under another key, or at all: then a job encrypts what is there.

    Raises ResourceInUseException while a job reads the table as it was: it knows the old key only.
    """
    if record.holds:
        raise AwsError(
            "ResourceInUseException",
            f"Attempt to change a resource which is still in use: Table is being backed up or exported: {record.name}",
        )
    txn.set(keys.encrypted(record_key), b"")
    if record.encryption is None:
        txn.set(keys.sealing(record.id), _encode(Sealing(record_key)))
        jobs.start(txn, call, "encrypt", record.id)
        record = table.changed(record, sealing=True)
    return table.changed(record, encryption=to, inaccessible_since=0.0)


@jobs.handles("encrypt")
async def seal_all(step: jobs.Step) -> None:
    """Encrypt what a table had before it was encrypted, a part at a time."""
    while await table_keys.transact(step.node, lambda txn: _seal_some(txn, step)):
        pass


def _seal_some(txn: Transaction, step: jobs.Step) -> bool:
    step.check(txn)
    where = keys.sealing(step.job.id)
    stored = txn.get(where)
    state = None if stored is None else _decode(stored)
    record = None if state is None else txn.get(state.record_key)
    found = None if record is None else table.decode(record)
    if state is None or found is None or found.record.id != step.job.id:
        txn.clear(where)
        step.end(txn)
        return False
    space: KeySpace = found if state.space < 0 else found.indexes[state.space]
    state.after = _reseal(txn, space, state.after)
    while not state.after:
        state.space += 1
        if state.space >= len(found.indexes):
            txn.set(state.record_key, table.encode(table.changed(found.record, sealing=False)))
            txn.clear(where)
            step.end(txn)
            return False
        if not found.indexes[state.space].projects_all:
            break
    txn.set(where, _encode(state))
    return True


def _reseal(txn: Transaction, space: KeySpace, after: bytes) -> bytes:
    """Encrypt some of what lies plain. Returns the last key looked at; empty at the end."""
    begin = after + b"\0" if after else space.prefix
    looked = size_bytes = 0
    for key, stored in list(txn.scan(begin, prefix_end(space.prefix), _AT_ONCE)):
        if not records.is_sealed(stored):
            writes.store(txn, space, key, stored, records.body_of(txn, space, key, stored), records.size_of(stored))
        looked += 1
        size_bytes += records.size_of(stored)
        if looked == _AT_ONCE or size_bytes > _BYTES_AT_ONCE:
            return key
    return b""


async def look_after(node: Node) -> None:
    """Ask KMS for the key of every encrypted table, and note which it refuses; close those not asked for lately."""
    node.own(table_keys.OpenLocks).close_old(node.clock.now())

    def body(txn: Transaction) -> list[tuple[bytes, Table]]:
        found = []
        for noted, _ in txn.scan(*keys.all_encrypted()):
            record_key = keys.record_of_encrypted(noted)
            stored = txn.get(record_key)
            if stored is not None:
                found.append((record_key, table.decode(stored)))
        return found

    for record_key, found in await node.store.transact(body, read_only=True):
        lock = found.lock
        if lock is None or not lock.encryption.key_arn:
            continue
        refused = False
        try:
            await table_keys.unlock_as_service(node, lock)
        except KmsRefused:
            refused = True
        if refused != bool(found.record.inaccessible_since):
            at = node.clock.now() if refused else 0.0
            await node.store.transact(lambda txn, key=record_key, at=at: table_keys.mark(txn, key, at))  # type: ignore[misc]
