"""Blobs in files of one folder, which all nodes that share a store share.

    <root>/data/<2 hex>/<batch>/<2 hex>    one blob a file (see `layout`), one folder a batch of names (see `ledger`)
    <root>/holders/<id>                    locked for as long as the process that was given names lives

A file is written under its own name, because nobody reads a name that no record holds: that saves a rename and a
second sync of its folder. Writes, and reads that may wait for the disk, run on threads in pieces of up to 1 MiB. When a
process dies, its lock goes with it, and the next sweep of any process removes what the dead one left unadopted.

A process that has the folder to itself does not remove all files whose blobs are gone: it writes some again, under new
names (see `spares`). Where others share the folder nothing is written again, as they may be reading it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import logging
import os
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from penstock.blobs import ledger
from penstock.blobs.api import BlobCorrupt, BlobMissing, BlobWriter, Span, Tap
from penstock.blobs.at_hand import AtHand
from penstock.blobs.buffers import Buffers
from penstock.blobs.layout import HOP_BYTES, HOP_CHUNKS, ChunkReader, file_bytes
from penstock.blobs.sealing import CHUNK_BYTES
from penstock.blobs.spares import Spares
from penstock.blobs.writing import FileWriter
from penstock.clock import Clock
from penstock.store.api import Store, StoreError, Transaction

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)

GRACE_S = 20.0
"""How long a released blob's file stays, for readers of other nodes that have just looked its record up.

Short, because a busy bucket overwrites gigabytes a minute."""
GRACE_ALONE_S = 1.0
"""The same where there are no other nodes: a request of our own says what it reads soon after it has looked. Where it
says so as it looks (`hold`), there is none."""
ABANDONED_S = 60.0
"""How long after `finish` an owner may take to adopt."""
SWEEP_FILES = 1000
THREADS = min(8, 2 * max(2, os.cpu_count() or 1))
"""Of two that hash, one may wait for the disk. More would only contend for Python's lock with the loop."""
SYNC_DATA: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)
"""Bytes and what it takes to find them; a file's times can wait. macOS has no such call."""
_PAGE = 1000


class FileBlobs:
    """See `penstock.blobs.api.Blobs`. `fsync` is an argument so that a test can see what a failing disk does."""

    def __init__(
        self,
        root: Path,
        store: Store,
        clock: Clock,
        fsync: Callable[[int], None] | None = None,
        *,
        cache_bytes: int = 0,
    ) -> None:
        """cache_bytes: how much of what is read again and again is kept in memory (see `at_hand`)."""
        self.root = root
        self._data = str(root / "data")
        self.sync_file: Callable[[int], None] = fsync or SYNC_DATA
        self._fsync: Callable[[int], None] = fsync or os.fsync
        self.rewriting: set[str] = set()
        """Names whose files are being written again."""
        self._store = store
        self._clock = clock
        self._holder = ledger.new_batch()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="blobs")
        self._batches: list[Batch] = []
        self._spares = Spares()
        self._idle_spares: set[str] = set()
        self._idle_looked_monotonic_s = time.monotonic()
        self._reserving = asyncio.Lock()
        self._sweeping = asyncio.Lock()
        self._loop_thread = threading.get_ident()
        self._held: dict[int, Sequence[Span]] = {}
        """What somebody reads, or is about to read."""
        self._buffers = Buffers()
        self.near = AtHand(cache_bytes, self._buffers)
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        (root / "data").mkdir(exist_ok=True)
        (root / "holders").mkdir(exist_ok=True)
        for folder in (root, root.parent):
            self.sync_folder(folder)
        self._lock = os.open(root / "holders" / self._holder, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._alone = self._has_folder_alone()
        self._company_s = 0.0
        """When another process was first seen to share the folder: it may be reading what we released until then."""

    # writing

    async def create(self, *taps: Tap, key: bytes = b"", length: int | None = None) -> BlobWriter:
        spare = None
        if length is not None:
            spare = self._spares.take(file_bytes(length, sealed=bool(key)), self._clock.now())
        if spare is not None:
            return FileWriter(self, spare[0], taps, key, length=length or 0, kept_bytes=spare[1])
        batch = self._batches[-1] if self._batches else None
        if batch is None or not batch.names:
            async with self._reserving:
                batch = self._batches[-1] if self._batches else None
                if batch is None or not batch.names:
                    batch = await self._reserve()
        return FileWriter(self, batch.names.pop(), taps, key, length=length or 0, batch=batch)

    async def _reserve(self) -> Batch:
        batch = Batch(ledger.new_batch())
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
            self._fsync(fd)
        finally:
            os.close(fd)

    def path_of(self, name: str) -> Path:
        """Where a blob's file is. Raises BlobMissing for anything but a name of ours."""
        return Path(self.file_of(name))

    def file_of(self, name: str) -> str:
        """As `path_of`, as text."""
        batch, _, index = ledger.check_name(name)[: ledger.FILE_CHARACTERS].partition(".")
        return f"{self._data}/{batch[:2]}/{batch}/{index}"

    async def on_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run blocking file work."""
        return await self.start_on_thread(functools.partial(function, *args, **kwargs))

    def start_on_thread(self, function: Callable[..., T], *args: object) -> asyncio.Future[T]:
        """As `on_thread`, for who waits later."""
        return asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    # owning

    def adopt(self, txn: Transaction, name: str) -> None:
        ledger.adopt(txn, name)

    def release(self, txn: Transaction, name: str, *, held: bool = False) -> None:
        # Bodies on threads of a store run beside each other: one that has read the record may not have held it yet.
        at_once = held and threading.get_ident() == self._loop_thread
        grace_s = GRACE_S if not self._alone else 0.0 if at_once else GRACE_ALONE_S
        ledger.release(txn, name, self._clock.now() + grace_s)

    def release_all(self, txn: Transaction, after: str, limit: int) -> str:
        return ledger.release_all(txn, after, limit, self._clock.now() + GRACE_S)

    # reading

    def hold(self, spans: Sequence[Span]) -> object:
        return _Hold(self._held, spans)

    def _are_held(self) -> set[str]:
        return {name for spans in list(self._held.values()) for name, _, _ in spans}

    def at_hand(self, name: str, begin: int, end: int, *, key: bytes = b"", keep: bool = False) -> memoryview | None:
        return self.near.read(self.file_of(name), name, begin, end, key, keep=keep)

    def read(self, name: str, begin: int, end: int, *, key: bytes = b"") -> AsyncGenerator[bytes, None]:
        return self.read_all([(name, begin, end)], key=key)

    async def read_all(self, spans: Sequence[Span], *, key: bytes = b"") -> AsyncGenerator[bytes, None]:
        async with contextlib.aclosing(self.lend_all(spans, key=key)) as lent:
            async for piece in lent:
                yield bytes(piece)

    async def lend_all(self, spans: Sequence[Span], *, key: bytes = b"") -> AsyncGenerator[memoryview, None]:
        held = self.hold(spans)
        try:
            for name, begin, end in spans:
                async with contextlib.aclosing(self._lend(name, begin, end, key)) as lent:
                    async for piece in lent:
                        yield piece
                        del piece
        finally:
            del held

    async def _lend(self, name: str, begin: int, end: int, key: bytes) -> AsyncGenerator[memoryview, None]:
        """What is at hand on the spot; from the first piece that is not, threads: the next is read while one is out."""
        path = self.file_of(name)
        while begin < end:
            stop = min(end, (begin // HOP_BYTES + 1) * HOP_BYTES)
            piece = self.near.read(path, name, begin, stop, key, keep=False, until=end)
            if piece is None:
                break
            yield piece
            del piece
            begin = stop
            if begin == end:
                return
            await asyncio.sleep(0)  # others are there too
        take, on = self._buffers.take, asyncio.get_running_loop().run_in_executor
        reader = ChunkReader(path, name, key)
        at, last = begin // CHUNK_BYTES, -(-end // CHUNK_BYTES)
        buffer = take()
        job: asyncio.Future[None] | None = on(self._threads, reader.begin, buffer, begin, end)
        try:
            while job is not None:
                await asyncio.shield(job)
                job, filled, offset = None, buffer, at * CHUNK_BYTES
                at = min(at + HOP_CHUNKS, last)
                if at < last:
                    buffer = take()
                    job = on(self._threads, reader.read_into, buffer, at, min(at + HOP_CHUNKS, last))
                if begin < end:
                    yield memoryview(filled)[max(0, begin - offset) : min(end - offset, HOP_BYTES)]
                self._buffers.give(filled)
        finally:
            if job is not None:  # the thread must be done with the file before it is closed
                await asyncio.wait([job])
                job.exception()
            reader.close()

    # sweeping

    async def sweep(self, *, quick: bool = False) -> int:
        async with self._sweeping:
            alone = self._alone
            self._alone = await self.on_thread(self._has_folder_alone)
            if alone and not self._alone:
                self._company_s = self._clock.now()
            removed = 0 if quick else await self._sweep_names()
            if not self._alone and self._clock.now() < self._company_s + GRACE_S:
                return removed
            return removed + await self._sweep_due()

    async def _sweep_names(self) -> int:
        """What was begun and never adopted, and files that are not needed any more."""
        self._buffers.shrink()
        self._spares.look(self._clock.now())
        removed = await self._sweep_own()
        removed += await self._sweep_dead()
        return removed + await self._give_up(self._spares.surplus() + await self._abandoned_spares())

    async def _sweep_due(self) -> int:
        removed, now = 0, self._clock.now()
        while True:
            due = functools.partial(ledger.due, now=now, limit=SWEEP_FILES, skip=self._are_held())
            entries = await self._store.transact(due, read_only=True)
            if not entries:
                return removed
            kept = await self._keep(entries) if self._alone else set()
            held = self._are_held()
            left = [entry for entry in entries if entry[1] not in kept and entry[1] not in held]
            condemned = await self._store.transact(functools.partial(ledger.condemn, entries=left)) if left else []
            removed += len(kept) + (await self._remove(condemned) if condemned else 0)

    async def _keep(self, entries: list[tuple[bytes, str]]) -> set[str]:
        """Keep as many of the files as may soon be written again. Returns the names they had."""
        sizes = await self.on_thread(self._sizes, [name for _, name in entries])
        chosen = self._spares.choose(sizes)
        if not chosen:
            return set()

        def body(txn: Transaction) -> set[str]:
            held = self._are_held()
            wanted = [entry for entry in entries if entry[1] in chosen and entry[1] not in held]
            return ledger.keep(txn, wanted, self._holder)

        kept = await self._store.transact(body)
        for name in kept:
            self.near.drop(name)
            self._spares.give(ledger.next_name(name), sizes[name])
        return kept

    async def _give_up(self, names: list[str]) -> int:
        """Remove files that were spare."""
        if not names:
            return 0
        return await self._remove(await self._store.transact(functools.partial(ledger.give_up, names=names)))

    async def _abandoned_spares(self) -> list[str]:
        """Names that are neither ready nor being written, and have not been adopted for a while."""
        if time.monotonic() - self._idle_looked_monotonic_s < ABANDONED_S:
            return []
        self._idle_looked_monotonic_s = time.monotonic()
        ours = [name for holder, name in await self._store.transact(ledger.spares, read_only=True)
                if holder == self._holder]  # fmt: skip
        idle = {name for name in ours if name not in self._spares and name not in self.rewriting}
        abandoned = idle & self._idle_spares
        self._idle_spares = idle - abandoned
        return list(abandoned)

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
        batches: dict[str, list[str]] = {}
        for batch, holder in await self._store.transact(ledger.intents, read_only=True):
            batches.setdefault(holder, []).append(batch)
        spares: dict[str, list[str]] = {}
        for holder, name in await self._store.transact(ledger.spares, read_only=True):
            spares.setdefault(holder, []).append(name)
        for holder in (batches.keys() | spares.keys()) - {self._holder}:
            with _lock_of_dead(self.root / "holders" / holder) as dead:
                if dead:
                    for batch in batches.get(holder, ()):
                        removed += await self._settle(batch)
                    removed += await self._give_up(spares.get(holder, []))
        return removed

    async def _settle(self, batch: str) -> int:
        entries = await self._store.transact(lambda txn: ledger.settle(txn, batch))
        return await self._remove(entries) if entries else 0

    async def _remove(self, entries: list[tuple[bytes, str]]) -> int:
        """Remove condemned files first and then what is known of them: cut short or in doubt, it is simply done again."""
        for _, name in entries:
            self.near.drop(name)
        removed = await self.on_thread(self._unlink, [name for _, name in entries])
        settled = await self._store.transact(functools.partial(ledger.forget, entries=entries))
        await self.on_thread(self._remove_empty, settled)
        return removed

    def _sizes(self, names: list[str]) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for name in names:
            with contextlib.suppress(OSError):
                sizes[name] = self.path_of(name).stat().st_size
        return sizes

    def _has_folder_alone(self) -> bool:
        """Whether no other process that lives has been given names."""
        return all(path.name == self._holder or _is_dead(path) for path in (self.root / "holders").iterdir())

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
        found = [
            f"{file}: no record and no upload knows this file"
            for file in await self.on_thread(lambda: sorted(self._listed()))
            if not await self._store.transact(functools.partial(ledger.file_known, file=file), read_only=True)
        ]
        after = ""
        while names := await self._store.transact(
            functools.partial(ledger.live, after=after, limit=_PAGE), read_only=True
        ):
            for name in names:
                if not await self._is_live(name):
                    continue
                damage = await self.on_thread(self._damage, name)
                # Looked at again: it may have been released, and its file written again, while we looked.
                if damage and await self._is_live(name):
                    found.append(damage)
            after = names[-1]
        return found

    async def _is_live(self, name: str) -> bool:
        return await self._store.transact(lambda txn: ledger.is_live(txn, name), read_only=True)

    def _damage(self, name: str) -> str:
        try:
            reader = ChunkReader(self.file_of(name), name)
            try:
                reader.open()
                reader.verify_all()
            finally:
                reader.close()
        except BlobCorrupt as damage:
            return str(damage)
        except (BlobMissing, OSError) as damage:
            return f"{name}: a record names it, but {damage}"
        return ""

    def _listed(self) -> Iterator[str]:
        for path in (self.root / "data").glob("*/*/*"):
            yield f"{path.parent.name}.{path.name}"

    async def close(self) -> None:
        for batch in self._batches:
            if not batch.open:
                with contextlib.suppress(StoreError, OSError):  # what is left is the next process's to sweep
                    await self._settle(batch.id)
        self._batches.clear()
        with contextlib.suppress(StoreError, OSError):
            await self._give_up(self._spares.empty())
        self._threads.shutdown()
        with contextlib.suppress(OSError):
            os.close(self._lock)
            (self.root / "holders" / self._holder).unlink()


class _Hold:
    """Holds what it names for as long as there is a reference to it."""

    __slots__ = ("_held",)

    def __init__(self, held: dict[int, Sequence[Span]], spans: Sequence[Span]) -> None:
        self._held = held
        held[id(self)] = spans  # one step each, so that any thread may

    def __del__(self) -> None:
        del self._held[id(self)]


class Batch:
    """Names this process may use. `open`: writers under way."""

    __slots__ = ("id", "names", "open", "touched_monotonic_s")

    def __init__(self, batch: str) -> None:
        self.id = batch
        self.names = ledger.names_of(batch)[::-1]
        self.open = 0
        self.touched_monotonic_s = 0.0


def _is_dead(path: Path) -> bool:
    """Whether the process that held this lock is gone. Leaves everything as it is."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


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
