"""Large values: cut up, put together, and gone without a trace."""

import pytest

from penstock.store.api import StoreError
from penstock.store.chunked import CHUNK_BYTES, clear_large, clear_large_range, expand, get_large, set_large
from penstock.store.memory import MemoryStore

SIZES = [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES + 7, 9_000_000]


@pytest.mark.parametrize("size", SIZES)
async def test_round_trip(size: int) -> None:
    store = MemoryStore()
    value = bytes(i % 251 for i in range(1000)) * (size // 1000) + b"x" * (size % 1000)
    await store.transact(lambda txn: set_large(txn, b"k", value))
    assert await store.transact(lambda txn: get_large(txn, b"k")) == value
    assert await store.transact(lambda txn: [k for k, _ in txn.scan(b"k", b"l")]) == [b"k"], "one pair in its own range"
    await store.transact(lambda txn: clear_large(txn, b"k"))
    assert await store.transact(lambda txn: get_large(txn, b"k")) is None
    assert not store.data


async def test_overwriting_leaves_no_chunks() -> None:
    store = MemoryStore()
    for size in (3 * CHUNK_BYTES, 10, 2 * CHUNK_BYTES, CHUNK_BYTES + 1):
        await store.transact(lambda txn, n=size: set_large(txn, b"k", b"v" * n))
        assert await store.transact(lambda txn: get_large(txn, b"k")) == b"v" * size
    await store.transact(lambda txn: clear_large(txn, b"k"))
    await store.transact(lambda txn: clear_large(txn, b"k"))
    assert not store.data


async def test_within_one_transaction() -> None:
    def body(txn):  # type: ignore[no-untyped-def]
        set_large(txn, b"k", b"a" * 250_000)
        set_large(txn, b"k", b"b" * 150_000)
        set_large(txn, b"k\0", b"other" * 50_000)
        assert get_large(txn, b"k") == b"b" * 150_000
        assert [expand(txn, k, head)[:1] for k, head in txn.scan(b"k", b"l")] == [b"b", b"o"]
        clear_large(txn, b"k")
        assert get_large(txn, b"k\0") == b"other" * 50_000

    store = MemoryStore()
    await store.transact(body)


async def test_clearing_a_range_takes_exactly_its_chunks() -> None:
    store = MemoryStore()
    keys = [b"a", b"b", b"b\0", b"b\0\xff", b"bz", b"c", b"c\0"]

    def fill(txn):  # type: ignore[no-untyped-def]
        for key in keys:
            set_large(txn, key, key * 100_000 if len(key) < 3 else b"small")

    await store.transact(fill)
    await store.transact(lambda txn: clear_large_range(txn, b"b", b"c"))
    for key in keys:
        expected = None if b"b" <= key < b"c" else key * 100_000
        assert await store.transact(lambda txn, k=key: get_large(txn, k)) == expected
    await store.transact(lambda txn: clear_large_range(txn, b"", b"\xf0"))
    assert not store.data


async def test_a_missing_chunk_is_an_error() -> None:
    store = MemoryStore()
    await store.transact(lambda txn: set_large(txn, b"k", b"v" * 250_000))
    del store.data[next(k for k in store.data if k != b"k")]
    with pytest.raises(StoreError, match="not whole"):
        await store.transact(lambda txn: get_large(txn, b"k"))
