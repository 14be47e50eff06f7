"""One blob on its way into its file: checksums, encryption and the disk, all on threads.

One piece at a time is on a thread while the next is gathered.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.blobs.api import Tap
from penstock.blobs.layout import HOP_BYTES, ChunkTable, scratch
from penstock.blobs.sealing import Sealer

if TYPE_CHECKING:
    from penstock.blobs.files import Batch, FileBlobs


class FileWriter:
    """See `penstock.blobs.api.BlobWriter`."""

    __slots__ = (
        "_batch", "_blobs", "_fd", "_file", "_gathered", "_gathered_bytes", "_job", "_kept_bytes", "_length", "_sealer",
        "_state", "_table", "_taps", "_written_bytes", "name", "size_bytes",
    )  # fmt: skip

    def __init__(
        self,
        blobs: FileBlobs,
        name: str,
        taps: tuple[Tap, ...],
        key: bytes,
        *,
        length: int = 0,
        batch: Batch | None = None,
        kept_bytes: int = 0,
    ) -> None:
        """length: how many bytes are expected, if that is known.

        batch: which the name is of, and its file not there yet. kept_bytes: of a file that is written again.
        """
        self.name = name
        self.size_bytes = 0
        self._blobs = blobs
        self._batch = batch
        self._file = blobs.file_of(name)
        self._taps = taps
        self._sealer = Sealer(key, name) if key else None
        self._table = ChunkTable(name, sealed=bool(key))
        self._gathered: list[bytes | memoryview] = []
        self._gathered_bytes = 0
        self._job: asyncio.Future[None] | None = None
        self._fd = -1
        self._written_bytes = 0
        self._kept_bytes = kept_bytes
        self._length = length
        self._state = "open"
        if batch is not None:
            batch.open += 1
        else:
            blobs.rewriting.add(name)

    async def write(self, data: bytes | memoryview) -> None:
        self.size_bytes += len(data)
        self._gathered.append(data)
        self._gathered_bytes += len(data)
        # What may be all that is left goes to its thread together with the end.
        if self._gathered_bytes > HOP_BYTES or (self._gathered_bytes == HOP_BYTES and self.size_bytes < self._length):
            await self._settle_job()
            self._start(last=False)

    async def finish(self) -> None:
        await self._settle_job()
        self._start(last=True)
        await self._settle_job()
        self._leave("finished")
        self._blobs.near.remember(self.name)

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
            if self._batch is not None:
                self._batch.open -= 1
                self._batch.touched_monotonic_s = time.monotonic()
            else:
                self._blobs.rewriting.discard(self.name)
        self._state = state

    def _start(self, last: bool) -> None:
        pieces, self._gathered, self._gathered_bytes = self._gathered, [], 0
        self._job = self._blobs.start_on_thread(self._put, pieces, last)

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

    def _put(self, pieces: list[bytes | memoryview], last: bool) -> None:
        if self._fd < 0:
            new = 0 if self._batch is None else os.O_CREAT | os.O_EXCL
            self._fd = os.open(self._file, new | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        for tap in self._taps:
            for piece in pieces:
                tap(piece)
        stored: Iterable[bytes | memoryview] = pieces
        if self._sealer is not None:
            stored = self._sealer.seal(pieces, last, scratch())
        for piece in stored:
            self._table.update(piece)
            self._write_all(piece)
        if last:
            self._write_all(self._table.ending(self.size_bytes))
            self._settle_file()

    def _write_all(self, data: bytes | memoryview) -> None:
        written = os.write(self._fd, data)
        while written < len(data):
            written += os.write(self._fd, memoryview(data)[written:])
        self._written_bytes += len(data)

    def _settle_file(self) -> None:
        """Make the file durable, and its name, which that of a file written again is already."""
        if self._kept_bytes > self._written_bytes:
            os.ftruncate(self._fd, self._written_bytes)
        self._blobs.sync_file(self._fd)
        fd, self._fd = self._fd, -1
        os.close(fd)
        if self._batch is not None:
            self._blobs.sync_folder(Path(self._file).parent)

    def _remove(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
        Path(self._file).unlink(missing_ok=True)
