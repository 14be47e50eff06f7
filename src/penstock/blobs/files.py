"""Blobs in files of one folder, which all nodes that share a store share.

    <root>/data/<2 hex>/<batch>/<2 hex>    one blob a file (see `layout`), one folder a batch of names (see `ledger`)
    <root>/holders/<id>                    locked for as long as the process that was given names lives

A file is written under its own name, because nobody reads a name that no record holds: that saves a rename and a
second sync of its folder. Reads and writes run on threads in pieces of up to 1 MiB. When a process dies, its lock goes
with it, and the next sweep of any process removes what the dead one left unadopted.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import logging
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from penstock.blobs import ledger
from penstock.blobs.api import BlobCorrupt, BlobMissing, BlobWriter, Tap
from penstock.blobs.layout import CHUNK_BYTES, ChunkReader, ChunkTable
from penstock.blobs.sealing import Sealer
from penstock.clock import Clock
from penstock.store.api import Store, StoreError, Transaction

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)

HOP_BYTES = 1024 * 1024
"""What goes to a thread at once."""
HOP_CHUNKS = HOP_BYTES // CHUNK_BYTES
GRACE_S = 20.0
"""How long a released blob's file stays, for readers of other nodes that have just looked its record up.

Short, because a busy bucket overwrites gigabytes a minute."""
ABANDONED_S = 60.0
"""How long after `finish` an owner may take to adopt."""
SWEEP_FILES = 1000
THREADS = 8


_PAGE = 1000


class FileBlobs:
    """See `penstock.blobs.api.Blobs`. `fsync` is an argument so that a test can see what a failing disk does."""

    def __init__(self, root: Path, store: Store, clock: Clock, fsync: Callable[[int], None] = os.fsync) -> None:
        self.root = root
        self.fsync = fsync
        self._store = store
        self._clock = clock
        self._holder = ledger.new_batch()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="blobs")
        self._batches: list[_Batch] = []
        self._reserving = asyncio.Lock()
        self._sweeping = asyncio.Lock()
        self._pins: Counter[str] = Counter()
        (root / "data").mkdir(parents=True, exist_ok=True)
        (root / "holders").mkdir(exist_ok=True)
        for folder in (root, root.parent):
            self.sync_folder(folder)
        self._lock = os.open(root / "holders" / self._holder, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    # writing

    async def create(self, *taps: Tap, key: bytes = b"") -> BlobWriter:
        batch = self._batches[-1] if self._batches else None
        if batch is None or not batch.names:
            async with self._reserving:
                batch = self._batches[-1] if self._batches else None
                if batch is None or not batch.names:
                    batch = await self._reserve()
        return _FileWriter(self, batch, batch.names.pop(), taps, key)

    async def _reserve(self) -> _Batch:
        batch = _Batch(ledger.new_batch())
        await self._store.transact(lambda txn: ledger.intend(txn, batch.id, self._holder))
        folder = self.path_of(batch.names[0]).parent
        await self.on_thread(self._make_folder, folder)
        self._batches.append(batch)
        return batch

    def _make_folder(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.sync_folder(folder.parent)
        self.sync_folder(folder.parent.parent)

    def sync_folder(self, folder: Path) -> None:
        """Make a folder's entries durable. Blocking. Raises OSError."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.fsync(fd)
        finally:
            os.close(fd)

    def path_of(self, name: str) -> Path:
        """Where a blob's file is. Raises BlobMissing for anything but a name of ours."""
        batch, _, index = ledger.check_name(name).partition(".")
        return self.root / "data" / batch[:2] / batch / index

    async def on_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run blocking file work."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, functools.partial(function, *args, **kwargs))

    # owning

    def adopt(self, txn: Transaction, name: str) -> None:
        ledger.adopt(txn, name)

    def release(self, txn: Transaction, name: str) -> None:
        ledger.release(txn, name, self._clock.now() + GRACE_S)

    def release_all(self, txn: Transaction, after: str, limit: int) -> str:
        return ledger.release_all(txn, after, limit, self._clock.now() + GRACE_S)

    # reading

    def read(self, name: str, begin: int, end: int, *, key: bytes = b"") -> AsyncGenerator[bytes, None]:
        return self.read_all([(name, begin, end)], key=key)

    async def read_all(self, spans: Sequence[tuple[str, int, int]], *, key: bytes = b"") -> AsyncGenerator[bytes, None]:
        self._pins.update(name for name, _, _ in spans)
        try:
            for name, begin, end in spans:
                reader, pieces = await self._opened(name, begin, end, key)
                try:
                    async with contextlib.aclosing(self._read_one(reader, pieces, begin, end)) as found:
                        async for piece in found:
                            yield piece
                finally:
                    reader.close()
        finally:
            self._pins.subtract(name for name, _, _ in spans)
            self._pins += Counter()

    async def _opened(self, name: str, begin: int, end: int, key: bytes) -> tuple[ChunkReader, list[bytes]]:
        """The blob, open, and the first chunks: one hop to a thread for what is not long. Leaves nothing open."""
        opening = asyncio.ensure_future(self.on_thread(_open, str(self.path_of(name)), name, begin, end, key))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            with contextlib.suppress(BlobMissing, OSError):
                (await opening)[0].close()
            raise

    async def _read_one(
        self, reader: ChunkReader, pieces: list[bytes], begin: int, end: int
    ) -> AsyncGenerator[bytes, None]:
        first, last = begin // CHUNK_BYTES, -(-end // CHUNK_BYTES)
        ahead: asyncio.Future[list[bytes]] | None = None
        try:
            while pieces:
                at, first = first, first + len(pieces)
                if first < last:
                    ahead = asyncio.ensure_future(
                        self.on_thread(reader.chunks, first, min(first + HOP_CHUNKS, last))
                    )  # fmt: skip
                for i, piece in enumerate(pieces, at):
                    offset = i * CHUNK_BYTES
                    yield piece[max(0, begin - offset) : end - offset]
                pieces = await asyncio.shield(ahead) if ahead is not None else []
                ahead = None
        finally:
            if ahead is not None:  # the thread must be done with the file before it is closed
                await asyncio.wait([ahead])
                ahead.exception()

    # sweeping

    async def sweep(self) -> int:
        async with self._sweeping:
            return await self._sweep()

    async def _sweep(self) -> int:
        now = self._clock.now()
        removed = await self._sweep_own()
        removed += await self._sweep_dead()
        while True:
            pinned = set(self._pins)
            due = functools.partial(ledger.due, now=now, limit=SWEEP_FILES, skip=pinned)
            entries = await self._store.transact(due, read_only=True)
            if not entries:
                return removed
            removed += await self._remove(entries)

    async def _sweep_own(self) -> int:
        removed = 0
        old = time.monotonic() - ABANDONED_S
        for batch in list(self._batches):
            if not batch.names and not batch.open and batch.touched_monotonic_s < old:
                removed += await self._settle(batch.id)
                self._batches.remove(batch)
        return removed

    async def _sweep_dead(self) -> int:
        removed = 0
        by_holder: dict[str, list[str]] = {}
        for batch, holder in await self._store.transact(ledger.intents, read_only=True):
            by_holder.setdefault(holder, []).append(batch)
        by_holder.pop(self._holder, None)
        for holder, batches in by_holder.items():
            with _lock_of_dead(self.root / "holders" / holder) as dead:
                if dead:
                    for batch in batches:
                        removed += await self._settle(batch)
        return removed

    async def _settle(self, batch: str) -> int:
        entries = await self._store.transact(lambda txn: ledger.settle(txn, batch))
        return await self._remove(entries) if entries else 0

    async def _remove(self, entries: list[tuple[bytes, str]]) -> int:
        """Remove files first and then what is known of them: cut short or in doubt, it is simply done again."""
        removed = await self.on_thread(self._unlink, [name for _, name in entries])
        settled = await self._store.transact(functools.partial(ledger.forget, entries=entries))
        await self.on_thread(self._remove_empty, settled)
        return removed

    def _unlink(self, names: list[str]) -> int:
        removed = 0
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self.path_of(name).unlink()
                removed += 1
        return removed

    def _remove_empty(self, batches: set[str]) -> None:
        for batch in batches:
            with contextlib.suppress(OSError):
                (self.root / "data" / batch[:2] / batch).rmdir()

    # the whole

    async def scrub(self) -> list[str]:
        """Read every file there is. Returns a line for each blob damaged or missing, and for each file nobody knows of."""
        found: list[str] = []
        names = await self.on_thread(lambda: sorted(self._listed()))
        for name in names:
            state = await self._store.transact(functools.partial(ledger.state, name=name), read_only=True)
            if state == "unknown":
                found.append(f"{name}: no record and no upload knows this file")
            if state != "live":
                continue
            try:
                await self.on_thread(self._verify, name)
            except BlobCorrupt as damage:
                found.append(str(damage))
            except (BlobMissing, OSError) as damage:
                found.append(f"{name}: {damage}")
        return found + await self._missing()

    async def _missing(self) -> list[str]:
        found: list[str] = []
        names = await self._store.transact(functools.partial(ledger.live, after="", limit=_PAGE), read_only=True)
        while names:
            for name in await self.on_thread(self._without_file, names):
                # Looked at again: it may have been released while we looked.
                state = await self._store.transact(functools.partial(ledger.state, name=name), read_only=True)
                if state == "live":
                    found.append(f"{name}: a record names it, but there is no file")
            names = await self._store.transact(
                functools.partial(ledger.live, after=names[-1], limit=_PAGE), read_only=True
            )
        return found

    def _without_file(self, names: list[str]) -> list[str]:
        return [name for name in names if not self.path_of(name).exists()]

    def _listed(self) -> Iterator[str]:
        for path in (self.root / "data").glob("*/*/*"):
            yield f"{path.parent.name}.{path.name}"

    def _verify(self, name: str) -> None:
        reader = ChunkReader(str(self.path_of(name)), name)
        try:
            reader.verify_all()
        finally:
            reader.close()

    async def close(self) -> None:
        for batch in self._batches:
            if not batch.open:
                with contextlib.suppress(StoreError, OSError):  # what is left is the next process's to sweep
                    await self._settle(batch.id)
        self._batches.clear()
        self._threads.shutdown()
        with contextlib.suppress(OSError):
            os.close(self._lock)
            (self.root / "holders" / self._holder).unlink()


class _Batch:
    """Names this process may use. `open`: writers under way."""

    __slots__ = ("id", "names", "open", "touched_monotonic_s")

    def __init__(self, batch: str) -> None:
        self.id = batch
        self.names = ledger.names_of(batch)[::-1]
        self.open = 0
        self.touched_monotonic_s = 0.0


class _FileWriter:
    """See `penstock.blobs.api.BlobWriter`. One piece at a time is on a thread, the next is gathered meanwhile."""

    __slots__ = (
        "_batch",
        "_blobs",
        "_fd",
        "_gathered",
        "_gathered_bytes",
        "_job",
        "_path",
        "_sealer",
        "_state",
        "_table",
        "_taps",
        "name",
        "size_bytes",
    )

    def __init__(self, blobs: FileBlobs, batch: _Batch, name: str, taps: tuple[Tap, ...], key: bytes) -> None:
        self.name = name
        self.size_bytes = 0
        self._blobs = blobs
        self._batch = batch
        self._path = blobs.path_of(name)
        self._taps = taps
        self._sealer = Sealer(key, name, CHUNK_BYTES) if key else None
        self._table = ChunkTable(name, sealed=bool(key))
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._job: asyncio.Future[None] | None = None
        self._fd = -1
        self._state = "open"
        batch.open += 1

    async def write(self, data: bytes) -> None:
        self.size_bytes += len(data)
        self._gathered.append(data)
        self._gathered_bytes += len(data)
        if self._gathered_bytes > HOP_BYTES:
            await self._settle_job()
            self._start(last=False)

    async def finish(self) -> None:
        await self._settle_job()
        self._start(last=True)
        await self._settle_job()
        self._leave("finished")

    async def abort(self) -> None:
        if self._state == "aborted":
            return
        if self._job is not None:
            await asyncio.wait([self._job])
            self._job.exception()
        self._leave("aborted")
        await self._blobs.on_thread(self._remove)

    def _leave(self, state: str) -> None:
        if self._state == "open":
            self._batch.open -= 1
            self._batch.touched_monotonic_s = time.monotonic()
        self._state = state

    def _start(self, last: bool) -> None:
        pieces, self._gathered, self._gathered_bytes = self._gathered, [], 0
        self._job = asyncio.ensure_future(self._blobs.on_thread(self._put, pieces, last))

    async def _settle_job(self) -> None:
        """Wait for the piece on a thread, if cancelled too: nobody may close a file under a thread that writes it."""
        job = self._job
        if job is None:
            return
        try:
            await asyncio.shield(job)
        except asyncio.CancelledError:
            await asyncio.wait([job])
            raise
        finally:
            if job.done():
                self._job = None

    def _put(self, pieces: list[bytes], last: bool) -> None:
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        for piece in pieces:
            for tap in self._taps:
                tap(piece)
        if self._sealer is not None:
            pieces = self._sealer.take(pieces, last)
        for piece in pieces:
            self._table.update(piece)
        if last:
            pieces.append(self._table.ending(self.size_bytes))
        for piece in pieces:
            _write_all(self._fd, piece)
        if last:
            self._blobs.fsync(self._fd)
            fd, self._fd = self._fd, -1
            os.close(fd)
            self._blobs.sync_folder(self._path.parent)

    def _remove(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
        self._path.unlink(missing_ok=True)


def _write_all(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    view = memoryview(data)
    while written < len(data):
        written += os.write(fd, view[written:])


def _open(path: str, name: str, begin: int, end: int, key: bytes) -> tuple[ChunkReader, list[bytes]]:
    reader = ChunkReader(path, name, key)
    try:
        if not 0 <= begin <= end <= reader.size_bytes:
            raise BlobMissing(f"blob {name} has {reader.size_bytes} bytes, {begin}-{end} were asked for")
        first, last = begin // CHUNK_BYTES, -(-end // CHUNK_BYTES)
        return reader, reader.chunks(first, min(first + HOP_CHUNKS, last)) if begin < end else []
    except BaseException:
        reader.close()
        raise


@contextlib.contextmanager
def _lock_of_dead(path: Path) -> Iterator[bool]:
    """Whether the process that held this lock is gone; if so, the lock is ours meanwhile and removed at the end."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
        path.unlink(missing_ok=True)
    finally:
        os.close(fd)
