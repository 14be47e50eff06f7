"""Reads DynamoDB's streams for functions: batches in order, retried, split, given up on, and a checkpoint behind each.

A mapping is read by the node that holds its lease, with the function's role. The checkpoint moves in the transaction that
also sends what was given up on, so that nothing is passed over; a batch may come twice when a node dies meanwhile.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from contextlib import suppress
from typing import Any

import msgspec

from penstock.core import arn as arns
from penstock.core.node import Node
from penstock.core.worker import worker
from penstock.events import outbox
from penstock.runtime.api import Outcome
from penstock.services.lambda_ import access, destinations, event_source_mappings, invocations, keys, metrics
from penstock.services.lambda_.access import Target
from penstock.services.lambda_.event_filters import compile_filter
from penstock.services.lambda_.event_source_mappings import Mapping
from penstock.services.lambda_.invocations import Ready
from penstock.store import Transaction
from penstock.store.api import StoreError
from penstock.store.backoff import backoff_s
from penstock.store.lease import LeaseLost, Leases
from penstock.wire.errors import AwsError

log = logging.getLogger(__name__)

LEASES = Leases(keys.MAPPING_LEASES)
LEASE_S = 6.0
LOOK_AGAIN_S = 60.0
POLL_S_LEAST, POLL_S_MOST = 0.1, 1.0
SHARDS_AGAIN_S = 5.0
TROUBLE_S = 2.0
RETRY_S_FIRST, RETRY_S_MOST = 0.5, 60.0
RECORDS_BYTES_MAX = 4 * 1024 * 1024


class Checkpoint(msgspec.Struct, frozen=True, array_like=True):
    """How far a shard has been read."""

    after: str = ""
    is_over: bool = False


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Checkpoint).decode


@worker("lambda:mappings")
async def read_streams(node: Node) -> None:
    """Run a reader for each enabled mapping whose lease is ours; stop those that changed, were disabled or deleted."""
    running: dict[str, tuple[Mapping, int, asyncio.Task[None]]] = {}
    some = True
    try:
        while True:
            again_s = LEASE_S / 3 if some else LOOK_AGAIN_S
            watch = asyncio.ensure_future(node.store.watch(keys.MAPPINGS_WAKE, again_s))
            await asyncio.sleep(0)
            try:
                some = await _settle(node, running)
            except StoreError as error:
                log.warning("event source mappings were not looked at: %s", error)
            await watch
    finally:
        for _, _, task in running.values():
            task.cancel()


async def _settle(node: Node, running: dict[str, tuple[Mapping, int, asyncio.Task[None]]]) -> bool:
    """Whether there are mappings to be read, here or on another node."""
    now = node.clock.now()

    def body(txn: Transaction) -> tuple[dict[str, tuple[Mapping, int]], bool]:
        ours: dict[str, tuple[Mapping, int]] = {}
        some = False
        for _, raw in txn.scan(*keys.every_mapping()):
            mapping = event_source_mappings.decode(raw)
            if not mapping.enabled:
                continue
            some = True
            held = running.get(mapping.id)
            try:
                if held is not None:
                    LEASES.renew(txn, mapping.id, held[1], now, LEASE_S)
                    ours[mapping.id] = (mapping, held[1])
                    continue
            except LeaseLost:
                pass
            token = LEASES.acquire(txn, mapping.id, node.id, now, LEASE_S)
            if token is not None:
                ours[mapping.id] = (mapping, token)
        return ours, some

    ours, some = await node.store.transact(body)
    for id, (mapping, token, task) in list(running.items()):
        if ours.get(id) != (mapping, token) or task.done():
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task
            del running[id]
    for id, (mapping, token) in ours.items():
        if id not in running:
            reader = Reader(node, mapping, token)
            running[id] = (mapping, token, asyncio.create_task(reader.run(), name=f"lambda:mapping:{id}"))
    return some


class Reader:
    """Reads one mapping's stream."""

    def __init__(self, node: Node, mapping: Mapping, token: int) -> None:
        self._node = node
        self._mapping = mapping
        self._token = token
        self._filters = [compile_filter(text) for text in mapping.filters]
        self._result = ""

    async def run(self) -> None:
        """Read every shard, each after its parent, until cancelled."""
        shards: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                try:
                    await self._look(shards)
                except (AwsError, StoreError) as error:
                    await self._tell(f"PROBLEM: {error}")
                timer = asyncio.ensure_future(asyncio.sleep(SHARDS_AGAIN_S))
                await asyncio.wait({timer, *shards.values()}, return_when=asyncio.FIRST_COMPLETED)
                timer.cancel()
        finally:
            for task in shards.values():
                task.cancel()

    async def _look(self, shards: dict[str, asyncio.Task[None]]) -> None:
        """Start reading shards that can be read now."""
        for id in [id for id, task in shards.items() if task.done()]:
            task = shards.pop(id)
            if not task.cancelled() and task.exception() is not None:
                log.error("a shard of %s was not read on", self._mapping.source, exc_info=task.exception())
                await asyncio.sleep(TROUBLE_S)
        listed: list[dict[str, Any]] = []
        start: dict[str, str] = {}
        while True:
            described = await self._ask("DescribeStream", {"StreamArn": self._mapping.source, **start})
            stream = described["StreamDescription"]
            listed += stream["Shards"]
            if "LastEvaluatedShardId" not in stream:
                break
            start = {"ExclusiveStartShardId": stream["LastEvaluatedShardId"]}
        ids = {shard["ShardId"] for shard in listed}
        over = {id for id in ids if (await self._checkpoint(id)).is_over}
        for shard in listed:
            id, parent = shard["ShardId"], shard.get("ParentShardId")
            if id not in shards and id not in over and (parent not in ids or parent in over):
                shards[id] = asyncio.create_task(self._read_shard(id))

    async def _ask(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        arn = arns.parse(self._mapping.source)
        target = await self._target()
        return await self._node.call(
            "dynamodbstreams", operation, params, account=arn.account, region=arn.region,
            principal=await self._node.own(Ready).principal(target.function),
        )  # fmt: skip

    async def _target(self) -> Target:
        mapping = self._mapping
        where = mapping.account, mapping.region, mapping.name, mapping.qualifier
        return await self._node.store.transact(lambda txn: access.target(txn, *where), read_only=True)

    async def _checkpoint(self, shard: str) -> Checkpoint:
        key = keys.checkpoint(self._mapping.id, shard)
        raw = await self._node.store.transact(lambda txn: txn.get(key), read_only=True)
        return Checkpoint() if raw is None else _decode(raw)

    async def _read_shard(self, shard: str) -> None:
        """Read a shard from its checkpoint to its end."""
        iterator: str | None = None
        wait_s = POLL_S_LEAST
        while True:
            try:
                if iterator is None:
                    iterator = await self._iterator(shard)
                batch, iterator, over = await self._gather(iterator)
            except AwsError as error:
                iterator = None
                if error.code == "TrimmedDataAccessException":
                    await self._move(shard, Checkpoint())
                elif error.code != "ExpiredIteratorException":
                    await self._tell(f"PROBLEM: {error}")
                    await asyncio.sleep(TROUBLE_S)
                continue
            if batch:
                wait_s = POLL_S_LEAST
                wanted = [record for record in batch if self._wants(record)]
                if wanted:
                    await self._deliver(shard, wanted)
                await self._move(shard, Checkpoint(_number(batch[-1]), over))
            if over:
                await self._move(shard, Checkpoint(_number(batch[-1]) if batch else "", True))
                return
            if not batch:
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 1.5, POLL_S_MOST)

    async def _iterator(self, shard: str) -> str:
        mapping = self._mapping
        params: dict[str, Any] = {"StreamArn": mapping.source, "ShardId": shard}
        after = (await self._checkpoint(shard)).after
        if after:
            params |= {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": after}
        elif mapping.start == "LATEST":
            # What was written since the mapping was made, however long it took until somebody reads.
            params |= {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": mapping.created_at}
        else:
            params["ShardIteratorType"] = "TRIM_HORIZON"
        return str((await self._ask("GetShardIterator", params))["ShardIterator"])

    async def _gather(self, iterator: str) -> tuple[list[dict[str, Any]], str, bool]:
        """Records for one batch, where to go on, and whether the shard is over. Waits for more as long as it may."""
        mapping = self._mapping
        until = 0.0
        batch: list[dict[str, Any]] = []
        size_bytes = 0
        loop = asyncio.get_running_loop()
        while True:
            limit = min(mapping.batch_size - len(batch), 1000)
            answer = await self._ask("GetRecords", {"ShardIterator": iterator, "Limit": limit})
            batch += answer["Records"]
            size_bytes += sum(record["dynamodb"].get("SizeBytes", 0) for record in answer["Records"])
            next_one = answer.get("NextShardIterator")
            if next_one is None:
                return batch, "", True
            iterator = next_one
            if batch and not until:
                until = loop.time() + mapping.window_s
            if not batch or len(batch) >= mapping.batch_size or size_bytes > RECORDS_BYTES_MAX or loop.time() >= until:
                return batch, iterator, False
            await asyncio.sleep(min(POLL_S_LEAST, max(0.0, until - loop.time())))

    def _wants(self, record: dict[str, Any]) -> bool:
        if not self._filters:
            return True
        plain = msgspec.json.decode(msgspec.json.encode(record))
        return any(matches(plain) for matches in self._filters)

    async def _deliver(self, shard: str, batch: list[dict[str, Any]]) -> None:
        """Have the function take a batch, or parts of it, until all was taken or given up on."""
        left = [batch]
        while left:
            batch = left.pop(0)
            left = await self._try(shard, batch) + left

    async def _try(self, shard: str, batch: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
        """Run one batch until it succeeds, is given up on, or is to be split: then the parts that are left."""
        mapping = self._mapping
        tries = 0
        while True:
            if mapping.age_max_s >= 0:
                oldest = self._node.clock.now() - mapping.age_max_s
                old = [r for r in batch if r["dynamodb"]["ApproximateCreationDateTime"] < oldest]
                if old:
                    await self._give_up(shard, old, "RecordAgeExceeded", tries, None, "")
                    batch = batch[len(old) :]
            if not batch:
                return []
            request_id, target, outcome = await self._invoke(batch)
            if outcome is None:
                await asyncio.sleep(TROUBLE_S)  # throttled, or no function to run: not counted
                continue
            failed = _failed_from(outcome, batch) if not outcome.error and mapping.reports_items else None
            if not outcome.error and failed is None:
                await self._tell("OK")
                return []
            tries += 1
            await self._tell("PROBLEM: Function call failed")
            if failed:
                await self._move(shard, Checkpoint(_number(batch[failed - 1])))
                return [batch[failed:]]
            if 0 <= mapping.retries_max < tries:
                await self._give_up(shard, batch, "RetryAttemptsExhausted", tries, outcome, request_id, target)
                return []
            if mapping.bisect and len(batch) > 1:
                middle = len(batch) // 2
                return [batch[:middle], batch[middle:]]
            await asyncio.sleep(backoff_s(tries, first_s=RETRY_S_FIRST, most_s=RETRY_S_MOST))

    async def _invoke(self, batch: list[dict[str, Any]]) -> tuple[str, Target | None, Outcome | None]:
        request_id = destinations.new_id()
        payload = msgspec.json.encode({"Records": [_event(record, self._mapping.source) for record in batch]})
        try:
            target = await self._target()
            return request_id, target, await invocations.run(self._node, target, request_id, payload)
        except AwsError as error:
            await self._tell(f"PROBLEM: {error}")
            return request_id, None, None

    async def _give_up(
        self,
        shard: str,
        batch: list[dict[str, Any]],
        condition: str,
        tries: int,
        outcome: Outcome | None,
        request_id: str,
        target: Target | None = None,
    ) -> None:
        """Pass over records, and tell the mapping's destination so in the same transaction."""
        mapping, now = self._mapping, self._node.clock.now()
        metrics.count(self._node, "batches_dropped_total", mapping.account, mapping.region, mapping.name)
        log.warning("%s gave up on %d records of %s: %s", mapping.name, len(batch), mapping.source, condition)
        delivery: outbox.Delivery | None = None
        if mapping.on_failure:
            target = target or await self._target()
            document = _told(mapping, shard, batch, condition, tries, outcome, request_id, now)
            if arns.parse(mapping.on_failure).service == "s3":
                document["payload"] = {"Records": [_event(record, mapping.source) for record in batch]}
            place = f"aws/lambda/{mapping.id}/{shard}"
            delivery = destinations.delivery(mapping.on_failure, target.function, document, "", now, place=place)
        await self._move(shard, Checkpoint(_number(batch[-1])), delivery)

    async def _move(self, shard: str, to: Checkpoint, delivery: outbox.Delivery | None = None) -> None:
        mapping, now = self._mapping, self._node.clock.now()

        def body(txn: Transaction) -> None:
            if txn.get(keys.mapping(mapping.account, mapping.region, mapping.id)) is None:
                return
            LEASES.check(txn, mapping.id, self._token)
            txn.set(keys.checkpoint(mapping.id, shard), _encode(to))
            if delivery is not None:
                outbox.emit(txn, delivery, now=now)

        await self._node.store.transact(body)

    async def _tell(self, result: str) -> None:
        """Say in the mapping how it goes, where that has changed."""
        if result == self._result:
            return
        self._result = result
        mapping = self._mapping

        def body(txn: Transaction) -> None:
            if txn.get(keys.mapping(mapping.account, mapping.region, mapping.id)) is not None:
                txn.set(keys.mapping_result(mapping.id), result.encode()[:1000])

        await self._node.store.transact(body)


def _number(record: dict[str, Any]) -> str:
    return str(record["dynamodb"]["SequenceNumber"])


def _event(record: dict[str, Any], source: str) -> dict[str, Any]:
    """A record as Lambda hands it to functions."""
    told = record["dynamodb"]
    told = {**told, "ApproximateCreationDateTime": float(told["ApproximateCreationDateTime"])}
    event = {**record, "dynamodb": told, "eventSourceARN": source}
    identity = record.get("userIdentity")
    if identity:
        event["userIdentity"] = {"principalId": identity["PrincipalId"], "type": identity["Type"]}
    return event


def _failed_from(outcome: Outcome, batch: list[dict[str, Any]]) -> int | None:
    """The index of the first record that the function reports as failed, None for success.

    https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html: what cannot be understood, and an
    identifier that is not in the batch, fails all of it.
    """
    try:
        answer = msgspec.json.decode(outcome.payload)
    except msgspec.DecodeError:
        return 0
    if answer in (None, {}, [], ""):
        return None
    if not isinstance(answer, dict) or "batchItemFailures" not in answer:
        return None if isinstance(answer, dict) else 0
    failures = answer["batchItemFailures"]
    if not failures:
        return None
    places = {_number(record): at for at, record in enumerate(batch)}
    if not isinstance(failures, list):
        return 0
    found = [places.get(str(f.get("itemIdentifier"))) if isinstance(f, dict) else None for f in failures]
    return 0 if None in found else min(at for at in found if at is not None)


def _told(
    mapping: Mapping,
    shard: str,
    batch: list[dict[str, Any]],
    condition: str,
    tries: int,
    outcome: Outcome | None,
    request_id: str,
    now: float,
) -> dict[str, Any]:
    """What a destination is told of records that were given up on."""
    arrived = [
        datetime.datetime.fromtimestamp(record["dynamodb"]["ApproximateCreationDateTime"], datetime.UTC).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        )
        for record in (batch[0], batch[-1])
    ]
    at = datetime.datetime.fromtimestamp(now, datetime.UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
    document: dict[str, Any] = {
        "requestContext": {
            "requestId": request_id, "functionArn": mapping.function_arn, "condition": condition,
            "approximateInvokeCount": tries,
        },
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": None},
        "version": "1.0",
        "timestamp": at,
        "DDBStreamBatchInfo": {
            "shardId": shard, "startSequenceNumber": _number(batch[0]), "endSequenceNumber": _number(batch[-1]),
            "approximateArrivalOfFirstRecord": arrived[0], "approximateArrivalOfLastRecord": arrived[1],
            "batchSize": len(batch), "streamArn": mapping.source,
        },
    }  # fmt: skip
    if outcome is not None and outcome.error:
        document["responseContext"]["functionError"] = outcome.error
    return document
