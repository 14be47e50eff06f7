"""From a setting to an engine."""

from __future__ import annotations

from pathlib import Path

from penstock.blobs.api import Blobs
from penstock.blobs.files import FileBlobs
from penstock.clock import Clock
from penstock.store.api import Store


def open_blobs(url: str, data: Path, store: Store, clock: Clock) -> Blobs:
    """The engine of `url`: `file:///PATH` or `file://relative`; empty: the folder `blobs` inside `data`.

    Raises ValueError for another scheme, OSError where the folder cannot be made.
    """
    if not url:
        return FileBlobs(data / "blobs", store, clock)
    scheme, separator, path = url.partition("://")
    if scheme != "file" or not separator or not path:
        raise ValueError(f"blobs={url!r}: expected file://PATH")
    return FileBlobs(Path(path), store, clock)
