"""`penstock debug FUNCTION`: let a debugger attach to a function, until Ctrl-C."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from penstock.cli.running import DEFAULT_ENDPOINT, NoAnswerError, ask, client

_ENDS = {signal.SIGINT, signal.SIGTERM}
DEBUG = """lets a debugger attach to a function: debugpy (Python) or Node's inspector, at a port of this machine. Meanwhile each
event runs in one environment that first waits for the debugger, and may take an hour: breakpoints hold without the
time-out killing it. It ends with Ctrl-C.

examples:
  penstock debug hello                    then attach to 127.0.0.1:5678, and in another terminal:
  penstock invoke hello"""


def add_parser(commands: Any) -> None:
    """Add the `debug` command to the command line's sub-parsers."""
    shape = argparse.RawDescriptionHelpFormatter
    debug = commands.add_parser(
        "debug", help="attach a debugger to a function", description=DEBUG, formatter_class=shape
    )
    debug.add_argument("function", help="name or ARN; with :ALIAS or :VERSION, that version")
    debug.add_argument("--port", type=int, default=5678, help="of this machine; 0 picks one (default 5678)")
    debug.add_argument(
        "--source", type=Path, default=Path.cwd(), help="the function's code here (default: this folder)"
    )
    debug.add_argument("--endpoint", default=os.environ.get("AWS_ENDPOINT_URL", DEFAULT_ENDPOINT))
    debug.add_argument("--region", default="")
    debug.set_defaults(run=_debug)


def configuration(runtime: str, port: int, source: Path) -> dict[str, Any]:
    """What VS Code's launch.json wants to attach."""
    common = {"name": "Penstock", "request": "attach"}
    if runtime.startswith("python"):
        paths = [{"localRoot": str(source.resolve()), "remoteRoot": "/var/task"}]
        connect = {"host": "127.0.0.1", "port": port}
        return {**common, "type": "debugpy", "connect": connect, "pathMappings": paths, "justMyCode": True}
    roots = {"localRoot": str(source.resolve()), "remoteRoot": "/var/task"}
    return {**common, "type": "node", "address": "127.0.0.1", "port": port, **roots}


def _debug(arguments: argparse.Namespace) -> int:
    from botocore.exceptions import BotoCoreError, ClientError

    functions = client(arguments.endpoint, "lambda", arguments.region)
    try:
        found = functions.get_function_configuration(FunctionName=arguments.function)
        about = {"arn": found["FunctionArn"], "runtime": found["Runtime"]}
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)  # none may come between opening and closing
        port = ask(arguments.endpoint, "/_penstock/debug", {**about, "port": arguments.port})["port"]
    except (BotoCoreError, ClientError, NoAnswerError) as error:
        print(f"penstock: {error}", file=sys.stderr)
        return 2
    print(f"attach to 127.0.0.1:{port}, then invoke {found['FunctionName']}. For VS Code's launch.json:")
    print(json.dumps(configuration(found["Runtime"], port, arguments.source), indent=2), flush=True)
    try:
        signal.sigwait(_ENDS)
    finally:
        ask(arguments.endpoint, "/_penstock/debug", {**about, "port": None})
    return 0
