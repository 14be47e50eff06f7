"""What the store knows of blobs: who may be writing which names, which blobs live, and which are to go.

    ("blobs", "intent") batch            holder: the process that has these names; their files may be orphans
    ("blobs", "live") name               u32: how many records name the blob; 0: released, its file still there
    ("blobs", "gone") due_ms u64 name    "": the file may be removed from then on

Names come in batches of 256 that one intent covers, so that an upload costs no synced write of its own before its file
exists. A name is "<batch, 16 hex digits>.<2 hex digits>".
"""

from __future__ import annotations

import re
import secrets

from penstock.blobs.api import BlobMissing
from penstock.store.api import Transaction
from penstock.store.tuples import pack

BATCH_NAMES = 256
INTENT = pack(("blobs", "intent"))
LIVE = pack(("blobs", "live"))
GONE = pack(("blobs", "gone"))
_NAME = re.compile(r"[0-9a-f]{16}\.[0-9a-f]{2}")


def check_name(name: str) -> str:
    """The name, if it is one of ours. Raises BlobMissing: names are never taken from users, this is a second wall."""
    if not _NAME.fullmatch(name):
        raise BlobMissing(f"{name!r} is not a blob's name")
    return name


def new_batch() -> str:
    """A batch id nobody has had."""
    return secrets.token_hex(8)


def names_of(batch: str) -> list[str]:
    """All names of a batch."""
    return [f"{batch}.{i:02x}" for i in range(BATCH_NAMES)]


def intend(txn: Transaction, batch: str, holder: str) -> None:
    """Before any file of the batch exists."""
    txn.set(INTENT + batch.encode(), holder.encode())


def intents(txn: Transaction) -> list[tuple[str, str]]:
    """(batch, holder) of all that is outstanding."""
    found = txn.scan(INTENT, INTENT + b"\xff")
    return [(key[len(INTENT) :].decode(), holder.decode()) for key, holder in found]


def settle(txn: Transaction, batch: str) -> list[tuple[bytes, str]]:
    """End a batch's intent: from this commit on none of its names can be adopted for the first time.

    Returns (key for `forget`, name) of those that no record has ever named or names no more: their files are orphans,
    if they exist. They are entered as due, so that a crash before they are removed leaves them to the next sweep.
    """
    txn.clear(INTENT + batch.encode())
    orphans = [name for name in names_of(batch) if txn.get(LIVE + name.encode()) is None]
    entries = [(GONE + bytes(8) + name.encode(), name) for name in orphans]
    for key, _ in entries:
        txn.set(key, b"")
    return entries


def adopt(txn: Transaction, name: str) -> None:
    """Count one more record that names the blob. Raises BlobMissing where it may be gone already."""
    key = LIVE + check_name(name).encode()
    count = txn.get(key)
    if count is None:
        if txn.get(INTENT + name[:16].encode()) is None:
            raise BlobMissing(f"blob {name} was swept before a record named it")
        txn.set(key, b"\0\0\0\x01")
        return
    n = int.from_bytes(count, "big")
    if n == 0:
        raise BlobMissing(f"blob {name} was released")
    txn.set(key, (n + 1).to_bytes(4, "big"))


def release(txn: Transaction, name: str, due: float) -> None:
    """Count one record less; at none, let the file go at `due` (seconds since the epoch)."""
    key = LIVE + check_name(name).encode()
    n = int.from_bytes(txn.get(key) or b"", "big")
    if n == 0:
        raise BlobMissing(f"blob {name} is released by a record that did not adopt it")
    txn.set(key, (n - 1).to_bytes(4, "big"))
    if n == 1:
        txn.set(GONE + int(due * 1000).to_bytes(8, "big") + name.encode(), b"")


def release_all(txn: Transaction, after: str, limit: int, due: float) -> str:
    """Release the next `limit` blobs whoever names them. Returns the last one's name, "" when there are no more."""
    last = ""
    found = list(txn.scan(LIVE + after.encode() + b"\0" if after else LIVE, LIVE + b"\xff", limit))
    for key, count in found:
        last = key[len(LIVE) :].decode()
        if any(count):
            txn.set(key, bytes(4))
            txn.set(GONE + int(due * 1000).to_bytes(8, "big") + last.encode(), b"")
    return last


def live(txn: Transaction, after: str, limit: int) -> list[str]:
    """Up to `limit` names after `after`, of blobs that records name or named until lately."""
    begin = LIVE + after.encode() + b"\0" if after else LIVE
    return [key[len(LIVE) :].decode() for key, _ in txn.scan(begin, LIVE + b"\xff", limit)]


def due(txn: Transaction, now: float, limit: int, skip: set[str]) -> list[tuple[bytes, str]]:
    """(key for `forget`, name) of blobs whose grace is over, but for those in `skip`."""
    end = GONE + int(now * 1000 + 1).to_bytes(8, "big")
    found: list[tuple[bytes, str]] = []
    for key, _ in txn.scan(GONE, end):
        name = key[len(GONE) + 8 :].decode()
        if name not in skip:
            found.append((key, name))
        if len(found) == limit:
            break
    return found


def forget(txn: Transaction, entries: list[tuple[bytes, str]]) -> set[str]:
    """After the files are removed. Returns those of their batches that no process can still write to."""
    for key, name in entries:
        txn.clear(key)
        txn.clear(LIVE + name.encode())
    batches = {name[:16] for _, name in entries}
    return {batch for batch in batches if txn.get(INTENT + batch.encode()) is None}


def state(txn: Transaction, name: str) -> str:
    """Live (a record names it), passing (being written, or released and not swept yet) or unknown."""
    count = txn.get(LIVE + name.encode())
    if count is None:
        return "passing" if txn.get(INTENT + name[:16].encode()) is not None else "unknown"
    return "live" if any(count) else "passing"
