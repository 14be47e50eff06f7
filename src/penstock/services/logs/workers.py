"""What Logs does by itself: it removes events that are older than their group's retention.

Readers never see an expired event, however long it is still there; this gives its space back.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING

from penstock.core.worker import worker
from penstock.services.logs import chunks, keys
from penstock.services.logs.records import Stream, decode_group, decode_stream, encode
from penstock.services.logs.rules import DAY_MS
from penstock.store.api import Transaction
from penstock.store.chunked import clear_large_range
from penstock.store.lease import LeaseLost, Leases
from penstock.store.tuples import prefix_end, unpack

if TYPE_CHECKING:
    from penstock.core.node import Node

log = logging.getLogger(__name__)

PERIOD_S = 900.0
LEASE_S = 600.0
_CHUNKS_AT_ONCE = 100
_LEASES = Leases(keys.LEASES)


@worker("logs:retention")
async def expire(node: Node) -> None:
    """Every quarter of an hour of the clock's time, one of the nodes removes what has expired."""
    while True:
        now = node.clock.now()
        token = await node.store.transact(
            partial(_LEASES.acquire, name="retention", holder=node.id, now=now, lease_s=LEASE_S)
        )
        if token is not None:
            await expire_all(node)
            with contextlib.suppress(LeaseLost):
                await node.store.transact(partial(_LEASES.release, name="retention", token=token))
        await node.clock.sleep(PERIOD_S)


async def expire_all(node: Node) -> int:
    """Remove every event that has expired by now. Returns the bytes given back."""
    total = 0
    async for key, _ in _pairs(node, keys.RETENTION):
        _, account, region, group = unpack(key)
        total += await _expire_group(node, account, region, group)
    if total:
        log.info("gave back %d bytes of expired log events", total)
    return total


async def _pairs(node: Node, prefix: bytes) -> AsyncIterator[tuple[bytes, bytes]]:
    """All pairs under a prefix, in transactions of some hundred each."""
    begin, end = prefix, prefix_end(prefix)
    while page := await node.store.transact(partial(_scan, begin, end), read_only=True):
        for pair in page:
            yield pair
        begin = page[-1][0] + b"\0"


def _scan(begin: bytes, end: bytes, txn: Transaction) -> list[tuple[bytes, bytes]]:
    return list(txn.scan(begin, end, 300))


async def _expire_group(node: Node, account: str, region: str, group: str) -> int:
    where = account, region, group
    stored = await node.store.transact(lambda txn: txn.get(keys.group(*where)), read_only=True)
    days = 0 if stored is None else decode_group(stored).retention_days
    if not days:
        return 0
    oldest_ms = round(node.clock.now() * 1000) - days * DAY_MS
    total = 0
    async for key, value in _pairs(node, keys.streams(*where)):
        if 0 <= decode_stream(value).first_ms < oldest_ms:
            body = partial(_expire_some, where, keys.last_name(key), oldest_ms)
            while freed := await node.store.transact(body):
                total += freed
    return total


def _expire_some(where: tuple[str, str, str], name: str, oldest_ms: int, txn: Transaction) -> int:
    """Remove some chunks of a stream that have expired as a whole. Returns their bytes; 0: there are no more."""
    key = keys.stream(*where, name)
    stored = txn.get(key)
    if stored is None:
        return 0
    stream: Stream = decode_stream(stored)
    prefix = keys.chunks(*where, name)
    freed = 0
    end = prefix
    stream.first_ms = -1
    for chunk_key, first_ms, chunk in chunks.scan(txn, prefix, limit=_CHUNKS_AT_ONCE):
        if chunk.times_ms[-1] >= oldest_ms:
            stream.first_ms = first_ms
            break
        freed += chunk.size_bytes
        end = chunk_key + b"\0"
    else:
        for _, first_ms, _ in chunks.scan(txn, prefix, end, 1):
            stream.first_ms = first_ms
            break
    if not freed:
        return 0
    if stream.first_ms < 0:
        stream.last_ms = -1
    stream.stored_bytes -= freed
    clear_large_range(txn, prefix, end)
    txn.set(key, encode(stream))
    txn.add(keys.stored_bytes(*where), -freed)
    return freed
