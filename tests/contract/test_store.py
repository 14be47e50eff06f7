"""What every engine promises (`penstock.store.api`), on every engine."""

from __future__ import annotations

import asyncio

import pytest

from penstock.store.api import Conflict, EngineFailed, Store, StoreError, Transaction, TransactionTooLarge
from penstock.store.tuples import pack, range_of

ROWS = {b"k%02d" % i: b"v%02d" % i for i in range(20)}


async def put(store: Store, rows: dict[bytes, bytes]) -> None:
    def body(txn: Transaction) -> None:
        for key, value in rows.items():
            txn.set(key, value)

    await store.transact(body)


async def everything(store: Store) -> dict[bytes, bytes]:
    return await store.transact(lambda txn: dict(txn.scan(b"", b"\xff")), read_only=True)


async def test_set_get_clear(store: Store) -> None:
    await put(store, {b"a": b"1", b"": b"the empty key", b"\0\xff": b""})
    assert await everything(store) == {b"": b"the empty key", b"\0\xff": b"", b"a": b"1"}
    assert await store.transact(lambda txn: txn.get(b"a")) == b"1"
    assert await store.transact(lambda txn: txn.get(b"none"), read_only=True) is None
    await store.transact(lambda txn: txn.clear(b"a"))
    await store.transact(lambda txn: txn.clear(b"was never there"))
    assert await store.transact(lambda txn: txn.get(b"a")) is None


async def test_the_result_and_the_exception_of_a_body_pass_on(store: Store) -> None:
    result = object()
    assert await store.transact(lambda txn: result) is result

    class Own(Exception):
        pass

    def body(txn: Transaction) -> None:
        txn.set(b"a", b"1")
        txn.append(b"log", b"x")
        txn.clear(b"k", b"l")
        raise Own

    await put(store, ROWS)
    with pytest.raises(Own):
        await store.transact(body)
    assert await everything(store) == ROWS, "an aborted body leaves nothing"


async def test_scan(store: Store) -> None:
    await put(store, ROWS)

    def body(txn: Transaction) -> None:
        keys = sorted(ROWS)
        assert list(txn.scan(b"k", b"l")) == [(k, ROWS[k]) for k in keys]
        assert [k for k, _ in txn.scan(b"k", b"l", reverse=True)] == keys[::-1]
        assert [k for k, _ in txn.scan(b"k03", b"k07")] == keys[3:7], "begin is in, end is not"
        assert [k for k, _ in txn.scan(b"k03", b"k07", reverse=True)] == keys[3:7][::-1]
        assert [k for k, _ in txn.scan(b"k03", b"k07", 2)] == keys[3:5]
        assert [k for k, _ in txn.scan(b"k03", b"k07", 2, reverse=True)] == [keys[6], keys[5]]
        assert [k for k, _ in txn.scan(b"k03\0", b"k07\0")] == keys[4:8]
        assert list(txn.scan(b"k07", b"k03")) == list(txn.scan(b"x", b"y")) == list(txn.scan(b"k03", b"k03")) == []
        assert list(txn.scan(b"l", b"k", reverse=True)) == []

    await store.transact(body)
    await store.transact(body, read_only=True)


async def test_a_transaction_sees_its_own_writes(store: Store) -> None:
    await put(store, ROWS)

    def body(txn: Transaction) -> None:
        txn.set(b"k05", b"new")
        txn.set(b"k055", b"between")
        txn.clear(b"k06")
        txn.clear(b"k10", b"k15")
        txn.set(b"k12", b"back")
        txn.set(b"k99", b"last")
        txn.set(b"a", b"first")
        txn.add(b"n", 3)
        txn.add(b"n", -5)
        model = dict(ROWS)
        model |= {b"k05": b"new", b"k055": b"between", b"k99": b"last", b"a": b"first"}
        for gone in (6, 10, 11, 13, 14):
            del model[b"k%02d" % gone]
        model[b"k12"] = b"back"
        model[b"n"] = (-2).to_bytes(8, "little", signed=True)
        for key in {*ROWS, *model}:
            assert txn.get(key) == model.get(key)
        ordered = sorted(model.items())
        assert list(txn.scan(b"", b"\xff")) == ordered
        assert list(txn.scan(b"", b"\xff", reverse=True)) == ordered[::-1]
        for limit in range(1, 25):
            assert list(txn.scan(b"", b"\xff", limit)) == ordered[:limit]
            assert list(txn.scan(b"", b"\xff", limit, reverse=True)) == ordered[::-1][:limit]
        assert [k for k, _ in txn.scan(b"k05", b"k07")] == [b"k05", b"k055"]
        assert [k for k, _ in txn.scan(b"k10", b"k13", reverse=True)] == [b"k12"]
        txn.clear(b"", b"\xff")
        assert list(txn.scan(b"", b"\xff")) == []
        assert txn.get(b"k05") is None and txn.get(b"n") is None
        txn.add(b"n", 7)
        txn.set(b"only", b"this")

    await store.transact(body)
    assert await everything(store) == {b"n": b"\x07" + b"\0" * 7, b"only": b"this"}


@pytest.mark.parametrize("n", [3, 2000])
async def test_clearing_a_range(store: Store, n: int) -> None:
    """Few keys and many, which an engine may treat differently."""
    rows = {b"r%05d" % i: b"x" for i in range(n)}
    await put(store, rows | {b"q": b"", b"s": b""})

    def body(txn: Transaction) -> None:
        txn.set(b"r00001x", b"own")
        txn.clear(b"r", b"r\xff")
        assert list(txn.scan(b"", b"\xff")) == [(b"q", b""), (b"s", b"")]
        assert txn.get(b"r00001") is None and txn.get(b"r00001x") is None
        txn.set(b"r00002", b"again")

    await store.transact(body)
    assert await everything(store) == {b"q": b"", b"r00002": b"again", b"s": b""}
    await put(store, {b"r00001": b"later"})
    assert await store.transact(lambda txn: txn.get(b"r00001")) == b"later"


async def test_what_is_known_is_true_or_nothing(store: Store) -> None:
    for value in (b"1", b"2", None, b"3"):
        await store.transact(lambda txn, v=value: txn.clear(b"k") if v is None else txn.set(b"k", v))
        assert store.known(b"k") in (None, value)
        assert await store.transact(lambda txn: txn.get_often(b"k"), read_only=True) == value
        assert store.known(b"k") in (None, value)


async def test_read_only_refuses_writes(store: Store) -> None:
    writes = [
        lambda txn: txn.set(b"a", b""),
        lambda txn: txn.clear(b"a"),
        lambda txn: txn.clear(b"a", b"b"),
        lambda txn: txn.add(b"a", 1),
        lambda txn: txn.append(b"a", b""),
    ]
    for write in writes:
        with pytest.raises(StoreError, match="read-only"):
            await store.transact(write, read_only=True)
    assert await everything(store) == {}


async def test_use_after_the_body_is_refused(store: Store) -> None:
    await put(store, ROWS)
    escaped = []

    def body(txn: Transaction) -> None:
        rows = txn.scan(b"", b"\xff")
        next(rows)
        escaped.append((txn, rows, txn.scan(b"", b"\xff")))

    await store.transact(body)
    txn, begun, fresh = escaped[0]
    for use in (
        lambda: txn.get(b"a"),
        lambda: txn.set(b"a", b""),
        lambda: txn.clear(b"a"),
        lambda: txn.add(b"a", 1),
        lambda: txn.append(b"a", b""),
        lambda: txn.scan(b"", b"\xff"),
        lambda: next(begun),
        lambda: next(fresh),
    ):
        with pytest.raises(StoreError, match="after its body"):
            use()


async def test_limits(store: Store) -> None:
    limits = store.limits
    most = limits.transaction_bytes // limits.value_bytes
    await store.transact(lambda txn: txn.set(b"k" * limits.key_bytes, b"v" * limits.value_bytes))
    for write in (
        lambda txn: txn.set(b"k" * (limits.key_bytes + 1), b""),
        lambda txn: txn.set(b"k", b"v" * (limits.value_bytes + 1)),
        lambda txn: txn.append(b"k" * (limits.key_bytes - 11), b""),
        lambda txn: txn.append(b"k", b"v" * (limits.value_bytes + 1)),
        lambda txn: txn.add(b"k" * (limits.key_bytes + 1), 1),
        lambda txn: [txn.set(b"%d" % i, b"v" * limits.value_bytes) for i in range(most + 1)],
        lambda txn: [txn.append(b"k", b"") for _ in range(65537)],
    ):
        with pytest.raises(TransactionTooLarge):
            await store.transact(write)
    assert list(await everything(store)) == [b"k" * limits.key_bytes]
    await store.transact(lambda txn: [txn.set(b"%d" % i, b"v" * limits.value_bytes) for i in range(most - 1)])


async def test_the_engines_own_keys_are_out_of_reach(store: Store) -> None:
    await store.transact(lambda txn: txn.append(b"log", b"x"))
    assert len(await everything(store)) == 1
    assert await store.transact(lambda txn: list(txn.scan(b"\xfe", b"\xff\xff\xff"))) == []
    for use in (
        lambda txn: txn.get(b"\xff"),
        lambda txn: txn.set(b"\xffx", b""),
        lambda txn: txn.clear(b"\xffx"),
        lambda txn: txn.add(b"\xff", 1),
        lambda txn: txn.append(b"\xff", b""),
    ):
        with pytest.raises(StoreError, match="engine's own"):
            await store.transact(use)
    await store.transact(lambda txn: txn.clear(b"", b"\xff\xff\xff"))
    before = await store.transact(lambda txn: txn.append(b"log", b"x"))
    await store.transact(lambda txn: txn.clear(b"", b"\xff\xff\xff"))
    after = await store.transact(lambda txn: txn.append(b"log", b"x"))
    assert after.value > before.value, "clearing everything does not turn positions back"


async def test_only_bytes_are_stored(store: Store) -> None:
    for write in (lambda txn: txn.set("a", b""), lambda txn: txn.set(b"a", "b"), lambda txn: txn.set(b"a", None)):
        with pytest.raises(TypeError):
            await store.transact(write)
    await put(store, {b"still": b"works"})
    assert await everything(store) == {b"still": b"works"}


async def test_adding_to_something_else_is_refused(store: Store) -> None:
    await put(store, {b"a": b"abc"})
    with pytest.raises(StoreError, match="not a counter"):
        await store.transact(lambda txn: txn.add(b"a", 1))
    assert await everything(store) == {b"a": b"abc"}


async def test_counters_wrap_around(store: Store) -> None:
    await store.transact(lambda txn: txn.add(b"n", 2**63 - 1))
    await store.transact(lambda txn: txn.add(b"n", 1))
    value = await store.transact(lambda txn: txn.get(b"n"))
    assert value is not None and int.from_bytes(value, "little", signed=True) == -(2**63)


async def test_no_lost_update(store: Store) -> None:
    """Read, then write what was read plus one, from many tasks at once."""

    def body(txn: Transaction) -> None:
        n = int(txn.get(b"n") or b"0")
        txn.set(b"n", b"%d" % (n + 1))

    await hammer(store, body, tasks=8, times=10)
    assert await store.transact(lambda txn: txn.get(b"n")) == b"80"


async def hammer(store: Store, body: object, *, tasks: int, times: int) -> None:
    """Run `body` tasks x times; a conflict past the engine's own retries is retried, as a caller would."""

    async def one() -> None:
        for _ in range(times):
            while True:
                try:
                    await store.transact(body)  # type: ignore[arg-type]
                    break
                except Conflict:
                    continue

    await asyncio.gather(*(one() for _ in range(tasks)))


async def test_add_commutes(store: Store) -> None:
    """Without a single Conflict, however many add to one counter."""

    def body(txn: Transaction) -> None:
        txn.add(b"hot", 1)
        txn.add(b"cold", -2)

    async def one() -> None:
        for _ in range(10):
            await store.transact(body)

    await asyncio.gather(*(one() for _ in range(12)))
    rows = await everything(store)
    assert int.from_bytes(rows[b"hot"], "little", signed=True) == 120
    assert int.from_bytes(rows[b"cold"], "little", signed=True) == -240


async def test_no_phantoms(store: Store) -> None:
    """Each inserts only while the range has fewer than 5 rows: there are never 6."""
    order = iter(range(10**6))

    def body(txn: Transaction) -> bool:
        if len(list(txn.scan(*range_of(("seat",))))) >= 5:
            return False
        txn.set(pack(("seat", next(order))), b"")
        return True

    await hammer(store, body, tasks=10, times=2)
    assert len(await everything(store)) == 5


async def test_no_phantoms_through_the_gap_beyond_the_last(store: Store) -> None:
    """ "The largest number plus one", by a reverse scan that stops at the first."""

    def body(txn: Transaction) -> None:
        last = next((int(k[1:]) for k, _ in txn.scan(b"s", b"t", 1, reverse=True)), 0)
        txn.set(b"s%06d" % (last + 1), b"")

    await hammer(store, body, tasks=6, times=6)
    assert list(await everything(store)) == [b"s%06d" % i for i in range(1, 37)]


async def test_write_skew(store: Store) -> None:
    """Two read both and each clears one: one of the two must see the other's."""
    await put(store, {b"on-call/a": b"", b"on-call/b": b""})

    def leave(who: bytes) -> object:
        def body(txn: Transaction) -> None:
            if len(list(txn.scan(b"on-call/", b"on-call0"))) > 1:
                txn.clear(b"on-call/" + who)

        return body

    await asyncio.gather(*(hammer(store, leave(w), tasks=2, times=3) for w in (b"a", b"b")))
    assert len(await everything(store)) == 1


async def test_what_a_body_raises_rests_on_a_consistent_view(store: Store) -> None:
    """Money moves between accounts; every total is right, also one that is raised and not returned."""
    await put(store, {b"acc/%d" % i: b"100" for i in range(6)})

    class Total(Exception):
        pass

    def move(a: int, b: int) -> object:
        def body(txn: Transaction) -> None:
            for account, change in ((a, -10), (b, 10)):
                key = b"acc/%d" % account
                txn.set(key, b"%d" % (int(txn.get(key) or b"") + change))

        return body

    def total(txn: Transaction) -> None:
        raise Total(sum(int(value) for _, value in txn.scan(b"acc/", b"acc0")))

    async def audit() -> None:
        for i in range(15):
            with pytest.raises(Total, match=r"^600$"):
                await store.transact(total, read_only=bool(i % 2))

    moves = (hammer(store, move(i, (i + 1 + j) % 6), tasks=1, times=4) for i in range(6) for j in range(2))
    await asyncio.gather(*moves, audit(), audit())
    rows = await everything(store)
    assert sum(map(int, rows.values())) == 600


async def test_aba(store: Store) -> None:
    """A value that goes and comes back between two reads of one body is never seen half-way."""
    await put(store, {b"x": b"A", b"y": b"A"})
    torn: list[object] = []

    def flip(txn: Transaction) -> None:
        new = b"B" if txn.get(b"x") == b"A" else b"A"
        txn.set(b"x", new)
        txn.set(b"y", new)

    def look(txn: Transaction) -> None:
        if (x := txn.get(b"x")) != (y := txn.get(b"y")) or txn.get(b"x") != x:
            torn.append((x, y))

    async def looking() -> None:
        for i in range(30):
            await store.transact(look, read_only=bool(i % 2))

    await asyncio.gather(hammer(store, flip, tasks=3, times=10), looking(), looking())
    assert torn == []


async def test_append_order_is_commit_order(store: Store) -> None:
    """Each transaction reads the log and appends what it saw as the last: every record names its predecessor."""

    def body(txn: Transaction) -> object:
        last = next((k for k, _ in txn.scan(b"log/", b"log0", 1, reverse=True)), b"none")
        return txn.append(b"log/", last)

    await hammer(store, body, tasks=5, times=6)
    rows = list((await everything(store)).items())
    assert len(rows) == 30
    before = b"none"
    for key, value in rows:
        assert value == before
        before = key


async def test_blind_appends_never_appear_behind_a_reader(store: Store) -> None:
    """A cursor that remembers the last position it saw misses nothing, though appends do not conflict."""
    done = False
    seen: list[bytes] = []

    async def read() -> None:
        cursor = b"log/"
        while True:
            finished = done
            rows = await store.transact(lambda txn, c=cursor: list(txn.scan(c + b"\0", b"log0")), read_only=True)
            seen.extend(value for _, value in rows)
            if rows:
                cursor = rows[-1][0]
            elif finished:
                return
            await asyncio.sleep(0.001)

    reader = asyncio.create_task(read())
    written: dict[bytes, bytes] = {}

    async def write(who: int) -> None:
        for i in range(10):
            record = b"%d-%d" % (who, i)
            stamps = await store.transact(lambda txn, r=record: [txn.append(b"log/", r), txn.append(b"log/", r + b"'")])
            assert stamps[0].value < stamps[1].value and len(stamps[0].value) == 12
            assert stamps[0].value[:10] == stamps[1].value[:10]
            written[stamps[0].value] = record
            written[stamps[1].value] = record + b"'"

    await asyncio.gather(*(write(i) for i in range(8)))
    done = True
    await asyncio.wait_for(reader, 20)
    assert seen == [written[position] for position in sorted(written)]


async def test_versionstamps(store: Store) -> None:
    def body(txn: Transaction) -> object:
        stamp = txn.append(b"p/", b"x")
        assert list(txn.scan(b"p/", b"p0")) == [], "not visible to this transaction's own reads"
        with pytest.raises(StoreError, match="only after"):
            _ = stamp.value
        return stamp

    stamp = await store.transact(body)
    assert await everything(store) == {b"p/" + stamp.value: b"x"}  # type: ignore[attr-defined]


async def test_watch(store: Store) -> None:
    await asyncio.wait_for(store.watch(b"quiet", 0.01), 5)

    async def waits(key: bytes) -> None:
        await asyncio.wait_for(store.watch(key, 30), 10)

    for change in (
        lambda txn: txn.set(b"w", b"1"),
        lambda txn: txn.add(b"w2", 1),
        lambda txn: txn.clear(b"w"),
        lambda txn: txn.clear(b"v", b"x"),
    ):
        watchers = [asyncio.create_task(waits(b"w")) for _ in range(3)]
        if change is not None:
            await asyncio.sleep(0.05)
            await store.transact(change)
            await store.transact(lambda txn: txn.set(b"w", b"again"))
        await asyncio.gather(*watchers)


async def test_after_close(store: Store) -> None:
    await put(store, ROWS)
    await store.close()
    await store.close()
    with pytest.raises(EngineFailed):
        await store.transact(lambda txn: txn.get(b"a"))


async def test_long_keys(store: Store) -> None:
    """Keys up to the limit are in order, also those that differ only past what an engine's index may hold."""
    heads = [b"p" * n for n in (2399, 2400, 2401, 2500)]
    keys = sorted({*heads, *(h + t for h in heads for t in (b"", b"\0", b"a", b"b" * 7000, b"\xff\xff", b"q"))})
    await put(store, {key: key[-20:] for key in keys} | {b"o": b"", b"q": b""})

    def body(txn: Transaction) -> None:
        assert [k for k, _ in txn.scan(b"p", b"q")] == keys
        assert [k for k, _ in txn.scan(b"p", b"q", reverse=True)] == keys[::-1]
        for i, key in enumerate(keys):
            assert txn.get(key) == key[-20:]
            assert [k for k, _ in txn.scan(key, b"q", 3)] == keys[i : i + 3]
            assert [k for k, _ in txn.scan(b"p", key, 3, reverse=True)] == keys[:i][::-1][:3]
            assert [k for k, _ in txn.scan(key, keys[min(i + 2, len(keys) - 1)])] == keys[i : min(i + 2, len(keys) - 1)]
        txn.clear(keys[5], keys[9])
        txn.clear(keys[11])
        left = keys[:5] + keys[9:11] + keys[12:]
        assert [k for k, _ in txn.scan(b"p", b"q")] == left

    await store.transact(body)
    left = [b"o", *keys[:5], *keys[9:11], *keys[12:], b"q"]
    assert list(await everything(store)) == left
    stamp = await store.transact(lambda txn: txn.append(heads[-1], b"appended"))
    assert await store.transact(lambda txn: txn.get(heads[-1] + stamp.value)) == b"appended"
