"""What S3 does by itself."""

from __future__ import annotations

import asyncio

from penstock.core.node import Node
from penstock.core.worker import worker
from penstock.services.s3 import access_logs, storage_metrics
from penstock.services.s3.encryption.service_keys import ServiceKeys

SWEEP_EVERY_S = 1.0
SWEEP_AGAIN_S = 0.1
"""While there is something to sweep: a busy bucket writes into the files of what it has overwritten (`blobs.spares`)."""
QUICK_SWEEPS = 9
"""Between two whole ones."""
ROTATION_LOOK_EVERY_S = 3600.0
MEASURE_LOOK_EVERY_S = 600.0


@worker("s3:sweep-blobs")
async def sweep_blobs(node: Node) -> None:
    """Give back the disk of what was deleted or overwritten, and of uploads that a crash cut short: at start at once."""
    turn = 0
    while True:
        removed = await node.blobs.sweep(quick=turn % (QUICK_SWEEPS + 1) > 0)
        turn = turn + 1 if removed else 0
        if removed:
            node.telemetry.count("penstock_blobs_swept_total", removed)
        await node.clock.sleep(SWEEP_AGAIN_S if removed else SWEEP_EVERY_S)


@worker("s3:rotate-keys")
async def rotate_keys(node: Node) -> None:
    """A new key for SSE-S3 every year."""
    while True:
        await node.clock.sleep(ROTATION_LOOK_EVERY_S)
        await node.own(ServiceKeys).rotate()


@worker("s3:keep-access-logs")
async def keep_access_logs(node: Node) -> None:
    """Put lines into the store soon after their requests."""
    while True:
        await asyncio.sleep(access_logs.KEEP_EVERY_S)
        await access_logs.keep(node)


@worker("s3:deliver-access-logs")
async def deliver_access_logs(node: Node) -> None:
    """Write what was kept into the target buckets."""
    while True:
        await node.clock.sleep(access_logs.DELIVER_EVERY_S)
        await access_logs.deliver(node)


@worker("s3:measure-storage")
async def measure_storage(node: Node) -> None:
    """The storage metrics of each day, in UTC."""
    while True:
        await storage_metrics.look(node)
        await node.clock.sleep(MEASURE_LOOK_EVERY_S)
