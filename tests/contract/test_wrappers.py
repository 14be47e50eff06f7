"""The measuring and the misbehaving wrapper."""

from __future__ import annotations

import asyncio

import pytest

from penstock.store.api import Conflict, EngineFailed, StoreError, Transaction, UnknownCommit
from penstock.store.faulty import Faults, FaultyStore
from penstock.store.measured import MeasuredStore
from penstock.store.memory import MemoryStore
from penstock.telemetry import Telemetry


async def test_measured_store_counts() -> None:
    telemetry = Telemetry()
    store = MeasuredStore(MemoryStore(), telemetry)
    await store.transact(lambda txn: txn.set(b"key", b"value"))
    await store.transact(lambda txn: txn.get(b"key"))
    assert await store.transact(lambda txn: txn.get(b"key"), read_only=True) == b"value"
    with pytest.raises(StoreError):
        await store.transact(lambda txn: txn.set(b"key", bytes(200_000)))
    assert await store.transact(lambda txn: txn.get(b"key"), read_only=True) == b"value"
    text = telemetry.render()
    assert 'penstock_store_transactions{kind="write"} 3' in text
    assert 'penstock_store_transactions{kind="read"} 2' in text
    assert "penstock_store_written_bytes 8" in text
    assert 'penstock_store_errors_total{error="TransactionTooLarge"} 1' in text
    assert "penstock_store_writes_under_way 0" in text


async def test_unknown_commits_have_happened_or_not() -> None:
    inner = MemoryStore()
    store = FaultyStore(inner, 1, Faults(unknown_commit=1.0))
    for i in range(50):
        with pytest.raises(UnknownCommit):
            await store.transact(lambda txn, i=i: txn.set(b"%d" % i, b""))
    assert 10 < len(inner.data) < 40
    assert await store.transact(lambda txn: txn.get(b"none")) is None, "a transaction that writes nothing is known"


async def test_injected_conflicts_write_nothing() -> None:
    inner = MemoryStore()
    store = FaultyStore(inner, 1, Faults(conflict=1.0))
    with pytest.raises(Conflict):
        await store.transact(lambda txn: txn.set(b"a", b""))
    assert not inner.data


async def test_a_failed_engine_fails_for_good() -> None:
    store = FaultyStore(MemoryStore(), 1, Faults(fail_at=3))
    await store.transact(lambda txn: txn.set(b"a", b""))
    await store.transact(lambda txn: txn.set(b"b", b""))
    for _ in range(2):
        with pytest.raises(EngineFailed):
            await store.transact(lambda txn: txn.get(b"a"))


@pytest.mark.parametrize("seed", range(20))
async def test_a_crash_keeps_what_was_acknowledged_and_a_first_part_of_the_rest(seed: int) -> None:
    store = FaultyStore(MemoryStore(), seed, Faults(retry=0.1, delay_turns=8))
    acknowledged: set[bytes] = set()
    observed: set[bytes] = set()

    async def write(who: int) -> None:
        for i in range(100):
            key = b"%d/%03d" % (who, i)

            def body(txn: Transaction, key: bytes = key) -> None:
                txn.set(key, b"x")
                txn.append(b"log/", key)
                if key.endswith(b"5"):
                    txn.clear(key[:-1], key)

            await store.transact(body)
            if not key.endswith(b"5"):
                acknowledged.add(key)

    async def read() -> None:
        for _ in range(200):
            rows = await store.transact(lambda txn: [v for _, v in txn.scan(b"log/", b"log0")], read_only=True)
            observed.update(rows)

    tasks = [asyncio.create_task(write(i)) for i in range(4)] + [asyncio.create_task(read())]
    for _ in range(300 + seed):
        await asyncio.sleep(0)
    reborn = store.crash()
    await asyncio.gather(*tasks, return_exceptions=True)
    log = [v for k, v in reborn.data.items() if k.startswith(b"log/")]
    assert acknowledged <= set(log), "acknowledged is durable"
    assert observed <= set(log), "nobody has seen what was lost"
    for who in range(4):
        mine = [v for v in log if v.startswith(b"%d/" % who)]
        assert mine == [b"%d/%03d" % (who, i) for i in range(len(mine))]
    with pytest.raises(EngineFailed):
        await store.transact(lambda txn: None)


async def test_the_same_seed_gives_the_same_run() -> None:
    async def run() -> list[bytes]:
        inner = MemoryStore()
        store = FaultyStore(inner, 42, Faults(retry=0.3, conflict=0.2, unknown_commit=0.2, delay_turns=4))

        async def task(who: int) -> None:
            for i in range(20):
                try:
                    await store.transact(lambda txn, i=i: txn.append(b"log/", b"%d-%d" % (who, i)))
                except (Conflict, UnknownCommit):
                    pass

        await asyncio.gather(*(task(w) for w in range(3)))
        return list(inner.data.values())

    assert await run() == await run()
