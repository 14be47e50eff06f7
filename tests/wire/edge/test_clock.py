"""The moved clock: it is never behind where it has been, after a crash neither, and every node goes by it."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import Any

from penstock.clock import Clock
from penstock.config import Settings
from penstock.core.node import Node
from penstock.core.shared_clock import advance, catch_up, follow
from penstock.store.memory import MemoryStore
from penstock.telemetry import Telemetry
from served import Served


def ask(server: Served, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(server.endpoint + path, data=data), timeout=10) as answer:
        return json.load(answer)


def test_time_does_not_go_back_in_a_crash(own_server: Served) -> None:
    for step_s in (86_400, 0.5):
        before = ask(own_server, "/_penstock/state")["now"]
        assert ask(own_server, "/_penstock/clock", {"advance_s": step_s})["now"] >= before + step_s
    then = ask(own_server, "/_penstock/state")
    assert then["clock_ahead_s"] == 86_400.5
    own_server.kill()
    own_server.restart()
    now = ask(own_server, "/_penstock/state")
    assert now["clock_ahead_s"] == 86_400.5
    assert now["now"] >= then["now"]


async def test_the_other_nodes_follow() -> None:
    nothing: Any = None
    store = MemoryStore()
    one, other = (
        Node(Settings(), Clock(), store, nothing, nothing, nothing, Telemetry()) for _ in range(2)
    )  # fmt: skip
    task = asyncio.create_task(follow(other))
    await asyncio.sleep(0.01)
    await advance(one, 3600.0)
    await asyncio.sleep(0.01)
    assert (one.clock.ahead_s, other.clock.ahead_s) == (3600.0, 3600.0)
    await advance(other, 10.0)
    task.cancel()
    await catch_up(store, one.clock)
    assert one.clock.ahead_s == 3610.0
    late = Clock()
    await catch_up(store, late)
    assert late.ahead_s == 3610.0
