"""`penstock test-event`: events kept on the server to try a function with, one's own and shared ones."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from typing import Any

from penstock.cli.running import DEFAULT_ENDPOINT, ask

TEST_EVENT = """keeps events to try a function with: ten private ones for each caller, shared ones for whoever may read them.
They go with their function.

examples:
  penstock test-event put hello ann --event '{"name": "Ann"}'
  penstock test-event put convert upload --sample s3-put --set Records.0.s3.bucket.name=inbox --share
  penstock test-event list hello
  penstock test-event get hello ann > event.json
  penstock test-event delete hello ann
  penstock invoke hello --test-event ann"""


def add_parser(commands: Any, add_event: Callable[[argparse.ArgumentParser], None]) -> argparse.ArgumentParser:
    """Add the command; `add_event` adds the options that say what the event is."""
    shape = argparse.RawDescriptionHelpFormatter
    parser: argparse.ArgumentParser = commands.add_parser(
        "test-event", help="events kept to try a function with", description=TEST_EVENT, formatter_class=shape
    )
    parser.add_argument("action", choices=("put", "list", "get", "delete"))
    parser.add_argument("function")
    parser.add_argument("name", nargs="?", help="of letters, digits, dots, hyphens and underscores; 25 at most")
    parser.add_argument("--share", action="store_true", help="for everybody who may read the function's shared events")
    parser.add_argument("--endpoint", default=os.environ.get("AWS_ENDPOINT_URL", DEFAULT_ENDPOINT))
    parser.add_argument("--region", default="")
    add_event(parser)
    return parser


def saved(arguments: argparse.Namespace, name: str) -> Any:
    """The event. Raises NoAnswerError."""
    return _ask(arguments, f"/{name}")


def run(arguments: argparse.Namespace, payload: Callable[[argparse.Namespace], bytes]) -> int:
    """Carry the command out. Raises NoAnswerError."""
    name = f"/{arguments.name}" if arguments.name else ""
    share = "?share" if arguments.share else ""
    if arguments.action == "list":
        found = _ask(arguments, "")
        for kind in ("private", "shared"):
            print("".join(f"{each}  ({kind})\n" for each in found[kind]), end="")
    elif arguments.action == "get":
        print(json.dumps(saved(arguments, arguments.name), indent=2, ensure_ascii=False))
    elif arguments.action == "put":
        _ask(arguments, name + share, json.loads(payload(arguments)), method="PUT")
    else:
        _ask(arguments, name + share, method="DELETE")
    return 0


def _ask(arguments: argparse.Namespace, path: str, body: Any = None, method: str = "") -> Any:
    return ask(
        arguments.endpoint, f"/_lambda/test-events/{arguments.function}{path}", body, method=method, service="lambda",
        region=arguments.region,
    )  # fmt: skip
