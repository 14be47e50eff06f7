"""The seam between Penstock and wherever large bytes are kept.

A blob's life: `create` takes a name that an intent in the store already covers and opens its file, which no record
names yet, so nobody can see it; the writer takes bytes; `finish` makes them durable (file and folder synced); then the
owner, in the very transaction that writes the record naming the blob, calls `adopt(txn, name)`. A crash before that
leaves the intent, and `sweep` removes the file. To delete: `release(txn, name)` in the transaction that removes the
record; `sweep` removes the file after a grace period, so that readers under way finish.

Adoptions are counted: a copy adopts the blobs of its source once more instead of copying bytes, and a blob goes when
it has been released as often as it was adopted.

Every blob verifies itself: checksums of its chunks lie beside its bytes and are compared as the bytes pass, ranges
included. Wrong bytes are never handed out. A blob written under a key is encrypted and authenticated as well, and read
under the same one; its owner keeps the key.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol, TypeAlias

from penstock.store.api import Transaction

Span: TypeAlias = tuple[str, int, int]
"""Of the blob of that name, bytes begin <= i < end."""
Tap: TypeAlias = Callable[[bytes | memoryview], object]
"""Sees every byte that a writer takes, in order and off the event-loop thread: a running checksum's `update`."""


class BlobMissing(Exception):
    """A record names a blob that is not there, or not whole: data was lost below us. Never raised for a live blob."""


class BlobCorrupt(BlobMissing):
    """A blob's bytes do not match their checksums: the disk gave back something else than it was given."""


class BlobWriter(Protocol):
    """One blob being written. Bytes are invisible to everybody until `finish` and `adopt`."""

    name: str
    size_bytes: int

    async def write(self, data: bytes | memoryview) -> None:
        """Take more bytes, any size, which nobody changes from now on. They leave the loop's thread in large pieces.

        Raises OSError (disk full).
        """
        ...

    async def finish(self) -> None:
        """Return when every byte and the file's name are durable. Raises OSError."""
        ...

    async def abort(self) -> None:
        """Remove what was written. Safe at any time, twice too, and after `finish` as long as nobody has adopted it."""
        ...


class Blobs(Protocol):
    """A blob store. Made by `penstock.blobs.open.open_blobs(url, data, store, clock)`."""

    async def create(self, *taps: Tap, key: bytes = b"", length: int | None = None) -> BlobWriter:
        """Begin a blob under a new unique name. key: 32 bytes to encrypt it under; taps see it plain. Raises OSError.

        length: about how many bytes will come, where that is known: a file of that size may be written again for it.
        """
        ...

    def adopt(self, txn: Transaction, name: str) -> None:
        """In the transaction that makes a record name it: the blob lives from that commit on.

        Once per record that names it. Raises BlobMissing where the blob was given up or swept in the meantime.
        """
        ...

    def release(self, txn: Transaction, name: str, *, held: bool = False) -> None:
        """In the transaction that removes a record naming it; after the last one its bytes go, past a grace period.

        held: whoever reads such records calls `hold` in the same transaction, so that no other reader needs the grace.
        """
        ...

    def hold(self, spans: Sequence[Span]) -> object:
        """In the transaction that reads a record naming them: their bytes stay while there is a reference to the result.

        Readers of this process only; what other nodes read stays for the grace period. From any thread.
        """
        ...

    def release_all(self, txn: Transaction, after: str, limit: int) -> str:
        """Release the next `limit` blobs after that name ("": from the start), however many records name them.

        For emptying a server. Returns the name to go on after, "" when there are no more.
        """
        ...

    def read(self, name: str, begin: int, end: int, *, key: bytes = b"") -> AsyncGenerator[bytes, None]:
        """Bytes begin <= i < end in pieces of up to 1 MiB, read and verified off the event-loop thread.

        key: what it was created with. Raises BlobMissing before the first byte where the blob is not there or shorter
        than `end`, and BlobCorrupt in place of bytes that are not what was written, or not under that key.
        """
        ...

    def read_all(self, spans: Sequence[Span], *, key: bytes = b"") -> AsyncGenerator[bytes, None]:
        """The (name, begin, end) spans one after the other, as `read` does; none is swept while it runs here."""
        ...

    def lend_all(self, spans: Sequence[Span], *, key: bytes = b"") -> AsyncGenerator[memoryview, None]:
        """As `read_all`, without a copy: the memory of a piece is used again once nobody has it any more.

        So whoever does not hold one piece while asking for the next (`del piece`) gets them cheaper.
        """
        ...

    def at_hand(self, name: str, begin: int, end: int, *, key: bytes = b"", keep: bool = False) -> memoryview | None:
        """Bytes begin <= i < end, verified, where they are had at once; None: `lend_all` reads them.

        keep: bytes of that blob may be kept in memory, to be given again to whoever comes with the same key. What is given
        is not changed; its memory is used again once nobody has it. Raises what `read` does.
        """
        ...

    async def sweep(self, *, quick: bool = False) -> int:
        """Remove what is due: released blobs past their grace, intents nobody adopted. Returns how many files went.

        quick: released blobs only.
        """
        ...

    async def scrub(self) -> list[str]:
        """Read every byte there is. Returns a line for each blob that is damaged or missing, and for each nobody names."""
        ...

    async def close(self) -> None:
        """Let go of threads and files."""
        ...
