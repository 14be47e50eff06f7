"""Global tables: regions that write at the same time end up with the same items, in whatever order they hear of them."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamodb_calls import ACCOUNT, Calls
from penstock.services.dynamodb import jobs, keys, replication, table, time_to_live

REGIONS = ("us-east-1", "eu-west-1", "ap-northeast-1")


class Regions:
    """DynamoDB of one installation in several regions."""

    def __init__(self) -> None:
        first = Calls()
        self.node = first.node
        self.at = {region: Calls(region=region) for region in REGIONS[1:]} | {REGIONS[0]: first}
        for calls in self.at.values():
            calls.node = self.node

    def __getitem__(self, region: str) -> Calls:
        return self.at[region]

    async def items(self, region: str, name: str = "tab") -> dict[str, str]:
        found = await self[region]("Scan", TableName=name)
        return {each["pk"]["S"]: each["v"]["S"] for each in found["Items"]}

    async def replicas(self, region: str) -> dict[str, str]:
        shown = (await self[region]("DescribeTable", TableName="tab"))["Table"]
        return {each["RegionName"]: each["ReplicaStatus"] for each in shown.get("Replicas", [])}

    async def add(self, *regions: str, source: str = REGIONS[0], **settings: Any) -> None:
        updates = [{"Create": {"RegionName": region, **settings}} for region in regions]
        await self[source]("UpdateTable", TableName="tab", ReplicaUpdates=updates)

    async def remove(self, region: str, source: str = REGIONS[0]) -> None:
        await self[source]("UpdateTable", TableName="tab", ReplicaUpdates=[{"Delete": {"RegionName": region}}])

    @contextlib.asynccontextmanager
    async def jobs(self) -> AsyncIterator[None]:
        """With jobs at work; in the end they are done."""
        worker = asyncio.create_task(jobs.work(self.node))
        try:
            yield
            async with asyncio.timeout(20):
                while await self.node.store.transact(_busy, read_only=True):
                    await asyncio.sleep(0.002)
        finally:
            worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await worker


def _busy(txn: Any) -> bool:
    return any(next(txn.scan(*keys.all_running(ACCOUNT, region, "replica"), 1), None) for region in REGIONS)


def put(key: str, value: str) -> dict[str, Any]:
    return {"pk": {"S": key}, "v": {"S": value}}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_regions_agree(seed: int) -> None:
    asyncio.run(_agree(random.Random(seed)))


async def _agree(rng: random.Random) -> None:
    """Random writes in all regions, replicas told at random moments, one region added and maybe one removed late."""
    regions = Regions()
    await regions[REGIONS[0]].table()
    model: dict[str, tuple[float, str | None]] = {}
    for n in range(rng.randrange(8)):
        await _write(regions, rng, REGIONS[0], f"before{n}", model)
    await regions.add(REGIONS[1])
    async with regions.jobs():
        for n in range(rng.randrange(5)):
            await _write(regions, rng, REGIONS[0], f"while{n}", model)
    present = list(REGIONS[:2])
    for n in range(rng.randrange(40)):
        await _write(regions, rng, rng.choice(present), str(n), model)
        if rng.random() < 0.3:
            await _tell_somebody(regions, rng)
        if len(present) == 2 and rng.random() < 0.1:
            await regions.add(REGIONS[2], source=rng.choice(present))
            async with regions.jobs():
                for more in range(rng.randrange(4)):
                    await _write(regions, rng, rng.choice(present), f"{n}-{more}", model)
            present.append(REGIONS[2])
    if len(present) == 3 and rng.random() < 0.5:
        gone = present.pop(rng.randrange(3))
        await regions.remove(gone, source=present[0])
        async with regions.jobs():
            pass
        assert gone not in await regions.replicas(present[0])
        error = await regions[gone].error("DescribeTable", TableName="tab")
        assert error.startswith("ResourceNotFoundException")
    await replication.carry_all(regions.node)
    expected = {key: value for key, (_, value) in model.items() if value is not None}
    for region in present:
        assert await regions.items(region) == expected, region
        assert await regions.replicas(region) == {other: "ACTIVE" for other in present if other != region}
    await _leaves_nothing(regions, present)


async def _write(regions: Regions, rng: random.Random, region: str, value: str, model: dict[str, Any]) -> None:
    key = rng.choice("abcdef")
    regions.node.clock.advance(0.001)
    call = regions[region]
    if rng.random() < 0.3:
        old = await call("DeleteItem", TableName="tab", Key={"pk": {"S": key}}, ReturnValues="ALL_OLD")
        if not old.get("Attributes"):
            return  # nothing was there to delete: that is no write, as on AWS
        model[key] = (regions.node.clock.now(), None)
    else:
        await call("PutItem", TableName="tab", Item=put(key, value))
        model[key] = (regions.node.clock.now(), value)


async def _tell_somebody(regions: Regions, rng: random.Random) -> None:
    """Carry one table's changes to one other."""

    def body(txn: Any) -> None:
        _, source = rng.choice(replication._global_tables(txn))
        replication.carry_some(txn, source, rng.choice(source.record.replicas).region, regions.node)

    await regions.node.store.transact(body)


async def _leaves_nothing(regions: Regions, present: list[str]) -> None:
    """Tombstones go once everybody knows; what is kept for replicas goes with the last of them."""
    regions.node.clock.advance(120)
    await replication._forget_tombstones(regions.node)

    def versions(txn: Any) -> tuple[set[bytes], set[bytes]]:
        found = table.decode(txn.get(keys.table(ACCOUNT, present[0], "tab")) or b"")
        noted = {
            key[len(keys.version(found.id)) :]
            for key, _ in txn.scan(keys.version(found.id), keys.version(found.id) + b"\xff")
        }
        there = {key[len(found.prefix) :] for key, _ in txn.scan(found.prefix, found.prefix + b"\xff")}
        return noted, there

    noted, there = await regions.node.store.transact(versions, read_only=True)
    assert noted <= there
    for region in present[1:]:
        await regions.remove(region, source=present[0])
    async with regions.jobs():
        pass
    assert await regions.replicas(present[0]) == {}

    def kept(txn: Any) -> list[bytes]:
        found = table.decode(txn.get(keys.table(ACCOUNT, present[0], "tab")) or b"")
        ranges = [*keys.of_replicas(found.id), keys.global_tables()]
        return [key for begin, end in ranges for key, _ in txn.scan(begin, end)]

    assert await regions.node.store.transact(kept, read_only=True) == []


def test_a_write_wins_over_what_it_has_seen_from_a_clock_ahead() -> None:
    async def body() -> None:
        regions = Regions()
        await regions[REGIONS[0]].table()
        await regions.add(REGIONS[1])
        async with regions.jobs():
            pass
        await regions[REGIONS[0]]("PutItem", TableName="tab", Item=put("a", "first"))
        ahead = keys.moment(round((regions.node.clock.now() + 3600) * 1e6)) + REGIONS[0].encode()

        def skew(txn: Any) -> None:
            (_, found), *_ = [each for each in replication._global_tables(txn) if each[1].region == REGIONS[0]]
            (key, _), *_ = txn.scan(keys.version(found.id), keys.version(found.id) + b"\xff")
            txn.set(key, ahead)

        await regions.node.store.transact(skew)
        await replication.carry_all(regions.node)
        await regions[REGIONS[1]](
            "UpdateItem", TableName="tab", Key={"pk": {"S": "a"}}, UpdateExpression="SET v = :v",
            ConditionExpression="v = :old", ExpressionAttributeValues={":v": {"S": "second"}, ":old": {"S": "first"}},
        )  # fmt: skip
        await replication.carry_all(regions.node)
        assert await regions.items(REGIONS[0]) == await regions.items(REGIONS[1]) == {"a": "second"}

    asyncio.run(body())


def test_what_is_refused() -> None:
    async def body() -> None:
        regions = Regions()
        call = regions[REGIONS[0]]
        await call.table()
        await regions[REGIONS[2]].table()

        async def refused(*updates: dict[str, Any]) -> str:
            return await call.error("UpdateTable", TableName="tab", ReplicaUpdates=list(updates))

        assert "Cannot add, delete, or update the local region" in await refused({"Create": {"RegionName": REGIONS[0]}})
        assert "already existed as tables" in await refused({"Create": {"RegionName": REGIONS[2]}})
        assert "were not part of the global table" in await refused({"Delete": {"RegionName": REGIONS[1]}})
        assert "Invalid region specified: nowhere" in await refused({"Create": {"RegionName": "nowhere"}})
        with_key = {"RegionName": "eu-west-1", "KMSMasterKeyId": "k"}
        assert "not encrypted under a KMS key" in await refused({"Create": with_key})
        await regions.add(REGIONS[1])
        assert await regions.replicas(REGIONS[0]) == {REGIONS[1]: "CREATING"}
        assert (await refused({"Delete": {"RegionName": REGIONS[1]}})).startswith("ResourceInUseException")
        assert (await call.error("DeleteTable", TableName="tab")).startswith("ResourceInUseException")
        assert (await regions[REGIONS[1]].error("PutItem", TableName="tab", Item=put("a", "b"))).startswith(
            "ResourceNotFoundException"
        )
        async with regions.jobs():
            pass
        assert await regions.replicas(REGIONS[1]) == {REGIONS[0]: "ACTIVE"}

    asyncio.run(body())


def test_shared_settings_change_everywhere() -> None:
    async def body() -> None:
        regions = Regions()
        call = regions[REGIONS[0]]
        await call(
            "CreateTable", TableName="tab", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            ProvisionedThroughput={"ReadCapacityUnits": 5, "WriteCapacityUnits": 5},
        )  # fmt: skip
        # With limits, its writes would have to be scaled.
        call.node.settings = msgspec.structs.replace(call.node.settings, limits=False)
        await regions.add(REGIONS[1], ProvisionedThroughputOverride={"ReadCapacityUnits": 7})
        async with regions.jobs():
            pass
        other = regions[REGIONS[1]]
        shown = (await call("DescribeTable", TableName="tab"))["Table"]
        assert shown["GlobalTableVersion"] == "2019.11.21"
        assert shown["Replicas"][0]["ProvisionedThroughputOverride"] == {"ReadCapacityUnits": 7}
        await call(
            "UpdateTable", TableName="tab", ProvisionedThroughput={"ReadCapacityUnits": 6, "WriteCapacityUnits": 9},
            AttributeDefinitions=[{"AttributeName": "v", "AttributeType": "S"}],
            GlobalSecondaryIndexUpdates=[{"Create": {
                "IndexName": "values", "KeySchema": [{"AttributeName": "v", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
                "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1},
            }}],
        )  # fmt: skip
        theirs = (await other("DescribeTable", TableName="tab"))["Table"]
        assert theirs["ProvisionedThroughput"]["ReadCapacityUnits"] == 7
        assert theirs["ProvisionedThroughput"]["WriteCapacityUnits"] == 9
        assert [each["IndexName"] for each in theirs["GlobalSecondaryIndexes"]] == ["values"]
        await other(
            "UpdateTable", TableName="tab", BillingMode="PAY_PER_REQUEST", TableClass="STANDARD_INFREQUENT_ACCESS"
        )
        mine = (await call("DescribeTable", TableName="tab"))["Table"]
        assert mine["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
        assert "TableClassSummary" not in mine
        assert "ProvisionedThroughputOverride" not in mine["Replicas"][0]

        units = {"MaxReadRequestUnits": 40, "MaxWriteRequestUnits": 30}
        await call("UpdateTable", TableName="tab", OnDemandThroughput=units)
        override = {"RegionName": REGIONS[1], "OnDemandThroughputOverride": {"MaxReadRequestUnits": 50}}
        await call("UpdateTable", TableName="tab", ReplicaUpdates=[{"Update": override}])
        mine, theirs = [(await each("DescribeTable", TableName="tab"))["Table"] for each in (call, other)]
        assert mine["OnDemandThroughput"] == units
        assert mine["Replicas"][0]["OnDemandThroughputOverride"] == {"MaxReadRequestUnits": 50}
        assert theirs["OnDemandThroughput"] == {"MaxReadRequestUnits": 50, "MaxWriteRequestUnits": 30}
        await call("UpdateTable", TableName="tab", OnDemandThroughput={"MaxReadRequestUnits": 41})
        theirs = (await other("DescribeTable", TableName="tab"))["Table"]
        assert theirs["OnDemandThroughput"] == {"MaxReadRequestUnits": 50, "MaxWriteRequestUnits": 30}
        override["ProvisionedThroughputOverride"] = {"ReadCapacityUnits": 5}
        error = await call.error("UpdateTable", TableName="tab", ReplicaUpdates=[{"Update": override}])
        assert "ProvisionedThroughputOverride cannot be specified" in error

    asyncio.run(body())


def test_items_expire_in_all_regions() -> None:
    async def body() -> None:
        regions = Regions()
        here, there = regions[REGIONS[0]], regions[REGIONS[1]]
        await here.table()
        spec = {"AttributeName": "ends", "Enabled": True}
        await here("UpdateTimeToLive", TableName="tab", TimeToLiveSpecification=spec)
        await regions.add(REGIONS[1])
        async with regions.jobs():
            pass
        shown = await there("DescribeTimeToLive", TableName="tab")
        assert shown["TimeToLiveDescription"] == {"TimeToLiveStatus": "ENABLED", "AttributeName": "ends"}
        ends = {"N": str(int(regions.node.clock.now()) + 60)}
        await here("PutItem", TableName="tab", Item={**put("a", "short"), "ends": ends})
        await replication.carry_all(regions.node)
        assert await regions.items(REGIONS[1]) == {"a": "short"}
        regions.node.clock.advance(100)
        assert await time_to_live.expire(regions.node) == 2
        await replication.carry_all(regions.node)
        assert await regions.items(REGIONS[0]) == await regions.items(REGIONS[1]) == {}
        await there("UpdateTimeToLive", TableName="tab", TimeToLiveSpecification={**spec, "Enabled": False})
        shown = await here("DescribeTimeToLive", TableName="tab")
        assert shown["TimeToLiveDescription"] == {"TimeToLiveStatus": "DISABLED"}

    asyncio.run(body())
