"""The checkers of histories: what is right passes, what is wrong is told. Without this nobody knows that they look."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from linearizable import NEVER, UNKNOWN, Step, is_linearizable
from serializable import ABORTED, DONE, IN_DOUBT, Transaction, anomalies


def test_one_after_the_other() -> None:
    assert is_linearizable([
        Step("put", "a", None, 0, 1), Step("get", None, "a", 2, 3), Step("delete", None, None, 4, 5),
        Step("get", None, None, 6, 7), Step("add", 2, 2, 8, 9), Step("swap", (2, 7), True, 10, 11),
        Step("swap", (2, 8), False, 12, 13), Step("get", None, 7, 14, 15),
    ])  # fmt: skip


def test_a_stale_read_is_refused() -> None:
    assert not is_linearizable([
        Step("put", "a", None, 0, 1), Step("put", "b", None, 2, 3), Step("get", None, "a", 4, 5),
    ])  # fmt: skip


def test_reads_that_go_back_are_refused() -> None:
    """The write is under way all the time; once somebody has seen it, nobody may see what was before."""
    history = [Step("put", "a", None, 0, 10), Step("get", None, "a", 1, 2), Step("get", None, None, 3, 4)]
    assert not is_linearizable(history)
    assert is_linearizable([history[0], Step("get", None, None, 1, 2), Step("get", None, "a", 3, 4)])


def test_a_lost_update_is_refused() -> None:
    assert not is_linearizable([Step("add", 1, 1, 0, 5), Step("add", 1, 1, 0, 5)])
    assert is_linearizable([Step("add", 1, 2, 0, 5), Step("add", 1, 1, 0, 5)])


def test_two_winners_are_refused() -> None:
    assert not is_linearizable([Step("swap", (None, "a"), True, 0, 5), Step("swap", (None, "b"), True, 1, 6)])


def test_what_got_no_answer_may_have_happened_or_not() -> None:
    doubtful = Step("put", "a", UNKNOWN, 0, NEVER)
    assert is_linearizable([doubtful, Step("get", None, None, 1, 2), Step("get", None, "a", 3, 4)])
    assert is_linearizable([doubtful, Step("get", None, None, 1, 2)])
    assert not is_linearizable([doubtful, Step("get", None, "a", 1, 2), Step("get", None, None, 3, 4)])


@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(2, 5))
def test_what_really_happened_one_at_a_time_passes(rng: random.Random, clients: int) -> None:
    history = _happened(rng, clients, 24)
    assert is_linearizable(history)


def _happened(rng: random.Random, clients: int, length: int) -> list[Step]:
    """A history of clients whose operations overlap, each done at one instant."""
    state: Any = None
    free_at = [0.0] * clients
    history = []
    at = 0.0
    for _ in range(length):
        at += rng.random()
        client = rng.randrange(clients)
        at = max(at, free_at[client] + 0.001)
        began = rng.uniform(free_at[client], at)
        kind = rng.choice(["put", "get", "delete", "add", "swap"])
        argument: Any = {"put": rng.randrange(9), "add": 1, "swap": (rng.choice([None, 1, 2]), rng.randrange(9))}.get(
            kind
        )
        before = state
        _, state = Step(kind, argument, UNKNOWN, 0, 0).then(state)
        result = {"get": state, "add": state, "swap": kind == "swap" and argument[0] == before}.get(kind)
        free_at[client] = at + rng.random()
        if rng.random() < 0.1:
            history.append(Step(kind, argument, UNKNOWN, began, NEVER))
        else:
            history.append(Step(kind, argument, result, began, free_at[client]))
    return history


def test_serial_lists_pass() -> None:
    assert not anomalies([
        Transaction(0, 1, DONE, {"x": 1, "y": 2}), Transaction(2, 3, DONE, reads={"x": (1,), "y": (2,)}),
        Transaction(2, 5, DONE, {"x": 3}), Transaction(6, 7, DONE, reads={"x": (1, 3)}),
        Transaction(6, 9, IN_DOUBT, {"x": 4}),
    ])  # fmt: skip


def test_half_a_transaction_is_told() -> None:
    assert anomalies([
        Transaction(0, 9, DONE, {"x": 1, "y": 2}), Transaction(1, 2, DONE, reads={"x": (1,), "y": ()}),
        Transaction(10, 11, DONE, reads={"x": (1,), "y": (2,)}),
    ])  # fmt: skip


def test_long_forks_are_told() -> None:
    """Two readers that see two writers in different order."""
    assert anomalies([
        Transaction(0, 9, DONE, {"x": 1}), Transaction(0, 9, DONE, {"y": 2}),
        Transaction(1, 8, DONE, reads={"x": (1,), "y": ()}), Transaction(1, 8, DONE, reads={"x": (), "y": (2,)}),
        Transaction(10, 11, DONE, reads={"x": (1,), "y": (2,)}),
    ])  # fmt: skip


def test_stale_reads_are_told() -> None:
    assert anomalies([
        Transaction(0, 1, DONE, {"x": 1}), Transaction(2, 3, DONE, reads={"x": ()}),
        Transaction(4, 5, DONE, reads={"x": (1,)}),
    ])  # fmt: skip


def test_lost_twice_done_and_aborted_appends_are_told() -> None:
    lost = [
        Transaction(0, 1, DONE, {"x": 1}),
        Transaction(2, 3, DONE, {"x": 2}),
        Transaction(4, 5, DONE, reads={"x": (2,)}),
    ]
    assert anomalies([*lost, Transaction(6, 7, DONE, reads={"x": (1,)})])
    assert anomalies([Transaction(0, 1, DONE, {"x": 1}), Transaction(2, 3, DONE, reads={"x": (1, 1)})])
    assert anomalies([Transaction(0, 1, ABORTED, {"x": 1}), Transaction(2, 3, DONE, reads={"x": (1,)})])
    assert anomalies([Transaction(0, 1, DONE, {"x": 1}), Transaction(2, 3, DONE, reads={"x": ()})])


def test_write_skew_is_told() -> None:
    """Each read the list that the other appended to, without seeing it."""
    assert anomalies([
        Transaction(0, 9, DONE, {"x": 1}, {"y": ()}), Transaction(0, 9, DONE, {"y": 2}, {"x": ()}),
        Transaction(10, 11, DONE, reads={"x": (1,), "y": (2,)}),
    ])  # fmt: skip
