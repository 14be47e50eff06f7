"""What a client is told when the store does not do its part: what SDKs try again is what may go better, nothing else."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from penstock.store.api import Conflict, EngineFailed, StoreError, TransactionTooLarge, UnknownCommit
from protocol.conftest import Answer, Edge
from protocol.test_chain import FORM, sign

CALLS: dict[str, dict[str, Any]] = {
    "s3": {"method": "PUT", "target": "/bucket"},
    "dynamodb": {
        "method": "POST", "target": "/",
        "headers": {"X-Amz-Target": "DynamoDB_20120810.DeleteTable", "Content-Type": "application/x-amz-json-1.0"},
        "body": b'{"TableName": "table"}',
    },
    "lambda": {"method": "DELETE", "target": "/2015-03-31/functions/name"},
    "logs": {
        "method": "POST", "target": "/",
        "headers": {"X-Amz-Target": "Logs_20140328.CreateLogGroup", "Content-Type": "application/x-amz-json-1.1"},
        "body": b'{"logGroupName": "group"}',
    },
    "iam": {
        "method": "POST", "target": "/", "headers": FORM, "body": b"Action=CreateUser&Version=2010-05-08&UserName=name",
    },
}  # fmt: skip
ANSWERS: dict[str, dict[type[Exception], tuple[int, str]]] = {
    "s3": {
        Conflict: (503, "SlowDown"), UnknownCommit: (500, "InternalError"), EngineFailed: (503, "ServiceUnavailable"),
        TransactionTooLarge: (400, "EntityTooLarge"), OSError: (500, "InternalError"),
    },
    "dynamodb": {
        Conflict: (503, "ServiceUnavailable"), UnknownCommit: (500, "InternalServerError"),
        EngineFailed: (503, "ServiceUnavailable"), TransactionTooLarge: (400, "ValidationException"),
        OSError: (500, "InternalServerError"),
    },
    "lambda": {
        Conflict: (503, "ServiceUnavailable"), UnknownCommit: (500, "ServiceException"),
        EngineFailed: (503, "ServiceUnavailable"), TransactionTooLarge: (413, "RequestTooLargeException"),
        OSError: (500, "ServiceException"),
    },
    "logs": {
        Conflict: (503, "ServiceUnavailable"), UnknownCommit: (500, "ServiceUnavailableException"),
        EngineFailed: (503, "ServiceUnavailable"), TransactionTooLarge: (400, "ValidationException"),
        OSError: (500, "ServiceUnavailableException"),
    },
    "iam": {
        Conflict: (503, "ServiceUnavailable"), UnknownCommit: (500, "ServiceFailure"),
        EngineFailed: (503, "ServiceUnavailable"), TransactionTooLarge: (409, "LimitExceeded"),
        OSError: (500, "ServiceFailure"),
    },
}  # fmt: skip


class Failing:
    """The store that the node has from now on: every transaction that may write fails."""

    def __init__(self, edge: Edge, error: Exception) -> None:
        self.inner: Any = edge.node.store
        self.limits = self.inner.limits
        self.error = error
        self.asked = 0
        edge.node.store = self

    async def transact(self, body: Any, *, read_only: bool = False) -> Any:
        if read_only and not isinstance(self.error, EngineFailed):
            return await self.inner.transact(body, read_only=True)
        self.asked += 1
        raise self.error

    async def watch(self, key: bytes, timeout_s: float) -> None:
        await asyncio.sleep(timeout_s)

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("kind", [Conflict, UnknownCommit, EngineFailed, TransactionTooLarge, OSError])
@pytest.mark.parametrize("service", CALLS)
async def test_answers(edge: Edge, service: str, kind: type[Exception], caplog: pytest.LogCaptureFixture) -> None:
    Failing(edge, kind("why it failed"))
    answer: Answer = await sign(edge, service, **CALLS[service])
    assert (answer.status, answer.code.rpartition("#")[2]) == ANSWERS[service][kind], answer.body
    assert ("retry-after" in answer.headers) == (kind is Conflict)
    assert b"Traceback" not in answer.body
    assert b"why it failed" not in answer.body, "what is the matter with our disk is nobody else's business"
    [said] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "why it failed" in said.getMessage() or kind is Conflict
    assert said.exc_info is None, "no traceback for what is no fault of the program"


@pytest.mark.parametrize(
    ("error", "attempts"), [(UnknownCommit("?"), 3), (Conflict("?"), 3), (TransactionTooLarge("?"), 1)]
)
async def test_what_an_sdk_tries_again(edge: Edge, error: StoreError, attempts: int) -> None:
    store = Failing(edge, error)

    def ask() -> None:
        client = boto3.session.Session().client(
            "dynamodb", endpoint_url=edge.endpoint, aws_access_key_id="test", aws_secret_access_key="test",
            region_name="us-east-1", config=Config(retries={"mode": "standard", "total_max_attempts": 3}),
        )  # fmt: skip
        with pytest.raises(ClientError):
            client.delete_table(TableName="table")

    await asyncio.to_thread(ask)
    assert store.asked == attempts


async def test_the_servers_own_endpoints_say_so_too(edge: Edge) -> None:
    Failing(edge, EngineFailed("the disk is full"))
    answer = await edge.send("GET", "/_penstock/ready")
    assert (answer.status, json.loads(answer.body)) == (503, {"ready": False, "reason": "the disk is full"})
    for method, path, body in (
        ("POST", "/_penstock/clock", b'{"advance_s": 1}'), ("GET", "/_penstock/deliveries", b""),
    ):  # fmt: skip
        answer = await edge.send(method, path, {}, body)
        assert (answer.status, json.loads(answer.body)) == (503, {"message": "the disk is full"})
    assert (await edge.send("GET", "/_penstock/health")).status == 200
