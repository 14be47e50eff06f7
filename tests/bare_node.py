"""A node on the memory store, without a server around it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from penstock import services
from penstock.clock import Clock
from penstock.config import Settings
from penstock.core.identity import Principal, root
from penstock.core.node import Node
from penstock.services.iam.directory import StoreDirectory
from penstock.store.memory import MemoryStore
from penstock.telemetry import Telemetry

ACCOUNT = "000000000000"
ROOT = root(ACCOUNT)
Ask = Callable[..., Awaitable[dict[str, Any]]]


def made_node() -> Node:
    """A fresh one."""
    services.load()
    clock, settings, store = Clock(), Settings(), MemoryStore()
    nothing = cast(Any, None)
    return Node(settings, clock, store, nothing, nothing, StoreDirectory(store, clock, settings), Telemetry())


@pytest.fixture
def node() -> Node:
    return made_node()


@pytest.fixture
def ask(node: Node) -> Ask:
    return asking(node)


def asking(node: Node) -> Ask:
    """What calls the node's operations."""

    async def call(name: str, _as: Principal = ROOT, _account: str = "", **params: Any) -> dict[str, Any]:
        service, _, operation = name.partition(":")
        account = _account or _as.account
        return await node.call(service, operation, params, principal=_as, account=account, region="us-east-1")

    return call


async def signed_in(node: Node, credentials: dict[str, Any]) -> Principal:
    """The principal that a result's Credentials (or AccessKey) stand for."""
    token = credentials.get("SessionToken", "")
    found = await node.directory.credential(credentials["AccessKeyId"], token)
    assert found is not None
    assert found.secret == credentials["SecretAccessKey"]
    return found.principal
