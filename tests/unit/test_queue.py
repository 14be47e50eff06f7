"""The queue, one behaviour at a time: what the model test does not look at."""

from __future__ import annotations

import pytest

from penstock.store.memory import MemoryStore
from penstock.store.queue import LeaseLost, Queue

NOW = 1_700_000_000.0


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


async def test_a_holder_keeps_what_it_is_busy_with_though_its_lease_ran_out(store: MemoryStore) -> None:
    queue = Queue(b"q")
    for body in (b"kept", b"forgotten"):
        await store.transact(lambda txn, body=body: queue.put(txn, body, due=NOW))
    kept, forgotten = await store.transact(
        lambda txn: queue.lease(txn, now=NOW, lease_s=5.0, holder="a", limit=2)
    )  # fmt: skip
    again = await store.transact(
        lambda txn: queue.lease(txn, now=NOW + 3600, lease_s=5.0, holder="a", limit=2, keep={kept.id})
    )
    assert [m.body for m in again] == [b"forgotten"]
    with pytest.raises(LeaseLost):
        await store.transact(lambda txn: queue.done(txn, forgotten))
    await store.transact(lambda txn: queue.extend(txn, kept, NOW + 3700))
    # Another holder cannot keep what is not its own.
    taken = await store.transact(
        lambda txn: queue.lease(txn, now=NOW + 3800, lease_s=5.0, holder="b", limit=2, keep={kept.id})
    )
    assert {m.body for m in taken} == {b"kept", b"forgotten"}
    with pytest.raises(LeaseLost):
        await store.transact(lambda txn: queue.done(txn, kept))


async def test_a_large_body_comes_back_whole_and_leaves_nothing(store: MemoryStore) -> None:
    queue = Queue(b"q")
    for size in (0, 1, 100_000, 100_001, 1_500_000):
        body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        await store.transact(lambda txn, body=body: queue.put(txn, body, due=NOW))
        [leased] = await store.transact(lambda txn: queue.lease(txn, now=NOW, lease_s=5.0, holder="a", limit=9))
        assert leased.body == body
        await store.transact(lambda txn, m=leased: queue.bury(txn, m, "why"))
        [letter] = await store.transact(queue.dead_letters)
        assert letter.body == body
        await store.transact(lambda txn, k=letter.key: queue.redrive(txn, k, due=NOW))
        [leased] = await store.transact(lambda txn: queue.lease(txn, now=NOW, lease_s=5.0, holder="a", limit=9))
        assert (leased.body, leased.attempts, leased.retries) == (body, 1, 0)
        await store.transact(lambda txn, m=leased: queue.done(txn, m))
        assert sum(map(len, store.data.values())) < 300


async def test_one_busy_lane_does_not_hide_the_others(store: MemoryStore) -> None:
    queue = Queue(b"q")
    for n in range(2000):
        await store.transact(lambda txn, n=n: queue.put(txn, b"%d" % n, due=NOW - 2 + n * 1e-4, lane=b"busy"))
    await store.transact(lambda txn: queue.put(txn, b"other", due=NOW - 1))
    [first] = await store.transact(lambda txn: queue.lease(txn, now=NOW, lease_s=60.0, holder="a", limit=1))
    assert first.body == b"0"
    looks = 0
    while not (found := await store.transact(lambda txn: queue.lease(txn, now=NOW, lease_s=60, holder="a", limit=1))):
        looks += 1
        assert (await store.transact(queue.next_due) or 0) < NOW
    assert found[0].body == b"other"
    assert looks < 12
    await store.transact(lambda txn: queue.done(txn, first))
    [second] = await store.transact(lambda txn: queue.lease(txn, now=NOW, lease_s=60.0, holder="a", limit=9))
    assert second.body == b"1"


async def test_counts_tell_delayed_from_available(store: MemoryStore) -> None:
    queue = Queue(b"q")
    await store.transact(lambda txn: queue.put(txn, b"a", due=NOW, now=NOW))
    await store.transact(lambda txn: queue.put(txn, b"b", due=NOW + 60, now=NOW))
    await store.transact(lambda txn: queue.put(txn, b"c", due=NOW + 90, now=NOW, id=b"timer"))
    counts = await store.transact(queue.counts)
    assert (counts.available, counts.delayed, counts.in_flight, counts.dead) == (1, 2, 0, 0)
    assert await store.transact(queue.next_due) == NOW
    [leased] = await store.transact(lambda txn: queue.lease(txn, now=NOW, lease_s=500.0, holder="a", limit=9))
    assert await store.transact(queue.next_due) == NOW + 60
    await store.transact(lambda txn: queue.bury(txn, leased, "why"))
    await store.transact(lambda txn: queue.cancel(txn, b"timer"))
    counts = await store.transact(queue.counts)
    assert (counts.available, counts.delayed, counts.in_flight, counts.dead) == (0, 1, 0, 1)


async def test_lanes_and_timers_do_not_mix(store: MemoryStore) -> None:
    queue = Queue(b"q")
    with pytest.raises(ValueError, match="timer"):
        await store.transact(lambda txn: queue.put(txn, b"x", due=NOW, lane=b"l", id=b"t"))
    id = await store.transact(lambda txn: queue.put(txn, b"x", due=NOW, lane=b"l"))
    with pytest.raises(ValueError, match="lane"):
        await store.transact(lambda txn: queue.cancel(txn, id))
    assert not await store.transact(lambda txn: queue.cancel(txn, b"nobody"))
