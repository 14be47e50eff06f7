"""Watches on a PostgreSQL database: by LISTEN/NOTIFY between the nodes, and by looking once a second in any case.

A node that watches a key says so to all ("w" and the key's digest); who then commits a change of that key tells all
("c" and the digest), after the commit and not in it, because a NOTIFY inside would put all commits in one queue. A
notification lost with its sender is made good by polling.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Iterable
from typing import Any, TypeAlias

import psycopg
from psycopg import sql

from penstock.store.watchers import Watchers

log = logging.getLogger(__name__)
Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_ANNOUNCED_S = 60.0
"""How long others tell about a key after it was announced; watchers announce it again at half of that."""
_FIRST_WAIT_S = 0.05
"""For an announcement to reach the other nodes."""
_POLL_S = 1.0
_RECONNECT_S = 1.0
_VALUE = "SELECT md5(value) FROM penstock_kv WHERE key = %s"


class PostgresWatch:
    """Who on this node waits for which keys, and which keys anybody waits for. Waiting is done on one event loop."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._watchers = Watchers()
        self._wanted: dict[str, float] = {}
        """Digests of keys that some node watches, and until when (monotonic)."""
        self._announced: dict[bytes, float] = {}
        """Keys that this node watches, and when it last said so (monotonic)."""
        self._keys: dict[str, bytes] = {}
        self._changed: set[bytes] = set()
        """Announced keys that changed while nobody here was waiting: the next wait returns at once."""
        self._channel = ""
        """Of this schema's own: a database has one space of channels for all its schemas."""
        self._task: asyncio.Task[None] | None = None
        self._speaker: psycopg.AsyncConnection[tuple[Any, ...]] | None = None

    async def start(self) -> None:
        """Begin to listen; returns when listening, or when the database turned out not to offer it."""
        listening = asyncio.Event()
        self._task = asyncio.create_task(self._listen(listening), name="penstock-store-listen")
        await listening.wait()

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._speaker is not None:
            await self._speaker.close()

    def wanted(self, keys: Iterable[bytes], ranges: list[tuple[bytes, bytes]]) -> bool:
        """Whether anybody watches one of these keys. Cleared ranges count as watched if anything is."""
        if not self._wanted:
            return False
        return bool(ranges) or any(_digest(key) in self._wanted for key in keys)

    def tell(self, connection: Connection, keys: Iterable[bytes], ranges: list[tuple[bytes, bytes]]) -> None:
        """Tell all nodes what has changed, on an idle connection of the caller's. Losing it is no error."""
        now = time.monotonic()
        told = ["c*"] if ranges else [f"c{d}" for d in map(_digest, keys) if self._wanted.get(d, 0) > now]
        if told:
            with contextlib.suppress(psycopg.Error):
                connection.execute("SELECT pg_notify(%s, told) FROM unnest(%s::text[]) AS told", (self._channel, told))

    async def wait(self, key: bytes, timeout_s: float) -> None:
        """Return when `key` may have changed since the call, or after `timeout_s`."""
        now = time.monotonic()
        deadline = now + timeout_s
        if self._announced.get(key, 0) < now - _ANNOUNCED_S / 2:
            # What changes before the others know is not told: so the first wait returns soon, for the caller to look.
            first = self._announced.get(key, 0) < now - _ANNOUNCED_S
            self._announced[key] = now
            self._keys[_digest(key)] = key
            await self._announce(_digest(key))
            if first:
                await self._watchers.wait(key, min(timeout_s, _FIRST_WAIT_S))
                return
        if key in self._changed:
            self._changed.discard(key)
            return
        value = await self._look(key) if timeout_s > _POLL_S else None
        while (remaining_s := deadline - time.monotonic()) > 0:
            if await self._watchers.wait(key, min(remaining_s, _POLL_S)) or key in self._changed:
                self._changed.discard(key)
                return
            if remaining_s > _POLL_S and await self._look(key) != value:
                return

    async def _listen(self, listening: asyncio.Event) -> None:
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
                async with connection:
                    row = await (await connection.execute("SELECT current_schema()")).fetchone()
                    self._channel = "penstock_" + _digest(str(row).encode())
                    await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
                    await connection.execute("SELECT pg_notify(%s, 'who')", (self._channel,))
                    self._anything_changed()
                    listening.set()
                    async for notice in connection.notifies():
                        await self._heard(notice.payload)
            except psycopg.Error as error:
                log.warning("not listening for changes in PostgreSQL, only polling: %s", error)
            listening.set()
            await asyncio.sleep(_RECONNECT_S)

    async def _heard(self, said: str) -> None:
        digest = said[1:]
        if said == "who":
            for key in self._announced:
                await self._announce(_digest(key))
        elif said.startswith("w"):
            now = time.monotonic()
            if len(self._wanted) > 10_000:
                self._wanted = {d: until for d, until in self._wanted.items() if until > now}
            self._wanted[digest] = now + _ANNOUNCED_S
        elif said == "c*":
            self._anything_changed()
        elif (known := self._keys.get(digest)) is not None:
            if known in self._watchers:
                self._watchers.changed((known,))
            else:
                self._changed.add(known)

    def _anything_changed(self) -> None:
        self._changed.update(key for key in self._announced if key not in self._watchers)
        self._watchers.changed_all()

    async def _announce(self, digest: str) -> None:
        with contextlib.suppress(psycopg.Error):
            connection = await self._speaking()
            await connection.execute("SELECT pg_notify(%s, %s)", (self._channel, f"w{digest}"))

    async def _look(self, key: bytes) -> object:
        try:
            connection = await self._speaking()
            cursor = await connection.execute(_VALUE, (key,))
            return await cursor.fetchone()
        except psycopg.Error:
            return object()

    async def _speaking(self) -> psycopg.AsyncConnection[tuple[Any, ...]]:
        if self._speaker is None or self._speaker.closed:
            self._speaker = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
        return self._speaker


def _digest(key: bytes) -> str:
    return hashlib.blake2b(key, digest_size=12).hexdigest()
