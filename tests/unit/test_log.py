"""The log: against a list, and what trimming gives back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.store.api import StoreError, Transaction
from penstock.store.log import Log
from penstock.store.memory import MemoryStore

T = TypeVar("T")
SIZES = st.sampled_from([0, 1, 7, 1000, 98_995, 98_996, 99_000, 150_000, 250_000])


def run(store: MemoryStore, body: Callable[[Transaction], T]) -> T:
    try:
        store.transact(body).send(None)
    except StopIteration as ended:
        return ended.value  # type: ignore[no-any-return]
    raise AssertionError("the memory engine waited")


@settings(max_examples=80, deadline=None)
@given(
    batches=st.lists(st.lists(SIZES, min_size=1, max_size=5), min_size=1, max_size=6),
    cuts=st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=4),
    pages=st.integers(1, 4),
)
def test_reads_what_was_appended_from_any_position(
    batches: list[list[int]], cuts: list[tuple[int, bool]], pages: int
) -> None:
    store, log = MemoryStore(), Log(b"log")
    model: list[tuple[bytes, bytes]] = []
    for n, sizes in enumerate(batches):
        records = [b"%d.%d " % (n, i) + b"x" * size for i, size in enumerate(sizes)]
        placed = run(store, lambda txn, r=records: log.append(txn, r))
        assert placed.value == placed.positions[-1]
        model += zip(placed.positions, records, strict=True)
    assert [p for p, _ in model] == sorted({p for p, _ in model})
    assert run(store, lambda txn: log.read(txn, b"", 0)) == model
    for cut, through in cuts:
        position = model[cut % len(model)][0] + (b"\0" if through else b"") if model else b""
        run(store, lambda txn, p=position: log.trim(txn, p))
        model = [(p, r) for p, r in model if p >= position]
        for after in [b"", position, *(p for p, _ in model)]:
            expected = [(p, r) for p, r in model if p > after]
            assert run(store, lambda txn, a=after: log.read(txn, a, pages)) == expected[:pages]
            assert run(store, lambda txn, a=after: log.read(txn, a)) == expected
        assert run(store, log.last) == (model[-1][0] if model else None)
        if not model:
            assert len(store.data) == 1  # the trim mark: everything else was given back
    run(store, log.clear)
    assert not store.data


def test_a_batch_is_one_key_and_a_large_one_is_split() -> None:
    store, log = MemoryStore(), Log(b"log")
    run(store, lambda txn: log.append(txn, [b"x" * 100] * 500))
    assert len(store.data) == 1
    run(store, lambda txn: log.append(txn, [b"x" * 1000] * 500))
    assert len(store.data) == 1 + 6
    assert max(map(len, store.data.values())) <= store.limits.value_bytes


def test_positions_grow_past_a_full_trim_and_are_known_only_after_commit() -> None:
    store, log = MemoryStore(), Log(b"log")

    def append(txn: Transaction) -> object:
        placed = log.append(txn, [b"a"])
        with pytest.raises(StoreError):
            _ = placed.value
        return placed

    first = run(store, append).value  # type: ignore[attr-defined]
    run(store, lambda txn: log.trim(txn, first + b"\0"))
    assert run(store, log.last) is None
    second = run(store, append).value  # type: ignore[attr-defined]
    assert second > first
    assert run(store, lambda txn: log.read(txn, first, 10)) == [(second, b"a")]


def test_bounds() -> None:
    store, log = MemoryStore(), Log(b"log")
    with pytest.raises(ValueError, match="no records"):
        run(store, lambda txn: log.append(txn, []))
    run(store, lambda txn: log.append(txn, [b"x" * 600] * 10))
    assert len(run(store, lambda txn: log.read(txn, max_bytes=1000))) == 1
    assert len(run(store, lambda txn: log.read(txn, max_bytes=1200))) == 2
    assert len(run(store, lambda txn: log.read(txn, max_bytes=10))) == 1
