"""Reading everything there is, so that rot is found before somebody needs the bytes."""

from __future__ import annotations

from typing import NamedTuple

from penstock.core.node import Node
from penstock.store.api import ENGINE_KEYS, StoreError, Transaction

_PAGE = 500


class Scrubbed(NamedTuple):
    """How many records were read, and a line for each thing that is damaged, missing or nobody's."""

    records: int
    found: list[str]


async def scrub(node: Node) -> Scrubbed:
    """Read every record of the store and every file of the blobs, and compare each with its checksums.

    Records are verified by the engine as it reads them (RocksDB has a checksum a block), files by their own tables.
    """
    at, records = b"\x00", 0
    found: list[str] = []
    while at:
        try:
            n, at = await node.store.transact(lambda txn, begin=at: _page(txn, begin), read_only=True)  # type: ignore[misc]
        except StoreError as error:
            found.append(f"the store cannot be read from key {at[:80]!r} on: {error}")
            break
        records += n
    return Scrubbed(records, found + await node.blobs.scrub())


def _page(txn: Transaction, begin: bytes) -> tuple[int, bytes]:
    """(records read, where the next page begins: b"" at the end)."""
    keys = [key for key, _ in txn.scan(begin, ENGINE_KEYS, limit=_PAGE)]
    return len(keys), keys[-1] + b"\0" if len(keys) == _PAGE else b""
