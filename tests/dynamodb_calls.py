"""A node on the memory store, and DynamoDB called on it as the edge would: parameters and results are plain JSON."""

from __future__ import annotations

import json
from typing import Any

import msgspec

import penstock.services
from penstock.clock import Clock
from penstock.config import Settings
from penstock.core.identity import root
from penstock.core.node import Node
from penstock.store.memory import MemoryStore
from penstock.telemetry import Telemetry
from penstock.wire.errors import AwsError

penstock.services.load()

ACCOUNT = "000000000000"


class Calls:
    """DynamoDB of one account in one region."""

    def __init__(self, store: Any = None, account: str = ACCOUNT, region: str = "us-east-1") -> None:
        self.node = Node(Settings(), Clock(), store or MemoryStore(), None, None, None, Telemetry())  # type: ignore[arg-type]
        self.account, self.region = account, region

    async def __call__(self, operation: str, **params: Any) -> dict[str, Any]:
        result = await self.node.call(
            "dynamodb", operation, json.loads(json.dumps(params)),
            principal=root(self.account), account=self.account, region=self.region,
        )  # fmt: skip
        found: dict[str, Any] = json.loads(msgspec.json.encode(result))
        return found

    async def error(self, operation: str, **params: Any) -> str:
        """The "Code: message" that the call fails with."""
        try:
            result = await self(operation, **params)
        except AwsError as error:
            return str(error)
        raise AssertionError(f"{operation} did not fail: {result}")

    async def table(self, name: str = "tab", hash_type: str = "S", range_type: str = "") -> str:
        """Make a table with keys pk and, with a range_type, sk."""
        keys = [("pk", "HASH", hash_type)] + ([("sk", "RANGE", range_type)] if range_type else [])
        await self(
            "CreateTable", TableName=name, BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": n, "KeyType": k} for n, k, _ in keys],
            AttributeDefinitions=[{"AttributeName": n, "AttributeType": t} for n, _, t in keys],
        )  # fmt: skip
        return name
