"""`penstock clock`: what time it is for a server, and moving it forward to see what happens by time."""

from __future__ import annotations

import argparse
import datetime
import os
import re
import sys
from typing import Any

from penstock.cli.running import DEFAULT_ENDPOINT, NoAnswerError, ask

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
CLOCK = """tells what time it is for a server, or moves its clock forward, so that expiry, retention, schedules, retries and
waiting periods can be seen at once. It never goes back, and a restart changes nothing. Signatures follow the host's clock.

examples:
  penstock clock                  the time there, and how far ahead of this machine it is
  penstock clock advance 30d      30 days forward: also 45s, 10m, 2h, 1w, 1d12h"""


def add_parser(commands: Any) -> None:
    """Add the `clock` command to the command line's sub-parsers."""
    clock = commands.add_parser(
        "clock", help="what time it is for a server; move it forward", description=CLOCK,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    clock.add_argument("move", nargs="?", choices=["advance"], help="move it forward")
    clock.add_argument("by", nargs="?", metavar="STEP", help="how far, e.g. 30d")
    clock.add_argument("--endpoint", default=os.environ.get("AWS_ENDPOINT_URL", DEFAULT_ENDPOINT))
    clock.set_defaults(run=_clock)


def seconds_of(step: str) -> int | None:
    """Seconds of a step such as 30d or 1d12h; None where it is none."""
    if not re.fullmatch(r"(\d+[smhdw])+", step):
        return None
    return sum(int(number) * _UNITS_S[unit] for number, unit in re.findall(r"(\d+)([smhdw])", step))


def _clock(arguments: argparse.Namespace) -> int:
    try:
        if arguments.move:
            step_s = seconds_of(arguments.by or "")
            if step_s is None:
                print(f"penstock: {arguments.by or 'advance'}: say how far, e.g. advance 30d", file=sys.stderr)
                return 2
            ask(arguments.endpoint, "/_penstock/clock", {"advance_s": step_s})
        state = ask(arguments.endpoint, "/_penstock/state")
    except NoAnswerError as error:
        print(f"penstock: {error}", file=sys.stderr)
        return 1
    at = datetime.datetime.fromtimestamp(state["now"], datetime.UTC)
    ahead = datetime.timedelta(seconds=round(state["clock_ahead_s"]))
    print(f"{at:%Y-%m-%d %H:%M:%S} UTC" + (f", {ahead} ahead of the host" if ahead else ""))
    return 0
