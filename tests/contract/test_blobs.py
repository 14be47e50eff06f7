"""What every blob engine promises, on the stores there are."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.blobs import BlobCorrupt, BlobMissing
from penstock.blobs.checksums import CRC64NVME, digest, running
from penstock.blobs.files import FileBlobs
from penstock.blobs.open import open_blobs
from penstock.blobs.sealing import CHUNK_BYTES
from penstock.clock import Clock
from penstock.store import Store

RANDOM = random.Random(7)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def blobs(store: Store, clock: Clock, tmp_path: Path) -> AsyncIterator[FileBlobs]:
    opened = open_blobs("", tmp_path, store, clock)
    assert isinstance(opened, FileBlobs)
    yield opened
    await opened.close()


async def put(blobs: FileBlobs, store: Store, data: bytes, piece: int = 100_000) -> str:
    writer = await blobs.create()
    for i in range(0, len(data), piece):
        await writer.write(data[i : i + piece])
    await writer.finish()
    await store.transact(lambda txn: blobs.adopt(txn, writer.name))
    return writer.name


async def get(blobs: FileBlobs, name: str, begin: int, end: int) -> bytes:
    return b"".join([piece async for piece in blobs.read(name, begin, end)])


def files(blobs: FileBlobs) -> list[Path]:
    return [p for p in (blobs.root / "data").rglob("*") if p.is_file()]


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3_333_333])
async def test_what_was_written_comes_back(blobs: FileBlobs, store: Store, size: int) -> None:
    data = RANDOM.randbytes(size)
    name = await put(blobs, store, data)
    assert await get(blobs, name, 0, size) == data
    for _ in range(20):
        begin, end = sorted((RANDOM.randint(0, size), RANDOM.randint(0, size)))
        assert await get(blobs, name, begin, end) == data[begin:end]
    assert await blobs.scrub() == []


async def test_taps_see_every_byte_in_order(blobs: FileBlobs) -> None:
    data = RANDOM.randbytes(2_500_000)
    md5, crc = running("MD5"), running(CRC64NVME)
    writer = await blobs.create(md5.update, crc.update)
    for i in range(0, len(data), 77_777):
        await writer.write(data[i : i + 77_777])
    await writer.finish()
    assert writer.size_bytes == len(data)
    assert md5.digest() == digest("MD5", data)
    assert crc.digest() == digest(CRC64NVME, data)
    await writer.abort()
    assert files(blobs) == []


async def test_asking_past_the_end_or_for_nothing_there(blobs: FileBlobs, store: Store) -> None:
    name = await put(blobs, store, b"x" * 10)
    for wrong in (name[:-2] + "ff", "0" * 16 + ".00", "../../etc/passwd"):
        with pytest.raises(BlobMissing):
            await get(blobs, wrong, 0, 1)
    with pytest.raises(BlobMissing):
        await get(blobs, name, 0, 11)


async def test_an_abort_leaves_nothing_and_may_come_twice(blobs: FileBlobs) -> None:
    writer = await blobs.create()
    await writer.write(b"a" * 3_000_000)
    await writer.abort()
    await writer.abort()
    assert files(blobs) == []


async def test_a_released_blob_goes_after_its_grace_and_readers_finish(
    blobs: FileBlobs, store: Store, clock: Clock
) -> None:
    data = RANDOM.randbytes(5_000_000)
    name = await put(blobs, store, data)
    reading = blobs.read_all([(name, 0, 10), (name, 10, len(data))])
    got = [await anext(reading)]
    await store.transact(lambda txn: blobs.release(txn, name))
    assert await blobs.sweep() == 0
    clock.advance(3600)
    assert await blobs.sweep() == 0, "this process still reads it"
    got += [piece async for piece in reading]
    assert b"".join(got) == data
    assert await blobs.sweep() == 1
    assert files(blobs) == []
    with pytest.raises(BlobMissing):
        await get(blobs, name, 0, 1)
    assert await blobs.sweep() == 0


async def test_sweeps_at_once_do_not_disturb_each_other(blobs: FileBlobs, store: Store, clock: Clock) -> None:
    names = [await put(blobs, store, b"x") for _ in range(20)]
    for name in names:
        await store.transact(lambda txn, name=name: blobs.release(txn, name))
    clock.advance(3600)
    assert sum(await asyncio.gather(*(blobs.sweep() for _ in range(4)))) == 20
    assert files(blobs) == []


async def test_adoptions_are_counted(blobs: FileBlobs, store: Store, clock: Clock) -> None:
    name = await put(blobs, store, b"shared")
    await store.transact(lambda txn: blobs.adopt(txn, name))
    await store.transact(lambda txn: blobs.release(txn, name))
    clock.advance(3600)
    assert await blobs.sweep() == 0
    assert await get(blobs, name, 0, 6) == b"shared"
    await store.transact(lambda txn: blobs.release(txn, name))
    with pytest.raises(BlobMissing):
        await store.transact(lambda txn: blobs.adopt(txn, name))
    clock.advance(3600)
    assert await blobs.sweep() == 1


async def test_a_released_blob_of_the_current_batch_leaves_its_folder(
    blobs: FileBlobs, store: Store, clock: Clock
) -> None:
    name = await put(blobs, store, b"x")
    await store.transact(lambda txn: blobs.release(txn, name))
    clock.advance(3600)
    assert await blobs.sweep() == 1
    assert await get(blobs, await put(blobs, store, b"y"), 0, 1) == b"y"


async def test_what_nobody_adopted_is_swept_by_the_next_process(
    blobs: FileBlobs, store: Store, clock: Clock, tmp_path: Path
) -> None:
    dead = FileBlobs(blobs.root, store, clock)
    kept = await put(dead, store, b"kept")
    lost = await dead.create()
    await lost.write(b"lost" * 1_000_000)
    finished = await dead.create()
    await finished.finish()
    assert await blobs.sweep() == 0, "its holder lives"
    os.close(dead._lock)
    assert await blobs.sweep() == 2
    assert await get(blobs, kept, 0, 4) == b"kept"
    assert len(files(blobs)) == 1
    with pytest.raises(BlobMissing):
        await store.transact(lambda txn: dead.adopt(txn, finished.name))
    await lost.abort()


async def test_bit_rot_is_never_handed_out(blobs: FileBlobs, store: Store) -> None:
    data = RANDOM.randbytes(1_000_000)
    name = await put(blobs, store, data)
    path = blobs.path_of(name)
    raw = bytearray(path.read_bytes())
    raw[600_000] ^= 1
    path.write_bytes(raw)
    assert await get(blobs, name, 0, 500_000) == data[:500_000]
    for begin, end in ((0, 1_000_000), (599_999, 600_001), (530_000, 530_001)):
        with pytest.raises(BlobCorrupt):
            await get(blobs, name, begin, end)
    assert any(name in line for line in await blobs.scrub())


async def test_two_blobs_exchanged_are_noticed(blobs: FileBlobs, store: Store) -> None:
    a, b = await put(blobs, store, b"a" * 1000), await put(blobs, store, b"b" * 1000)
    blobs.path_of(a).write_bytes(blobs.path_of(b).read_bytes())
    with pytest.raises(BlobCorrupt):
        await get(blobs, a, 0, 1000)


@pytest.mark.parametrize("lost", [1, 24, 30, 500_000])
async def test_a_file_cut_short_is_missing(blobs: FileBlobs, store: Store, lost: int) -> None:
    name = await put(blobs, store, RANDOM.randbytes(1_000_000))
    path = blobs.path_of(name)
    os.truncate(path, path.stat().st_size - lost)
    with pytest.raises(BlobMissing):
        await get(blobs, name, 0, 1)


async def test_a_failed_fsync_is_an_error_and_leaves_nothing(store: Store, clock: Clock, tmp_path: Path) -> None:
    failing = False

    def fsync(fd: int) -> None:
        if failing:
            raise OSError(5, "Input/output error")
        os.fsync(fd)

    blobs = FileBlobs(tmp_path / "failing", store, clock, fsync)
    writer = await blobs.create()
    failing = True
    await writer.write(b"x" * 2_000_000)
    with pytest.raises(OSError, match="Input/output"):
        await writer.finish()
    await writer.abort()
    assert files(blobs) == []
    failing = False
    assert await get(blobs, await put(blobs, store, b"again"), 0, 5) == b"again"
    await blobs.close()


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    """A file size limit stands for the full disk: the write fails part of the way."""
    program = """
import asyncio, pathlib, sys
from penstock.blobs.files import FileBlobs
from penstock.clock import Clock
from penstock.store.memory import MemoryStore
async def main():
    blobs = FileBlobs(pathlib.Path(sys.argv[1]), MemoryStore(), Clock())
    writer = await blobs.create()
    try:
        for _ in range(40):
            await writer.write(b"x" * 100_000)
        await writer.finish()
    except OSError as error:
        await writer.abort()
        print(error.errno, sum(p.is_file() for p in (blobs.root / "data").rglob("*")))
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout.split() == ["27", "0"], done.stderr


async def test_many_at_once(blobs: FileBlobs, store: Store, clock: Clock) -> None:
    data = [RANDOM.randbytes(RANDOM.randint(0, 400_000)) for _ in range(300)]
    names = await asyncio.gather(*(put(blobs, store, d) for d in data))
    assert len(set(names)) == 300
    for name, d in zip(names, data, strict=True):
        assert await get(blobs, name, 0, len(d)) == d


async def test_a_reader_that_leaves_early_lets_go(blobs: FileBlobs, store: Store) -> None:
    name = await put(blobs, store, bytes(5_000_000))
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    for _ in range(5):
        reading = blobs.read(name, 0, 5_000_000)
        await anext(reading)
        await reading.aclose()
    after = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    assert after <= before
    assert not blobs._held
