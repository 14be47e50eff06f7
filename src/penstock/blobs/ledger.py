"""What the store knows of blobs: who may be writing which names, which blobs live, and which are to go.

    ("blobs", "intent") batch            holder: the process that has these names; their files may be orphans
    ("blobs", "live") name               u32: how many records name the blob; 0: released, its file still there
    ("blobs", "gone") due_ms u64 name    "": the file may be removed from then on; "x": it is being removed
    ("blobs", "spare") file              "holder name": no record names the file; that process may write it again, as that

Names come in batches of 256 that one intent covers, so that an upload costs no synced write of its own before its file
exists. A name is "<batch, 16 hex digits>.<2 hex digits>", which is its file's too, or that and ".<turn>": the file has
been written so many times before. No name is ever used twice.
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
SPARE = pack(("blobs", "spare"))
FILE_CHARACTERS = 19
"""How much of a name is its file's."""
_NAME = re.compile(r"[0-9a-f]{16}\.[0-9a-f]{2}(?:\.[0-9a-f]{1,12})?")
_RELEASED = bytes(4)
_CONDEMNED = b"x"


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


def next_name(name: str) -> str:
    """What the name's file is called when it is written once more."""
    turn = int(name[FILE_CHARACTERS + 1 :] or "0", 16)
    return f"{name[:FILE_CHARACTERS]}.{turn + 1:x}"


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
    used = {
        key[len(space) :][:FILE_CHARACTERS].decode()
        for space in (LIVE, SPARE)
        for key, _ in txn.scan(space + batch.encode(), space + batch.encode() + b"/")
    }
    orphans = [name for name in names_of(batch) if name not in used]
    entries = [(GONE + bytes(8) + name.encode(), name) for name in orphans]
    for key, _ in entries:
        txn.set(key, _CONDEMNED)
    return entries


def adopt(txn: Transaction, name: str) -> None:
    """Count one more record that names the blob. Raises BlobMissing where it may be gone already."""
    key = LIVE + check_name(name).encode()
    count = txn.get(key)
    if count is None:
        if len(name) > FILE_CHARACTERS:
            spare = SPARE + name[:FILE_CHARACTERS].encode()
            held = txn.get(spare) or b""
            if not held.endswith(b" " + name.encode()):
                raise BlobMissing(f"blob {name} was swept before a record named it")
            txn.clear(spare)
        elif txn.get(INTENT + name[:16].encode()) is None:
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
            txn.set(key, _RELEASED)
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


def condemn(txn: Transaction, entries: list[tuple[bytes, str]]) -> list[tuple[bytes, str]]:
    """Before the files are removed: nobody keeps them to write them again from this commit on. Returns those left."""
    left = [entry for entry in entries if txn.get(entry[0]) is not None]
    for key, _ in left:
        txn.set(key, _CONDEMNED)
    return left


def forget(txn: Transaction, entries: list[tuple[bytes, str]]) -> set[str]:
    """After the files are removed. Returns those of their batches that no process can still write to."""
    for key, name in entries:
        txn.clear(key)
        txn.clear(LIVE + name.encode())
    batches = {name[:16] for _, name in entries}
    return {batch for batch in batches if txn.get(INTENT + batch.encode()) is None}


def keep(txn: Transaction, entries: list[tuple[bytes, str]], holder: str) -> set[str]:
    """In place of `condemn` and `forget`, with the files still there: they are spare, under their `next_name`.

    Returns the old names of those that are: not what another process removes, or has kept, meanwhile.
    """
    kept: set[str] = set()
    for key, name in entries:
        live, spare = LIVE + name.encode(), SPARE + name[:FILE_CHARACTERS].encode()
        if txn.get(key) != b"" or txn.get(live) != _RELEASED or txn.get(spare) is not None:
            continue
        txn.clear(key)
        txn.clear(live)
        txn.set(spare, f"{holder} {next_name(name)}".encode())
        kept.add(name)
    return kept


def spares(txn: Transaction) -> list[tuple[str, str]]:
    """(holder, name) of all files that may be written again, or are being written again."""
    found = [held.decode().partition(" ") for _, held in txn.scan(SPARE, SPARE + b"\xff")]
    return [(holder, name) for holder, _, name in found]


def give_up(txn: Transaction, names: list[str]) -> list[tuple[bytes, str]]:
    """From this commit on those spare files are nobody's, and due: (key for `forget`, name) of those that were spare."""
    entries: list[tuple[bytes, str]] = []
    for name in names:
        spare = SPARE + name[:FILE_CHARACTERS].encode()
        if (txn.get(spare) or b"").endswith(b" " + name.encode()):
            txn.clear(spare)
            entries.append((GONE + bytes(8) + name.encode(), name))
            txn.set(entries[-1][0], _CONDEMNED)
    return entries


def file_known(txn: Transaction, file: str) -> bool:
    """Whether a record, an upload or a process knows of the file."""
    if txn.get(INTENT + file[:16].encode()) is not None or txn.get(SPARE + file.encode()) is not None:
        return True
    return any(True for _ in txn.scan(LIVE + file.encode(), LIVE + file.encode() + b"/", limit=1))


def is_live(txn: Transaction, name: str) -> bool:
    """Whether a record names it."""
    return any(txn.get(LIVE + name.encode()) or b"")
