"""What S3 does by itself."""

from __future__ import annotations

from penstock.core.node import Node
from penstock.core.worker import worker

SWEEP_EVERY_S = 5.0


@worker("s3:sweep-blobs")
async def sweep_blobs(node: Node) -> None:
    """Give back the disk of what was deleted or overwritten, and of uploads that a crash cut short: at start at once."""
    while True:
        removed = await node.blobs.sweep()
        if removed:
            node.telemetry.count("penstock_blobs_swept_total", removed)
        await node.clock.sleep(SWEEP_EVERY_S)
