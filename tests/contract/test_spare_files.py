"""Files of blobs that are gone, written again: what was promised of new ones holds for them."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.blobs import BlobMissing, ledger
from penstock.blobs.files import GRACE_ALONE_S, GRACE_S, FileBlobs
from penstock.blobs.spares import KEEP_S, MOST_BYTES, Spares
from penstock.clock import Clock
from penstock.store import Store

RANDOM = random.Random(11)
SIZE = 300_000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def blobs(store: Store, clock: Clock, tmp_path: Path) -> AsyncIterator[FileBlobs]:
    opened = FileBlobs(tmp_path / "blobs", store, clock)
    yield opened
    await opened.close()


async def put(blobs: FileBlobs, store: Store, data: bytes) -> str:
    writer = await blobs.create(length=len(data))
    await writer.write(data)
    await writer.finish()
    await store.transact(lambda txn: blobs.adopt(txn, writer.name))
    return writer.name


async def get(blobs: FileBlobs, name: str, size: int) -> bytes:
    return b"".join([piece async for piece in blobs.read(name, 0, size)])


async def release(blobs: FileBlobs, store: Store, clock: Clock, name: str) -> int:
    await store.transact(lambda txn: blobs.release(txn, name))
    clock.advance(10)
    return await blobs.sweep()


def files(blobs: FileBlobs) -> list[Path]:
    return [p for p in (blobs.root / "data").rglob("*") if p.is_file()]


async def test_a_file_is_written_again_under_a_new_name(blobs: FileBlobs, store: Store, clock: Clock) -> None:
    names, name = set(), await put(blobs, store, RANDOM.randbytes(SIZE))
    for size in (SIZE, SIZE - 30_000, SIZE + 40_000, SIZE):
        names.add(name)
        path = blobs.path_of(name)
        assert await release(blobs, store, clock, name) == 1
        data = RANDOM.randbytes(size)
        old, name = name, await put(blobs, store, data)
        assert name not in names
        assert blobs.path_of(name) == path
        assert await get(blobs, name, size) == data
        with pytest.raises(BlobMissing):
            await get(blobs, old, SIZE - 30_000)
        assert await blobs.scrub() == []
    assert len(files(blobs)) == 1


async def test_what_nobody_writes_again_soon_leaves_the_disk(blobs: FileBlobs, store: Store, clock: Clock) -> None:
    names = [await put(blobs, store, RANDOM.randbytes(SIZE)) for _ in range(5)]
    for name in names:
        await store.transact(lambda txn, name=name: blobs.release(txn, name))
    clock.advance(10)
    assert await blobs.sweep() == 5
    assert len(files(blobs)) == 5
    clock.advance(KEEP_S)
    assert await blobs.sweep() == 5
    assert files(blobs) == []
    assert await store.transact(ledger.spares, read_only=True) == []


async def test_a_file_that_is_read_is_not_written(blobs: FileBlobs, store: Store, clock: Clock) -> None:
    data = RANDOM.randbytes(5_000_000)
    name = await put(blobs, store, data)
    reading = blobs.read(name, 0, len(data))
    got = [await anext(reading)]
    assert await release(blobs, store, clock, name) == 0
    other = await put(blobs, store, bytes(len(data)))
    assert blobs.path_of(other) != blobs.path_of(name)
    got += [piece async for piece in reading]
    assert b"".join(got) == data
    assert await blobs.sweep() == 1


async def test_a_file_is_written_again_at_once_where_its_readers_hold_it(
    blobs: FileBlobs, store: Store, clock: Clock
) -> None:
    async def release_held(name: str) -> None:
        await store.transact(lambda txn: blobs.release(txn, name, held=True))
        clock.advance(0.002)

    data = RANDOM.randbytes(SIZE)
    name = await put(blobs, store, data)
    held = await store.transact(lambda txn: blobs.hold([(name, 0, SIZE)]), read_only=True)
    await release_held(name)
    assert await blobs.sweep(quick=True) == 0
    assert await get(blobs, name, SIZE) == data
    other = await put(blobs, store, bytes(SIZE))
    del held
    # Where a store's bodies run on threads, a reader may not have come to holding it: there is a grace.
    assert await blobs.sweep(quick=True) == (0 if "postgres" in type(store).__name__.lower() else 1)
    clock.advance(1)
    await blobs.sweep(quick=True)
    again = await put(blobs, store, data)
    assert blobs.path_of(again) == blobs.path_of(name) != blobs.path_of(other)
    with pytest.raises(BlobMissing):
        await get(blobs, name, SIZE)
    assert await get(blobs, again, SIZE) == data


async def test_others_that_come_have_time_to_read_what_was_released_before(
    blobs: FileBlobs, store: Store, clock: Clock, tmp_path: Path
) -> None:
    data = RANDOM.randbytes(SIZE)
    name = await put(blobs, store, data)
    other = FileBlobs(tmp_path / "blobs", store, clock)
    await store.transact(lambda txn: blobs.release(txn, name, held=True))
    clock.advance(GRACE_ALONE_S)
    assert await blobs.sweep() == 0, "it was alone when it released it"
    assert await get(other, name, SIZE) == data
    clock.advance(GRACE_S)
    assert await blobs.sweep() == 1
    await other.close()


async def test_nothing_is_written_again_where_others_may_read(
    blobs: FileBlobs, store: Store, clock: Clock, tmp_path: Path
) -> None:
    other = FileBlobs(tmp_path / "blobs", store, clock)
    await blobs.sweep()
    name = await put(blobs, store, RANDOM.randbytes(SIZE))
    assert await release(blobs, store, clock, name) == 0, "the grace is longer, too"
    clock.advance(3600)
    assert await blobs.sweep() == 1
    assert files(blobs) == []
    await other.close()


async def test_what_another_process_removes_is_not_kept(blobs: FileBlobs, store: Store, clock: Clock) -> None:
    name = await put(blobs, store, RANDOM.randbytes(SIZE))
    await store.transact(lambda txn: blobs.release(txn, name))
    clock.advance(10)
    due = await store.transact(lambda txn: ledger.due(txn, clock.now(), 10, set()), read_only=True)
    assert await store.transact(lambda txn: ledger.condemn(txn, due)) == due
    assert await store.transact(lambda txn: ledger.keep(txn, due, "me")) == set()
    assert await blobs.sweep() == 1
    assert files(blobs) == []


async def test_what_is_kept_is_removed_by_nobody_else(blobs: FileBlobs, store: Store, clock: Clock) -> None:
    name = await put(blobs, store, RANDOM.randbytes(SIZE))
    await store.transact(lambda txn: blobs.release(txn, name))
    clock.advance(10)
    due = await store.transact(lambda txn: ledger.due(txn, clock.now(), 10, set()), read_only=True)
    assert await store.transact(lambda txn: ledger.keep(txn, due, "me")) == {name}
    assert await store.transact(lambda txn: ledger.condemn(txn, due)) == []


async def test_spare_files_of_a_dead_process_are_swept(
    blobs: FileBlobs, store: Store, clock: Clock, tmp_path: Path
) -> None:
    await blobs.close()
    dead = FileBlobs(tmp_path / "blobs", store, clock)
    names = [await put(dead, store, RANDOM.randbytes(SIZE)) for _ in range(4)]
    for name in names:
        await store.transact(lambda txn, name=name: dead.release(txn, name))
    clock.advance(10)
    assert await dead.sweep() == 4
    data = RANDOM.randbytes(SIZE)
    kept = await put(dead, store, data)
    half = await dead.create(length=SIZE)
    await half.write(b"half" * 1000)
    finished = await dead.create(length=SIZE)
    await finished.write(data)
    await finished.finish()
    living = FileBlobs(tmp_path / "blobs", store, clock)
    assert await living.sweep() == 0, "its holder lives"
    os.close(dead._lock)
    assert await living.sweep() >= 3, "half of one, one that no record names, and one that is spare"
    assert files(living) == [living.path_of(kept)]
    assert await get(living, kept, SIZE) == data
    assert await living.scrub() == []
    with pytest.raises(BlobMissing):
        await store.transact(lambda txn: dead.adopt(txn, finished.name))
    await living.close()


async def test_the_end_of_a_batch_leaves_files_that_were_written_again(
    blobs: FileBlobs, store: Store, clock: Clock
) -> None:
    name = await put(blobs, store, RANDOM.randbytes(SIZE))
    spare = await put(blobs, store, RANDOM.randbytes(SIZE))
    await store.transact(lambda txn: blobs.release(txn, spare))
    await release(blobs, store, clock, name)
    data = RANDOM.randbytes(SIZE)
    name = await put(blobs, store, data)
    assert await store.transact(lambda txn: len(ledger.settle(txn, name[:16]))) == ledger.BATCH_NAMES - 2
    await blobs.sweep()
    assert len(files(blobs)) == 2
    assert await get(blobs, name, SIZE) == data
    assert await get(blobs, await put(blobs, store, data), SIZE) == data


async def test_what_is_not_adopted_in_a_long_time_is_given_up(blobs: FileBlobs, store: Store, clock: Clock) -> None:
    await release(blobs, store, clock, await put(blobs, store, RANDOM.randbytes(SIZE)))
    writer = await blobs.create(length=SIZE)
    await writer.write(b"x" * SIZE)
    for _ in range(3):
        blobs._idle_looked_monotonic_s -= 3600
        assert await blobs.sweep() == 0, "it is still being written"
    await writer.finish()
    for swept in (0, 1):
        blobs._idle_looked_monotonic_s -= 3600
        assert await blobs.sweep() == swept
    with pytest.raises(BlobMissing):
        await store.transact(lambda txn: blobs.adopt(txn, writer.name))
    assert files(blobs) == []


async def test_a_file_whose_sync_failed_is_never_written_again(store: Store, clock: Clock, tmp_path: Path) -> None:
    failing = False

    def fsync(fd: int) -> None:
        if failing:
            raise OSError(5, "Input/output error")
        os.fsync(fd)

    blobs = FileBlobs(tmp_path / "failing", store, clock, fsync)
    await release(blobs, store, clock, await put(blobs, store, RANDOM.randbytes(SIZE)))
    writer = await blobs.create(length=SIZE)
    failing = True
    await writer.write(b"x" * SIZE)
    with pytest.raises(OSError, match="Input/output"):
        await writer.finish()
    await writer.abort()
    assert files(blobs) == []
    failing = False
    data = RANDOM.randbytes(SIZE)
    assert await get(blobs, await put(blobs, store, data), SIZE) == data
    await blobs.close()


def test_no_more_is_kept_than_was_asked_for_lately_or_than_there_is_room_for() -> None:
    spares = Spares()
    for _ in range(2):
        assert spares.take(1000, 100.0) is None
    spares.look(100.0)
    assert len(spares.choose({f"a{n}": 900 for n in range(10)})) == 4, "twice as many"
    assert spares.choose({"b": 1100}) == set(), "nobody asked for that size"
    for n in range(4):
        spares.give(f"a{n}", 900)
    assert spares.choose({"c": 900}) == set()
    assert spares.take(800, 101.0) == ("a3", 900)
    assert "a2" in spares
    assert spares.surplus() == []
    spares.look(101.0 + KEEP_S)
    assert spares.surplus() == ["a0"], "one was asked for since"
    spares.look(102.0 + 2 * KEEP_S)
    assert spares.surplus() == ["a1", "a2"]
    for _ in range(5):
        spares.take(MOST_BYTES // 3, 400.0)
    spares.look(400.0)
    assert len(spares.choose({f"d{n}": MOST_BYTES // 3 for n in range(5)})) == 3
