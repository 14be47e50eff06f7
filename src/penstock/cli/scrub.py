"""`penstock scrub`: read every record and every file, and tell what is damaged."""

from __future__ import annotations

import asyncio
import sys

import uvloop

from penstock.config import Settings
from penstock.core.master_key import MasterKeyError
from penstock.store import StoreError

_HOURS_S = 12 * 3600


def scrub(settings: Settings, endpoint: str | None) -> int:
    """Scrub a server that runs (endpoint), or the data directory of one that does not.

    Prints a line for each thing found. Returns 1 where something is damaged or could not be read, else 0.
    """
    from penstock.cli.running import NoAnswerError, ask

    try:
        if endpoint:
            answer = ask(endpoint, "/_penstock/scrub", {}, timeout_s=_HOURS_S)
            records, found = answer["records"], answer["found"]
        else:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                records, found = runner.run(_scrub(settings))
    except (NoAnswerError, StoreError, MasterKeyError, OSError) as error:
        print(f"penstock: {error}", file=sys.stderr)
        return 1
    for line in found:
        print(f"bad   {line}")
    print(f"{'bad' if found else 'ok':<5} {records} records and all files read, {len(found)} found damaged")
    return 1 if found else 0


async def _scrub(settings: Settings) -> tuple[int, list[str]]:
    from penstock.cli.up import node_of
    from penstock.core.scrub import scrub as scrub_node

    async with node_of(settings) as node:
        return await scrub_node(node)
