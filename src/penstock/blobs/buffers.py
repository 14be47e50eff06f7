"""Memory that is used again and again, for bytes that only pass through. No files in here.

A page that a process touches for the first time costs more than what is then done with it.
"""

from __future__ import annotations

from penstock.blobs.layout import HOP_BYTES

SPARE_BUFFERS = 16


class Buffers:
    """Buffers of HOP_BYTES. All of it on the event-loop thread."""

    __slots__ = ("_least", "_spare")

    def __init__(self) -> None:
        self._spare: list[bytearray] = []
        self._least = 0

    def take(self) -> bytearray:
        """One whose content is whatever it was."""
        if not self._spare:
            return bytearray(HOP_BYTES)
        buffer = self._spare.pop()
        self._least = min(self._least, len(self._spare))
        return buffer

    def give(self, buffer: bytearray) -> None:
        """Let others have it, unless somebody looks at it yet: then it is theirs for good."""
        if len(self._spare) < SPARE_BUFFERS:
            try:
                buffer.append(buffer.pop())  # refused as long as there is any memoryview of it
            except BufferError:
                return
            self._spare.append(buffer)

    def shrink(self) -> None:
        """Let go of what has not been needed since this was last called."""
        del self._spare[: self._least]
        self._least = len(self._spare)
