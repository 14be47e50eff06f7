"""What runs by itself: forgetting what is old, filling new indexes, jobs that take long."""

from __future__ import annotations

import asyncio

from penstock.core.node import Node
from penstock.core.worker import worker
from penstock.services.dynamodb import (
    backups,
    contributors,
    encryption,
    jobs,
    keys,
    recovery,
    replication,
    streams,
    time_to_live,
)
from penstock.services.dynamodb.indexes import fill_all
from penstock.services.dynamodb.tokens import forget_expired

_EVERY_S = 60.0
_KEPT_EVERY_S = 300.0
_EXPIRED_EVERY_S = 5.0


@worker("dynamodb:tokens")
async def forget_tokens(node: Node) -> None:
    """Once a minute, remove request tokens that are past their ten minutes. Doing it twice does no harm."""
    while True:
        await node.clock.sleep(_EVERY_S)
        while await node.store.transact(lambda txn: forget_expired(txn, node.clock.now())):
            pass


@worker("dynamodb:indexes")
async def fill_indexes(node: Node) -> None:
    """Fill global indexes that were added to tables with data, a part at a time. Two nodes may do it together."""
    while True:
        # Watched before it is looked at, so that what is added in between is not missed.
        changed = asyncio.create_task(node.store.watch(keys.BACKFILLS, _EVERY_S))
        try:
            await asyncio.sleep(0)
            await fill_all(node)
            await changed
        finally:
            changed.cancel()


@worker("dynamodb:jobs")
async def do_jobs(node: Node) -> None:
    """Backups, restores, exports and imports."""
    await jobs.work(node)


@worker("dynamodb:keys")
async def look_after_keys(node: Node) -> None:
    """Once a minute, see which tables' KMS keys are in order, and close table keys that nobody has asked for lately."""
    while True:
        await node.clock.sleep(_EVERY_S)
        await encryption.look_after(node)


@worker("dynamodb:contributors")
async def count_contributors(node: Node) -> None:
    """Once a minute, write which keys were asked for, of tables and indexes with Contributor Insights."""
    while True:
        await node.clock.sleep(contributors.MINUTE_S)
        await contributors.flush(node)


@worker("dynamodb:replication")
async def replicate(node: Node) -> None:
    """Carry the writes of each region's tables to their replicas in other regions."""
    await replication.work(node)


@worker("dynamodb:kept")
async def forget_kept(node: Node) -> None:
    """Every five minutes, remove changes and backups that have been kept for as long as they are to be."""
    while True:
        await node.clock.sleep(_KEPT_EVERY_S)
        while await node.store.transact(lambda txn: backups.forget_expired(txn, node.blobs, node.clock.now())):
            pass
        await recovery.trim_all(node)


@worker("dynamodb:streams")
async def tend_streams(node: Node) -> None:
    """Once a minute, close shards that have been open for long and forget records of more than a day ago."""
    while True:
        await node.clock.sleep(_EVERY_S)
        await streams.tend(node)


@worker("dynamodb:expired")
async def take_expired(node: Node) -> None:
    """Every few seconds, take away the items whose time to live is over."""
    while True:
        await node.clock.sleep(_EXPIRED_EVERY_S)
        if removed := await time_to_live.expire(node):
            node.telemetry.count("penstock_dynamodb_expired_items_total", removed)
