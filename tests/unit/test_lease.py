"""Leases: one holder at a time, and tokens that fence the one who was too late."""

from __future__ import annotations

import random

import pytest

from penstock.store.backoff import backoff_s
from penstock.store.lease import LeaseLost, Leases
from penstock.store.memory import MemoryStore

leases = Leases(b"lease")


async def test_one_holder_until_it_runs_out() -> None:
    store = MemoryStore()
    first = await store.transact(lambda txn: leases.acquire(txn, "job", "a", 100.0, 10.0))
    assert first is not None
    assert await store.transact(lambda txn: leases.acquire(txn, "job", "b", 109.9, 10.0)) is None
    assert await store.transact(lambda txn: leases.acquire(txn, "other", "b", 109.9, 10.0)) is not None
    await store.transact(lambda txn: leases.renew(txn, "job", first, 109.0, 10.0))
    assert await store.transact(lambda txn: leases.acquire(txn, "job", "b", 118.0, 10.0)) is None
    second = await store.transact(lambda txn: leases.acquire(txn, "job", "b", 119.0, 10.0))
    assert second is not None
    assert second > first
    assert await store.transact(lambda txn: leases.holder(txn, "job", 120.0)) == "b"
    for act in (
        lambda txn: leases.check(txn, "job", first),
        lambda txn: leases.renew(txn, "job", first, 119.0, 10.0),
        lambda txn: leases.release(txn, "job", first),
    ):
        with pytest.raises(LeaseLost):
            await store.transact(act)


async def test_a_holder_may_ask_again_and_let_go() -> None:
    store = MemoryStore()
    first = await store.transact(lambda txn: leases.acquire(txn, "job", "a", 100.0, 10.0))
    second = await store.transact(lambda txn: leases.acquire(txn, "job", "a", 100.0, 10.0))
    assert first is not None
    assert second is not None
    assert second > first
    with pytest.raises(LeaseLost):
        await store.transact(lambda txn: leases.check(txn, "job", first))
    await store.transact(lambda txn: leases.release(txn, "job", second))
    assert not store.data
    with pytest.raises(LeaseLost):
        await store.transact(lambda txn: leases.check(txn, "job", second))
    third = await store.transact(lambda txn: leases.acquire(txn, "job", "b", 101.0, 10.0))
    assert third is not None
    assert third > second


def test_back_off_has_bounds_and_jitter() -> None:
    rng = random.Random(7)
    for attempt, ceiling in ((0, 1.0), (1, 1.0), (2, 2.0), (5, 16.0), (7, 60.0), (10_000, 60.0)):
        waits = [backoff_s(attempt, first_s=1.0, most_s=60.0, rng=rng) for _ in range(300)]
        assert max(waits) <= ceiling
        assert min(waits) >= ceiling / 20
        assert max(waits) - min(waits) > ceiling / 2
