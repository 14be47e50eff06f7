"""A large object is overwritten, and nobody knows whether that was committed: the old bytes or the new are there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from penstock.store.api import EngineFailed, UnknownCommit
from penstock.store.faulty import Faults, FaultyStore
from penstock.store.memory import MemoryStore
from penstock.store.tuples import pack
from s3_node import S3

OLD, NEW = b"old" * 30_000, b"new" * 30_000


def is_written(store: FaultyStore) -> bool:
    """Whether a record of S3 is written and not yet synced."""
    assert isinstance(store.inner, MemoryStore) and store.inner.journal is not None
    return any(key.startswith(pack(("s3",))) for _, writes in store.inner.journal for key in writes)


async def put_old(data: Path) -> MemoryStore:
    memory = MemoryStore()
    s3 = S3(data, memory)
    await s3("CreateBucket", Bucket="bucket")
    await s3("PutObject", Bucket="bucket", Key="key", Body=OLD)
    await s3.blobs.close()
    return memory


async def what_is_there(data: Path, store: MemoryStore) -> bytes:
    s3 = S3(data, store)
    await s3.blobs.sweep()
    s3.clock.advance(100)
    await s3.blobs.sweep()
    found = await s3.get("bucket", "key")
    assert await s3.blobs.scrub() == []
    await s3.blobs.close()
    return found


@pytest.mark.parametrize("end", ["the sync fails", "the call is cancelled"])
async def test_the_commit_is_cut_short(end: str, tmp_path: Path) -> None:
    found = set()
    for seed in range(20):
        data = tmp_path / str(seed)
        store = FaultyStore(await put_old(data), seed, Faults(delay_turns=40))
        s3 = S3(data, store)
        putting = asyncio.create_task(s3("PutObject", Bucket="bucket", Key="key", Body=NEW))
        while not is_written(store):
            await asyncio.sleep(0)
        if end == "the call is cancelled":
            putting.cancel()
        else:
            store.fail("the disk is full")
        with pytest.raises((asyncio.CancelledError, EngineFailed)):
            await putting
        reborn = store.crash()
        await s3.blobs.close()
        found.add(await what_is_there(data, reborn))
    assert found == {OLD, NEW}


async def test_the_connection_is_lost_while_committing(tmp_path: Path) -> None:
    found = set()
    for seed in range(20):
        data = tmp_path / str(seed)
        memory = await put_old(data)
        s3 = S3(data, FaultyStore(memory, seed, Faults(unknown_commit=0.5)))
        with pytest.raises(UnknownCommit):
            while True:
                await s3("PutObject", Bucket="bucket", Key="key", Body=NEW)
        await s3.blobs.close()
        found.add(await what_is_there(data, memory))
    assert NEW in found
