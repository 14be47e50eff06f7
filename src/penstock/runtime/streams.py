"""A response that a runtime sends piece by piece, on its way to whoever asked for it.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

STREAMED_BYTES_MAX = 200 * 1024 * 1024
"""https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html: 200 MB for a streamed response."""
_HELD_BYTES_MAX = 1024 * 1024


class ResponseStream:
    """Made by the caller of `Runtime.invoke`, filled by the runtime if it streams, read by the caller.

    The caller waits for `begun()` beside the outcome: a response that is not streamed never begins here and is the
    Outcome's payload; one that is, has its content type here, its pieces by iteration, and an Outcome with an empty
    payload (and `error` and the error document if it broke off) when all is over. Pieces that nobody reads stop the
    function's writing at 1 MB; `abandon` lets it go on unread.
    """

    __slots__ = (
        "_abandoned",
        "_begun",
        "_ended",
        "_held_bytes",
        "_pause",
        "_paused",
        "_pieces",
        "_some",
        "content_type",
    )

    def __init__(self) -> None:
        self.content_type = ""
        self._pieces: deque[bytes] = deque()
        self._held_bytes = 0
        self._begun = asyncio.Event()
        self._some = asyncio.Event()
        self._ended = False
        self._abandoned = False
        self._paused = False
        self._pause: Callable[[bool], None] = lambda _: None

    def begin(self, content_type: str, pause: Callable[[bool], None]) -> None:
        """The runtime's: a streamed response begins. pause: called with whether the runtime is to wait."""
        self.content_type = content_type
        self._pause = pause
        self._begun.set()

    def feed(self, piece: bytes) -> None:
        """The runtime's: a further piece."""
        if self._abandoned:
            return
        self._pieces.append(piece)
        self._held_bytes += len(piece)
        self._some.set()
        if self._held_bytes > _HELD_BYTES_MAX and not self._paused:
            self._paused = True
            self._pause(True)

    def end(self) -> None:
        """The runtime's: there is no more. Also called for a response that never began."""
        self._ended = True
        self._some.set()

    async def begun(self) -> None:
        """Return once a streamed response has begun."""
        await self._begun.wait()

    def abandon(self) -> None:
        """Read no more: what comes is dropped."""
        self._abandoned = True
        self._pieces.clear()
        self._held_bytes = 0
        self._go_on()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._held_bytes -= len(piece)
                if self._held_bytes <= _HELD_BYTES_MAX // 2:
                    self._go_on()
                yield piece
            if self._ended:
                return
            self._some.clear()
            await self._some.wait()

    def _go_on(self) -> None:
        if self._paused:
            self._paused = False
            self._pause(False)
