"""What many clients see, while the server is killed and comes back: linearizable by key, transactions serializable."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from linearizable import NEVER, UNKNOWN, Step, is_linearizable
from serializable import ABORTED, DONE, IN_DOUBT, Transaction, anomalies
from served import Served

TABLE = "history"
CLIENTS = 5
_REFUSED = {"ConditionalCheckFailedException", "TransactionCanceledException"}


def _make_table(server: Served) -> None:
    server.client("dynamodb").create_table(
        TableName=TABLE, BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
    )  # fmt: skip


class _Client(threading.Thread):
    """Takes turns until it is stopped, and reconnects when the server has gone."""

    def __init__(self, server: Served, number: int, turn: Callable[[Any, random.Random], None]) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.random = random.Random(number)
        self.turn = turn
        self.stop = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        client = self.server.client("dynamodb")
        while not self.stop.is_set():
            try:
                self.turn(client, self.random)
            except (BotoCoreError, ClientError):
                time.sleep(0.05)
                client = self.server.client("dynamodb")
            except BaseException as error:
                self.failure = error
                raise


def _let_them_work(
    server: Served, turn: Callable[[Any, random.Random], None], kills: int, between_s: float, enough: Callable[[], bool]
) -> None:
    """Work for a while, through so many kills, and then for as long as it takes to have seen enough."""
    clients = [_Client(server, number, turn) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for _ in range(kills):
        time.sleep(random.uniform(0.5, 1.0) * between_s)
        server.restart()
    time.sleep(between_s)
    give_up = time.monotonic() + 60
    while not enough() and time.monotonic() < give_up:
        time.sleep(0.1)
    for client in clients:
        client.stop.set()
    for client in clients:
        client.join(30)
        assert client.failure is None


class _Registers:
    """Operations on single items, and what was seen of them."""

    def __init__(self, keys: int) -> None:
        self.keys = [f"register{n}" for n in range(keys)]
        self.history: dict[str, list[Step]] = defaultdict(list)
        self.values = itertools.count(1000)
        self.lock = threading.Lock()

    def turn(self, client: Any, rng: random.Random) -> None:
        """One operation on some item."""
        kind = rng.choice(["put", "delete", "get", "get", "get", "add", "add", "swap", "swap"])
        key = rng.choice(self.keys)
        argument: Any = None
        if kind == "put":
            argument = next(self.values)
        elif kind == "add":
            argument = rng.randrange(1, 5)
        elif kind == "swap":
            seen = [step.argument for step in self.history[key][-8:] if step.kind == "put"]
            argument = (rng.choice([None, *seen]), next(self.values))
        began = time.monotonic()
        result, ended = UNKNOWN, NEVER
        try:
            result = self.do(client, kind, key, argument)
            ended = time.monotonic()
        finally:
            if ended != NEVER or kind != "get":
                with self.lock:
                    self.history[key].append(Step(kind, argument, result, began, ended))

    def do(self, client: Any, kind: str, key: str, argument: Any) -> Any:
        at = {"TableName": TABLE, "Key": {"pk": {"S": key}}}
        if kind == "get":
            return _number(client.get_item(**at, ConsistentRead=True).get("Item"))
        if kind == "put":
            return client.put_item(TableName=TABLE, Item=_item(key, argument)) and None
        if kind == "delete":
            return client.delete_item(**at) and None
        if kind == "add":
            values = {":n": {"N": str(argument)}}
            reply = client.update_item(
                **at, UpdateExpression="ADD n :n", ExpressionAttributeValues=values, ReturnValues="UPDATED_NEW"
            )
            return _number(reply["Attributes"])
        expected, new = argument
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if expected is not None:
            condition = {"ConditionExpression": "n = :e", "ExpressionAttributeValues": {":e": {"N": str(expected)}}}
        try:
            client.put_item(TableName=TABLE, Item=_item(key, new), **condition)
        except client.exceptions.ConditionalCheckFailedException:
            return False
        return True


def _item(key: str, n: int) -> dict[str, Any]:
    return {"pk": {"S": key}, "n": {"N": str(n)}}


def _number(item: dict[str, Any] | None) -> int | None:
    return None if item is None else int(item["n"]["N"])


class _Lists:
    """Transactions that append to lists and read them, and what was seen of them."""

    def __init__(self, keys: int) -> None:
        self.keys = [f"list{n}" for n in range(keys)]
        self.history: list[Transaction] = []
        self.values = itertools.count()

    def turn(self, client: Any, rng: random.Random) -> None:
        """One transaction on some of the lists."""
        chosen = rng.sample(self.keys, rng.randrange(1, 4))
        seen = Transaction(time.monotonic(), NEVER, IN_DOUBT)
        act = rng.choice([self.append, self.append, self.append_and_abort, self.read, self.read, self.swap])
        try:
            act(client, rng, chosen, seen)
            seen.outcome = DONE
        except ClientError as error:
            seen.outcome = ABORTED if error.response["Error"]["Code"] in _REFUSED else IN_DOUBT
            if seen.outcome == IN_DOUBT:
                raise
        finally:
            seen.ended = NEVER if seen.outcome == IN_DOUBT else time.monotonic()
            if seen.outcome != DONE:
                seen.reads.clear()
            self.history.append(seen)

    def appended(self) -> int:
        """How many transactions have appended something."""
        return sum(each.outcome == DONE and bool(each.appends) for each in list(self.history))

    def aborted(self) -> int:
        """How many transactions were refused."""
        return sum(each.outcome == ABORTED for each in list(self.history))

    def append(self, client: Any, rng: random.Random, chosen: list[str], seen: Transaction) -> None:
        seen.appends = {key: next(self.values) for key in chosen}
        client.transact_write_items(TransactItems=[_append(key, value) for key, value in seen.appends.items()])

    def append_and_abort(self, client: Any, rng: random.Random, chosen: list[str], seen: Transaction) -> None:
        seen.appends = {key: next(self.values) for key in chosen}
        check = {"TableName": TABLE, "Key": {"pk": {"S": "none"}}, "ConditionExpression": "attribute_exists(pk)"}
        parts = [*(_append(key, value) for key, value in seen.appends.items()), {"ConditionCheck": check}]
        rng.shuffle(parts)
        client.transact_write_items(TransactItems=parts)

    def read(self, client: Any, rng: random.Random, chosen: list[str], seen: Transaction) -> None:
        gets = [{"Get": {"TableName": TABLE, "Key": {"pk": {"S": key}}}} for key in chosen]
        replies = client.transact_get_items(TransactItems=gets)["Responses"]
        seen.reads = {key: _values(reply.get("Item")) for key, reply in zip(chosen, replies, strict=True)}

    def swap(self, client: Any, rng: random.Random, chosen: list[str], seen: Transaction) -> None:
        """Read all, then append to one of them if none has changed: a transaction that reads and writes."""
        before = time.monotonic()
        self.read(client, rng, chosen, seen)
        self.history.append(Transaction(seen.began, time.monotonic(), DONE, reads=dict(seen.reads)))
        seen.began = before
        parts = []
        for key in chosen[1:]:
            parts.append({"ConditionCheck": {"TableName": TABLE, "Key": {"pk": {"S": key}}, **_same(seen.reads[key])}})
        seen.appends = {chosen[0]: next(self.values)}
        part = _append(chosen[0], seen.appends[chosen[0]])
        same = _same(seen.reads[chosen[0]])
        part["Update"]["ConditionExpression"] = same["ConditionExpression"]
        part["Update"]["ExpressionAttributeValues"].update(same.get("ExpressionAttributeValues", {}))
        client.transact_write_items(TransactItems=[part, *parts])


def _append(key: str, value: int) -> dict[str, Any]:
    values = {":new": {"L": [{"N": str(value)}]}, ":none": {"L": []}}
    return {
        "Update": {
            "TableName": TABLE, "Key": {"pk": {"S": key}}, "ExpressionAttributeValues": values,
            "UpdateExpression": "SET v = list_append(if_not_exists(v, :none), :new)",
        }
    }  # fmt: skip


def _same(values: tuple[int, ...]) -> dict[str, Any]:
    if not values:
        return {"ConditionExpression": "attribute_not_exists(v)"}
    listed = {"L": [{"N": str(value)} for value in values]}
    return {"ConditionExpression": "v = :same", "ExpressionAttributeValues": {":same": listed}}


def _values(item: dict[str, Any] | None) -> tuple[int, ...]:
    return tuple(int(value["N"]) for value in item["v"]["L"]) if item else ()


@pytest.mark.parametrize("kills", [0, 3])
def test_items_are_linearizable(own_server: Served, kills: int) -> None:
    _make_table(own_server)
    registers = _Registers(6)

    def done() -> list[Step]:
        with registers.lock:
            return [step for steps in registers.history.values() for step in steps if step.result is not UNKNOWN]

    def enough() -> bool:
        return len(done()) > 100 and len({step.kind for step in done()}) == 5

    _let_them_work(own_server, registers.turn, kills, 2.0 if kills == 0 else 0.8, enough)
    client = own_server.client("dynamodb")
    for key, steps in registers.history.items():
        began = time.monotonic()
        last = registers.do(client, "get", key, None)
        steps.append(Step("get", None, last, began, time.monotonic()))
        assert is_linearizable(steps), sorted(steps, key=lambda step: step.began)
    assert len(done()) > 100
    assert {step.kind for step in done()} == {"put", "delete", "get", "add", "swap"}
    # The checker looks at these very histories: a read of what never was is noticed.
    broken = [*steps, Step("get", None, -1, time.monotonic(), time.monotonic())]
    assert not is_linearizable(broken)


@pytest.mark.parametrize("kills", [0, 3])
def test_transactions_are_serializable(own_server: Served, kills: int) -> None:
    _make_table(own_server)
    lists = _Lists(5)

    def enough() -> bool:
        return lists.appended() > 20 and lists.aborted() > 5

    _let_them_work(own_server, lists.turn, kills, 2.0 if kills == 0 else 0.8, enough)
    final = Transaction(time.monotonic(), NEVER, DONE)
    lists.read(own_server.client("dynamodb"), random.Random(), lists.keys, final)
    final.ended = time.monotonic()
    history = [*lists.history, final]
    assert not anomalies(history)
    assert lists.appended() > 20 and lists.aborted() > 5
    # The checker looks at this very history: an append that is in nobody's list is noticed.
    key = lists.keys[0]
    lost = Transaction(final.began - 9, final.began - 8, DONE, {key: -1})
    assert anomalies([*history, lost])
