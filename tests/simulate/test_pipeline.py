"""The whole system under a seeded clock and a store that fails as stores may: puts, events, functions, items, counters.

Clients put, overwrite and delete objects and count in items, at keys of their own, through three lives of the system,
while the store conflicts, loses connections in the middle of commits, is slow, a node dies and the power goes. Every
put tells a function, which writes an item for that object and counts it, once, however often it is told.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import random
import zipfile
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

import msgspec
import pytest

from penstock.core.node import Node
from penstock.core.shared_clock import advance
from penstock.store.api import Conflict, EngineFailed, StoreError
from penstock.store.faulty import Faults
from penstock.wire.errors import AwsError
from s3_node import whole
from simulate.virtual_time import VirtualLoop, rerunnable
from simulate.world import ACCOUNT, REGION, World, ask, persist

LIVES = 3
CLIENTS = 4
LIMIT_S = 4 * 86400.0
ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:index"
SEEDS = [int(os.environ["PENSTOCK_SEED"])] if "PENSTOCK_SEED" in os.environ else list(range(20))
MORE_SEEDS = [] if "PENSTOCK_SEED" in os.environ else list(range(20, 500))


class Told(NamedTuple):
    """What the function is told of: an object and its ETag, which no other put has."""

    key: str
    etag: str


class Ledger:
    """What the clients know. objects, counters: by key, the values that may be there."""

    def __init__(self) -> None:
        self.objects: dict[str, set[bytes | None]] = {}
        self.counters: dict[str, set[int]] = {}
        self.acknowledged: set[Told] = set()
        self.tried: set[Told] = set()
        self.refused: set[Told] = set()


async def index(node: Node, payload: bytes) -> None:
    """The function: an item for the object and one more in the counter, both or neither, once for each object."""
    for record in json.loads(payload)["Records"]:
        what = record["s3"]["object"]
        name = f"{unquote_plus(what['key'])} {what['eTag']}"
        actions = [
            {"Put": {"TableName": "seen", "Item": {"pk": {"S": name}}, "ConditionExpression": "attribute_not_exists(pk)"}},
            {"Update": {
                "TableName": "seen", "Key": {"pk": {"S": "count"}}, "UpdateExpression": "ADD n :one",
                "ExpressionAttributeValues": {":one": {"N": "1"}},
            }},
        ]  # fmt: skip
        token = hashlib.md5(name.encode()).hexdigest()
        try:
            await persist(
                lambda actions=actions, token=token: ask(  # type: ignore[misc]
                    node, "dynamodb:TransactWriteItems", TransactItems=actions, ClientRequestToken=token
                )
            )
        except AwsError as error:
            if error.code != "TransactionCanceledException":
                raise


class Client:
    """Does things at its own keys, one after the other, and writes down what came of them."""

    def __init__(self, world: World, ledger: Ledger, name: str) -> None:
        self.world = world
        self.ledger = ledger
        self.name = name
        self.rng = random.Random(world.rng.getrandbits(64))
        self.n = 0

    async def work(self, steps: int) -> None:
        for _ in range(steps):
            kind = self.rng.choice([self.put, self.put, self.put, self.delete, self.count, self.look, self.create])
            try:
                await kind()
            except StoreError:
                if self.world.store.failed is not None:
                    return
            await asyncio.sleep(self.rng.uniform(0, 5))

    def _body(self) -> bytes:
        self.n += 1
        size = self.rng.choice([10, 1000, 70_000])
        return f"{self.name} {self.n} {self.rng.random()} ".encode() + b"." * size

    def _key(self) -> str:
        return f"{self.name}/{self.rng.randrange(5)}"

    async def put(self, **condition: Any) -> None:
        key, body = self._key(), self._body()
        told = Told(key, hashlib.md5(body).hexdigest())
        may_be = self.ledger.objects.setdefault(key, {None})
        self.ledger.tried.add(told)
        try:
            await self.world.call("s3:PutObject", Bucket="bucket", Key=key, Body=body, **condition)
        except (Conflict, AwsError) as error:
            if isinstance(error, AwsError):
                assert error.code == "PreconditionFailed"
            self.ledger.refused.add(told)
        except StoreError:
            may_be.add(body)
            raise
        else:
            may_be.clear()
            may_be.add(body)
            self.ledger.acknowledged.add(told)

    async def create(self) -> None:
        await self.put(IfNoneMatch="*")

    async def delete(self) -> None:
        key = self._key()
        may_be = self.ledger.objects.setdefault(key, {None})
        try:
            await self.world.call("s3:DeleteObject", Bucket="bucket", Key=key)
        except Conflict:
            pass
        except StoreError:
            may_be.add(None)
            raise
        else:
            may_be.clear()
            may_be.add(None)

    async def look(self) -> None:
        key = self._key()
        may_be = self.ledger.objects.setdefault(key, {None})
        try:
            found = await read(self.world, key)
        except Conflict:
            return
        assert found in may_be, key
        may_be.clear()
        may_be.add(found)

    async def count(self) -> None:
        """One more, under a token: tried again until it is known to have happened, it happens once."""
        key = f"{self.name}-{self.rng.randrange(3)}"
        may_be = self.ledger.counters.setdefault(key, {0})
        update = {
            "TableName": "counters", "Key": {"pk": {"S": key}}, "UpdateExpression": "ADD n :one",
            "ExpressionAttributeValues": {":one": {"N": "1"}},
        }  # fmt: skip
        token = f"{self.name}-{self.rng.getrandbits(64)}"
        after = {n + 1 for n in may_be}
        may_be |= after
        await persist(
            lambda: self.world.call(
                "dynamodb:TransactWriteItems", TransactItems=[{"Update": update}], ClientRequestToken=token
            )
        )
        may_be.clear()
        may_be |= after


async def read(world: World, key: str) -> bytes | None:
    try:
        return await whole((await world.call("s3:GetObject", Bucket="bucket", Key=key))["Body"])
    except AwsError as error:
        if error.code != "NoSuchKey":
            raise
        return None


async def set_up(world: World) -> None:
    await world.call("s3:CreateBucket", Bucket="bucket")
    for table in ("seen", "counters"):
        await world.call(
            "dynamodb:CreateTable", TableName=table, BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        )  # fmt: skip
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("index.py", "")
    await world.call(
        "lambda:CreateFunction", FunctionName="index", Runtime="python3.13", Handler="index.handler",
        Role=f"arn:aws:iam::{ACCOUNT}:role/index", Code={"ZipFile": zipped.getvalue()},
    )  # fmt: skip
    await world.call(
        "lambda:AddPermission", FunctionName="index", StatementId="s3", Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com", SourceArn="arn:aws:s3:::bucket", SourceAccount=ACCOUNT,
    )  # fmt: skip
    rules = [{"LambdaFunctionArn": ARN, "Events": ["s3:ObjectCreated:*"]}]
    await world.call(
        "s3:PutBucketNotificationConfiguration", Bucket="bucket",
        NotificationConfiguration={"LambdaFunctionConfigurations": rules},
    )  # fmt: skip


def faults(rng: random.Random) -> Faults:
    """A store in a bad mood, of one kind or another."""
    return Faults(
        retry=rng.choice([0, 0.1]), conflict=rng.choice([0, 0.02, 0.1]), unknown_commit=rng.choice([0, 0.05, 0.2]),
        delay_turns=rng.choice([0, 5, 30]),
    )  # fmt: skip


async def live(world: World, clients: list[Client]) -> None:
    """One life under load. A node dies in some; all lose power."""
    await world.begin(faults(world.rng), nodes=2)
    working = [asyncio.create_task(client.work(15)) for client in clients]
    await asyncio.sleep(world.rng.uniform(0, 30))
    if world.rng.random() < 0.5:
        await world.nodes[0].die()
    if world.rng.random() < 0.5:
        node, ahead_s = world.anyone().node, world.rng.choice([1.0, 61.0, 300.0])
        await persist(lambda: advance(node, ahead_s))
    await asyncio.sleep(world.rng.uniform(0, 30))
    await world.lose_power()
    for outcome in await asyncio.gather(*working, return_exceptions=True):
        if isinstance(outcome, BaseException) and not isinstance(outcome, EngineFailed):
            raise outcome


async def settle(world: World) -> None:
    """A quiet life, until every event has ended."""
    await world.begin(Faults(), nodes=2)
    while await world.waiting():
        await asyncio.sleep(1.0)


async def check(world: World, ledger: Ledger) -> None:
    for key, may_be in ledger.objects.items():
        assert await read(world, key) in may_be, f"{key} is not what its last writer left"
    for key, counts in ledger.counters.items():
        item = (await world.call("dynamodb:GetItem", TableName="counters", Key={"pk": {"S": key}})).get("Item")
        assert number(item) in counts, f"the counter {key} is {number(item)} and not {counts}"
    names, count = await seen(world)
    assert names >= {f"{told.key} {told.etag}" for told in ledger.acknowledged}, "an event was lost"
    assert names <= {f"{told.key} {told.etag}" for told in ledger.tried - ledger.refused}, "something never was"
    assert count == len(names), "a counter within a transaction is exact"
    assert await world.nodes[0].node.blobs.scrub() == []  # type: ignore[attr-defined]


async def seen(world: World) -> tuple[set[str], int]:
    names: set[str] = set()
    start: dict[str, Any] = {}
    count = 0
    while True:
        page = as_json(await world.call("dynamodb:Scan", TableName="seen", **start))
        for item in page["Items"]:
            if item["pk"]["S"] == "count":
                count = number(item)
            else:
                names.add(item["pk"]["S"])
        if "LastEvaluatedKey" not in page:
            return names, count
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def as_json(result: Any) -> Any:
    return json.loads(msgspec.json.encode(result))


def number(item: Any) -> int:
    return int(as_json(item)["n"]["N"]) if item else 0


async def simulate(world: World, ledger: Ledger) -> None:
    await world.begin(Faults(), nodes=1)
    await set_up(world)
    await world.lose_power()
    clients = [Client(world, ledger, f"client{i}") for i in range(CLIENTS)]
    for _ in range(LIVES):
        await live(world, clients)
    await settle(world)
    await check(world, ledger)
    await world.lose_power()


def run(seed: int, data: Path) -> None:
    """One simulation from beginning to end. Raises AssertionError with the seed."""
    with rerunnable(seed), VirtualLoop.running(LIMIT_S) as loop:
        loop.run_until_complete(simulate(World(seed, data, loop, index), Ledger()))


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_acknowledged_is_lost(seed: int, tmp_path: Path) -> None:
    run(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", MORE_SEEDS)
def test_nothing_acknowledged_is_lost_by_more_seeds(seed: int, tmp_path: Path) -> None:
    run(seed, tmp_path)
