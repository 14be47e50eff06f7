"""A backup as it is stored."""

from __future__ import annotations

import uuid

import msgspec

from penstock.core.call import Call
from penstock.services.dynamodb import jobs, keys, table
from penstock.services.dynamodb.table import Table
from penstock.store.api import Transaction

KEPT_DAYS = 35
"""How long the backup of a deleted table is kept."""
_DAY_S = 86400


class BackupRecord(msgspec.Struct, omit_defaults=True):
    """What is stored of a backup. Times are seconds since the epoch, 0: never."""

    id: str
    name: str
    created_at: float
    source: bytes
    """The table's record as it was."""
    items: int
    size_bytes: int
    at_us: int
    """The time whose items it holds; 0: those of a deleted table, which nobody changes any more."""
    kind: str = "USER"
    available: bool = False
    expires_at: float = 0.0
    restores: int = 0
    """How many restores read it right now."""
    after: bytes = b""
    """The place that has been copied last."""
    parts: int = 0

    @property
    def table(self) -> Table:
        """The table as it was."""
        return table.decode(self.source)

    @property
    def region(self) -> str:
        """Where it is."""
        return self.table.record.arn.split(":")[3]

    @property
    def arn(self) -> str:
        """…:table/NAME/backup/ID"""
        return f"{self.table.record.arn}/backup/{self.id}"


class Part(msgspec.Struct):
    """Some of a backup's items, in order of key."""

    blob: str
    size_bytes: int
    items: int


decode = msgspec.json.Decoder(BackupRecord).decode
decode_part = msgspec.json.Decoder(Part).decode
encode = msgspec.json.Encoder().encode


def made(name: str, now: float, stored: bytes, items: int, size_bytes: int) -> BackupRecord:
    """A new backup of the table whose record is `stored`."""
    id = f"{int(now * 1000):014d}-{uuid.uuid4().hex[:8]}"
    return BackupRecord(id, name, now, stored, items, size_bytes, 0)


def keep_deleted(txn: Transaction, call: Call, stored: bytes, items: int, size_bytes: int) -> None:
    """In the transaction that deletes a table with point-in-time recovery: its items become a backup of the system.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/PointInTimeRecovery_Howitworks.html
    """
    name = f"{table.decode(stored).record.name}$DeletedTableBackup"
    record = made(name, call.now, stored, items, size_bytes)
    record.kind, record.expires_at = "SYSTEM", call.now + KEPT_DAYS * _DAY_S
    save(txn, call.account, call.region, record)
    txn.set(keys.backup_due(record.expires_at, keys.backup(call.account, call.region, record.id)), b"")
    jobs.start(txn, call, "backup", record.id)


def save(txn: Transaction, account: str, region: str, record: BackupRecord) -> None:
    """Write a backup's record."""
    txn.set(keys.backup(account, region, record.id), encode(record))


def find(txn: Transaction, account: str, region: str, id: str) -> BackupRecord | None:
    """The backup of that id."""
    stored = txn.get(keys.backup(account, region, id))
    return None if stored is None else decode(stored)
