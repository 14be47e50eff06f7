"""What functions print is kept, though the store is in a bad mood: again where it was refused, twice where in doubt."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from penstock.core.node import Node
from penstock.runtime.api import FunctionSpec
from penstock.store.faulty import Faults
from simulate.virtual_time import VirtualLoop, rerunnable
from simulate.world import ACCOUNT, REGION, World, ask

SPEC = FunctionSpec(
    key="f", arn=f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f", name="f", version="$LATEST", handler="f.f",
    runtime="python3.13", code=Path("/nowhere"), timeout_s=3, memory_mb=128, ephemeral_mb=512, log_group="group",
    environment={},
)  # fmt: skip


async def nothing(node: Node, payload: bytes) -> None:
    pass


async def print_lines(world: World) -> None:
    await world.begin(Faults(conflict=0.1, unknown_commit=0.05), nodes=1)
    await asyncio.sleep(1)
    node, printed = world.nodes[0].node, [f"line {n}" for n in range(60)]
    for n, line in enumerate(printed):
        assert world.runtimes[0].log_sink is not None
        world.runtimes[0].log_sink(SPEC, f"stream{n % 3}", [(node.clock.now(), line)])
        await asyncio.sleep(0.3)
    await asyncio.sleep(60)
    await world.lose_power()
    await world.begin(Faults(), nodes=1)
    found = await ask(world.nodes[0].node, "logs:FilterLogEvents", logGroupName="group", limit=1000)
    assert {event["message"] for event in found["events"]} == set(printed)
    await world.lose_power()


@pytest.mark.parametrize("seed", range(5))
def test_no_line_is_lost(seed: int, tmp_path: Path) -> None:
    with rerunnable(seed), VirtualLoop.running(3600) as loop:
        loop.run_until_complete(print_lines(World(seed, tmp_path, loop, nothing)))
