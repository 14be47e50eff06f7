"""The engine for more than one machine: any database that speaks PostgreSQL's protocol and is serializable.

A body runs in a worker thread, inside one SERIALIZABLE transaction on one connection; its writes are kept back and sent
as one statement before the COMMIT. Serialization failures are retried here.

* **Append order is commit order**: a transaction that appends takes an advisory lock for each prefix, then its version
  from a sequence, then commits; PostgreSQL makes a commit visible before it lets go of the transaction's locks. So
  under a prefix versions are taken in the order of commits, and who sees one version sees all before it. Appends under
  one prefix therefore commit one after the other, each with its own flush.
* **add() commutes** from outside only: two that add to one counter do conflict in PostgreSQL. From its second attempt
  on a transaction runs alone among those that had to retry (another advisory lock, taken before its snapshot), so it
  is slower under contention but does not fail. One that reads much among many that write (a restore) would lose to
  fresh ones again and again: from its seventh attempt on it keeps all writers out (a table lock, before its snapshot).
* **Other databases**: the locks must lock and sequences must not be cached. `open_postgres` tries both on two
  connections and refuses a database where they fail. By their documentation (neither was tried): CockroachDB's advisory
  locks are missing or do nothing; YugabyteDB needs ysql_sequence_cache_minval=0 and its advisory locks enabled.
* **Between it and us** there may be no proxy that shares connections by transaction: locks and LISTEN are a session's.
  Give several hosts in the URL for a primary with standbys: the one that takes writes is used.
* **Long keys**: an index entry of PostgreSQL holds 2.7 kB at most. A key of more than 2,400 bytes is stored by its
  first 2,400 and its SHA-256, with the whole key in front of the value; those that share 2,400 bytes are sorted here.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

import psycopg
from psycopg import errors
from psycopg.pq import ExecStatus, TransactionStatus

from penstock.store.api import (
    LIMITS,
    Conflict,
    EngineFailed,
    Limits,
    Transaction,
    UnknownCommit,
)
from penstock.store.overlay import OverlayTransaction, added, used_after_body
from penstock.store.postgres_schema import LOCK_CLASS, ByteaArray, connect, prepare_database
from penstock.store.postgres_watch import PostgresWatch

T = TypeVar("T")
Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"
_CONNECTIONS = 8
_ATTEMPTS = 40
_ATTEMPTS_BESIDE_WRITERS = 6
_BACKOFF_S = 0.002
_BACKOFF_MAX_S = 0.1
_PAGE_ROWS = 50
_PAGE_ROWS_MAX = 2000
_PAGE_BYTES = 1 << 20
_HEAD_BYTES = 2400
_DIGEST_BYTES = 32
_RETRIED = (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable)

_BEGIN = b"BEGIN ISOLATION LEVEL SERIALIZABLE"
_KEEP_WRITERS_OUT = b"LOCK TABLE penstock_kv IN EXCLUSIVE MODE"
_BEGIN_READ_ONLY = b"BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY"
_GET = "SELECT value FROM penstock_kv WHERE key = %s"
_SCAN = "SELECT key, value FROM penstock_kv WHERE key >= %s AND key < %s ORDER BY key LIMIT %s"
_SCAN_BACK = "SELECT key, value FROM penstock_kv WHERE key >= %s AND key < %s ORDER BY key DESC LIMIT %s"
_CLEAR_RANGE = "DELETE FROM penstock_kv WHERE key >= %s AND key < %s"
_WRITE = (
    "WITH gone AS (DELETE FROM penstock_kv WHERE key = ANY(%s::bytea[])) "
    "INSERT INTO penstock_kv (key, value) SELECT * FROM unnest(%s::bytea[], %s::bytea[]) "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)
# One statement, so that the locks are held for as short as can be. Every part reads `v`, and `v` has counted all of
# `locked`: so nothing is written, and no version taken, before the locks are held.
_WRITE_AND_APPEND = f"""
WITH locked AS MATERIALIZED (
  SELECT pg_advisory_xact_lock({LOCK_CLASS} # hashtext(current_schema() || '/append'), n) FROM unnest(%s::int[]) AS n
), v AS MATERIALIZED (
  SELECT '\\x0000'::bytea || int8send(nextval('penstock_version')) AS version FROM (SELECT count(*) FROM locked) AS all_
), gone AS (
  DELETE FROM penstock_kv USING v WHERE key = ANY(%s::bytea[])
), kept AS (
  INSERT INTO penstock_kv (key, value) SELECT k.key, k.value FROM v, unnest(%s::bytea[], %s::bytea[]) AS k (key, value)
  ON CONFLICT (key) DO UPDATE SET value = excluded.value
), appended AS (
  INSERT INTO penstock_kv (key, value)
  SELECT CASE WHEN length(key) <= {_HEAD_BYTES} THEN key ELSE substr(key, 1, {_HEAD_BYTES}) || sha256(key) END,
         CASE WHEN length(key) <= {_HEAD_BYTES} THEN value ELSE substr(int4send(length(key)), 3) || key || value END
  FROM (
    SELECT a.prefix || v.version || a.index AS key, a.value
    FROM v, unnest(%s::bytea[], %s::bytea[], %s::bytea[]) AS a (prefix, index, value)
  ) AS a
)
SELECT version FROM v
"""
_LOCK_RETRIES = f"SELECT pg_advisory_lock({LOCK_CLASS}, hashtext(current_schema() || '/retry'))"
_UNLOCK_RETRIES = f"SELECT pg_advisory_unlock({LOCK_CLASS}, hashtext(current_schema() || '/retry'))"


async def open_postgres(url: str) -> PostgresStore:
    """Connect, create what is missing, and check the format.

    Raises EngineFailed (no connection), StoreError (the database cannot keep the promises, or its data is newer).
    """
    await asyncio.to_thread(prepare_database, url)
    watch = PostgresWatch(url)
    await watch.start()
    return PostgresStore(url, watch)


class PostgresStore:
    """See `penstock.store.api.Store`. Made by `open_postgres`."""

    def __init__(self, url: str, watch: PostgresWatch) -> None:
        self.limits: Limits = LIMITS
        self._url = url
        self._watch = watch
        self._idle: list[Connection] = []
        self._threads = ThreadPoolExecutor(_CONNECTIONS, "penstock-store")
        self._closed = False

    async def transact(self, body: Callable[[Transaction], T], *, read_only: bool = False) -> T:
        """See `Store.transact`. EngineFailed here means that the database could not be reached; it may come back."""
        if self._closed:
            raise EngineFailed("the store is closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._run, body, read_only)

    def known(self, key: bytes) -> bytes | None:
        """See `Store.known`. Nothing is: another node may write it."""
        return None

    async def watch(self, key: bytes, timeout_s: float) -> None:
        """See `Store.watch`."""
        await self._watch.wait(key, timeout_s)

    async def close(self) -> None:
        """See `Store.close`."""
        if self._closed:
            return
        self._closed = True
        await self._watch.close()
        await asyncio.to_thread(self._threads.shutdown)
        self._drop_idle()

    def _run(self, body: Callable[[Transaction], T], read_only: bool) -> T:
        """Attempts, until one commits."""
        last: Exception | None = None
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(random.random() * min(_BACKOFF_MAX_S, _BACKOFF_S * 2**attempt))
            connection = self._take()
            alone = attempt > 0 and not read_only
            still = attempt >= _ATTEMPTS_BESIDE_WRITERS and not read_only
            try:
                if alone:
                    connection.execute(_LOCK_RETRIES)
                try:
                    return self._attempt(connection, body, read_only, still)
                finally:
                    if alone and not connection.closed:
                        connection.execute(_UNLOCK_RETRIES)
            except _RETRIED as error:
                last = error
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                if not connection.closed:
                    raise EngineFailed(f"PostgreSQL: {error}") from error
                # It died before the COMMIT was sent: nothing has happened. The other idle ones are likely dead too.
                last = error
                self._drop_idle()
            except errors.ReadOnlySqlTransaction as error:
                # A primary that became a standby: connect anew, to whichever of the URL's hosts is the primary now.
                last = error
                connection.close()
                self._drop_idle()
            except psycopg.Error as error:
                raise EngineFailed(f"PostgreSQL: {error}") from error
            finally:
                if not connection.closed:
                    self._idle.append(connection)
        if isinstance(last, _RETRIED):
            raise Conflict(f"lost against other transactions {_ATTEMPTS} times: {last}") from last
        raise EngineFailed(f"PostgreSQL: {last}") from last

    def _take(self) -> Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return connect(self._url)

    def _drop_idle(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _attempt(self, connection: Connection, body: Callable[[Transaction], T], read_only: bool, still: bool) -> T:
        """One. still: nobody else writes meanwhile, so that it cannot lose."""
        _command(connection, _BEGIN_READ_ONLY if read_only else _BEGIN)
        txn = _PostgresTransaction(connection, read_only)
        try:
            if still:
                _command(connection, _KEEP_WRITERS_OUT)
            try:
                result = body(txn)
                txn.fold_adds()
            except Exception:
                if txn.error is None:
                    # No write was sent. Its reads count only if they commit: what was raised may rest on them.
                    _command(connection, b"COMMIT")
                raise
            finally:
                txn.open = False
                if txn.error is not None:
                    # Whatever the body made of it, its transaction is lost.
                    raise txn.error
            changed = self._commit(connection, txn)
        finally:
            if not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE:
                _command(connection, b"ROLLBACK")
        if changed and self._watch.wanted(changed, txn.cleared):
            self._watch.tell(connection, changed, txn.cleared)
        return result

    def _commit(self, connection: Connection, txn: _PostgresTransaction) -> list[bytes]:
        """Send the writes and COMMIT. Returns the keys that were written."""
        if not (txn.writes or txn.cleared or txn.appends):
            _command(connection, b"COMMIT")
            return []
        writes = txn.writes
        committing = False
        # In the order of keys, so that two transactions wait for each other's rows in one order.
        gone = sorted(_stored_key(key) for key, value in writes.items() if value is None)
        kept = sorted(_stored(key, value) for key, value in writes.items() if value is not None)
        try:
            for begin, end in txn.cleared:
                connection.execute(_CLEAR_RANGE, (begin, end))
            parameters = (
                ByteaArray(gone),
                ByteaArray([key for key, _ in kept]),
                ByteaArray([value for _, value in kept]),
            )
            if txn.appends:
                version = self._append(connection, txn, parameters)
            elif writes:
                connection.execute(_WRITE, parameters)
            committing = True
            _command(connection, b"COMMIT")
        except _RETRIED:
            raise
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            if committing and (connection.closed or isinstance(error, errors.StatementCompletionUnknown)):
                raise UnknownCommit(f"the connection was lost while committing: {error}") from error
            raise
        for index, (_, _, stamp) in enumerate(txn.appends):
            stamp.resolve(version + index.to_bytes(2, "big"))
        appended = [prefix + stamp.value for prefix, _, stamp in txn.appends]
        return [*writes, *appended] or [txn.cleared[0][0]]

    def _append(self, connection: Connection, txn: _PostgresTransaction, parameters: tuple[Any, ...]) -> bytes:
        """Write and append; returns the commit's version."""
        # In one order for everybody, so that these locks never deadlock.
        locks = sorted({_lock_number(prefix) for prefix, _, _ in txn.appends})
        appends = (
            ByteaArray([prefix for prefix, _, _ in txn.appends]),
            ByteaArray([index.to_bytes(2, "big") for index in range(len(txn.appends))]),
            ByteaArray([value for _, value, _ in txn.appends]),
        )
        row = connection.execute(_WRITE_AND_APPEND, (locks, *parameters, *appends), binary=True).fetchone()
        assert row is not None
        version: bytes = row[0]
        return version


class _PostgresTransaction(OverlayTransaction):
    __slots__ = ("_adds", "_connection", "error")

    def __init__(self, connection: Connection, read_only: bool) -> None:
        super().__init__(read_only)
        self._connection = connection
        self._adds: dict[bytes, int] = {}
        self.error: psycopg.Error | None = None

    def get(self, key: bytes) -> bytes | None:
        if self._adds and key in self._adds:
            return added(super().get(key), self._adds[key])
        return super().get(key)

    def scan(self, begin: bytes, end: bytes, limit: int = 0, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        self.fold_adds()
        return super().scan(begin, end, limit, reverse)

    def set(self, key: bytes, value: bytes) -> None:
        super().set(key, value)
        self._adds.pop(key, None)

    def clear(self, begin: bytes, end: bytes | None = None) -> None:
        super().clear(begin, end)
        if self._adds:
            for key in [k for k in self._adds if k == begin or (end is not None and begin <= k < end)]:
                del self._adds[key]

    def add(self, key: bytes, n: int) -> None:
        self._admit(key, b"\0" * 8)
        self._adds[key] = self._adds.get(key, 0) + n

    def fold_adds(self) -> None:
        """Turn what was added into plain writes. Done last, to read the counters late."""
        if not self._adds:
            return
        adds, self._adds = self._adds, {}
        for key, n in adds.items():
            self.writes[key] = added(super().get(key), n)

    def _execute(self, query: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(query, parameters, binary=True).fetchall()
        except psycopg.Error as error:
            self.error = error
            raise

    def _fetch(self, key: bytes) -> bytes | None:
        rows = self._execute(_GET, (_stored_key(key),))
        if not rows:
            return None
        value: bytes = rows[0][0]
        return value if len(key) <= _HEAD_BYTES else value[2 + len(key) :]

    def _fetch_range(self, begin: bytes, end: bytes, limit: int, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        taken = 0
        for key, value in self._sorted(begin, end, limit, reverse):
            if not self.open:
                raise used_after_body()
            if begin <= key < end:
                yield key, value
                taken += 1
                if taken == limit:
                    return
        if not self.open:
            raise used_after_body()

    def _sorted(self, begin: bytes, end: bytes, limit: int, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        """Pairs in the order of their whole keys: long ones that share a head come from the table in another order."""
        group: list[tuple[bytes, bytes]] = []
        head = b""
        for stored, value in self._pages(_head(begin), _end(end), limit, reverse):
            if group and stored[:_HEAD_BYTES] != head:
                yield from sorted(group, reverse=reverse)
                group.clear()
            if len(stored) <= _HEAD_BYTES:
                # A whole key that equals the head of long ones sorts before them, in either direction.
                if group:
                    yield from sorted(group, reverse=reverse)
                    group.clear()
                yield stored, value
                continue
            head = stored[:_HEAD_BYTES]
            size = int.from_bytes(value[:2], "big")
            group.append((value[2 : 2 + size], value[2 + size :]))
        yield from sorted(group, reverse=reverse)

    def _pages(self, begin: bytes, end: bytes, limit: int, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        """Rows as they are stored, page by page, so that what is not taken is not read."""
        rows_wanted = min(limit, _PAGE_ROWS_MAX) if limit > 0 else _PAGE_ROWS
        while True:
            if not self.open:
                raise used_after_body()
            rows = self._execute(_SCAN_BACK if reverse else _SCAN, (begin, end, rows_wanted))
            yield from rows
            if len(rows) < rows_wanted:
                return
            if reverse:
                end = rows[-1][0]
            else:
                begin = rows[-1][0] + b"\0"
            size_bytes = sum(len(value) for _, value in rows)
            rows_wanted = max(1, min(_PAGE_ROWS_MAX, rows_wanted * 4, _PAGE_BYTES * len(rows) // (size_bytes + 1)))

    def _clear_range(self, begin: bytes, end: bytes) -> None:
        if len(begin) <= _HEAD_BYTES and len(end) <= _HEAD_BYTES:
            super()._clear_range(begin, end)
            return
        for key in [key for key, _ in self._fetch_range(begin, end, 0, False)]:
            self.writes[key] = None
        for key in [key for key in self.writes if begin <= key < end]:
            self.writes[key] = None


def _command(connection: Connection, command: bytes) -> None:
    """BEGIN, COMMIT or ROLLBACK, for half of the CPU that `execute` takes. Raises psycopg.Error."""
    result = connection.pgconn.exec_(command)
    if result.status != ExecStatus.COMMAND_OK:
        if connection.closed:
            raise psycopg.OperationalError(result.get_error_message())
        raise errors.error_from_result(result)
    if command == b"COMMIT" and result.command_status != b"COMMIT":
        # PostgreSQL answers so to the COMMIT of a transaction that has failed before.
        raise errors.InFailedSqlTransaction("the transaction had failed and was rolled back")


def _lock_number(prefix: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(prefix, digest_size=4).digest(), "big", signed=True)


def _stored_key(key: bytes) -> bytes:
    return key if len(key) <= _HEAD_BYTES else key[:_HEAD_BYTES] + hashlib.sha256(key).digest()


def _stored(key: bytes, value: bytes) -> tuple[bytes, bytes]:
    if len(key) <= _HEAD_BYTES:
        return key, value
    return _stored_key(key), len(key).to_bytes(2, "big") + key + value


def _head(begin: bytes) -> bytes:
    return begin[:_HEAD_BYTES]


def _end(end: bytes) -> bytes:
    return end if len(end) <= _HEAD_BYTES else end[:_HEAD_BYTES] + b"\xff" * (_DIGEST_BYTES + 1)
