"""Large items of a table that keeps everything: a stream of both images, recovery, an index that copies the items."""

from __future__ import annotations

import asyncio

from dynamodb_calls import Calls
from penstock.services.dynamodb import time_to_live

SIZE = 390_000


async def _table(call: Calls) -> None:
    await call(
        "CreateTable", TableName="tab", BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in ("pk", "g")],
        GlobalSecondaryIndexes=[{
            "IndexName": "gs", "KeySchema": [{"AttributeName": "g", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["d", "ends"]},
        }],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )  # fmt: skip
    await call(
        "UpdateContinuousBackups", TableName="tab",
        PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
    )  # fmt: skip
    await call("UpdateTimeToLive", TableName="tab", TimeToLiveSpecification={"AttributeName": "ends", "Enabled": True})


def test_batches_transactions_and_expiry() -> None:
    async def body() -> None:
        call = Calls()
        await _table(call)
        ends = {"N": str(int(call.node.clock.now()) + 60)}

        def item(n: int, fill: str) -> dict[str, dict[str, str]]:
            return {"pk": {"S": str(n)}, "g": {"S": "x"}, "d": {"S": fill * SIZE}, "ends": ends}

        for fill in "ab":
            batch = [{"PutRequest": {"Item": item(n, fill)}} for n in range(25)]
            assert (await call("BatchWriteItem", RequestItems={"tab": batch}))["UnprocessedItems"] == {}
        for fill in "cd":
            actions = [{"Put": {"TableName": "tab", "Item": item(n, fill)}} for n in range(10)]
            await call("TransactWriteItems", TransactItems=actions)
        call.node.clock.advance(120)
        assert await time_to_live.expire(call.node) == 25
        assert (await call("Scan", TableName="tab"))["Count"] == 0

    asyncio.run(body())
