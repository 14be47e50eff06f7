"""What services measure for AWS's metrics: sums by minute, under CloudWatch's namespaces, names and dimensions.

Adding costs a dict update; every few seconds the sums of this process are added to the store, where those of all nodes meet.
So a crash loses a few seconds of them. They are kept for three hours.

    ("metrics", minute) + series    counter of thousandths; minute: since the epoch; series: see `series`
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING

from penstock.core.worker import worker
from penstock.store.api import Transaction
from penstock.store.tuples import pack, range_of

if TYPE_CHECKING:
    from penstock.core.node import Node

MINUTE_S = 60
KEPT_MINUTES = 180
_SCALE = 1000
_FLUSH_S = 5.0
_WRITTEN_AT_ONCE = 500


@lru_cache(maxsize=4096)
def series(account: str, region: str, namespace: str, name: str, *dimensions: tuple[str, str]) -> bytes:
    """What names a metric: e.g. namespace AWS/DynamoDB, name ConsumedReadCapacityUnits, dimension (TableName, t)."""
    return pack((account, region, namespace, name, *sorted(dimensions)))


class Metrics:
    """One process's sums that are not written yet. By `node.own(Metrics)`."""

    def __init__(self, node: Node) -> None:
        self._clock = node.clock
        self._sums: dict[tuple[int, bytes], float] = {}

    def add(self, of: bytes, value: float) -> None:
        """Add to this minute's sum of a series."""
        slot = (int(self._clock.now()) // MINUTE_S, of)
        self._sums[slot] = self._sums.get(slot, 0.0) + value

    def take(self) -> dict[tuple[int, bytes], float]:
        """All sums, which are nothing from then on."""
        taken, self._sums = self._sums, {}
        return taken


async def flush(node: Node) -> None:
    """Add this process's sums to the store's."""
    taken = list(node.own(Metrics).take().items())
    for begin in range(0, len(taken), _WRITTEN_AT_ONCE):
        await node.store.transact(partial(_write, taken[begin : begin + _WRITTEN_AT_ONCE]))


def _write(sums: list[tuple[tuple[int, bytes], float]], txn: Transaction) -> None:
    for (minute, of), value in sums:
        txn.add(pack(("metrics", minute)) + of, round(value * _SCALE))


def read(txn: Transaction, of: bytes, first_minute: int, last_minute: int) -> list[float]:
    """The sums of each minute from the first up to and with the last; 0.0 where nothing was measured."""
    found = []
    for minute in range(first_minute, last_minute + 1):
        stored = txn.get(pack(("metrics", minute)) + of)
        found.append(int.from_bytes(stored or b"", "little", signed=True) / _SCALE)
    return found


def _trim(now: float, txn: Transaction) -> None:
    begin, _ = range_of(("metrics",))
    txn.clear(begin, pack(("metrics", int(now) // MINUTE_S - KEPT_MINUTES)))


@worker("core:metrics")
async def write_metrics(node: Node) -> None:
    """Every few seconds write what was measured, and now and then forget what is old."""
    trimmed_at = 0.0
    while True:
        await node.clock.sleep(_FLUSH_S)
        await flush(node)
        now = node.clock.now()
        if now - trimmed_at > KEPT_MINUTES * MINUTE_S / 3:
            trimmed_at = now
            await node.store.transact(partial(_trim, now))
