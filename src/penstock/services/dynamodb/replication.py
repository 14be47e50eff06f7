"""Global tables at work: what one region wrote is carried to the others, new replicas are filled, old ones taken away.

What is carried is an item as it is now, not each change of it: a replica that lags sees the last of several quick changes.
Two regions' writes of one item are decided by their versions, so all replicas end up with the same item in whatever order
they hear of it. How far a replica has been told is noted in the transaction that writes there: nothing is lost or done
twice by a crash.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass

from penstock.core.call import Call
from penstock.core.identity import root
from penstock.core.node import Node
from penstock.core.operation import find
from penstock.services.dynamodb import (
    descriptions,
    jobs,
    keys,
    records,
    replicas,
    table,
    table_keys,
    tables,
    versions,
    writes,
)
from penstock.services.dynamodb.table import Table
from penstock.services.dynamodb.table_keys import KmsRefused
from penstock.store.api import Transaction
from penstock.store.tuples import prefix_end

_AT_ONCE = 100
_BYTES_AT_ONCE = 1 << 18
"""Of items: streams and indexes may hold each of them several times over."""
_EVERY_S = 60.0
_GATHER_S = 0.02
"""Writes that follow upon each other within this time are carried together."""
_TOMBSTONE_US = 60_000_000
"""Kept at least for this long, in case that nodes' clocks differ."""


def merge(txn: Transaction, source: Table, target: Table, place: bytes, node: Node) -> int:
    """Make the item at a place of one table be there in the other, unless that has a later one. Returns bytes read."""
    stored = txn.get(source.prefix + place)
    version = versions.of(txn, source, place) or versions.UNKNOWN
    known = versions.of(txn, target, place)
    if known is not None and known >= version:
        return 0
    key = target.prefix + place
    old = txn.get(key)
    if stored is not None:
        body = records.body_of(txn, source, source.prefix + place, stored)
        item, size = records.decode(body), records.size_of(stored)
        writes.save(txn, target, key, old, item, body, size, node, version)
        return len(body)
    if old is not None:
        writes.remove(txn, target, key, old, node, version=version)
    elif version != versions.UNKNOWN:
        versions.note(txn, target, key, 0, gone=True, version=version)
    return 0


def carry_some(txn: Transaction, source: Table, region: str, node: Node) -> bool:
    """Tell the replica in a region of some changes. Returns whether there may be more."""
    assert source.unreplicated is not None
    stored = txn.get(replicas.key_of(source.record, region))
    if stored is None:
        return False
    target = table.decode(stored)
    told_key = keys.replicated(source.id, region)
    told = txn.get(told_key) or b""
    found = source.unreplicated.read(txn, told, _AT_ONCE)
    size_bytes, seen = 0, set[bytes]()
    for position, place in found:
        if place not in seen:
            seen.add(place)
            size_bytes += merge(txn, source, target, place, node)
        told = position
        if size_bytes > _BYTES_AT_ONCE:
            break
    if not found:
        return False
    txn.set(told_key, told)
    _trim(txn, source)
    return len(found) == _AT_ONCE or size_bytes > _BYTES_AT_ONCE


def _trim(txn: Transaction, source: Table) -> None:
    """Forget what all replicas have been told of."""
    assert source.unreplicated is not None
    regions = [each.region for each in source.record.replicas if each.status != "DELETING"]
    oldest = min((txn.get(keys.replicated(source.id, region)) or b"" for region in regions), default=b"")
    if oldest:
        source.unreplicated.trim(txn, oldest)


def _carry(txn: Transaction, record_key: bytes, region: str, node: Node) -> bool:
    stored = txn.get(record_key)
    source = None if stored is None else table.decode(stored)
    if source is None or source.unreplicated is None:
        return False
    if not any(each.region == region and each.status != "DELETING" for each in source.record.replicas):
        return False
    return carry_some(txn, source, region, node)


def _global_tables(txn: Transaction) -> list[tuple[bytes, Table]]:
    found = []
    for key, _ in txn.scan(*keys.global_tables()):
        record_key = keys.record_of_global(key)
        stored = txn.get(record_key)
        if stored is not None:
            found.append((record_key, table.decode(stored)))
    return found


async def _repeat(node: Node, body: Callable[[Transaction], bool]) -> None:
    """Run transactions until one says that there is nothing more to do; others get their turn in between."""
    more = True
    while more:
        more = await table_keys.transact(node, body)
        await asyncio.sleep(0)


async def carry_all(node: Node) -> None:
    """Tell all replicas of all changes that were there when it began. Two nodes may do it together."""
    for record_key, source in await node.store.transact(_global_tables, read_only=True):
        for replica in source.record.replicas:
            # What cannot be opened waits until KMS allows it again.
            with contextlib.suppress(KmsRefused):
                await _repeat(node, functools.partial(_carry, record_key=record_key, region=replica.region, node=node))


async def work(node: Node) -> None:
    """Carry changes for as long as the node runs, and once a minute forget deleted items that all replicas know of."""
    forget_at = 0.0
    while True:
        # Watched before it is looked at, so that what is written in between is not missed.
        changed = asyncio.create_task(node.store.watch(keys.REPLICATIONS, _EVERY_S))
        try:
            await asyncio.sleep(0)
            await carry_all(node)
            if node.clock.now() >= forget_at:
                await _forget_tombstones(node)
                forget_at = node.clock.now() + _EVERY_S
            await changed
        finally:
            changed.cancel()
        await asyncio.sleep(_GATHER_S)


async def _forget_tombstones(node: Node) -> None:
    for record_key, _ in await node.store.transact(_global_tables, read_only=True):
        before_us = round(node.clock.now() * 1e6) - _TOMBSTONE_US
        await _repeat(node, functools.partial(_forget_some, record_key=record_key, before_us=before_us))


def _forget_some(txn: Transaction, record_key: bytes, before_us: int) -> bool:
    """Forget some tombstones, if no replica has anything left to tell. Returns whether there may be more."""
    stored = txn.get(record_key)
    found = None if stored is None else table.decode(stored)
    if found is None or not found.record.replicas:
        return False
    for _, other in replicas.others(txn, found.record):
        source = table.Table(other)
        assert source.unreplicated is not None
        told = txn.get(keys.replicated(source.id, found.region)) or b""
        if source.record.filling or source.unreplicated.read(txn, told, 1):
            return False
    return versions.forget_tombstones(txn, found, before_us)


@dataclass(slots=True, frozen=True)
class _Pair:
    """A table that is filled or taken away, and the job's state."""

    key: bytes
    table: Table
    copy: replicas.Copy


@jobs.handles("replica")
async def fill_or_remove(step: jobs.Step) -> None:
    """Fill a new replica, or carry the last changes of one that is being deleted and delete it."""
    await _repeat(step.node, lambda txn: _step(txn, step))


def _step(txn: Transaction, step: jobs.Step) -> bool:
    step.check(txn)
    job = step.job
    stored = txn.get(keys.replica(job.id))
    if stored is None:
        step.end(txn)
        return False
    copy = replicas.decode_copy(stored)
    key = keys.table(job.account, copy.target_region or copy.source_region, copy.name)
    found = table.decode(txn.get(key) or b"")
    pair = _Pair(key, found, copy)
    more = _fill_some(txn, step, pair) if copy.target_region else _remove_some(txn, step, pair)
    if not more:
        txn.clear(keys.replica(job.id))
        step.end(txn)
    return more


def _fill_some(txn: Transaction, step: jobs.Step, pair: _Pair) -> bool:
    """Copy some items into a new replica. Returns whether there are more; if not, the replica is ready."""
    copy = pair.copy
    source = table.decode(txn.get(keys.table(step.job.account, copy.source_region, copy.name)) or b"")
    begin = source.prefix + copy.after + b"\0" if copy.after else source.prefix
    seen = size_bytes = 0
    for key, _ in txn.scan(begin, prefix_end(source.prefix), _AT_ONCE):
        copy.after = key[len(source.prefix) :]
        size_bytes += merge(txn, source, pair.table, copy.after, step.node)
        seen += 1
        if size_bytes > _BYTES_AT_ONCE:
            break
    if seen == _AT_ONCE or size_bytes > _BYTES_AT_ONCE:
        txn.set(keys.replica(step.job.id), replicas.encode_copy(copy))
        return True
    replicas.filled(txn, pair.key, pair.table.record, step.node.clock.now())
    return False


def _remove_some(txn: Transaction, step: jobs.Step, pair: _Pair) -> bool:
    """Carry some last changes of a table that is being deleted. Returns whether there are more; if not, it is gone."""
    for replica in pair.table.record.replicas:
        if replica.status == "ACTIVE" and carry_some(txn, pair.table, replica.region, step.node):
            return True
    job = step.job
    call = Call(step.node, find("dynamodb", "DeleteTable"), root(job.account), job.account, pair.table.region, job.id)
    tables.erase(txn, call, pair.key, descriptions.sizes(txn, pair.table))
    replicas.left(txn, pair.table)
    return False
