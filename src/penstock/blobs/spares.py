"""Files whose blobs are gone, kept for a while to be written again.

A file that is written over has its blocks, its folder's entry and its pages in memory already: that costs a tenth of
what a new one does, in processor time and in waiting. So a busy bucket, which overwrites and deletes as it writes, goes
round in the same files. Twice as many are kept as were asked for from one sweep to the next, at the busiest of the last
two minutes, so that a quiet server gives its disk back.

This file knows names and sizes; what the store knows of them is in `ledger`, and `files` moves them.
"""

from __future__ import annotations

from collections import Counter, deque

KEEP_S = 120.0
"""How long ago a write of a size may have been for files of that size to be kept for the next."""
MOST_BYTES = 1024**3
"""What all spare files together may hold."""


class Spares:
    """Names that may be written under at once, by the size of their files. Sizes are of files, in bytes."""

    __slots__ = ("_bytes", "_lately", "_names", "_ready", "_wanted", "_wanted_at")

    def __init__(self) -> None:
        self._ready: dict[int, list[tuple[str, int]]] = {}
        self._names: set[str] = set()
        self._bytes = 0
        self._wanted: Counter[int] = Counter()
        self._wanted_at = 0.0
        self._lately: deque[tuple[float, Counter[int]]] = deque()

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def take(self, file_bytes: int, now: float) -> tuple[str, int] | None:
        """(name, its file's size), about that large: the one that was given last, most of which is in memory."""
        size = file_bytes.bit_length()
        self._wanted[size] += 1
        self._wanted_at = now
        ready = self._ready.get(size)
        if not ready:
            return None
        name, kept_bytes = ready.pop()
        self._names.discard(name)
        self._bytes -= kept_bytes
        return name, kept_bytes

    def give(self, name: str, file_bytes: int) -> None:
        """Keep that one."""
        self._ready.setdefault(file_bytes.bit_length(), []).append((name, file_bytes))
        self._names.add(name)
        self._bytes += file_bytes

    def look(self, now: float) -> None:
        """Once a sweep: what was asked for until now is what the next one is expected to ask for."""
        if self._wanted:
            self._lately.append((self._wanted_at, self._wanted))
            self._wanted = Counter()
        while self._lately and not now - KEEP_S <= self._lately[0][0] <= now:
            self._lately.popleft()

    def choose(self, sizes: dict[str, int]) -> set[str]:
        """Those of the names, with the sizes of their files, that are worth keeping: see `give`."""
        chosen: set[str] = set()
        room: dict[int, int] = {}
        left = MOST_BYTES - self._bytes
        for name, file_bytes in sizes.items():
            size = file_bytes.bit_length()
            if size not in room:
                room[size] = self._expected(size) - len(self._ready.get(size, ()))
            if file_bytes <= left and room[size] > 0:
                room[size] -= 1
                left -= file_bytes
                chosen.add(name)
        return chosen

    def surplus(self) -> list[str]:
        """Take out what is more than was asked for lately: the oldest first."""
        found: list[str] = []
        for size, ready in self._ready.items():
            count = max(0, len(ready) - self._expected(size))
            found += [name for name, _ in ready[:count]]
            self._bytes -= sum(kept_bytes for _, kept_bytes in ready[:count])
            del ready[:count]
        self._names.difference_update(found)
        return found

    def empty(self) -> list[str]:
        """Take all out."""
        found = [name for ready in self._ready.values() for name, _ in ready]
        self._ready.clear()
        self._names.clear()
        self._bytes = 0
        return found

    def _expected(self, size: int) -> int:
        return 2 * max(self._wanted[size], max((wanted[size] for _, wanted in self._lately), default=0))
