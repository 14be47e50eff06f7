"""What Penstock keeps in a PostgreSQL database: its tables, their format, and whether the database is fit for them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, TypeAlias

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

from penstock.store.api import EngineFailed, StoreError

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

FORMAT = 1
MIGRATIONS: Sequence[str] = ()
"""Statement i turns format i + 1 into i + 2, in the transaction that records it."""
LOCK_CLASS = 0x50454E53
"""The first half of our advisory locks' keys; the second names the schema and the lock."""
_CONNECT_TIMEOUT_S = 10
_BYTEA_OID = 17
_ARRAY_HEADER = struct.Struct(">iiIii")
"""Dimensions, whether there are nulls, the items' type, their number, the first one's index."""

# synchronous_commit: "off" would acknowledge what a crash can take back; every other setting is at least durable on the
# primary. The planner: every access is by key, and a sequential scan, which it prefers on small tables, would make a
# transaction conflict with all others.
_SESSION = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
SELECT set_config('enable_seqscan', 'off', false), set_config('enable_bitmapscan', 'off', false),
       set_config('plan_cache_mode', 'force_generic_plan', false), set_config('jit', 'off', false);
"""
_TABLES = """
CREATE TABLE IF NOT EXISTS penstock_format (one boolean PRIMARY KEY DEFAULT true CHECK (one), format integer NOT NULL);
CREATE TABLE IF NOT EXISTS penstock_kv (key bytea PRIMARY KEY, value bytea NOT NULL);
CREATE SEQUENCE IF NOT EXISTS penstock_version CACHE 1;
"""


class ByteaArray:
    """A bytea[] parameter, in PostgreSQL's binary form: psycopg's own way takes ten times as long."""

    __slots__ = ("encoded",)

    def __init__(self, items: Sequence[bytes]) -> None:
        if not items:
            self.encoded = b"\0\0\0\0\0\0\0\0\0\0\0\x11"
            return
        parts = [_ARRAY_HEADER.pack(1, 0, _BYTEA_OID, len(items), 1)]
        for item in items:
            parts.append(len(item).to_bytes(4, "big"))
            parts.append(item)
        self.encoded = b"".join(parts)


class _ByteaArrayDumper(Dumper):
    format = Format.BINARY
    oid = 1001

    def dump(self, obj: ByteaArray) -> bytes:
        return obj.encoded


def connect(url: str) -> Connection:
    """A connection in autocommit, with commits that are durable. Raises EngineFailed."""
    try:
        connection = psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=_CONNECT_TIMEOUT_S,
            application_name="penstock",
            prepare_threshold=1,
            target_session_attrs="read-write",
        )
    except psycopg.Error as error:
        raise EngineFailed(f"no connection to PostgreSQL: {error}") from error
    connection.execute(_SESSION)
    connection.adapters.register_dumper(ByteaArray, _ByteaArrayDumper)
    return connection


def prepare_database(url: str, *, current: int = FORMAT, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Create or migrate the tables, and check that the database keeps what the engine builds on.

    Safe when several nodes start at once. Raises StoreError, EngineFailed.
    """
    with connect(url) as connection, connect(url) as other:
        try:
            _check_locks(connection, other)
            # Not CREATE … IF NOT EXISTS alone: two at once can both find nothing and one then fails.
            with connection.transaction():
                connection.execute(
                    f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, hashtext(current_schema() || '/schema'))"
                )
                connection.execute(_TABLES)
                _settle_format(connection, current, migrations)
            _check_sequence(connection, other)
        except (psycopg.errors.UndefinedFunction, psycopg.errors.FeatureNotSupported) as error:
            raise StoreError(f"this database lacks what the store needs of PostgreSQL: {error}") from error
        except psycopg.Error as error:
            raise EngineFailed(f"PostgreSQL: {error}") from error


def _settle_format(connection: Connection, current: int, migrations: Sequence[str]) -> None:
    row = connection.execute("SELECT format FROM penstock_format").fetchone()
    if row is None:
        connection.execute("INSERT INTO penstock_format (format) VALUES (%s)", (current,))
        return
    found = row[0]
    if found > current:
        raise StoreError(
            f"the database has data format {found}, and this version of Penstock knows formats up to {current}; "
            "use the newer Penstock that wrote it"
        )
    for step in range(found, current):
        connection.execute(migrations[step - 1].encode())
    if found < current:
        connection.execute("UPDATE penstock_format SET format = %s", (current,))


def _check_locks(connection: Connection, other: Connection) -> None:
    with connection.transaction():
        held = connection.execute(
            f"SELECT pg_backend_pid(), pg_advisory_xact_lock({LOCK_CLASS}, pg_backend_pid())"
        ).fetchone()
        assert held is not None
        taken = other.execute(f"SELECT pg_try_advisory_lock({LOCK_CLASS}, %s)", (held[0],)).fetchone()
        if taken is None or taken[0]:
            raise StoreError(
                "this database's advisory locks do not lock, so it cannot promise that append order is commit order"
            )


def _check_sequence(connection: Connection, other: Connection) -> None:
    taken = []
    for each in (connection, other, connection):
        row = each.execute("SELECT nextval('penstock_version')").fetchone()
        assert row is not None
        taken.append(row[0])
    if taken != sorted(taken):
        raise StoreError(
            "this database hands out a sequence's numbers from a cache per connection, so it cannot promise that "
            "append order is commit order (YugabyteDB: set ysql_sequence_cache_minval=0)"
        )
