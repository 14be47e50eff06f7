"""Is a history of transactions on lists strictly serializable? By looking for cycles, as Elle does.

Every transaction appends values that nobody else appends, or reads whole lists, or both. So a read list tells in which
order its appends happened, and who depends on whom: the writer of a value comes before the writer of the next (ww),
before whoever read it (wr), and a reader comes before the writer of the first value it did not see (rw). A transaction
that ended before another began comes before it (real time). A cycle of these is what no serial order explains.
Source: Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies from Experimental Observations" (2020).
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass, field

DONE, ABORTED, IN_DOUBT = "done", "aborted", "in doubt"


@dataclass(slots=True)
class Transaction:
    """What one client did. appends: key -> value; reads: key -> the list as it was (before its own append)."""

    began: float
    ended: float
    outcome: str
    appends: dict[str, int] = field(default_factory=dict)
    reads: dict[str, tuple[int, ...]] = field(default_factory=dict)


def anomalies(history: list[Transaction]) -> list[str]:
    """What is wrong with a history; an empty list where it is strictly serializable."""
    writers = {(key, value): n for n, each in enumerate(history) for key, value in each.appends.items()}
    found: list[str] = []
    orders = _orders(history, writers, found)
    if found:
        return found
    edges: dict[int, set[int]] = defaultdict(set)
    for key, order in orders.items():
        for before, after in itertools.pairwise(order):
            edges[writers[key, before]].add(writers[key, after])
    for n, each in enumerate(history):
        for key, seen in each.reads.items():
            order = orders[key]
            if seen and writers[key, seen[-1]] != n:
                edges[writers[key, seen[-1]]].add(n)
            if len(seen) < len(order) and writers[key, order[len(seen)]] != n:
                edges[n].add(writers[key, order[len(seen)]])
    _add_unseen(history, orders, edges)
    _add_real_time(history, orders, writers, edges)
    cycle = _cycle(edges)
    if cycle:
        shown = ", ".join(f"{history[n]}" for n in cycle if n < len(history))
        found.append(f"no serial order explains these: {shown}")
    return found


def _orders(
    history: list[Transaction], writers: dict[tuple[str, int], int], found: list[str]
) -> dict[str, tuple[int, ...]]:
    """Each key's values in the order of their appends, as far as anybody has read them."""
    orders: dict[str, tuple[int, ...]] = defaultdict(tuple)
    for each in history:
        for key, seen in each.reads.items():
            if len(seen) > len(orders[key]):
                orders[key] = seen
    for key, order in orders.items():
        if len(set(order)) != len(order):
            found.append(f"{key}: a value was appended twice: {order}")
        for value in order:
            writer = writers.get((key, value))
            if writer is None or history[writer].outcome == ABORTED:
                found.append(f"{key}: {value} was read, but nobody has appended it")
    for each in history:
        for key, seen in each.reads.items():
            if orders[key][: len(seen)] != seen:
                found.append(f"{key}: {seen} was read, and {orders[key]} too")
    return orders


def _add_unseen(history: list[Transaction], orders: dict[str, tuple[int, ...]], edges: dict[int, set[int]]) -> None:
    """Appends that happened and that nobody has read come after whoever read the whole list."""
    for n, each in enumerate(history):
        for key, value in each.appends.items():
            if each.outcome == DONE and value not in orders[key]:
                for reader, other in enumerate(history):
                    if reader != n and other.reads.get(key) == orders[key]:
                        edges[reader].add(n)


def _add_real_time(
    history: list[Transaction],
    orders: dict[str, tuple[int, ...]],
    writers: dict[tuple[str, int], int],
    edges: dict[int, set[int]],
) -> None:
    """Who ended before somebody began comes before it: by a chain of nodes, one for each end, past the history's own."""
    happened = {writers[key, value] for key, order in orders.items() for value in order}
    moments = []
    for n, each in enumerate(history):
        if each.outcome == DONE:
            moments += [(each.began, 0, n), (each.ended, 1, n)]
        elif n in happened:
            moments.append((each.began, 0, n))  # nobody knows when it ended
    last = 0
    for place, (_, ends, n) in enumerate(sorted(moments), len(history)):
        if ends:
            edges[n].add(place)
            if last:
                edges[last].add(place)
            last = place
        elif last:
            edges[last].add(n)


def _cycle(edges: dict[int, set[int]]) -> list[int]:
    """The nodes of some cycle, or none: a depth-first search without recursion."""
    state: dict[int, int] = {}
    for root in list(edges):
        if root in state:
            continue
        path, stack = [root], [iter(edges[root])]
        state[root] = 1
        while stack:
            for node in stack[-1]:
                if state.get(node) == 1:
                    return path[path.index(node) :]
                if node not in state:
                    state[node] = 1
                    path.append(node)
                    stack.append(iter(edges.get(node, ())))
                    break
            else:
                state[path.pop()] = 2
                stack.pop()
    return []
