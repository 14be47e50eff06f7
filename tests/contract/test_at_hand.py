"""Reads on the spot: from memory, from pages that the system has, and never anything that is not what was written."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from penstock.blobs.api import BlobCorrupt, BlobMissing
from penstock.blobs.at_hand import KEPT_BYTES, KNOWN_NAMES
from penstock.blobs.files import FileBlobs
from penstock.blobs.sealing import CHUNK_BYTES
from penstock.clock import Clock
from penstock.store.memory import MemoryStore

RANDOM = random.Random(11)
KEY = bytes(range(32))
SIZE = 300_000
CACHE_BYTES = 4 * SIZE


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def blobs(tmp_path: Path, clock: Clock) -> AsyncIterator[FileBlobs]:
    opened = FileBlobs(tmp_path, MemoryStore(), clock, cache_bytes=CACHE_BYTES)
    yield opened
    await opened.close()


async def put(blobs: FileBlobs, data: bytes, key: bytes = KEY) -> str:
    writer = await blobs.create(key=key, length=len(data))
    await writer.write(data)
    await writer.finish()
    await blobs._store.transact(lambda txn: blobs.adopt(txn, writer.name))
    return writer.name


async def kept(blobs: FileBlobs, data: bytes, key: bytes = KEY) -> str:
    """A blob that is in memory."""
    name = await put(blobs, data, key)
    for _ in range(2):
        assert blobs.at_hand(name, 0, len(data), key=key, keep=True) == data
    hits = blobs.near.hits
    assert blobs.at_hand(name, 0, len(data), key=key, keep=True) == data
    assert blobs.near.hits == hits + 1
    return name


@pytest.mark.parametrize("key", [b"", KEY, KEY + bytes(range(32))])
@pytest.mark.parametrize("size", [1, CHUNK_BYTES, CHUNK_BYTES + 1, 1024**2, 1024**2 + 1, KEPT_BYTES])
@pytest.mark.parametrize("cache_bytes", [0, 2 * KEPT_BYTES])
async def test_what_was_written_comes_back(tmp_path: Path, key: bytes, size: int, cache_bytes: int) -> None:
    blobs, data = FileBlobs(tmp_path, MemoryStore(), Clock(), cache_bytes=cache_bytes), RANDOM.randbytes(size)
    name = await put(blobs, data, key)
    for _ in range(3):
        found = blobs.at_hand(name, 0, size, key=key, keep=True)
        assert found == data or (found is None and size > 1024**2)
    for _ in range(30):
        begin, end = sorted(RANDOM.randint(0, size) for _ in range(2))
        found = blobs.at_hand(name, begin, end, key=key, keep=True)
        assert found == data[begin:end] or (found is None and end - begin > 3 * CHUNK_BYTES and not cache_bytes)
    assert blobs.near.hits == (31 if cache_bytes else 0)
    with pytest.raises(BlobMissing):
        blobs.at_hand(name, 0, size + 1, key=key, keep=True)
    await blobs.close()


async def test_one_pass_over_many_drives_nothing_out(blobs: FileBlobs) -> None:
    data = RANDOM.randbytes(SIZE)
    hot = await kept(blobs, data)
    others = [await put(blobs, RANDOM.randbytes(SIZE)) for _ in range(12)]
    for name in others:
        for begin in range(0, SIZE, 100_000):
            assert blobs.at_hand(name, begin, begin + 100_000, key=KEY, keep=True) is not None
    assert blobs.near.held_bytes == SIZE
    hits = blobs.near.hits
    assert blobs.at_hand(hot, 5, 25, key=KEY, keep=True) == data[5:25]
    assert blobs.near.hits == hits + 1


async def test_it_stays_within_its_bound_and_gives_memory_back(blobs: FileBlobs) -> None:
    process, names = psutil.Process(), [await put(blobs, RANDOM.randbytes(SIZE)) for _ in range(100)]
    for turn in range(4):
        for name in names:
            for _ in range(2):
                assert blobs.at_hand(name, 0, SIZE, key=KEY, keep=True) is not None
            assert blobs.near.held_bytes <= CACHE_BYTES
        if not turn:
            before = process.memory_info().rss
    assert process.memory_info().rss - before < 10 * SIZE
    first, *_, last = names
    hits = blobs.near.hits
    assert blobs.at_hand(first, 0, SIZE, key=KEY, keep=True) is not None
    assert blobs.near.hits == hits, "the oldest went"
    assert blobs.at_hand(last, 0, SIZE, key=KEY, keep=True) is not None
    assert blobs.near.hits == hits + 1


async def test_what_was_deleted_is_not_kept(blobs: FileBlobs, clock: Clock) -> None:
    name = await kept(blobs, RANDOM.randbytes(SIZE))
    await blobs._store.transact(lambda txn: blobs.release(txn, name))
    clock.advance(30)
    await blobs.sweep()
    assert blobs.near.held_bytes == 0


async def test_a_file_that_is_written_again_is_never_its_predecessor(blobs: FileBlobs, clock: Clock) -> None:
    old = RANDOM.randbytes(SIZE)
    name = await kept(blobs, old)
    path = blobs.path_of(name)
    for _ in range(5):
        await blobs._store.transact(lambda txn, name=name: blobs.release(txn, name))  # type: ignore[misc]
        clock.advance(30)
        await blobs.sweep()
        data = RANDOM.randbytes(SIZE)
        name = await kept(blobs, data)
        if blobs.path_of(name) == path:
            break
    else:
        pytest.fail("no file was written again")
    with pytest.raises((BlobCorrupt, BlobMissing)):
        blobs.at_hand(path.parent.name + "." + path.name, 0, SIZE, key=KEY, keep=True)


async def test_a_changed_or_lost_file_is_not_answered_from_memory(blobs: FileBlobs) -> None:
    for damage in (_flip, _cut, _replace, Path.unlink):
        name = await kept(blobs, RANDOM.randbytes(SIZE))
        damage(blobs.path_of(name))
        with pytest.raises(BlobMissing):  # BlobCorrupt is one
            blobs.at_hand(name, 0, SIZE, key=KEY, keep=True)
        with pytest.raises(BlobMissing):
            blobs.at_hand(name, 0, SIZE, key=KEY, keep=True)


def _flip(path: Path) -> None:
    stored = bytearray(path.read_bytes())
    stored[100] ^= 1
    with path.open("r+b") as file:
        file.write(stored)


def _cut(path: Path) -> None:
    os.truncate(path, SIZE // 2)


def _replace(path: Path) -> None:
    _flip_of = path.with_suffix(".new")
    _flip_of.write_bytes(path.read_bytes())
    _flip(_flip_of)
    _flip_of.replace(path)


async def test_damage_is_found_before_anything_is_kept(blobs: FileBlobs) -> None:
    name = await put(blobs, RANDOM.randbytes(SIZE))
    assert blobs.at_hand(name, 0, 10, key=KEY, keep=True) is not None
    _flip(blobs.path_of(name))
    for _ in range(3):
        with pytest.raises(BlobCorrupt):
            blobs.at_hand(name, 0, SIZE, key=KEY, keep=True)
    assert blobs.near.held_bytes == 0


async def test_the_wrong_key_or_none_opens_nothing(blobs: FileBlobs) -> None:
    data = RANDOM.randbytes(SIZE)
    name = await kept(blobs, data)
    for wrong in (b"", b"\1" * 32, KEY + KEY):
        with pytest.raises(BlobCorrupt):
            blobs.at_hand(name, 0, SIZE, key=wrong, keep=True)


async def test_what_may_not_be_kept_is_not(blobs: FileBlobs) -> None:
    data = RANDOM.randbytes(SIZE)
    name = await put(blobs, data)
    for _ in range(5):
        assert blobs.at_hand(name, 0, SIZE, key=KEY) == data
    assert (blobs.near.held_bytes, blobs.near.hits) == (0, 0)


async def test_names_that_are_not_known_go_to_a_thread_first(tmp_path: Path) -> None:
    """Their folders' entries may be on the disk."""
    store, data = MemoryStore(), RANDOM.randbytes(SIZE)
    first = FileBlobs(tmp_path, store, Clock())
    name = await put(first, data)
    await first.close()
    blobs = FileBlobs(tmp_path, store, Clock())
    assert blobs.at_hand(name, 0, SIZE, key=KEY) is None
    assert b"".join([piece async for piece in blobs.read(name, 0, SIZE, key=KEY)]) == data
    assert blobs.at_hand(name, 0, SIZE, key=KEY) == data
    for n in range(KNOWN_NAMES):
        blobs.near.remember(f"other{n}")
    assert blobs.at_hand(name, 0, SIZE, key=KEY) is None
    await blobs.close()


@pytest.mark.parametrize("key", [b"", KEY])
async def test_what_is_not_in_the_page_cache_goes_to_a_thread(blobs: FileBlobs, key: bytes) -> None:
    data = RANDOM.randbytes(SIZE)
    name = await put(blobs, data, key)
    path = blobs.path_of(name)
    for begin, size in ((0, 4096), (SIZE - 5000, 0), (0, 0)):  # one page, the end, all of it
        fd = os.open(path, os.O_RDWR)
        os.fsync(fd)
        os.posix_fadvise(fd, begin, size, os.POSIX_FADV_DONTNEED)
        os.close(fd)
        found = blobs.at_hand(name, 0, SIZE, key=key)
        assert found is None or found == data
        assert b"".join([piece async for piece in blobs.read(name, 0, SIZE, key=key)]) == data
    assert blobs.at_hand(name, 0, SIZE, key=key) == data


async def test_a_file_system_without_such_reads_is_noticed(blobs: FileBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    data = RANDOM.randbytes(SIZE)
    name = await put(blobs, data)
    monkeypatch.setattr(os, "RWF_NOWAIT", 1 << 20)  # a flag that no kernel knows
    assert blobs.at_hand(name, 0, SIZE, key=KEY) is None
    monkeypatch.undo()
    assert blobs.at_hand(name, 0, SIZE, key=KEY) is None
    assert b"".join([piece async for piece in blobs.read(name, 0, SIZE, key=KEY)]) == data


async def test_lent_memory_comes_back(blobs: FileBlobs) -> None:
    name = await put(blobs, RANDOM.randbytes(SIZE))
    seen = set()
    for _ in range(50):
        found = blobs.at_hand(name, 0, SIZE, key=KEY)
        assert found is not None
        seen.add(id(found.obj))
        del found
    assert len(seen) == 1
