"""What many clients see of DynamoDB on every engine, the one that runs bodies again included: linearizable, serializable."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import defaultdict
from typing import Any

import pytest

from dynamodb_calls import Calls
from linearizable import NEVER, UNKNOWN, Step, is_linearizable
from penstock.store.api import Store, StoreError
from penstock.wire.errors import AwsError
from serializable import ABORTED, DONE, IN_DOUBT, Transaction, anomalies

CLIENTS, TURNS = 5, 40
KEYS = ("a", "b", "c")


@pytest.fixture
async def ddb(store: Store) -> Calls:
    calls = Calls(store)
    await calls.table("tab")
    return calls


def at(key: str) -> dict[str, Any]:
    return {"TableName": "tab", "Key": {"pk": {"S": key}}}


async def do(ddb: Calls, kind: str, key: str, argument: Any) -> Any:
    """One operation on an item with a number."""
    if kind == "get":
        item = (await ddb("GetItem", **at(key))).get("Item")
        return None if item is None else int(item["n"]["N"])
    if kind == "delete":
        return await ddb("DeleteItem", **at(key)) and None
    if kind == "add":
        values = {":n": {"N": str(argument)}}
        reply = await ddb(
            "UpdateItem",
            **at(key),
            UpdateExpression="ADD n :n",
            ExpressionAttributeValues=values,
            ReturnValues="ALL_NEW",
        )
        return int(reply["Attributes"]["n"]["N"])
    expected, new = argument if kind == "swap" else (None, argument)
    item = {"pk": {"S": key}, "n": {"N": str(new)}}
    condition: dict[str, Any] = {}
    if kind == "swap":
        condition = {"ConditionExpression": "attribute_not_exists(pk)"}
        if expected is not None:
            values = {":e": {"N": str(expected)}}
            condition = {"ConditionExpression": "n = :e", "ExpressionAttributeValues": values}
    try:
        await ddb("PutItem", TableName="tab", Item=item, **condition)
    except AwsError as error:
        assert error.code == "ConditionalCheckFailedException"
        return False
    return True if kind == "swap" else None


async def test_items_are_linearizable(ddb: Calls) -> None:
    history: dict[str, list[Step]] = defaultdict(list)
    values = itertools.count(1000)

    async def client(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(TURNS):
            kind, key = rng.choice(["put", "delete", "get", "get", "add", "swap"]), rng.choice(KEYS)
            argument: Any = {"put": next(values), "add": rng.randrange(1, 5)}.get(kind)
            if kind == "swap":
                seen = [step.argument for step in history[key][-6:] if step.kind == "put"]
                argument = (rng.choice([None, *seen]), next(values))
            began = time.perf_counter()
            try:
                result, ended = await do(ddb, kind, key, argument), 0.0
                ended = time.perf_counter()
            except StoreError:
                result, ended = UNKNOWN, NEVER
            history[key].append(Step(kind, argument, result, began, ended))

    await asyncio.gather(*(client(seed) for seed in range(CLIENTS)))
    for steps in history.values():
        assert is_linearizable(steps), sorted(steps, key=lambda step: step.began)
    assert sum(step.result is not UNKNOWN for steps in history.values() for step in steps) > CLIENTS * TURNS / 2


def append(key: str, value: int) -> dict[str, Any]:
    values = {":new": {"L": [{"N": str(value)}]}, ":none": {"L": []}}
    expression = "SET v = list_append(if_not_exists(v, :none), :new)"
    return {"Update": {**at(key), "UpdateExpression": expression, "ExpressionAttributeValues": values}}


async def test_transactions_are_serializable(ddb: Calls) -> None:
    history: list[Transaction] = []
    values = itertools.count()

    async def turn(rng: random.Random, seen: Transaction) -> None:
        chosen = rng.sample(KEYS, rng.randrange(1, 4))
        if rng.random() < 0.5:
            found = await ddb("TransactGetItems", TransactItems=[{"Get": at(key)} for key in chosen])
            items = [each.get("Item") or {"v": {"L": []}} for each in found["Responses"]]
            lists = [tuple(int(value["N"]) for value in item["v"]["L"]) for item in items]
            seen.reads = dict(zip(chosen, lists, strict=True))
            return
        seen.appends = {key: next(values) for key in chosen}
        parts = [append(key, value) for key, value in seen.appends.items()]
        if rng.random() < 0.3:
            never = {**at("none"), "ConditionExpression": "attribute_exists(pk)"}
            parts.insert(rng.randrange(len(parts) + 1), {"ConditionCheck": never})
        await ddb("TransactWriteItems", TransactItems=parts)

    async def client(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(TURNS):
            seen = Transaction(time.perf_counter(), NEVER, IN_DOUBT)
            try:
                await turn(rng, seen)
                seen.outcome, seen.ended = DONE, time.perf_counter()
            except AwsError as error:
                assert error.code == "TransactionCanceledException"
                seen.outcome, seen.ended = ABORTED, time.perf_counter()
            except StoreError:
                seen.reads = {}
            history.append(seen)

    await asyncio.gather(*(client(seed) for seed in range(CLIENTS)))
    assert not anomalies(history)
    assert sum(each.outcome == DONE for each in history) > CLIENTS * TURNS / 3
