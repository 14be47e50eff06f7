"""What the PostgreSQL engine promises beyond the contract: several nodes on one database, and lost connections."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from penstock.store.api import EngineFailed, StoreError, Transaction, UnknownCommit
from penstock.store.postgres import PostgresStore, open_postgres
from penstock.store.postgres_schema import prepare_database
from postgres import Cluster, start_postgres


@pytest.fixture
async def nodes(postgres_url: str) -> AsyncIterator[tuple[PostgresStore, PostgresStore]]:
    a, b = await asyncio.gather(open_postgres(postgres_url), open_postgres(postgres_url))
    yield a, b
    await a.close()
    await b.close()


def end_other_backends(url: str, only: str = "true") -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = current_database() AND pid <> pg_backend_pid() AND {only}"  # type: ignore[arg-type]
        )


def test_many_nodes_may_create_the_tables_at_once(postgres_url: str) -> None:
    failures: list[BaseException] = []

    def start() -> None:
        try:
            prepare_database(postgres_url)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_formats(postgres_url: str) -> None:
    prepare_database(postgres_url)
    with pytest.raises(StoreError, match=r"format 1.*up to 0.*newer Penstock"):
        prepare_database(postgres_url, current=0)
    prepare_database(postgres_url, current=3, migrations=("CREATE TABLE two ()", "CREATE TABLE three ()"))
    prepare_database(postgres_url, current=3, migrations=("SELECT 1/0", "SELECT 1/0"))
    with pytest.raises(StoreError):
        prepare_database(postgres_url)
    with pytest.raises(EngineFailed, match="division"):
        prepare_database(postgres_url, current=4, migrations=("", "", "CREATE TABLE four (); SELECT 1/0"))
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT format FROM penstock_format").fetchall() == [(3,)]
        assert connection.execute("SELECT to_regclass('three') IS NULL, to_regclass('four') IS NULL").fetchone() == (
            False,
            True,
        )


async def test_no_server() -> None:
    with pytest.raises(EngineFailed, match="no connection"):
        await open_postgres("postgresql://127.0.0.1:1/none")


async def test_two_nodes_lose_no_update_and_keep_order(nodes: tuple[PostgresStore, PostgresStore]) -> None:
    def body(txn: Any) -> None:
        n = int(txn.get(b"n") or b"0")
        txn.set(b"n", b"%d" % (n + 1))
        txn.add(b"count", 1)
        txn.append(b"log/", b"%d" % n)

    await asyncio.gather(*(nodes[i % 2].transact(body) for i in range(40)))
    rows = await nodes[0].transact(lambda txn: list(txn.scan(b"", b"\xff")))
    assert rows[-1] == (b"n", b"40") and rows[0][1][:1] == b"\x28"
    assert [v for k, v in rows if k.startswith(b"log/")] == [b"%d" % i for i in range(40)]


async def test_who_reads_much_gets_through_among_many_who_write(nodes: tuple[PostgresStore, PostgresStore]) -> None:
    """It reads what all of them write, and they read what it writes: optimism alone would have it lose for ever."""
    one, two = nodes
    stop = asyncio.Event()

    async def writer(store: PostgresStore, number: int) -> None:
        def body(txn: Transaction) -> None:
            txn.get(b"sum")
            txn.set(b"row" + bytes([number]), str(int(txn.get(b"row" + bytes([number])) or b"0") + 1).encode())

        while not stop.is_set():
            await store.transact(body)

    def add_up(txn: Transaction) -> None:
        rows = [value for _, value in txn.scan(b"row", b"rox")]
        time.sleep(0.02)
        txn.set(b"sum", str(sum(map(int, rows))).encode())

    writers = [asyncio.create_task(writer(store, number)) for number, store in enumerate((one, two) * 3)]
    try:
        for _ in range(5):
            await one.transact(add_up)
    finally:
        stop.set()
        await asyncio.gather(*writers)
    assert int(await one.transact(lambda txn: txn.get(b"sum")) or b"0") > 0


async def test_a_watch_hears_of_the_other_nodes_writes(nodes: tuple[PostgresStore, PostgresStore]) -> None:
    a, b = nodes
    await a.watch(b"w", 5)  # the first returns early
    latencies = []
    for i in range(5):
        waiting = asyncio.create_task(a.watch(b"w", 20))
        await asyncio.sleep(0.03)
        began = time.monotonic()
        await b.transact(lambda txn, i=i: txn.set(b"w", b"%d" % i))
        await waiting
        latencies.append(time.monotonic() - began)
    assert sorted(latencies)[2] < 0.5, "heard, not polled"
    waiting = asyncio.create_task(a.watch(b"w", 0.2))
    await b.transact(lambda txn: txn.set(b"other", b""))
    await waiting


async def test_stores_in_two_schemas_do_not_meet(postgres_cluster: Cluster) -> None:
    a, b = [await open_postgres(postgres_cluster.create_database()) for _ in range(2)]
    await a.watch(b"w", 5)
    waiting = asyncio.create_task(a.watch(b"w", 0.9))
    await asyncio.sleep(0.02)
    await b.watch(b"w", 5)
    await b.transact(lambda txn: txn.set(b"w", b"1"))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    assert await a.transact(lambda txn: txn.get(b"w")) is None
    await waiting
    await a.close()
    await b.close()


async def test_a_change_between_two_waits_is_not_missed(nodes: tuple[PostgresStore, PostgresStore]) -> None:
    a, b = nodes
    await a.watch(b"w", 5)
    await b.transact(lambda txn: txn.set(b"w", b"1"))
    await asyncio.sleep(0.2)
    await asyncio.wait_for(a.watch(b"w", 60), 5)


async def test_a_watch_survives_the_loss_of_its_connection(
    nodes: tuple[PostgresStore, PostgresStore], postgres_url: str
) -> None:
    a, b = nodes
    await a.watch(b"w", 5)
    await asyncio.to_thread(end_other_backends, postgres_url)
    waiting = asyncio.create_task(a.watch(b"w", 30))
    await asyncio.sleep(0.05)
    await b.transact(lambda txn: txn.set(b"w", b"1"))
    await asyncio.wait_for(waiting, 10)


async def test_lost_connections_before_the_commit_are_made_good(postgres_url: str) -> None:
    store = await open_postgres(postgres_url)
    runs = 0

    def body(txn: Any) -> None:
        nonlocal runs
        runs += 1
        txn.get(b"a")
        if runs == 1:
            end_other_backends(postgres_url)
            txn.get(b"b")
        txn.set(b"a", b"%d" % runs)

    await store.transact(body)
    assert await store.transact(lambda txn: txn.get(b"a")) == b"2"
    await asyncio.gather(*(store.transact(lambda txn, i=i: txn.set(b"%d" % i, b"")) for i in range(20)))
    await asyncio.to_thread(end_other_backends, postgres_url)
    assert await store.transact(lambda txn: txn.get(b"a")) == b"2", "idle connections died, nobody notices"
    await store.close()


async def test_a_primary_that_becomes_a_standby_is_left(postgres_url: str) -> None:
    """As after a failover: a connection that once took writes and does not any more is replaced."""
    store = await open_postgres(postgres_url)
    await store.transact(lambda txn: txn.set(b"a", b"0"))
    for connection in store._idle:
        connection.execute("SET default_transaction_read_only = on")
    await store.transact(lambda txn: txn.set(b"a", b"1"))
    assert await store.transact(lambda txn: txn.get(b"a")) == b"1"
    await store.close()


async def test_a_body_that_hides_the_engines_error_is_run_again(postgres_url: str) -> None:
    store = await open_postgres(postgres_url)
    runs = 0

    def body(txn: Any) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            end_other_backends(postgres_url)
        try:
            txn.get(b"a")
        except Exception:
            pass
        txn.set(b"a", b"%d" % runs)

    await store.transact(body)
    assert await store.transact(lambda txn: txn.get(b"a")) == b"2"
    await store.close()


async def test_a_connection_lost_while_writing_is_made_good(postgres_url: str) -> None:
    store = await open_postgres(postgres_url)
    await store.transact(lambda txn: txn.set(b"a", b"0"))
    with psycopg.connect(postgres_url) as blocker:
        blocker.execute("UPDATE penstock_kv SET value = value WHERE key = 'a'")
        task = asyncio.create_task(store.transact(lambda txn: txn.set(b"a", b"1")))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(end_other_backends, postgres_url, "wait_event_type = 'Lock'")
        blocker.rollback()
        await asyncio.wait_for(task, 20)
    assert await store.transact(lambda txn: txn.get(b"a")) == b"1"
    await store.close()


async def test_a_connection_lost_while_committing_is_an_unknown_commit(postgres_url: str) -> None:
    store = await open_postgres(postgres_url)
    await store.transact(lambda txn: txn.set(b"a", b"0"))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(10); RETURN NULL; END'"
        )
        connection.execute(
            "CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON penstock_kv DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION slow()"
        )
        task = asyncio.create_task(store.transact(lambda txn: txn.set(b"a", b"1")))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(end_other_backends, postgres_url, "wait_event = 'PgSleep'")
        with pytest.raises(UnknownCommit):
            await asyncio.wait_for(task, 20)
    assert await store.transact(lambda txn: txn.get(b"a")) == b"0"
    await store.close()


@pytest.mark.timeout(120)
async def test_a_crash_of_the_server_loses_nothing_acknowledged() -> None:
    cluster = start_postgres()
    try:
        store = await open_postgres(cluster.create_database())
        acknowledged: set[bytes] = set()
        unknown = 0
        stop = False

        async def write(who: int) -> None:
            nonlocal unknown
            i = 0
            while not stop:
                key = b"%d/%d" % (who, i)
                try:
                    await store.transact(lambda txn, k=key: txn.set(k, b"x"))
                    acknowledged.add(key)
                except (UnknownCommit, EngineFailed):
                    unknown += 1
                    await asyncio.sleep(0.05)
                i += 1

        tasks = [asyncio.create_task(write(w)) for w in range(4)]
        await asyncio.sleep(0.3)
        await asyncio.to_thread(cluster.kill)
        await asyncio.sleep(0.1)
        await asyncio.to_thread(cluster.start)
        before = len(acknowledged)
        async with asyncio.timeout(30):
            while len(acknowledged) < before + 20:
                await asyncio.sleep(0.02)
        stop = True
        await asyncio.gather(*tasks)
        there = await store.transact(lambda txn: {k for k, _ in txn.scan(b"", b"\xff")})
        assert acknowledged <= there and len(there) <= len(acknowledged) + unknown
        await store.close()
    finally:
        cluster.stop()


def test_the_cluster_leaves_nothing_behind() -> None:
    cluster = start_postgres()
    home = cluster.home
    cluster.stop()
    assert not home.exists()
    assert subprocess.run(["pgrep", "-f", str(home)], capture_output=True, check=False).stdout == b""


def test_a_database_on_the_cluster(postgres_cluster: Cluster) -> None:
    with psycopg.connect(postgres_cluster.create_database()) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()").fetchone() == (
            0,
        )
