"""Blobs under a key: what comes back, and what never does."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.blobs.api import BlobCorrupt
from penstock.blobs.files import FileBlobs
from penstock.blobs.layout import FOOTER_BYTES, ChunkTable
from penstock.blobs.sealing import CHUNK_BYTES, TAG_BYTES
from penstock.clock import Clock
from penstock.store.memory import MemoryStore

RANDOM = random.Random(5)
KEY = bytes(range(32))
SEALED = CHUNK_BYTES + TAG_BYTES


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[FileBlobs]:
    opened = FileBlobs(tmp_path, MemoryStore(), Clock())
    yield opened
    await opened.close()


async def put(blobs: FileBlobs, data: bytes, piece: int = 100_000, key: bytes = KEY) -> str:
    writer = await blobs.create(key=key)
    for i in range(0, len(data), piece):
        await writer.write(data[i : i + piece])
    await writer.finish()
    assert writer.size_bytes == len(data)
    await blobs._store.transact(lambda txn: blobs.adopt(txn, writer.name))
    return writer.name


async def get(blobs: FileBlobs, name: str, begin: int, end: int, key: bytes = KEY) -> bytes:
    return b"".join([piece async for piece in blobs.read(name, begin, end, key=key)])


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 4 * CHUNK_BYTES, 3_333_333])
@pytest.mark.parametrize("piece", [77_777, CHUNK_BYTES, CHUNK_BYTES + 1, 1_500_000])
async def test_what_was_sealed_comes_back(blobs: FileBlobs, size: int, piece: int) -> None:
    data = RANDOM.randbytes(size)
    name = await put(blobs, data, piece)
    assert await get(blobs, name, 0, size) == data
    for _ in range(20):
        begin, end = sorted((RANDOM.randint(0, size), RANDOM.randint(0, size)))
        assert await get(blobs, name, begin, end) == data[begin:end]
    assert await blobs.scrub() == [], "it is verified without the key"
    stored = blobs.path_of(name).read_bytes()
    assert all(data[at : at + 16] not in stored for at in range(0, size - 15, 50_000))


async def test_the_wrong_key_or_none_opens_nothing(blobs: FileBlobs) -> None:
    name = await put(blobs, b"secret" * 100)
    for key in (b"", b"\1" * 32):
        with pytest.raises(BlobCorrupt):
            await get(blobs, name, 0, 10, key)
    plain = await put(blobs, b"plain" * 100, key=b"")
    with pytest.raises(BlobCorrupt):
        await get(blobs, plain, 0, 10)


def chunks_of(path: Path) -> tuple[list[bytes], int]:
    stored = path.read_bytes()
    size = int.from_bytes(stored[-16:-8], "big")
    count = -(-size // CHUNK_BYTES)
    return [stored[i * SEALED : min((i + 1) * SEALED, size + TAG_BYTES * count)] for i in range(count)], size


def rewrite(path: Path, name: str, chunks: list[bytes]) -> None:
    """The file as someone would write it who knows all but the key: every checksum is right."""
    table = ChunkTable(name, sealed=True)
    for chunk in chunks:
        table.update(chunk)
    size = sum(map(len, chunks)) - TAG_BYTES * len(chunks)
    path.write_bytes(b"".join(chunks) + table.ending(size))


async def test_chunks_cannot_be_moved_cut_off_or_altered(blobs: FileBlobs) -> None:
    data = RANDOM.randbytes(3 * CHUNK_BYTES)
    name, other = await put(blobs, data), await put(blobs, data)
    path = blobs.path_of(name)
    chunks, _ = chunks_of(path)
    foreign, _ = chunks_of(blobs.path_of(other))
    assert foreign != chunks, "the same bytes are sealed differently in another blob"
    altered = [bytes([chunks[0][0] ^ 1]) + chunks[0][1:], *chunks[1:]]
    for wrong in ([chunks[1], chunks[0], chunks[2]], chunks[:2], [foreign[0], *chunks[1:]], altered):
        rewrite(path, name, wrong)
        assert await blobs.scrub() == [], "checksums alone do not tell"
        with pytest.raises(BlobCorrupt):
            await get(blobs, name, 0, len(wrong) * CHUNK_BYTES)
    rewrite(path, name, chunks)
    assert await get(blobs, name, 0, len(data)) == data


async def test_bit_rot_is_found_without_the_key(blobs: FileBlobs) -> None:
    name = await put(blobs, RANDOM.randbytes(600_000))
    path = blobs.path_of(name)
    stored = bytearray(path.read_bytes())
    stored[300_000] ^= 4
    path.write_bytes(bytes(stored))
    assert len(await blobs.scrub()) == 1
    assert len(stored) == 600_000 + 3 * (TAG_BYTES + 8) + FOOTER_BYTES
