"""What the RocksDB engine promises beyond the contract: durability, the read barrier, and honest failure."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from penstock.store.api import EngineFailed
from penstock.store.datadir import DataDirectoryBusy, claim
from penstock.store.open import open_store
from penstock.store.rocks import RocksStore, open_database


class Gate:
    """A database whose syncs wait until they are let through, or fail."""

    def __init__(self, db: Any) -> None:
        self._db = db
        self.open = threading.Event()
        self.error: Exception | None = None
        self.write_error: Exception | None = None
        self.syncs = self.writes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def write(self, batch: Any) -> None:
        if self.write_error:
            raise self.write_error
        self.writes += 1
        self._db.write(batch)

    def flush_wal(self, sync: bool) -> None:
        assert sync
        self.open.wait(20)
        self.syncs += 1
        if self.error:
            raise self.error
        self._db.flush_wal(True)


@pytest.fixture
async def gated(tmp_path: Path) -> AsyncIterator[tuple[RocksStore, Gate]]:
    directory = claim(tmp_path)
    gate = Gate(open_database(tmp_path / "store"))
    store = RocksStore(gate, directory)  # type: ignore[arg-type]
    store.sync_s = 1.0  # a slow disk: its syncs are the thread's
    yield store, gate
    gate.open.set()
    gate.error = None
    await store.close()


async def settles(task: asyncio.Future[Any], within_s: float = 0.05) -> bool:
    await asyncio.wait((task,), timeout=within_s)
    return task.done()


async def test_a_quick_disk_is_synced_by_the_loop_itself_and_a_slow_one_is_not(
    gated: tuple[RocksStore, Gate],
) -> None:
    store, gate = gated
    gate.open.set()
    for i in range(20):
        store.sync_s = 0.0  # quick, whatever this machine's disk has just been
        await asyncio.gather(*(store.transact(lambda txn, i=i, j=j: txn.set(b"%d/%d" % (i, j), b"")) for j in range(5)))
    assert store._thread is None
    assert gate.syncs == 20, "who is ready shares a sync"
    assert store.sync_s > 0
    store.sync_s = 1.0
    await store.transact(lambda txn: txn.set(b"slow", b""))
    assert store._thread is not None


async def test_a_disk_that_has_become_quick_is_synced_by_the_loop_again(gated: tuple[RocksStore, Gate]) -> None:
    store, gate = gated
    gate.open.set()
    for i in range(200):
        await store.transact(lambda txn, i=i: txn.set(b"%d" % i, b""))
        if store.sync_s < 1.0:
            break
    assert store._thread is not None and 60 < i < 70, "after 64 rounds of the thread the loop tries"
    rows = await store.transact(lambda txn: [key for key, _ in txn.scan(b"", b"\xff")])
    assert len(rows) == i + 1


async def test_what_a_turn_has_written_is_read_before_rocksdb_has_it(gated: tuple[RocksStore, Gate]) -> None:
    """Gets, scans, counters and range clears see what was written a moment ago, and it reaches the disk as one batch."""
    store, gate = gated
    gate.open.set()
    store.sync_s = 0.0
    await store.transact(lambda txn: [txn.set(b"r%03d" % i, b"old") for i in range(4)])
    seen: list[Any] = []

    def write(txn: Any) -> None:
        txn.set(b"a", b"1")
        txn.add(b"n", 2)
        txn.clear(b"r001")
        txn.append(b"log/", b"x")

    def read(txn: Any) -> None:
        seen.append([txn.get(b"a"), txn.get_often(b"a"), txn.get(b"r001"), txn.get(b"r000"), gate.writes])

    def scan(txn: Any) -> None:
        txn.set(b"r0005", b"own")
        seen.append([[k for k, _ in txn.scan(b"r", b"s")], len(list(txn.scan(b"log/", b"log0"))), gate.writes])

    def clear(txn: Any) -> None:
        txn.add(b"n", 3)
        txn.clear(b"r", b"s")

    before = gate.writes
    bodies = (write, read, scan, clear, lambda txn: seen.append([txn.get(b"n"), list(txn.scan(b"r", b"s"))]))
    await asyncio.gather(*(store.transact(body) for body in bodies))
    assert seen[0] == [b"1", b"1", None, b"old", before], "nothing has been handed over yet"
    assert seen[1] == [[b"r000", b"r0005", b"r002", b"r003"], 1, before + 1], "a scan that meets it hands it over"
    assert seen[2] == [(5).to_bytes(8, "little"), []]
    assert await store.transact(lambda txn: txn.get_often(b"a")) == b"1"
    await store.transact(lambda txn: txn.set(b"a", b"2"))
    assert await store.transact(lambda txn: txn.get_often(b"a")) == b"2"


async def test_a_write_returns_only_after_its_sync(gated: tuple[RocksStore, Gate]) -> None:
    store, gate = gated
    task = asyncio.create_task(store.transact(lambda txn: txn.set(b"a", b"1")))
    assert not await settles(task)
    gate.open.set()
    await task


async def test_who_is_ready_shares_a_sync(gated: tuple[RocksStore, Gate]) -> None:
    store, gate = gated
    tasks = [asyncio.create_task(store.transact(lambda txn, i=i: txn.set(b"%d" % i, b""))) for i in range(100)]
    await asyncio.sleep(0.05)
    gate.open.set()
    await asyncio.gather(*tasks)
    assert gate.syncs == 1


async def test_read_barrier(gated: tuple[RocksStore, Gate]) -> None:
    """Whoever read what is not synced waits for it, however it was read and whatever came of it; others do not."""
    store, gate = gated
    gate.open.set()
    await store.transact(lambda txn: [txn.set(b"old", b"1"), txn.set(b"r1", b""), txn.set(b"r2", b"")])
    await store.transact(lambda txn: [txn.set(b"many%03d" % i, b"") for i in range(600)])
    gate.open.clear()

    def write(txn: Any) -> None:
        txn.set(b"new", b"1")
        txn.clear(b"r1")
        txn.clear(b"many", b"many~")
        txn.append(b"log/", b"x")

    writer = asyncio.create_task(store.transact(write))
    await asyncio.sleep(0.02)

    def raises(txn: Any) -> None:
        assert txn.get(b"new") is None, "a refusal that rests on an unsynced write"

    touching = [
        lambda txn: txn.get(b"new"),
        lambda txn: txn.get(b"r1"),
        lambda txn: txn.get(b"many500"),
        lambda txn: list(txn.scan(b"n", b"o")),
        lambda txn: list(txn.scan(b"r", b"s", 1, reverse=True)),
        lambda txn: list(txn.scan(b"many5", b"many6")),
        lambda txn: list(txn.scan(b"log/", b"log0")),
        raises,
    ]
    waiting = [asyncio.create_task(store.transact(body, read_only=bool(i % 2))) for i, body in enumerate(touching)]
    # In these 20 ms the writer's round has gone to the syncing thread; one more makes an open round beside it.
    second = asyncio.create_task(store.transact(lambda txn: txn.set(b"newer", b"1")))
    waiting.append(asyncio.create_task(store.transact(lambda txn: [txn.get(b"new"), txn.get(b"newer")])))
    free = [
        lambda txn: txn.get(b"old"),
        lambda txn: txn.get(b"nothing"),
        lambda txn: txn.get(b"r2"),
        lambda txn: list(txn.scan(b"o", b"r1")),
        lambda txn: list(txn.scan(b"r2", b"s")),
        lambda txn: 1,
    ]
    for body in free:
        assert await settles(asyncio.ensure_future(store.transact(body)))
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in (writer, second, *waiting))
    gate.open.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert results[0] == b"1" and isinstance(results[7], AssertionError) and results[8] == [b"1", b"1"]
    await writer
    await second


async def test_a_read_of_synced_keys_never_leaves_its_turn_of_the_loop(gated: tuple[RocksStore, Gate]) -> None:
    store, gate = gated
    gate.open.set()
    await store.transact(lambda txn: txn.set(b"a", b"1"))
    step = store.transact(lambda txn: txn.get(b"a"), read_only=True)
    with pytest.raises(StopIteration) as stop:
        step.send(None)
    assert stop.value.value == b"1"


async def test_what_is_known_without_a_transaction_is_durable(gated: tuple[RocksStore, Gate]) -> None:
    store, gate = gated
    gate.open.set()
    await store.transact(lambda txn: txn.set(b"a", b"1"))
    assert store.known(b"a") is None, "nobody has read it for that"
    await store.transact(lambda txn: txn.get_often(b"a"), read_only=True)
    assert store.known(b"a") == b"1"
    gate.open.clear()
    writer = asyncio.create_task(store.transact(lambda txn: txn.set(b"a", b"2")))
    reader = asyncio.create_task(store.transact(lambda txn: txn.get_often(b"a"), read_only=True))
    for _ in range(10):
        assert store.known(b"a") in (None, b"1") and not writer.done()
        await asyncio.sleep(0.002)
    assert store.known(b"a") is None, "a crash could take it back"
    gate.open.set()
    await writer
    assert await reader == b"2" and store.known(b"a") == b"2"
    await store.transact(lambda txn: txn.clear(b"a", b"b"))
    assert store.known(b"a") is None


async def test_a_cancelled_waiter_harms_nobody(gated: tuple[RocksStore, Gate]) -> None:
    store, gate = gated
    first = asyncio.create_task(store.transact(lambda txn: txn.set(b"a", b"1")))
    second = asyncio.create_task(store.transact(lambda txn: txn.set(b"b", b"1")))
    await asyncio.sleep(0.02)
    first.cancel()
    gate.open.set()
    await second
    assert first.cancelled()
    assert await store.transact(lambda txn: txn.get(b"a")) == b"1", "cancelling does not undo"


async def test_a_failed_sync_poisons_the_engine(gated: tuple[RocksStore, Gate]) -> None:
    store, gate = gated
    gate.open.set()
    await store.transact(lambda txn: txn.set(b"before", b"1"))
    gate.open.clear()
    gate.error = OSError("Input/output error")
    written = asyncio.create_task(store.transact(lambda txn: txn.set(b"a", b"1")))
    await asyncio.sleep(0.02)
    read = asyncio.create_task(store.transact(lambda txn: txn.get(b"a")))
    later = asyncio.create_task(store.transact(lambda txn: txn.set(b"b", b"1")))
    await asyncio.sleep(0.02)
    gate.open.set()
    for task in (written, read, later):
        with pytest.raises(EngineFailed, match="Input/output error"):
            await task
    gate.error = None
    assert store.failed is not None
    for body in (lambda txn: txn.set(b"a", b"1"), lambda txn: txn.get(b"before")):
        with pytest.raises(EngineFailed, match="Input/output error"):
            await store.transact(body)


async def test_a_failed_write_poisons_the_engine(gated: tuple[RocksStore, Gate]) -> None:
    store, gate = gated
    gate.open.set()
    gate.write_error = OSError("No space left on device")
    with pytest.raises(EngineFailed, match="No space left"):
        await store.transact(lambda txn: txn.set(b"a", b"1"))
    gate.write_error = None
    with pytest.raises(EngineFailed, match="No space left"):
        await store.transact(lambda txn: txn.set(b"a", b"1"))


async def test_one_process_a_directory(tmp_path: Path) -> None:
    store = await open_store("", tmp_path)
    with pytest.raises(DataDirectoryBusy, match=str(os.getpid())):
        await open_store(f"rocks://{tmp_path}", Path("/nonexistent"))
    await store.close()
    await (await open_store(f"rocks://{tmp_path}", Path("/nonexistent"))).close()


async def test_reopening_keeps_everything(tmp_path: Path) -> None:
    stamps = []
    for i in range(5):
        store = await open_store("", tmp_path)
        assert await store.transact(lambda txn: len(list(txn.scan(b"log/", b"log0")))) == i
        stamps.append((await store.transact(lambda txn: txn.append(b"log/", b""))).value)
        await store.close()
    assert stamps == sorted(set(stamps))


WRITER = """
import asyncio, os, sys
from pathlib import Path
from penstock.store.open import open_store

async def main():
    store = await open_store("", Path(sys.argv[1]))
    async def task(t):
        i = 0
        while True:
            def body(txn):
                txn.set(b"%d/%06d" % (t, i), os.urandom(300))
                txn.set(b"last/%d" % t, b"%06d" % i)
                txn.append(b"log/", b"%d/%06d" % (t, i))
            await store.transact(body)
            os.write(1, b"%d/%06d\\n" % (t, i))
            i += 1
    await asyncio.gather(*(task(t) for t in range(8)))
asyncio.run(main())
"""


@pytest.mark.parametrize("seed", range(3))
async def test_kill_9_loses_nothing_acknowledged(tmp_path: Path, seed: int) -> None:
    """Several lives of one directory; after each SIGKILL every acknowledged write is there, and whole."""
    randomness = random.Random(seed)
    for _life in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert child.stdout is not None
        acknowledged = [child.stdout.readline().strip()]
        time.sleep(randomness.uniform(0, 0.3))
        child.kill()
        acknowledged += child.stdout.read().split()
        child.wait()
        store = await open_store("", tmp_path)
        rows = await store.transact(lambda txn: dict(txn.scan(b"", b"\xff")))
        records = [v for k, v in rows.items() if k.startswith(b"log/")]
        assert set(acknowledged) <= rows.keys(), "acknowledged is durable"
        assert set(acknowledged) <= set(records)
        assert all(record in rows for record in records), "a transaction is there whole or not at all"
        for t in range(8):
            last = rows.get(b"last/%d" % t)
            assert last is None or b"%d/%s" % (t, last) in rows
        await store.close()


@pytest.fixture(scope="module")
def log_of_200(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as a crash leaves it, with 200 transactions of two keys each in its write-ahead log."""
    path = tmp_path_factory.mktemp("wal")

    async def fill() -> None:
        store = await open_store("", path / "live")
        for i in range(200):
            await store.transact(lambda txn, i=i: [txn.set(b"a%03d" % i, b"x" * 400), txn.set(b"b%03d" % i, b"y")])
        shutil.copytree(path / "live", path / "crashed")
        await store.close()

    asyncio.run(fill())
    return path / "crashed"


def wal_of(path: Path) -> Path:
    return max((path / "store").glob("*.log"))


@pytest.mark.parametrize("cut", [1, 6, 7, 8, 100, 440, 460, 1000, 33000])
async def test_a_torn_tail_is_dropped(tmp_path: Path, log_of_200: Path, cut: int) -> None:
    path = tmp_path / "data"
    shutil.copytree(log_of_200, path)
    wal = wal_of(path)
    os.truncate(wal, wal.stat().st_size - cut)
    store = await open_store("", path)
    keys = [k for k, _ in await store.transact(lambda txn: list(txn.scan(b"", b"\xff")))]
    n = len(keys) // 2
    assert max(1, cut // 450) <= 200 - n <= cut // 430 + 1, "no more than what the cut touched"
    assert keys == [b"a%03d" % i for i in range(n)] + [b"b%03d" % i for i in range(n)], "a prefix, whole transactions"
    await store.transact(lambda txn: txn.set(b"goes", b"on"))
    await store.close()
    store = await open_store("", path)
    assert await store.transact(lambda txn: txn.get(b"goes")) == b"on"
    await store.close()


@pytest.mark.parametrize("junk", ["zeros", "noise"])
@pytest.mark.parametrize("size", [1, 100, 440, 1000, 40_000])
async def test_a_garbled_tail_is_dropped(tmp_path: Path, log_of_200: Path, size: int, junk: str) -> None:
    """What a file system may leave of writes that were under way: a file of the full length without its last bytes."""
    path = tmp_path / "data"
    shutil.copytree(log_of_200, path)
    wal = wal_of(path)
    with wal.open("r+b") as f:
        f.seek(-size, os.SEEK_END)
        f.write(bytes(size) if junk == "zeros" else random.Random(size).randbytes(size))
    store = await open_store("", path)
    keys = [k for k, _ in await store.transact(lambda txn: list(txn.scan(b"", b"\xff")))]
    n = len(keys) // 2
    assert max(1, size // 450) <= 200 - n <= size // 430 + 1, "no more than what was garbled"
    assert keys == [b"a%03d" % i for i in range(n)] + [b"b%03d" % i for i in range(n)]
    await store.transact(lambda txn: txn.set(b"goes", b"on"))
    await store.close()
    store = await open_store("", path)
    assert await store.transact(lambda txn: txn.get(b"goes")) == b"on"
    await store.close()


@pytest.mark.parametrize("newer", [False, True])
@pytest.mark.parametrize("back", [89_000, 70_000, 40_000, 2_000])
async def test_a_long_record_torn_before_its_end_is_dropped(tmp_path: Path, back: int, newer: bool) -> None:
    """After a failed sync any page of the last record may be there and any other not. RocksDB may have begun a new log."""
    path = tmp_path / "data"
    store = await open_store("", tmp_path / "live")
    await store.transact(lambda txn: txn.set(b"kept", b"x" * 50_000))
    await store.transact(lambda txn: txn.set(b"torn", b"y" * 90_000))
    shutil.copytree(tmp_path / "live", path)
    await store.close()
    wal = wal_of(path)
    with wal.open("r+b") as f:
        f.seek(-back, os.SEEK_END)
        f.write(bytes(1000))
    if newer:
        wal.with_name(f"{int(wal.stem) + 2:06}.log").touch()
    store = await open_store("", path)
    assert await store.transact(lambda txn: [k for k, _ in txn.scan(b"", b"\xff")]) == [b"kept"]
    await store.close()


@pytest.mark.parametrize("back", [900, 2000, 40_000])
async def test_corruption_before_the_tail_is_an_error(tmp_path: Path, log_of_200: Path, back: int) -> None:
    path = tmp_path / "data"
    shutil.copytree(log_of_200, path)
    wal = wal_of(path)
    with wal.open("r+b") as f:
        f.seek(-back, os.SEEK_END)
        f.write(b"garbage")
    damaged = wal.read_bytes()
    with pytest.raises(EngineFailed, match="Corruption"):
        await open_store("", path)
    assert wal.read_bytes() == damaged, "left as it is"
    claim(path).close()  # the failed attempt let go of the directory


async def test_a_corrupt_block_is_an_error_and_not_the_end_of_a_scan(tmp_path: Path) -> None:
    store = await open_store("", tmp_path)
    assert isinstance(store, RocksStore)
    for i in range(3000):
        store.db.put(b"k%05d" % i, os.urandom(200))
    store.db.flush()
    await store.close()
    for file in (tmp_path / "store").glob("*.sst"):
        with file.open("r+b") as f:
            f.seek(file.stat().st_size // 2)
            f.write(os.urandom(20000))
    store = await open_store("", tmp_path)
    for body in (
        lambda txn: sum(1 for _ in txn.scan(b"", b"\xff")),
        lambda txn: sum(1 for _ in txn.scan(b"", b"\xff", reverse=True)),
        lambda txn: [txn.get(b"k%05d" % i) for i in range(3000)],
    ):
        with pytest.raises(EngineFailed, match="Corruption"):
            await store.transact(body)
    await store.close()


async def test_the_space_of_a_cleared_range_is_given_back(tmp_path: Path) -> None:
    store = await open_store("", tmp_path)
    assert isinstance(store, RocksStore)
    store.reclaim_delay_s = 0.05

    def size_bytes() -> int:
        return sum(file.stat().st_size for file in (tmp_path / "store").glob("*.sst"))

    for n in range(5):
        await store.transact(lambda txn, n=n: [txn.set(b"a%d/%04d" % (n, i), os.urandom(1000)) for i in range(1000)])
    store.db.flush()
    assert size_bytes() > 5_000_000
    await store.transact(lambda txn: txn.clear(b"a", b"b"))
    async with asyncio.timeout(20):
        while size_bytes() > 500_000:
            await asyncio.sleep(0.05)
    await store.close()


async def test_the_head_of_a_queue_is_found_at_once(tmp_path: Path) -> None:
    """However many keys were deleted before it."""
    store = await open_store("", tmp_path)

    def first(txn: Any) -> bytes | None:
        return next((key for key, _ in txn.scan(b"q", b"r", 1)), None)

    for n in range(10):
        await store.transact(lambda txn, n=n: [txn.set(b"q%06d" % (n * 4000 + i), b"") for i in range(4000)])
        await store.transact(lambda txn, n=n: [txn.clear(b"q%06d" % (n * 4000 + i)) for i in range(3999)])
    assert await store.transact(first) == b"q003999"
    took = []
    for _ in range(20):
        began = time.perf_counter()
        await store.transact(first, read_only=True)
        took.append(time.perf_counter() - began)
    assert sorted(took)[5] < 0.0005
    await store.transact(lambda txn: txn.set(b"q000001", b""))
    assert await store.transact(first) == b"q000001"
    await store.transact(lambda txn: txn.clear(b"q", b"r"))
    assert await store.transact(first) is None
    await store.transact(lambda txn: txn.append(b"q", b""))
    found = await store.transact(first)
    assert found is not None and found.startswith(b"q\0")
    await store.close()


def test_a_database_that_is_there_is_opened_with_the_same_options(tmp_path: Path) -> None:
    """rocksdict would fall back to a cache of 8 MB and files without filters."""
    for run in range(3):
        db = open_database(tmp_path / "db")
        assert db.property_value("rocksdb.block-cache-capacity") == str(32 << 20)
        db[b"key%d" % run] = b"value"
        db.close()
        log = max((tmp_path / "db").glob("LOG*"), key=lambda path: path.stat().st_mtime).read_text()
        assert "filter_policy: bloomfilter" in log
        assert "CompactOnDeletionCollector" in log
