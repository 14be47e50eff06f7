"""A table's stream: switched on and off, its shards opened, closed and forgotten.

Changes go to one open shard at a time, which gives them one order. Every four hours a shard that has records is closed
and a child of it opened; what is older than 24 hours is trimmed, and a shard or a stream that is over and empty goes.
The table's record names the open shard, so whoever writes an item reads it with the table, and no write can get into a
shard that has been closed.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from penstock.core.node import Node
from penstock.services.dynamodb import changes, keys, table
from penstock.services.dynamodb.errors import INVALID, invalid
from penstock.services.dynamodb.table import Table
from penstock.services.dynamodb.table_keys import TableLock, lock_of
from penstock.services.dynamodb.table_records import Encryption, TableRecord
from penstock.store.api import Transaction
from penstock.store.log import POSITION_BYTES, Log
from penstock.store.tuples import prefix_end

KEPT_S = 86400.0
"""How long a stream keeps a record: a day."""
SHARD_S = 4 * 3600.0
"""How long a shard with records stays open."""
_TRIMMED_AT_ONCE = 1000
_FIRST = b"\0" * POSITION_BYTES


class StreamRecord(msgspec.Struct, omit_defaults=True):
    """What is stored of a stream. Times are seconds since the epoch, 0: never."""

    arn: str
    label: str
    table: str
    table_id: str
    record_key: bytes
    """Where its table's record is, for as long as there is one."""
    view: str
    hash_key: str
    range_key: str
    created_at: float
    disabled_at: float = 0.0
    encryption: Encryption | None = None
    """What its records are encrypted under: its table's, or of a table that is gone what that had."""

    @property
    def lock(self) -> TableLock | None:
        """What opens its records."""
        return lock_of(self.arn.partition("/stream/")[0], self.encryption)


class ShardRecord(msgspec.Struct, omit_defaults=True):
    """What is stored of a shard. begins, ends: the first position it may hold and the last, empty while it is open."""

    number: int
    opened_at: float
    begins: bytes = _FIRST
    ends: bytes = b""
    closed_at: float = 0.0

    @property
    def id(self) -> str:
        """AWS's form: the time in milliseconds, then what tells apart."""
        return f"shardId-{int(self.opened_at * 1000):020d}-{self.number:08x}"


decode = msgspec.json.Decoder(StreamRecord).decode
decode_shard = msgspec.json.Decoder(ShardRecord).decode
encode = msgspec.json.Encoder().encode


def wanted(params: Mapping[str, Any]) -> str | None:
    """The StreamViewType that a request wants, "" for no stream, None where it says nothing of it.

    Raises ValidationException.
    """
    given = params.get("StreamSpecification")
    if given is None:
        return None
    view: str = given.get("StreamViewType", "")
    if not given["StreamEnabled"]:
        if view:
            raise invalid(f"{INVALID}StreamViewType must not be specified when StreamEnabled is false")
        return ""
    if not view:
        raise invalid(f"{INVALID}StreamViewType must be specified when StreamEnabled is true")
    return view


def open_stream(txn: Transaction, record_key: bytes, record: TableRecord, view: str, now: float) -> TableRecord:
    """Give the table a stream. Returns the table's new record. Raises ValidationException where it has one."""
    if record.stream_view:
        raise invalid(f"Table already has an enabled stream: TableName: {record.name}")
    account, region = record.arn.split(":")[4], record.arn.split(":")[3]
    at = now
    while txn.get(keys.stream(account, region, record.name, label := _label(at))) is not None:
        at += 0.001
    stream = StreamRecord(
        arn=f"{record.arn}/stream/{label}", label=label, table=record.name, table_id=record.id, record_key=record_key,
        view=view, hash_key=record.hash_key, range_key=record.range_key, created_at=now,
        encryption=record.encryption,
    )  # fmt: skip
    txn.set(keys.stream(account, region, record.name, label), encode(stream))
    txn.set(keys.stream_shard(_table_id(record), label, 0), encode(ShardRecord(0, now)))
    return table.changed(record, stream_view=view, stream_label=label, stream_shard=0)


def close_stream(txn: Transaction, record: TableRecord, now: float) -> TableRecord:
    """Take the table's stream away; what it holds can be read for a day. Raises ValidationException for none."""
    if not record.stream_view:
        raise invalid(f"Table does not have an enabled stream: TableName: {record.name}")
    key = keys.stream(record.arn.split(":")[4], record.arn.split(":")[3], record.name, record.stream_label)
    stored = txn.get(key)
    assert stored is not None
    stream = decode(stored)
    stream.disabled_at = now
    txn.set(key, encode(stream))
    _close_shard(txn, _table_id(record), record.stream_label, record.stream_shard, now)
    return table.changed(record, stream_view="")


def encrypted(txn: Transaction, record: TableRecord) -> None:
    """The table is encrypted under another key, or at all: its stream is, too."""
    if record.stream_view:
        key = keys.stream(record.arn.split(":")[4], record.arn.split(":")[3], record.name, record.stream_label)
        stream = decode(txn.get(key) or b"")
        stream.encryption = record.encryption
        txn.set(key, encode(stream))


def change(
    txn: Transaction, record_key: bytes, record: TableRecord, params: Mapping[str, Any], now: float
) -> TableRecord:
    """Do what an UpdateTable wants of the stream. Raises ValidationException."""
    view = wanted(params)
    if view is None:
        return record
    return open_stream(txn, record_key, record, view, now) if view else close_stream(txn, record, now)


def describe(record: TableRecord) -> dict[str, Any]:
    """The members of a TableDescription about the stream."""
    found: dict[str, Any] = {}
    if record.stream_label:
        found["LatestStreamLabel"] = record.stream_label
        found["LatestStreamArn"] = f"{record.arn}/stream/{record.stream_label}"
    if record.stream_view:
        found["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": record.stream_view}
    return found


def shard_log(stream: StreamRecord, number: int) -> Log:
    """The log of a shard."""
    return Log(keys.stream_log(uuid.UUID(stream.table_id).bytes, stream.label, number))


def after(position: bytes) -> bytes:
    """The position that comes next."""
    return (int.from_bytes(position, "big") + 1).to_bytes(POSITION_BYTES, "big")


def _close_shard(txn: Transaction, table_id: bytes, label: str, number: int, now: float) -> ShardRecord:
    key = keys.stream_shard(table_id, label, number)
    stored = txn.get(key)
    assert stored is not None
    shard = decode_shard(stored)
    log = Log(keys.stream_log(table_id, label, number))
    # An empty shard ends where it begins; one that was trimmed whole ends before where it was trimmed to.
    shard.ends = max(log.last(txn) or b"", shard.begins, log.trimmed(txn)[:POSITION_BYTES])
    shard.closed_at = now
    txn.set(key, encode(shard))
    return shard


async def tend(node: Node) -> None:
    """Roll, trim and forget what it is time for, in all streams. Doing it twice, or on two nodes, does no harm."""
    transact = node.store.transact
    for key, stored in await transact(lambda txn: list(txn.scan(*keys.streams())), read_only=True):
        stream, now = decode(stored), node.clock.now()
        await transact(partial(_roll, stream=stream, now=now))
        for shard in await transact(partial(read_shards, stream=stream), read_only=True):
            while await transact(partial(_trim, stream=stream, shard=shard, before=now - KEPT_S)):
                pass
        if stream.disabled_at and stream.disabled_at + KEPT_S <= now:
            await transact(partial(_forget, key=key, stream=stream))


def read_shards(txn: Transaction, stream: StreamRecord) -> list[ShardRecord]:
    """A stream's shards, the oldest first."""
    table_id = uuid.UUID(stream.table_id).bytes
    return [decode_shard(stored) for _, stored in txn.scan(*keys.stream_shards(table_id, stream.label))]


def _roll(txn: Transaction, stream: StreamRecord, now: float) -> None:
    """Open a child of the open shard, if that is old enough and has records."""
    stored = txn.get(stream.record_key)
    found: Table | None = None if stored is None else table.decode(stored)
    if found is None or found.shard is None or found.record.stream_label != stream.label:
        return
    record = found.record
    shard_key = keys.stream_shard(found.id, stream.label, record.stream_shard)
    stored = txn.get(shard_key)
    if stored is None or decode_shard(stored).opened_at + SHARD_S > now or found.shard.last(txn) is None:
        return
    closed = _close_shard(txn, found.id, stream.label, record.stream_shard, now)
    child = ShardRecord(closed.number + 1, now, after(closed.ends))
    txn.set(keys.stream_shard(found.id, stream.label, child.number), encode(child))
    txn.set(stream.record_key, table.encode(table.changed(record, stream_shard=child.number)))


def _trim(txn: Transaction, stream: StreamRecord, shard: ShardRecord, before: float) -> bool:
    """Forget a part of the records from before that time, and a closed shard with nothing left. Whether to go on."""
    log = shard_log(stream, shard.number)
    found = log.read(txn, limit=_TRIMMED_AT_ONCE)
    old = b""
    for position, stored in found:
        if changes.decode(stored).at > before:
            break
        old = position
    if old:
        log.trim(txn, after(old))
    if old and old == found[-1][0]:
        return len(found) == _TRIMMED_AT_ONCE
    if not found and shard.ends and shard.closed_at <= before:
        log.clear(txn)
        txn.clear(keys.stream_shard(uuid.UUID(stream.table_id).bytes, stream.label, shard.number))
    return False


def _forget(txn: Transaction, key: bytes, stream: StreamRecord) -> None:
    table_id = uuid.UUID(stream.table_id).bytes
    for shard in read_shards(txn, stream):
        prefix = keys.stream_log(table_id, stream.label, shard.number)
        txn.clear(prefix, prefix_end(prefix))
    txn.clear(*keys.stream_shards(table_id, stream.label))
    txn.clear(key)


def _table_id(record: TableRecord) -> bytes:
    return uuid.UUID(record.id).bytes


def _label(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
