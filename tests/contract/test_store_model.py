"""Every engine against a dict, by a machine that also reopens the store: single transactions of many steps."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from penstock.store.api import Store, Transaction
from penstock.store.faulty import Faults, FaultyStore
from penstock.store.memory import MemoryStore
from penstock.store.open import open_store
from penstock.store.rocks import RocksStore
from postgres import Cluster

keys = st.one_of(
    st.sampled_from([b"", b"\0", b"a", b"a\0", b"a\xff", b"b", b"\xfe\xff", b"l" * 2400, b"l" * 2401, b"l" * 2500]),
    st.binary(max_size=3).filter(lambda k: k < b"\xff"),
)
values = st.binary(max_size=12)
counters = st.sampled_from([b"counter/1", b"counter/2"])
deltas = st.integers(-(2**63), 2**63 - 1)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("get"), keys),
        st.tuples(st.just("scan"), keys, keys | st.just(b"\xff\xff"), st.integers(0, 5), st.booleans()),
        st.tuples(st.just("set"), keys, values),
        st.tuples(st.just("clear"), keys),
        st.tuples(st.just("clear_range"), keys, keys | st.just(b"\xff")),
        st.tuples(st.just("add"), counters, deltas),
        st.tuples(st.just("append"), st.sampled_from([b"a", b"log/"]), values),
    ),
    max_size=12,
)


class Abort(Exception):
    """Ends a body on purpose."""


class StoreMachine(RuleBasedStateMachine):
    """The model is a dict of what is committed; appends are checked to grow."""

    opener: ClassVar[Callable[[Path], Coroutine[Any, Any, Store]]]
    keeps: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.path = Path(tempfile.mkdtemp())
        self.model: dict[bytes, bytes] = {}
        self.last_stamp = b""

    @initialize()
    def open(self) -> None:
        self.store = self.runner.run(type(self).opener(self.path))
        # A server's database outlives the machine's example.
        self.runner.run(self.store.transact(lambda txn: txn.clear(b"", b"\xff")))

    def teardown(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()
        shutil.rmtree(self.path, ignore_errors=True)

    @rule(steps=steps, end=st.sampled_from(["commit", "commit", "commit", "abort"]))
    def transaction(self, steps: list[tuple[Any, ...]], end: str) -> None:
        outcome: list[Any] = []

        def body(txn: Transaction) -> None:
            outcome[:] = self.carry_out(txn, steps)
            if end == "abort":
                raise Abort

        try:
            self.runner.run(self.store.transact(body))
        except Abort:
            return
        self.model, appended = outcome
        for prefix, value, stamp in appended:
            assert stamp.value > self.last_stamp
            self.last_stamp = stamp.value
            self.model[prefix + stamp.value] = value

    def carry_out(self, txn: Transaction, steps: list[tuple[Any, ...]]) -> list[Any]:
        """Do the steps to the transaction and to a copy of the model alike."""
        model = dict(self.model)
        appended = []
        for name, *arguments in steps:
            match name:
                case "get":
                    assert txn.get(arguments[0]) == model.get(arguments[0])
                case "scan":
                    begin, end, limit, reverse = arguments
                    expected = sorted(((k, v) for k, v in model.items() if begin <= k < end), reverse=reverse)
                    assert list(txn.scan(begin, end, limit, reverse)) == (expected[:limit] if limit else expected)
                case "set":
                    txn.set(*arguments)
                    model[arguments[0]] = arguments[1]
                case "clear":
                    txn.clear(arguments[0])
                    model.pop(arguments[0], None)
                case "clear_range":
                    begin, end = arguments
                    txn.clear(begin, end)
                    model = {k: v for k, v in model.items() if not begin <= k < end}
                case "add":
                    key, n = arguments
                    txn.add(key, n)
                    total = int.from_bytes(model.get(key, b""), "little") + n
                    model[key] = (total % 2**64).to_bytes(8, "little")
                case _:
                    appended.append((*arguments, txn.append(*arguments)))
        return [model, appended]

    @rule()
    def everything_is_as_it_should_be(self) -> None:
        rows = self.runner.run(self.store.transact(lambda txn: list(txn.scan(b"", b"\xff")), read_only=True))
        assert rows == sorted(self.model.items())

    @rule()
    def reopen(self) -> None:
        if self.keeps:
            self.runner.run(self.store.close())
            self.store = self.runner.run(type(self).opener(self.path))
        self.everything_is_as_it_should_be()


def check(opener: Callable[[Path], Coroutine[Any, Any, Store]], keeps: bool, examples: int) -> None:
    class Machine(StoreMachine):
        pass

    Machine.opener = staticmethod(opener)  # type: ignore[assignment]
    Machine.keeps = keeps
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        ),
    )


def test_memory() -> None:
    async def opener(path: Path) -> Store:
        return MemoryStore()

    check(opener, False, 100)


def test_faulty() -> None:
    async def opener(path: Path) -> Store:
        return FaultyStore(MemoryStore(), 3, Faults(retry=0.3, delay_turns=2))

    check(opener, False, 30)


def test_rocks() -> None:
    async def opener(path: Path) -> Store:
        return await open_store("", path)

    check(opener, True, 20)


def test_rocks_with_a_hint_for_every_scan() -> None:
    async def opener(path: Path) -> Store:
        store = await open_store("", path)
        assert isinstance(store, RocksStore)
        store.hints.slow_s = -1
        return store

    check(opener, True, 20)


@pytest.mark.timeout(240)
def test_postgres(postgres_cluster: Cluster) -> None:
    url = postgres_cluster.create_database()

    async def opener(path: Path) -> Store:
        return await open_store(url, path)

    check(opener, True, 15)
