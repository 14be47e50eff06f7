"""How fast a store engine is: durable writes by many tasks at once, reads, scans, and the CPU each costs.

    PYTHONPATH=src python bench/store.py [URL ...]      (default: memory:// and RocksDB in a temporary directory)

Every write is one `transact` of one 800-byte value that returns when durable. "cpu us" is CPU time of the process, all
its threads together, an operation; "loop us" is that of the event-loop thread alone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from penstock.store.api import Store, Transaction
from penstock.store.open import open_store
from penstock.store.tuples import pack, range_of

VALUE = os.urandom(800)
KEYS = 20_000


def key(i: int) -> bytes:
    return pack(("bench", "table", i % KEYS))


async def measure(name: str, n: int, tasks: int, one: Callable[[int], Awaitable[object]]) -> None:
    """Run `one` n times by so many tasks, and print rate, latency and CPU."""
    took: list[float] = []
    numbers = iter(range(n))

    async def work() -> None:
        for i in numbers:
            began = time.perf_counter()
            await one(i)
            took.append(time.perf_counter() - began)

    wall, cpu, loop = time.perf_counter(), time.process_time(), time.thread_time()
    await asyncio.gather(*(work() for _ in range(tasks)))
    wall, cpu, loop = time.perf_counter() - wall, time.process_time() - cpu, time.thread_time() - loop
    took.sort()
    print(
        f"  {name:34} {n / wall:9,.0f}/s   p50 {took[n // 2] * 1e6:7,.0f} us   p99 {took[n * 99 // 100] * 1e6:7,.0f} us"
        f"   cpu {cpu / n * 1e6:6.1f} us   loop {loop / n * 1e6:6.1f} us"
    )


async def bench(url: str, data: Path, scale: float) -> None:
    """All measurements of one engine."""
    store: Store = await open_store(url, data)
    n = int(2000 * scale)

    def write(i: int) -> Awaitable[object]:
        k = key(i * 7919)
        return store.transact(lambda txn: txn.set(k, VALUE))

    def read_and_write(i: int) -> Awaitable[object]:
        k = key(i * 7919)

        def body(txn: Transaction) -> None:
            txn.get(k)
            txn.set(k, VALUE)

        return store.transact(body)

    def append(i: int) -> Awaitable[object]:
        return store.transact(lambda txn: txn.append(b"log/", VALUE))

    def count(i: int) -> Awaitable[object]:
        return store.transact(lambda txn: txn.add(b"counter", 1))

    def read(i: int) -> Awaitable[object]:
        k = key(i * 7919)
        return store.transact(lambda txn: txn.get(k), read_only=True)

    def scan(i: int) -> Awaitable[object]:
        begin = key(i * 31 % (KEYS - 200))
        end = range_of(("bench", "table"))[1]
        return store.transact(lambda txn: list(txn.scan(begin, end, 100)), read_only=True)

    for at in range(0, KEYS, 1000):
        await store.transact(lambda txn, at=at: [txn.set(key(i), VALUE) for i in range(at, at + 1000)])  # type: ignore[misc]
    await measure("set, 1 task", n, 1, write)
    await measure("set, 16 tasks", 4 * n, 16, write)
    await measure("set, 128 tasks", 8 * n, 128, write)
    await measure("get + set, 16 tasks", 4 * n, 16, read_and_write)
    await measure("append, 16 tasks", 4 * n, 16, append)
    await measure("add to one counter, 16 tasks", n, 16, count)
    await measure("get, read-only, 1 task", 10 * n, 1, read)
    await measure("get, read-only, 16 tasks", 10 * n, 16, read)
    await measure("scan 100 rows, 1 task", n, 1, scan)
    await store.close()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("urls", nargs="*", default=["memory://", ""])
    parser.add_argument("--scale", type=float, default=1.0, help="how many operations, times the usual")
    arguments = parser.parse_args()
    for url in arguments.urls:
        print(url or "rocks (default)")
        data = Path(tempfile.mkdtemp(dir="."))
        try:
            uvloop.run(bench(url, data, arguments.scale))
        finally:
            shutil.rmtree(data)


if __name__ == "__main__":
    main()
