"""Who waits for a key to change, within one process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable


class Watchers:
    """Futures by key. Used from one event loop."""

    __slots__ = ("_by_key",)

    def __init__(self) -> None:
        self._by_key: dict[bytes, set[asyncio.Future[None]]] = {}

    def __contains__(self, key: bytes) -> bool:
        """Whether anybody waits for `key`."""
        return key in self._by_key

    async def wait(self, key: bytes, timeout_s: float) -> bool:
        """Return True when `key` is reported changed, or False after `timeout_s`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._by_key.setdefault(key, set()).add(future)
        try:
            await asyncio.wait((future,), timeout=timeout_s)
        finally:
            waiting = self._by_key.get(key)
            if waiting is not None and future in waiting:
                waiting.remove(future)
                if not waiting:
                    del self._by_key[key]
        return future.done()

    def changed(self, keys: Iterable[bytes], ranges: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Wake whoever waits for one of these keys or for a key within these ranges (begin <= key < end)."""
        if not self._by_key:
            return
        woken = self._by_key.keys() & keys
        for begin, end in ranges:
            woken |= {key for key in self._by_key if begin <= key < end}
        for key in woken:
            self._wake(key)

    def changed_all(self) -> None:
        """Wake everybody."""
        for key in list(self._by_key):
            self._wake(key)

    def _wake(self, key: bytes) -> None:
        for future in self._by_key.pop(key, ()):
            if not future.done():
                future.set_result(None)
