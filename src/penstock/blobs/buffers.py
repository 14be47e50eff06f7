"""Memory that is used again and again, for bytes that only pass through. No files in here.

A page that a process touches for the first time costs more than what is then done with it.
"""

from __future__ import annotations

import weakref

from penstock.blobs.layout import HOP_BYTES

SPARE_BUFFERS = 16


class Buffers:
    """Buffers of HOP_BYTES. On the event-loop thread, but for what comes back by itself."""

    __slots__ = ("_least", "_lent", "_spare")

    def __init__(self) -> None:
        self._spare: list[bytearray] = []
        self._lent: dict[int, tuple[weakref.ref[memoryview], bytearray]] = {}
        """By the reference's identity: the memory itself has no hash."""
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

    def lend(self, buffer: bytearray, begin: int, end: int) -> memoryview:
        """Its bytes begin <= i < end; it comes back by itself when nobody has them any more."""
        view = memoryview(buffer)[begin:end]
        reference = weakref.ref(view, self._returned)
        self._lent[id(reference)] = reference, buffer
        return view

    def _returned(self, view: weakref.ref[memoryview]) -> None:
        self.give(self._lent.pop(id(view))[1])

    def shrink(self) -> None:
        """Let go of what has not been needed since this was last called."""
        del self._spare[: self._least]
        self._least = len(self._spare)
