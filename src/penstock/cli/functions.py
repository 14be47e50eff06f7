"""`penstock invoke`, `penstock logs`, `penstock event`, `penstock deploy`: a function under development, from the terminal.

They are AWS clients of a running server and nothing more.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import re
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from penstock.cli import layers, saved_events, setup
from penstock.cli.cost import Cost
from penstock.cli.running import DEFAULT_ENDPOINT, NoAnswerError, client
from penstock.clock import Clock

EVENTS = Path(__file__).parent / "events"
_FOLLOW_EVERY_S = 0.5
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LEFT_OUT = {"__pycache__", ".git", ".venv", "venv", ".pytest_cache", ".mypy_cache"}

INVOKE = """runs a function and prints what it answers; what it printed goes to standard error.

examples:
  penstock invoke hello                                  with {}
  penstock invoke hello --event '{"name": "Ann"}'
  penstock invoke hello --event event.json               a file; - is standard input
  penstock invoke convert --sample s3-put --set Records.0.s3.bucket.name=inbox --set Records.0.s3.object.key=a.json
  penstock invoke hello --test-event ann                 one that `penstock test-event` keeps
  penstock invoke hello --later                          asynchronously

Exit status: 0 answered, 1 the function failed, 2 it could not be asked."""

EVENT = """prints the event that a trigger hands to a function, to be changed and saved.

examples:
  penstock event                                         the names of all
  penstock event sqs > event.json
  penstock event s3-put --set Records.0.s3.bucket.name=inbox"""

LOGS = """prints what a function printed, from its log group.

examples:
  penstock logs hello                 the last ten minutes
  penstock logs hello --since 2h --filter ERROR
  penstock logs -f hello              and what comes, until Ctrl-C
  penstock logs hello --cost --since 1d"""

DEPLOY = """creates or updates a function from a folder, as `penstock new` makes them: function.json holds CreateFunction's
parameters, policy.json what its role may do, setup.json the calls that make what it needs (buckets, tables, triggers). --live
runs the folder itself (the bucket hot-reload): what is saved runs with the next invocation.

examples:
  penstock new hello-world hello && penstock deploy hello && penstock invoke hello --event hello/event.json"""


def add_parsers(commands: Any) -> None:
    """Add these commands to the command line's sub-parsers."""
    shape = argparse.RawDescriptionHelpFormatter
    invoke = commands.add_parser("invoke", help="run a function", description=INVOKE, formatter_class=shape)
    invoke.add_argument("function", help="name, partial ARN or ARN; NAME:ALIAS for a version of it")
    _add_event(invoke)
    invoke.add_argument("--test-event", metavar="NAME", help="an event that `penstock test-event` keeps")
    invoke.add_argument("--later", action="store_true", help="asynchronously: accepted, and run by itself")
    invoke.add_argument("--quiet", action="store_true", help="do not print what the function printed")
    logs = commands.add_parser(
        "logs", help="what a function printed, and prints", description=LOGS, formatter_class=shape
    )
    logs.add_argument("function")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    logs.add_argument("--since", default="10m", metavar="AGE", help="how far back, e.g. 30s, 10m, 2h, 1d (default 10m)")
    logs.add_argument("--filter", default="", metavar="PATTERN", help="a CloudWatch Logs filter pattern")
    logs.add_argument("--cost", action="store_true", help="only what AWS would bill for the invocations in it")
    event = commands.add_parser("event", help="a trigger's sample event", description=EVENT, formatter_class=shape)
    _add_sample(event, "sample", nargs="?")
    deploy = commands.add_parser(
        "deploy", help="create or update a function from a folder", description=DEPLOY, formatter_class=shape
    )
    deploy.add_argument("folder", type=Path)
    deploy.add_argument("--name", help="the function's name (default: the folder's)")
    deploy.add_argument("--live", action="store_true", help="run the folder as it is at each invocation")
    layers.add_parser(commands).set_defaults(run=_reported(layers.run))
    kept = saved_events.add_parser(commands, _add_event)
    kept.set_defaults(run=_reported(_test_event))
    for parser, run in ((invoke, _invoke), (logs, _logs), (deploy, _deploy)):
        parser.add_argument("--endpoint", default=os.environ.get("AWS_ENDPOINT_URL", DEFAULT_ENDPOINT))
        parser.add_argument("--region", default="")
        parser.set_defaults(run=_reported(run))
    event.set_defaults(run=_reported(_event))


def _add_event(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--event", help="JSON, a file of it, or - for standard input (default {})")
    _add_sample(parser, "--sample")


def _add_sample(parser: argparse.ArgumentParser, name: str, **options: Any) -> None:
    parser.add_argument(name, metavar="TRIGGER", help="a trigger's sample event: see `penstock event`", **options)
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", dest="changes",
                        help="change the event: a dotted path, and JSON or text")  # fmt: skip


class _Unusable(Exception):
    """What was asked for cannot be done; the message is for the person at the terminal."""


def _reported(run: Any) -> Any:
    def wrapped(arguments: argparse.Namespace) -> int:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            status: int = run(arguments)
        except (_Unusable, NoAnswerError, layers.LayerError, setup.SetupError, BotoCoreError, ClientError) as error:
            print(f"penstock: {error}", file=sys.stderr)
            return 2
        return status

    return wrapped


def samples() -> list[str]:
    """The names of the sample events."""
    return sorted(path.stem for path in EVENTS.glob("*.json"))


def sample(name: str, changes: list[str]) -> Any:
    """A trigger's event with "path=value" changes made. Raises _Unusable."""
    if name not in samples():
        raise _Unusable(f"there is no sample event {name}; there are {', '.join(samples())}")
    event = json.loads((EVENTS / f"{name}.json").read_text())
    for change in changes:
        _change(event, change)
    return event


def _change(event: Any, change: str) -> None:
    path, equals, text = change.partition("=")
    if not equals:
        raise _Unusable(f"--set {change}: must be PATH=VALUE")
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    at = event
    *parents, last = (int(step) if step.isdigit() else step for step in path.split("."))
    try:
        for step in parents:
            at = at[step]
        at[last] = value
    except (KeyError, IndexError, TypeError):
        raise _Unusable(f"--set {change}: the event has no {path}") from None


def _event(arguments: argparse.Namespace) -> int:
    if not arguments.sample:
        print("\n".join(samples()))
        return 0
    print(json.dumps(sample(arguments.sample, arguments.changes), indent=2))
    return 0


def _test_event(arguments: argparse.Namespace) -> int:
    if not arguments.name and arguments.action != "list":
        raise _Unusable(f"penstock test-event {arguments.action} FUNCTION NAME: which one?")
    return saved_events.run(arguments, _payload)


def _payload(arguments: argparse.Namespace) -> bytes:
    event: Any
    if arguments.sample:
        return json.dumps(sample(arguments.sample, arguments.changes)).encode()
    given = arguments.event
    if getattr(arguments, "test_event", None):
        event = saved_events.saved(arguments, arguments.test_event)
    elif given is None:
        event = {}
    else:
        try:
            text = sys.stdin.read() if given == "-" else given
            if given != "-" and not given.lstrip().startswith(("{", "[", '"')) and Path(given).is_file():
                text = Path(given).read_text()
            event = json.loads(text)
        except ValueError as error:
            raise _Unusable(f"the event is no JSON, nor a file of it: {error}") from None
    for change in arguments.changes:
        _change(event, change)
    return json.dumps(event).encode()


def _invoke(arguments: argparse.Namespace) -> int:
    functions = client(arguments.endpoint, "lambda", arguments.region)
    payload = _payload(arguments)
    if arguments.later:
        functions.invoke(FunctionName=arguments.function, InvocationType="Event", Payload=payload)
        return 0
    answer = functions.invoke(FunctionName=arguments.function, LogType="Tail", Payload=payload)
    if not arguments.quiet:
        log = base64.b64decode(answer.get("LogResult", "")).decode(errors="replace")
        sys.stderr.write(log)
        cost = Cost()
        if cost.add(log):
            print(cost, file=sys.stderr)
    text = answer["Payload"].read().decode(errors="replace")
    try:
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        pass
    print(text)
    return 1 if "FunctionError" in answer else 0


def _logs(arguments: argparse.Namespace) -> int:
    match = re.fullmatch(r"(\d+)([smhd])", arguments.since)
    if match is None:
        raise _Unusable(f"--since {arguments.since}: must be a number and s, m, h or d, e.g. 10m")
    functions = client(arguments.endpoint, "lambda", arguments.region)
    group = functions.get_function_configuration(FunctionName=arguments.function)["LoggingConfig"]["LogGroup"]
    logs = client(arguments.endpoint, "logs", arguments.region)
    start = int(Clock().host_now() - int(match[1]) * _UNITS_S[match[2]]) * 1000
    if arguments.cost:
        cost = Cost()
        for event in _new_events(logs, group, start, arguments.filter):
            cost.add(event["message"])
        print(cost)
        return 0
    seen: set[str] = set()
    while True:
        newest = start
        for event in _new_events(logs, group, start, arguments.filter):
            newest = max(newest, event["timestamp"])
            if event["eventId"] not in seen:
                seen.add(event["eventId"])
                at = time.strftime("%H:%M:%S", time.localtime(event["timestamp"] / 1000))
                print(f"{at}.{event['timestamp'] % 1000:03} {event['message'].rstrip()}", flush=True)
        if not arguments.follow:
            return 0
        if newest - start > 60_000:  # what comes late is looked for a minute back
            start = newest - 60_000
        time.sleep(_FOLLOW_EVERY_S)


def _new_events(logs: Any, group: str, start: int, pattern: str) -> Iterator[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    parameters = {"logGroupName": group, "startTime": start} | ({"filterPattern": pattern} if pattern else {})
    try:
        while True:
            page = logs.filter_log_events(**parameters)
            found += page["events"]
            if "nextToken" not in page:
                break
            parameters["nextToken"] = page["nextToken"]
    except logs.exceptions.ResourceNotFoundException:
        return iter(())  # it has not printed anything yet
    return iter(sorted(found, key=lambda event: int(event["timestamp"])))


def package(folder: Path) -> bytes:
    """A deployment package of a folder, without what tools leave in it."""
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if path.is_file() and not _LEFT_OUT.intersection(inside.parts):
                archive.write(path, inside)
    return body.getvalue()


def _deploy(arguments: argparse.Namespace) -> int:
    folder = arguments.folder.resolve()
    if not folder.is_dir():
        raise _Unusable(f"{arguments.folder} is no folder")
    try:
        wanted = json.loads((folder / "function.json").read_text())
    except (OSError, ValueError) as error:
        raise _Unusable(f"function.json, with CreateFunction's parameters, cannot be read: {error}") from None
    name = arguments.name or folder.name
    code = (
        {"S3Bucket": "hot-reload", "S3Key": str(folder)} if arguments.live else {"ZipFile": package(folder)}
    )  # fmt: skip
    role = _role(client(arguments.endpoint, "iam", arguments.region), name, folder)
    functions = client(arguments.endpoint, "lambda", arguments.region)
    if "Layers" in wanted:
        wanted["Layers"] = [layers.newest(functions, layer) for layer in wanted["Layers"]]
    wanted.setdefault("Runtime", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    try:
        made = functions.create_function(**{"FunctionName": name, "Role": role, "Code": code, **wanted})
    except functions.exceptions.ResourceConflictException:
        functions.update_function_configuration(FunctionName=name, Role=role, **wanted)
        functions.get_waiter("function_updated_v2").wait(FunctionName=name)
        made = functions.update_function_code(FunctionName=name, **code)
    arn = made["FunctionArn"]
    print(arn)
    known = {"function": name, "arn": arn, "account": arn.split(":")[4], "region": arn.split(":")[3]}
    setup.run(folder, arguments.endpoint, arguments.region, known)
    return 0


def _role(iam: Any, name: str, folder: Path) -> str:
    trust = {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"},
    }
    role = f"{name}-role"
    try:
        arn: str = iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    except iam.exceptions.EntityAlreadyExistsException:
        arn = iam.get_role(RoleName=role)["Role"]["Arn"]
    policy = folder / "policy.json"
    if policy.is_file():
        iam.put_role_policy(RoleName=role, PolicyName="function", PolicyDocument=policy.read_text())
    return arn
