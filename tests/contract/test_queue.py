"""The queue and the log on every engine, with many consumers at once, some of which die."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict

from penstock.store.api import Store, Transaction
from penstock.store.log import Log
from penstock.store.queue import Leased, LeaseLost, Queue

NOW = 1_700_000_000.0


class Time:
    """Moves a little with every look, and fast when nothing is left to do but to wait for the dead ones' leases."""

    def __init__(self) -> None:
        self.now = NOW


async def put_all(store: Store, queue: Queue, bodies: list[tuple[bytes, bytes]], time: Time) -> None:
    rng = random.Random(1)
    while bodies:
        batch, bodies = bodies[:7], bodies[7:]

        def put(txn: Transaction, batch: list[tuple[bytes, bytes]] = batch) -> None:
            for body, lane in batch:
                queue.put(txn, body, due=time.now + rng.choice([0, 0, 0, 2]), lane=lane, now=time.now)

        await store.transact(put)
        await asyncio.sleep(0)


async def consume(store: Store, queue: Queue, name: str, time: Time, done: list[bytes], rng: random.Random) -> None:
    """Lease, work, finish; sometimes fail, and sometimes die: forget what was leased."""
    idle = 0
    while idle < 30:
        time.now += 0.001
        leased = await store.transact(
            lambda txn: queue.lease(txn, now=time.now, lease_s=5.0, holder=name, limit=rng.choice([1, 3, 10]))
        )
        if not leased:
            idle += 1
            due = await store.transact(queue.next_due, read_only=True)
            if due is None and idle > 5:
                return
            time.now = max(time.now, min(due or 0, time.now + 1))
            await asyncio.sleep(0.0005)
            continue
        idle = 0
        if rng.random() < 0.08:
            continue
        for message in leased:
            await asyncio.sleep(0)
            await settle(store, queue, message, time, done, rng)


async def settle(
    store: Store, queue: Queue, message: Leased, time: Time, done: list[bytes], rng: random.Random
) -> None:
    try:
        if rng.random() < 0.05:
            await store.transact(lambda txn: queue.retry(txn, message, time.now + rng.choice([0, 1])))
        else:
            await store.transact(lambda txn: queue.done(txn, message))
            done.append(message.body)
    except LeaseLost:
        pass


async def test_each_message_is_done_once_and_lanes_keep_their_order(store: Store) -> None:
    queue, time, done = Queue(b"q", shards=3), Time(), []
    lanes = [b""] * 3 + [b"a", b"b", b"c"]
    # A transaction takes milliseconds on PostgreSQL, and microseconds elsewhere.
    bodies = [(b"%d" % n, lanes[n % 6]) for n in range(240 if type(store).__name__ == "PostgresStore" else 900)]
    async with asyncio.TaskGroup() as group:
        group.create_task(put_all(store, queue, list(bodies), time))
        for n in range(12):
            group.create_task(consume(store, queue, f"c{n}", time, done, random.Random(n)))
    assert Counter(done) == Counter(body for body, _ in bodies)
    lane_of = dict(bodies)
    by_lane = defaultdict(list)
    for body in done:
        by_lane[lane_of[body]].append(int(body))
    for lane in (b"a", b"b", b"c"):
        assert by_lane[lane] == sorted(by_lane[lane])
    counts = await store.transact(queue.counts)
    assert (counts.available, counts.delayed, counts.in_flight, counts.dead) == (0, 0, 0, 0)


async def test_a_watch_on_the_wake_key_returns_when_something_is_put(store: Store) -> None:
    queue = Queue(b"q")
    waiting = asyncio.create_task(store.watch(queue.wake_key, 30.0))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    await store.transact(lambda txn: queue.put(txn, b"x", due=NOW))
    await asyncio.wait_for(waiting, 5)


async def test_appends_of_many_writers_are_all_there_in_order(store: Store) -> None:
    log = Log(b"log")
    placed: list[tuple[bytes, bytes]] = []

    async def write(name: int) -> None:
        for n in range(20):
            records = [b"%d/%d/%d" % (name, n, i) for i in range(3)]
            appended = await store.transact(lambda txn, r=records: log.append(txn, r))
            placed.extend(zip(appended.positions, records, strict=True))

    await asyncio.gather(*(write(n) for n in range(8)))
    assert await store.transact(log.read) == sorted(placed)
    pages: list[tuple[bytes, bytes]] = []
    after = b""
    while page := await store.transact(lambda txn, a=after: log.read(txn, a, 17)):
        after = page[-1][0]
        pages += page
    assert pages == sorted(placed)
    await store.transact(lambda txn: log.trim(txn, pages[100][0]))
    assert await store.transact(log.read) == pages[100:]
