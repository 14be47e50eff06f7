"""The body of a request that is still arriving: a bounded buffer between the socket and whoever iterates over it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from penstock.wire.errors import AwsError

HIGH_WATER_BYTES = 512 * 1024
LOW_WATER_BYTES = 128 * 1024


class IncomingBody:
    """A `wire.message.BodyStream` that the listener feeds. Iterate once.

    started: called before the first wait, once (where "100 Continue" is owed). pause, resume: stop and start reading.
    """

    __slots__ = (
        "_buffered", "_error", "_paused", "_pieces", "_waiter", "complete", "discarding", "length", "pause",
        "received_bytes", "resume", "started", "trailers",
    )  # fmt: skip

    def __init__(
        self,
        length: int | None,
        pause: Callable[[], None],
        resume: Callable[[], None],
        started: Callable[[], None] | None,
    ) -> None:
        self.length = length
        self.trailers: dict[str, str] = {}
        self.pause = pause
        self.resume = resume
        self.started = started
        self.complete = False
        self.discarding = False
        self.received_bytes = 0
        self._pieces: deque[bytes | memoryview] = deque()
        self._buffered = 0
        self._paused = False
        self._error: AwsError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def failed(self) -> bool:
        """Whether the rest will not come."""
        return self._error is not None

    async def __aiter__(self) -> AsyncIterator[bytes | memoryview]:
        """Pieces as they came off the socket. Raises AwsError IncompleteBody or RequestTimeout."""
        pieces = self._pieces
        while True:
            while pieces:
                piece = pieces.popleft()
                self._buffered -= len(piece)
                if self._paused and self._buffered <= LOW_WATER_BYTES:
                    self._paused = False
                    self.resume()
                yield piece
                del piece  # its memory may be used again
            if self._error is not None:
                raise self._error
            if self.complete:
                return
            if self.started is not None:
                self.started()
                self.started = None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def feed(self, piece: bytes | memoryview) -> None:
        """More bytes came."""
        self.received_bytes += len(piece)
        if self.discarding:
            return
        self._pieces.append(piece)
        self._buffered += len(piece)
        if self._buffered > HIGH_WATER_BYTES:
            self._paused = True
            self.pause()  # again, too, where somebody else has let reading go on
        self._wake()

    def end(self) -> None:
        """The last byte has come."""
        self.complete = True
        self._wake()

    def fail(self, error: AwsError) -> None:
        """The rest will not come. What did come is of no use: drop it."""
        if self.complete or self._error is not None:
            return
        self._error = error
        self._pieces.clear()
        self._buffered = 0
        self._wake()

    def discard(self) -> None:
        """Nobody wants the rest: take it off the socket and drop it."""
        self.discarding = True
        self.started = None
        self._pieces.clear()
        self._buffered = 0
        if self._paused:
            self._paused = False
            self.resume()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
