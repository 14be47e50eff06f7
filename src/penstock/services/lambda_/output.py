"""What functions print, kept in CloudWatch Logs with the function's own permissions, as on AWS.

A role without logs:CreateLogGroup, CreateLogStream and PutLogEvents leaves no logs, and the server's log says so once.
Where the role has no record at all there is nothing to hold it to: the account itself writes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from typing import TypeAlias

from penstock.core import identity
from penstock.core.node import Node
from penstock.core.worker import worker
from penstock.runtime.api import FunctionSpec
from penstock.services.lambda_.invocations import Ready
from penstock.store.api import Conflict, StoreError, UnknownCommit
from penstock.wire.errors import AwsError

log = logging.getLogger(__name__)

FLUSH_INTERVAL_S = 0.2
_RETRY_WAITS_S = (0.1, 0.5, 2.0, 5.0)
LINES_WAITING_MAX = 100_000
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
BATCH_EVENTS_MAX = 10_000
BATCH_BYTES_MAX = 1_048_576
EVENT_OVERHEAD_BYTES = 26

Line: TypeAlias = tuple[float, str]
Where: TypeAlias = tuple[str, str, str]
"""A function's ARN, its log group and the stream."""


class _Lines:
    """What was printed and is not kept yet."""

    def __init__(self) -> None:
        self.waiting: dict[Where, list[Line]] = defaultdict(list)
        self.count = 0
        self.dropped = 0
        self.some = asyncio.Event()

    def add(self, spec: FunctionSpec, stream: str, lines: list[Line]) -> None:
        """The runtime's sink. Never blocks: past a bound, lines are dropped and counted."""
        if self.count + len(lines) > LINES_WAITING_MAX:
            self.dropped += len(lines)
        else:
            self.waiting[spec.arn, spec.log_group, stream].extend(lines)
            self.count += len(lines)
        self.some.set()

    def take(self) -> dict[Where, list[Line]]:
        """All that waits."""
        taken, self.waiting, self.count = self.waiting, defaultdict(list), 0
        self.some.clear()
        return taken


@worker("lambda:output")
async def keep_output(node: Node) -> None:
    """Write what functions print, a few times a second, making groups and streams as needed."""
    lines = _Lines()
    keeper = _Keeper(node)
    node.runtime.log_sink = lines.add
    try:
        while True:
            await lines.some.wait()
            await asyncio.sleep(FLUSH_INTERVAL_S)
            for where, batch in lines.take().items():
                await keeper.keep(where, batch)
            if lines.dropped:
                log.warning("functions print faster than it can be kept: %d lines dropped", lines.dropped)
                node.telemetry.count("penstock_lambda_lines_dropped_total", lines.dropped)
                lines.dropped = 0
    finally:
        node.runtime.log_sink = None


class _Keeper:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._writers: dict[Where, identity.Principal] = {}
        self._denied: set[str] = set()

    async def keep(self, where: Where, batch: list[Line]) -> None:
        """Put the lines into their stream. What cannot be kept is said in the server's log, and lost."""
        try:
            for events in _batches(batch):
                await self._persist(where, events)
        except (AwsError, StoreError) as error:
            self._writers.pop(where, None)
            self._node.telemetry.count("penstock_lambda_lines_dropped_total", len(batch))
            if isinstance(error, StoreError):
                log.error("output of %s is lost: %s", where[0], error)
            elif where[0] not in self._denied:
                self._denied.add(where[0])
                log.warning("the output of %s is not kept: %s", where[0], error)

    async def _persist(self, where: Where, events: list[dict[str, object]]) -> None:
        """Put the lines, some times if need be. After a commit in doubt they may be there twice, as from any agent."""
        for wait_s in _RETRY_WAITS_S:
            try:
                return await self._put(where, events)
            except (Conflict, UnknownCommit) as error:
                log.warning("the output of %s was not kept at once: %s", where[0], error)
                await asyncio.sleep(wait_s)
        return await self._put(where, events)

    async def _put(self, where: Where, events: list[dict[str, object]]) -> None:
        arn, group, stream = where
        if where not in self._writers:
            await self._make(where)
        await self._call(
            arn, self._writers[where], "PutLogEvents", logGroupName=group, logStreamName=stream, logEvents=events
        )

    async def _make(self, where: Where) -> None:
        """Find who may write there, and make group and stream."""
        arn, group, stream = where
        account = arn.split(":")[4]
        writer = self._node.own(Ready).principals.get(arn, identity.root(account))
        if writer.kind is identity.Kind.ROLE and not await self._has_record(writer):
            writer = identity.root(account)
        for operation, params in (
            ("CreateLogGroup", {"logGroupName": group}),
            ("CreateLogStream", {"logGroupName": group, "logStreamName": stream}),
        ):
            try:
                await self._call(arn, writer, operation, **params)
            except AwsError as error:
                if error.code != "ResourceAlreadyExistsException":
                    raise
        if len(self._writers) > 10_000:
            self._writers.clear()
        self._writers[where] = writer

    async def _has_record(self, role: identity.Principal) -> bool:
        account = role.role_arn.split(":")[4]
        name = role.role_arn.rpartition("/")[2]
        try:
            await self._node.call(
                "iam", "GetRole", {"RoleName": name}, principal=identity.root(account), account=account,
                region=self._node.settings.region,
            )  # fmt: skip
        except AwsError:
            return False
        return True

    async def _call(self, arn: str, principal: identity.Principal, operation: str, **params: object) -> None:
        _, _, _, region, account, *_ = arn.split(":")
        await self._node.call("logs", operation, params, principal=principal, account=account, region=region)


def _batches(lines: list[Line]) -> list[list[dict[str, object]]]:
    """Lines as log events, in order of time, cut to what PutLogEvents takes at once."""
    batches: list[list[dict[str, object]]] = [[]]
    size_bytes = 0
    for at, line in sorted(lines, key=lambda pair: pair[0]):
        line_bytes = len(line.encode()) + EVENT_OVERHEAD_BYTES
        if len(batches[-1]) == BATCH_EVENTS_MAX or size_bytes + line_bytes > BATCH_BYTES_MAX:
            batches.append([])
            size_bytes = 0
        batches[-1].append({"timestamp": int(at * 1000), "message": line})
        size_bytes += line_bytes
    return batches
