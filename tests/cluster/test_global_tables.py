"""Two nodes on one PostgreSQL carry a global table's writes, both of all regions' tables: all regions end up the same."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dynamodb_calls import Calls
from penstock.services.dynamodb import jobs, replication
from penstock.store.open import open_store
from postgres import start_postgres

REGIONS = ("us-east-1", "eu-west-1", "ap-northeast-1")


class Nodes:
    """DynamoDB on two nodes with their workers."""

    def __init__(self, stores: list[Any]) -> None:
        self.calls = [Calls(store) for store in stores]

    def at(self, node: int, region: str) -> Calls:
        call = Calls(self.calls[node].node.store, region=region)
        call.node = self.calls[node].node
        return call

    async def items(self, region: str) -> dict[str, str]:
        found = await self.at(0, region)("Scan", TableName="tab")
        return {each["pk"]["S"]: each["v"]["S"] for each in found["Items"]}

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(work(call.node)) for call in self.calls for work in (jobs.work, replication.work)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended


async def until(done: Any) -> None:
    async with asyncio.timeout(30):
        while not await done():
            await asyncio.sleep(0.05)


@pytest.mark.serial
@pytest.mark.timeout(120)
def test_regions_agree_on_two_nodes(tmp_path: Path) -> None:
    async def body(url: str) -> None:
        stores = [await open_store(url, tmp_path) for _ in range(2)]
        nodes = Nodes(stores)
        async with nodes.working():
            first = nodes.at(0, REGIONS[0])
            await first.table()
            for n in range(30):
                await first("PutItem", TableName="tab", Item={"pk": {"S": f"old{n}"}, "v": {"S": "x"}})
            updates = [{"Create": {"RegionName": region}} for region in REGIONS[1:]]
            await nodes.at(1, REGIONS[0])("UpdateTable", TableName="tab", ReplicaUpdates=updates)

            async def are_there() -> bool:
                shown = (await first("DescribeTable", TableName="tab"))["Table"]["Replicas"]
                return all(each["ReplicaStatus"] == "ACTIVE" for each in shown)

            await until(are_there)

            async def write(writer: int) -> None:
                rng = random.Random(writer)
                for n in range(40):
                    item = {"pk": {"S": f"k{rng.randrange(8)}"}, "v": {"S": f"{writer}-{n}"}}
                    await nodes.at(writer % 2, REGIONS[writer % 3])("PutItem", TableName="tab", Item=item)

            await asyncio.gather(*map(write, range(6)))

            async def agree() -> bool:
                found = [await nodes.items(region) for region in REGIONS]
                return len(found[0]) == 38 and found[0] == found[1] == found[2]

            await until(agree)
        for store in stores:
            await store.close()

    with start_postgres() as url:
        asyncio.run(body(url))
