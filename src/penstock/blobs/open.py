"""From a setting to an engine."""

from __future__ import annotations

from pathlib import Path

from penstock.blobs.api import Blobs
from penstock.blobs.files import FileBlobs
from penstock.clock import Clock
from penstock.store.api import Store
from penstock.telemetry import Telemetry


def open_blobs(
    url: str, data: Path, store: Store, clock: Clock, *, cache_bytes: int = 0, telemetry: Telemetry | None = None
) -> Blobs:
    """The engine of `url`: `file:///PATH` or `file://relative`; empty: the folder `blobs` inside `data`.

    cache_bytes: how much of what is read again and again is kept in memory, which telemetry hears of.
    Raises ValueError for another scheme, OSError where the folder cannot be made.
    """
    root = data / "blobs"
    if url:
        scheme, separator, path = url.partition("://")
        if scheme != "file" or not separator or not path:
            raise ValueError(f"blobs={url!r}: expected file://PATH")
        root = Path(path)
    blobs = FileBlobs(root, store, clock, cache_bytes=cache_bytes)
    if telemetry is not None:
        near = blobs.near
        telemetry.gauge("penstock_blob_cache_bytes", lambda: near.held_bytes)
        telemetry.gauge("penstock_blob_cache_hits", lambda: near.hits)
        telemetry.gauge("penstock_blob_cache_hit_bytes", lambda: near.hit_bytes)
        telemetry.gauge("penstock_blob_cache_misses", lambda: near.misses)
    return blobs
