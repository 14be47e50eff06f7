"""Is a history of one register linearizable? Wing and Gong's search with Lowe's memory of what was tried.

A history is what clients saw: each operation's begin and end by one clock, what it did, and what came back. It is
linearizable if every operation can be given an instant between its begin and its end such that, done at these instants
one after the other, each gives what its client saw. An operation whose answer never came may have happened at any time
after its begin, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

NEVER = float("inf")
UNKNOWN = object()
"""The result of an operation whose answer never came."""


@dataclass(frozen=True, slots=True)
class Step:
    """One operation on one register.

    kind: "put" (argument: the new value), "delete", "get" (result: the value), "add" (argument: a number; result: the
    sum), "swap" (argument: (expected, new); result: whether it was done). ended: `NEVER` where no answer came.
    """

    kind: str
    argument: Any
    result: Any
    began: float
    ended: float

    def then(self, state: Any) -> tuple[bool, Any]:
        """Whether the result fits a register that holds `state`, and what it holds afterwards."""
        match self.kind:
            case "put":
                return True, self.argument
            case "delete":
                return True, None
            case "get":
                return self.result is UNKNOWN or self.result == state, state
            case "add":
                total = (state or 0) + self.argument
                return self.result is UNKNOWN or self.result == total, total
            case "swap":
                expected, new = self.argument
                done = expected == state
                return self.result is UNKNOWN or self.result == done, new if done else state
        raise ValueError(self.kind)


def is_linearizable(history: Iterable[Step], initial: Any = None) -> bool:
    """Whether the operations on one register can have happened one at a time, each between its begin and its end."""
    steps = sorted(history, key=lambda step: step.began)
    certain = sum(1 << n for n, step in enumerate(steps) if step.ended != NEVER)
    tried: set[tuple[int, Any]] = set()
    waiting = [(0, initial)]
    while waiting:
        done, state = waiting.pop()
        if done & certain == certain:
            return True
        if (done, state) in tried:
            continue
        tried.add((done, state))
        waiting += _next_steps(steps, done, state)
    return False


def _next_steps(steps: list[Step], done: int, state: Any) -> list[tuple[int, Any]]:
    """What may happen next: each operation that began before the first of those left to do ended."""
    found = []
    first_end = NEVER
    for n, step in enumerate(steps):
        if step.began > first_end:
            break
        if done >> n & 1:
            continue
        fits, after = step.then(state)
        if fits:
            found.append((done | 1 << n, after, step.ended))
        first_end = min(first_end, step.ended)
    # The one that ended soonest is tried first: it is most often the right one.
    found.sort(key=lambda each: each[2], reverse=True)
    return [(mask, after) for mask, after, _ in found]
