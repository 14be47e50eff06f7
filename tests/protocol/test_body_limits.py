"""The largest body by protocol family is a setting."""

from __future__ import annotations

from typing import Any, cast

import pytest

from penstock import services
from penstock.clock import Clock
from penstock.config import Settings
from penstock.core.node import Node
from penstock.edge.chain import Chain
from penstock.services.iam.directory import StoreDirectory
from penstock.store.memory import MemoryStore
from penstock.telemetry import Telemetry
from penstock.wire.message import Request

FORM = {"content-type": "application/x-www-form-urlencoded"}
CASES = {
    "max_json_bytes": ("POST", "/", "", {"x-amz-target": "DynamoDB_20120810.ListTables"}, "RequestEntityTooLarge"),
    "max_rest_json_bytes": ("POST", "/2015-03-31/functions", "", {}, "RequestEntityTooLarge"),
    "max_query_bytes": ("POST", "/", "Action=GetCallerIdentity&Version=2011-06-15", FORM, "RequestEntityTooLarge"),
    "max_xml_bytes": ("POST", "/bucket", "delete", {}, "MaxMessageLengthExceeded"),
}


async def refused(name: str, limit_bytes: int, body: bytes) -> str:
    """The code of what is always an error: nothing here is signed."""
    services.load()
    settings, clock, store = Settings(**{name: limit_bytes}), Clock(), MemoryStore()
    nothing = cast(Any, None)
    node = Node(settings, clock, store, nothing, nothing, StoreDirectory(store, clock, settings), Telemetry())
    method, path, query, given, _ = CASES[name]
    request = Request(method, path, query, {"host": "localhost", **given}, body, peer="127.0.0.1")
    answer = await Chain(node)(request)
    told = f"{dict(answer.headers)} {answer.body.decode()}"
    known = (CASES[name][4], "MissingAuthenticationToken", "MalformedXML")
    return next((code for code in known if code in told), told)


@pytest.mark.parametrize("name", CASES)
async def test_a_larger_body_is_refused_before_anything_else(name: str) -> None:
    too_large = CASES[name][4]
    assert await refused(name, 1000, b"x" * 1001) == too_large
    assert await refused(name, 1000, b"x" * 1000) != too_large
    assert await refused(name, 2000, b"x" * 1001) != too_large
