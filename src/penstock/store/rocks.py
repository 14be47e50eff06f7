"""The default engine: RocksDB (by rocksdict), with group commit.

A body runs alone on the event-loop thread, so transactions are serializable for free. Its writes are one batch that is
put into the write-ahead log without syncing it; one thread then syncs the log for everybody who waits. A transaction
that read what is not synced yet waits for that sync too (the read barrier), so nobody ever acts on what a crash could
take back. Why so, and the figures: docs/decisions/0001-store-engines-and-group-commit.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from rocksdict import (
    BlockBasedOptions,
    Cache,
    CompactOptions,
    DBCompressionType,
    DBRecoveryMode,
    Options,
    Rdict,
    WriteBatch,
)

from penstock.store.api import (
    ENGINE_KEYS,
    LIMITS,
    EngineFailed,
    Limits,
    Transaction,
)
from penstock.store.datadir import DataDirectory, claim, sync_directory
from penstock.store.rocks_transaction import RocksTransaction, Round, SeekHints
from penstock.store.watchers import Watchers

T = TypeVar("T")
log = logging.getLogger(__name__)

_VERSION_KEY = ENGINE_KEYS + b"version"
_RECLAIM_DELAY_S = 30.0
_SYNC_HERE_S = 0.001
"""A disk that syncs this quickly is synced on the loop's thread: everybody waits a little, nobody changes threads."""
_SYNC_WEIGHT = 0.1
_SYNC_MOST_S = 0.004
"""No single sync says more than this of the disk: one that takes long may just have waited for a processor."""
_ROUNDS_FIRST, _ROUNDS_MOST = 64, 8192
"""After so many rounds of the thread the loop tries how quick the disk is by now; after twice as many where it is slow."""
_TURNS_MOST = 4
_HELD_BYTES = 1 << 20
"""A larger transaction is not held: its batch is as good as many, and its memory counts."""
_SWITCH_INTERVAL_S = 0.0005
"""The syncing thread needs the interpreter lock twice a round; Python's 5 ms would be ten times the sync itself."""


def open_rocks(data: Path) -> RocksStore:
    """Claim a data directory and open the database in its folder `store`. Raises as `open_store` says."""
    directory = claim(data)
    try:
        path = data / "store"
        new = not path.exists()
        path.mkdir(mode=0o700, exist_ok=True)
        store = RocksStore(open_database(path), directory)
        if new:
            sync_directory(data)
        return store
    except BaseException:
        directory.close()
        raise


def open_database(path: Path) -> Rdict:
    """RocksDB as this engine wants it. Raises EngineFailed where its files cannot be read."""
    try:
        try:
            return _opened(path)
        except Exception as error:
            from penstock.store.rocks_tail import cut_torn_tail  # seldom needed

            if "Corruption" not in str(error):
                raise
            if not cut_torn_tail(path):
                raise EngineFailed(
                    f"RocksDB cannot open {path}: {error}. Its files are damaged before their end, so that data that was "
                    "acknowledged may be lost; nothing was changed. Restore the data directory from a backup"
                ) from error
            return _opened(path)
    except EngineFailed:
        raise
    except Exception as error:
        raise EngineFailed(f"RocksDB cannot open {path}: {error}") from error


def _opened(path: Path) -> Rdict:
    """rocksdict 0.3.29 opens a database that is there with the column families' options of its last run, block cache and
    filters left out (they are not in RocksDB's options file), unless the families are given too."""
    options = _options()
    return Rdict(str(path), options, column_families={"default": options})


def _options() -> Options:
    """Small: an idle server is to stay below 100 MB in all."""
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_paranoid_checks(True)
    options.set_wal_recovery_mode(DBRecoveryMode.tolerate_corrupted_tail_records())
    options.set_write_buffer_size(16 << 20)
    options.set_max_write_buffer_number(3)
    options.set_max_total_wal_size(64 << 20)
    options.set_max_background_jobs(2)
    options.set_max_open_files(512)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_keep_log_file_num(3)
    options.set_max_log_file_size(1 << 20)
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)
    options.set_bytes_per_sync(1 << 20)
    options.set_level_compaction_dynamic_level_bytes(True)
    # Files that are mostly tombstones are compacted soon, so that queues' heads and cleared ranges give space back.
    options.add_compact_on_deletion_collector_factory(1024, 512, 0.5)
    table = BlockBasedOptions()
    table.set_block_cache(Cache(32 << 20))
    table.set_block_size(8 << 10)
    table.set_bloom_filter(10, False)
    # Indexes and filters stay with the open files (of which there are so many at most): in a small cache, those of a
    # large table push each other out, and a get reads an index of half a megabyte. 100 us against 12 with 5 GB.
    table.set_cache_index_and_filter_blocks(False)
    options.set_block_based_table_factory(table)
    return options


class RocksStore:
    """See `penstock.store.api.Store`. Made by `open_rocks`; used from one event loop."""

    def __init__(self, db: Rdict, directory: DataDirectory) -> None:
        self.limits: Limits = LIMITS
        self.failed: EngineFailed | None = None
        self.db = db
        self._directory = directory
        self._version = int.from_bytes(db.get(_VERSION_KEY) or b"", "big")
        self.hints = SeekHints()
        self.hot: dict[bytes, bytes] = {}
        """What `get_often` has read. Exact, as every write goes through this process."""
        self._watchers = Watchers()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.open_round = Round()
        """Applied, and not yet taken by the syncing thread."""
        self.syncing: Round | None = None
        """Taken, and not yet durable."""
        self._wake_scheduled = False
        self._seen_waiting = self._turns = 0
        """Who waited when the loop looked last, and the turns that it has given others to join them."""
        self._thread_idle = True
        self.sync_s = 0.0
        """What a sync takes on the loop's thread, lately."""
        self._rounds_between = self._rounds_left = _ROUNDS_FIRST
        """The thread's rounds between two tries of the loop, and until the next one."""
        self._requests: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.reclaim_delay_s = _RECLAIM_DELAY_S
        self._to_reclaim: list[tuple[bytes, bytes]] = []
        self._reclaiming: threading.Thread | None = None

    async def transact(self, body: Callable[[Transaction], T], *, read_only: bool = False) -> T:
        """See `Store.transact`. Never raises Conflict or UnknownCommit."""
        if self.failed is not None:
            raise EngineFailed(str(self.failed))
        txn = RocksTransaction(self, read_only)
        try:
            result = body(txn)
        except BaseException:
            txn.open = False
            if txn.barrier is not None:
                # What was raised may rest on an unsynced write ("the item exists already").
                await self._synced(txn.barrier)
            raise
        txn.open = False
        if txn.writes or txn.cleared or txn.appends:
            await self._synced(self._apply(txn))
        elif txn.barrier is not None:
            await self._synced(txn.barrier)
        return result

    def known(self, key: bytes) -> bytes | None:
        """See `Store.known`."""
        value = self.hot.get(key)
        if value is None or self.failed is not None:
            return None
        latest = self.open_round
        if key in latest.keys or latest.ranges or self.syncing is not None:
            return None  # it may rest on what is not synced
        return value

    async def watch(self, key: bytes, timeout_s: float) -> None:
        """See `Store.watch`."""
        await self._watchers.wait(key, timeout_s)

    async def close(self) -> None:
        """See `Store.close`."""
        if self._closed:
            return
        self._closed = True
        while self.failed is None and (under_way := self.open_round if self.open_round.waiters else self.syncing):
            with contextlib.suppress(EngineFailed):
                await self._synced(under_way)
        healthy = self.failed is None
        self.failed = self.failed or EngineFailed("the store is closed")
        if self._thread is not None:
            self._requests.put(False)
            self._thread.join()
        if self._reclaiming is not None:
            await asyncio.to_thread(self._reclaiming.join)
        try:
            self.db.flush_wal(True)
            self.db.close()
        except Exception as error:
            if healthy:
                raise EngineFailed(f"RocksDB could not be closed: {error}") from error
            log.warning("closing a failed store: %s", error)
        finally:
            self._directory.close()

    def _apply(self, txn: RocksTransaction) -> Round:
        """Make the transaction's writes part of the open round, which is returned.

        Where the loop syncs, the round holds them until the end of the turn: one batch then costs a fifth of one for each
        transaction. The syncing thread may take the open round at any moment, so that RocksDB must have got what is in it.
        """
        writes = txn.writes
        if txn.appends:
            self._version += 1
            version = self._version.to_bytes(10, "big")
            writes[_VERSION_KEY] = version
            for index, (prefix, appended, stamp) in enumerate(txn.appends):
                place = index.to_bytes(2, "big")
                writes[prefix + version + place] = appended
                stamp.resolve(version + place)
        if txn.cleared:
            self.hot.clear()
        elif self.hot and not self.hot.keys().isdisjoint(writes):
            for key in writes:
                self.hot.pop(key, None)
        if self.hints.starts:
            for key, value in writes.items():
                if value is not None:
                    self.hints.wrote(key)
        if self._thread_idle and not txn.cleared and txn.size_bytes <= _HELD_BYTES:
            applied = self.open_round
            applied.held.update(writes)
        else:
            self.put_held()
            self._put(writes, txn.cleared)
            applied = self.open_round
            applied.ranges += txn.cleared
        applied.keys.update(writes)
        return applied

    def put_held(self) -> None:
        """Have RocksDB take what the open round holds. Raises EngineFailed."""
        held = self.open_round.held
        if held:
            self._put(held, ())
            self.open_round.held = {}

    def _put(self, writes: dict[bytes, bytes | None], cleared: Iterable[tuple[bytes, bytes]]) -> None:
        """Put writes into the log and the memtable as one batch. Raises EngineFailed."""
        batch = WriteBatch(raw_mode=True)
        for begin, end in cleared:
            batch.delete_range(begin, end)
        for key, value in writes.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        try:
            self.db.write(batch)
        except Exception as error:
            raise self._fail(f"RocksDB refused a write: {error}") from error

    def _synced(self, awaited: Round) -> asyncio.Future[None]:
        """Done when the round is durable. Raises EngineFailed."""
        loop = self._loop
        if loop is None:  # kept, as asking for it is a system call
            loop = self._loop = asyncio.get_running_loop()
        future = loop.create_future()
        awaited.waiters.append(future)
        if self._thread_idle and not self._wake_scheduled:
            # Not at once: who else is ready to run in this turn of the loop shares the sync.
            self._wake_scheduled = True
            loop.call_soon(self._wake_thread)
        return future

    def _wake_thread(self) -> None:
        self._wake_scheduled = False
        if self.failed is not None:
            return
        waiting = len(self.open_round.waiters)
        if waiting > self._seen_waiting and self._turns < _TURNS_MOST and self._loop is not None:
            # Another turn, as this one brought somebody: its writes share the sync, and would wait behind it otherwise.
            self._seen_waiting = waiting
            self._turns += 1
            self._wake_scheduled = True
            self._loop.call_soon(self._wake_thread)
            return
        self._seen_waiting = self._turns = 0
        try:
            self.put_held()
        except EngineFailed:
            return  # those who wait have been told
        if self._thread_idle and (self.sync_s < _SYNC_HERE_S or self._rounds_left <= 0):
            self._sync_here()
            return
        if self._thread is None:
            sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_INTERVAL_S))
            self._thread = threading.Thread(target=self._sync_rounds, name="penstock-store-sync", daemon=True)
            self._thread.start()
        if self._thread_idle:
            self._thread_idle = False
            self._requests.put(True)

    def _sync_here(self) -> None:
        """Sync on the loop's own thread, and learn how long that takes on this disk these days.

        On a quick disk that costs less than handing the round over and back. (The thread cannot tell how quick it is: its
        syncs end with waiting for the interpreter.)
        """
        taken, self.open_round = self.open_round, Round()
        began_s = time.perf_counter()
        error = self._sync()
        if error is not None:
            self.syncing = taken
        took_s = min(time.perf_counter() - began_s, _SYNC_MOST_S)
        if self._rounds_left > 0:
            self.sync_s += (took_s - self.sync_s) * _SYNC_WEIGHT
        else:
            self.sync_s = took_s
            slow = took_s >= _SYNC_HERE_S
            self._rounds_between = min(2 * self._rounds_between, _ROUNDS_MOST) if slow else _ROUNDS_FIRST
            self._rounds_left = self._rounds_between
        self._end_round(taken, error)

    def _sync(self) -> Exception | None:
        """Sync the log. Returns what went wrong."""
        try:
            self.db.flush_wal(True)
        except Exception as error:
            return error
        return None

    def _sync_rounds(self) -> None:
        """The syncing thread: round after round, without a word from the loop in between, idle when nobody waits."""
        while self._requests.get():
            while self._rounds_left > 0 and (taken := self.open_round).waiters:
                self._rounds_left -= 1
                # In this order: who looks for unsynced keys reads the open round first, and must find it in one of both.
                self.syncing = taken
                self.open_round = Round()
                error = self._sync()
                if error is None:
                    self.syncing = None
                assert self._loop is not None
                try:
                    self._loop.call_soon_threadsafe(self._end_round, taken, error)
                except RuntimeError:  # the loop was closed before the store: nobody waits any more
                    return
                if error is not None:
                    return
            assert self._loop is not None
            with contextlib.suppress(RuntimeError):  # as above
                self._loop.call_soon_threadsafe(self._thread_fell_asleep)

    def _thread_fell_asleep(self) -> None:
        """Only the loop says who syncs: a round must not be taken by the thread while it holds what RocksDB has not got."""
        self._thread_idle = True
        if self.open_round.waiters:  # somebody came in between
            self._wake_thread()

    def _end_round(self, ended: Round, error: Exception | None) -> None:
        if error is not None:
            self._fail(f"the write-ahead log could not be synced: {error}")
            return
        for future in ended.waiters:
            if not future.done():
                future.set_result(None)
        self._watchers.changed(ended.keys, ended.ranges)
        if ended.ranges:
            if not self._to_reclaim:
                asyncio.get_running_loop().call_later(self.reclaim_delay_s, self._begin_reclaim)
            self._to_reclaim += ended.ranges

    def _begin_reclaim(self) -> None:
        """Compact what large clears have emptied, so that its space goes back to the disk."""
        if self.failed is not None:
            return
        if self._reclaiming is not None and self._reclaiming.is_alive():
            asyncio.get_running_loop().call_later(self.reclaim_delay_s, self._begin_reclaim)
            return
        ranges, self._to_reclaim = self._to_reclaim, []
        self._reclaiming = threading.Thread(
            target=self._reclaim, args=(ranges,), name="penstock-store-reclaim", daemon=True
        )
        self._reclaiming.start()

    def _reclaim(self, ranges: list[tuple[bytes, bytes]]) -> None:
        """The reclaiming thread. What fails or is cut short here is left to RocksDB's own compactions."""
        options = CompactOptions()
        options.set_exclusive_manual_compaction(False)
        for begin, end in sorted(set(ranges)):
            if self.failed is not None:
                return
            try:
                self.db.compact_range(begin, end, options)
            except Exception as error:
                log.warning("the space of a cleared range could not be reclaimed yet: %s", error)

    def _fail(self, reason: str) -> EngineFailed:
        """From here on nothing is promised any more: whoever waits, and whoever comes, is told so."""
        if self.failed is None:
            self.failed = EngineFailed(reason)
            log.critical(
                "the store has failed and takes no requests any more: %s. Nothing that was acknowledged is lost. Look at "
                "the disk that holds %s (is it full, read-only or broken?), then start this server again.",
                reason, self._directory.path,
            )  # fmt: skip
        for pending in (self.syncing, self.open_round):
            for future in pending.waiters if pending else ():
                if not future.done():
                    future.set_exception(EngineFailed(reason))
        return self.failed
