"""The seam between Penstock and wherever large bytes are kept.

A blob's life: `create` records an intent in the store and opens a hidden file; the writer takes bytes; `finish` makes
them durable (file and folder synced) and gives them their name; then the owner, in the very transaction that writes the
record naming the blob, calls `adopt(txn, name)`. A crash before that leaves an intent, and `sweep` removes the file.
To delete: `release(txn, name)` in the transaction that removes the record; `sweep` removes the file after a grace
period, so that readers under way finish.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from penstock.store.api import Transaction


class BlobMissing(Exception):
    """A record names a blob that is not there, or not whole: data was lost below us. Never raised for a live blob."""


class BlobWriter(Protocol):
    """One blob being written. Bytes are invisible to everybody until `finish` and `adopt`."""

    name: str
    size_bytes: int

    async def write(self, data: bytes) -> None:
        """Take more bytes (any size); they leave the event-loop thread in large pieces. Raises OSError (disk full)."""
        ...

    async def finish(self) -> None:
        """Return when every byte and the file's name are durable. Raises OSError."""
        ...

    async def abort(self) -> None:
        """Remove what was written. Safe at any time, twice too, and after `finish` as long as nobody has adopted it."""
        ...


class Blobs(Protocol):
    """A blob store. Made by `penstock.blobs.open.open_blobs(url, store, clock)`."""

    async def create(self) -> BlobWriter:
        """Begin a blob under a new unique name."""
        ...

    def adopt(self, txn: Transaction, name: str) -> None:
        """In the transaction that makes a record name it: the blob lives from that commit on."""
        ...

    def release(self, txn: Transaction, name: str) -> None:
        """In the transaction that removes the last record naming it: the blob's bytes go after the grace period."""
        ...

    def read(self, name: str, begin: int, end: int) -> AsyncIterator[bytes]:
        """Bytes begin <= i < end in pieces of about 256 KiB, read off the event-loop thread.

        Raises BlobMissing before the first byte where the blob is not there or shorter than `end`.
        """
        ...

    async def sweep(self) -> int:
        """Remove what is due: released blobs past their grace, intents nobody adopted. Returns how many went."""
        ...

    async def close(self) -> None:
        """Let go of threads and files."""
        ...
