"""`penstock iam`: why a call is or is not allowed, and the smallest policy for what a role really does.

Asks a running server: its own endpoints for decisions and notes, its AWS endpoint for names and resources' policies.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from penstock.cli.running import DEFAULT_ENDPOINT, NoAnswerError, ask, client
from penstock.core.authz.reach import MOST

ROLE_POLICY_CHARS = 10_240
"""What AWS lets a role's inline policies hold together, without white space."""

WHY = """explains a decision with the evaluation that decides real calls: which statement allows or denies it, which come
close and what keeps them from it, and what would allow it.

examples:
  penstock iam why --principal role/app --action dynamodb:GetItem \\
      --resource arn:aws:dynamodb:us-east-1:000000000000:table/orders
  penstock iam why --principal user/ann --action s3:PutObject --resource 'arn:aws:s3:::inbox/a' \\
      --context aws:SourceIp=10.0.0.7 --context aws:SecureTransport=true
  penstock iam why --last-denied          what was denied lately, the newest first
  penstock iam why --last-denied 1        only the last denial

The policy of a bucket, function, queue, topic, table, key or role is read from the server and counts too.
Exit status: 0 allowed, 1 not allowed, 2 it could not be told."""

LEAST = """writes the smallest policy that allows what a role (or user) has really called, as JSON on standard output; what was
left out and what was taken together is said on standard error. Calls of the last minute are included.

examples:
  penstock iam least-privilege --role app > policy.json
  aws iam put-role-policy --role-name app --policy-name least --policy-document file://policy.json
  penstock iam least-privilege --role app --most 1         one pattern for each action: arn:aws:s3:::inbox/*
  penstock iam least-privilege --role app --with-denied    also what it asked for and was denied

Beyond 50 resources of one action, those that begin alike are taken together, e.g. arn:aws:s3:::inbox/2026/*; the streams
of a log group always are.
Run the whole job once before you trust the answer: what was never called is not in it."""


def add_parser(commands: Any) -> None:
    """Add the `iam` command to the command line's sub-parsers."""
    iam = commands.add_parser("iam", help="why a call is denied; the smallest policy for what a role really does")
    actions = iam.add_subparsers(title="commands", metavar="COMMAND", required=True)
    shape = argparse.RawDescriptionHelpFormatter
    why = actions.add_parser("why", help="explain a decision", description=WHY, formatter_class=shape)
    why.add_argument("--principal", help="ARN of a role, user, group or session; or role/NAME, user/NAME; or a service")
    why.add_argument("--action", help="e.g. s3:GetObject")
    why.add_argument("--resource", default="*", help="the ARN that the call is about (default *)")
    why.add_argument("--context", action="append", default=[], metavar="KEY=VALUE",
                     help="a condition key of the request; again for more keys, or more values of one")  # fmt: skip
    why.add_argument("--resource-policy", metavar="FILE", help="use this as the resource's policy; none: leave it out")
    why.add_argument(
        "--last-denied", nargs="?", type=int, const=10, metavar="N", help="the newest N denials (default 10)"
    )
    least = actions.add_parser(
        "least-privilege",
        help="the smallest policy for the calls made so far",
        description=LEAST,
        formatter_class=shape,
    )
    who = least.add_mutually_exclusive_group(required=True)
    who.add_argument("--role", help="a role's name or ARN")
    who.add_argument("--user", help="a user's name or ARN")
    least.add_argument("--with-denied", action="store_true", help="allow too what was asked for and denied")
    least.add_argument("--most", type=int, default=MOST, metavar="N",
                       help=f"resources of one action; beyond, take together what begins alike (default {MOST})")  # fmt: skip
    for parser, run in ((why, _why), (least, _least)):
        parser.add_argument("--endpoint", default=os.environ.get("AWS_ENDPOINT_URL", DEFAULT_ENDPOINT),
                            help=f"the server (default: AWS_ENDPOINT_URL, or {DEFAULT_ENDPOINT})")  # fmt: skip
        parser.add_argument("--json", action="store_true", help="the server's answer as JSON")
        parser.set_defaults(run=_reporting(run))


def _reporting(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    def reported(arguments: argparse.Namespace) -> int:
        try:
            return run(arguments)
        except NoAnswerError as error:
            print(f"penstock: {error}", file=sys.stderr)
            return 2

    return reported


def _why(arguments: argparse.Namespace) -> int:
    if arguments.last_denied is not None:
        return _last_denied(arguments)
    if not arguments.principal or not arguments.action:
        raise NoAnswerError("--principal and --action are needed (or --last-denied); see penstock iam why --help")
    asked = {
        "principal": _arn(arguments.endpoint, arguments.principal),
        "action": arguments.action,
        "resource": arguments.resource,
        "resource_policy": _given_policy(arguments),
        "context": _context(arguments.context),
    }
    told = ask(arguments.endpoint, "/_penstock/authz/why", asked)
    print(json.dumps(told, indent=2) if arguments.json else explained(told))
    return 0 if told["allowed"] else 1


def _last_denied(arguments: argparse.Namespace) -> int:
    path = f"/_penstock/authz?denied=1&limit={max(arguments.last_denied, 1)}"
    decisions = ask(arguments.endpoint, path)["decisions"]
    if arguments.json:
        print(json.dumps(decisions, indent=2))
        return 0
    for row in decisions:
        at = datetime.datetime.fromtimestamp(row["at"], datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
        print(f"{at}Z  {row['principal']}\n  may not {row['action']} on {row['resource']}\n  {row['reason']}")
    if not decisions:
        print("nothing was denied lately (the newest thousand decisions of this process are known)")
    return 0


def explained(told: dict[str, Any]) -> str:
    """The server's explanation as a person reads it."""
    may = "may" if told["allowed"] else "may not"
    lines = [f"{'ALLOWED' if told['allowed'] else 'DENIED'}  {told['principal']}",
             f"  {may} {told['action']} on {told['resource']}"]  # fmt: skip
    if not told["allowed"]:
        how = "denied by the" if told["explicit"] else "no"
        lines.append(f"  {how} {told['kind']}: {told['reason']}")
    if told.get("meant"):
        lines.append(f"  nothing here asks for {told['action']}: is {told['meant']} meant?")
    for row in told["statements"]:
        lines += ["", f"  {_verdict(row)}: {row['statement']} of {row['policy']}"]
        lines += [f"    {_condition(unmet)}" for unmet in row["unmet"]]
        lines.append(textwrap.indent(_compact(row["text"]), "    "))
    if told["silent"]:
        lines += ["", f"  says nothing about {told['action']}: {', '.join(told['silent'])}"]
    if not told["allowed"] and not told["explicit"] and told["kind"] == "identity-based policy":
        statement = {"Effect": "Allow", "Action": told["action"], "Resource": told["resource"]}
        lines += ["", "  would allow it:", f"    {json.dumps(statement)}"]
    return "\n".join(lines)


def _verdict(row: dict[str, Any]) -> str:
    if row["outcome"] in ("allows", "denies"):
        return str(row["outcome"]).upper()
    would = "would allow" if row["effect"] == "Allow" else "would deny"
    return f"{would}, but {row['outcome']}"


def _condition(unmet: dict[str, Any]) -> str:
    wanted = json.dumps(unmet["wanted"])
    found = "the request has no such key" if unmet["found"] is None else f"it is {json.dumps(unmet['found'])}"
    return f"{unmet['operator']} {unmet['key']} {wanted}: {found}"


def _compact(text: str) -> str:
    return json.dumps(json.loads(text))


def _least(arguments: argparse.Namespace) -> int:
    arn = _arn(arguments.endpoint, f"role/{arguments.role}" if arguments.role else f"user/{arguments.user}")
    calls = ask(arguments.endpoint, f"/_penstock/authz/calls?principal={quote(arn, safe='')}&most={arguments.most}")[
        "calls"
    ]
    if arguments.json:
        print(json.dumps(calls, indent=2))
        return 0
    wanted = [call for call in calls if call["allowed"] or arguments.with_denied]
    policy = smallest_policy(wanted)
    denied = sorted({call["action"] for call in calls if not call["allowed"]})
    if denied and not arguments.with_denied:
        print(f"left out, for it was denied (--with-denied takes it in): {', '.join(denied)}", file=sys.stderr)
    if not policy["Statement"]:
        raise NoAnswerError(f"{arn} has made no calls that a policy could allow")
    for call in wanted:
        for pattern in (pattern for pattern in call["resources"] if pattern.endswith("*")):
            print(f"a pattern, not one resource: {call['action']} on {pattern}", file=sys.stderr)
    size = len(msgspec.json.encode(policy))
    if size > ROLE_POLICY_CHARS:
        print(
            f"{size} characters: more than AWS lets a role's inline policies hold ({ROLE_POLICY_CHARS})",
            file=sys.stderr,
        )
    print(json.dumps(policy, indent=2))
    return 0


def smallest_policy(calls: list[dict[str, Any]]) -> dict[str, Any]:
    """The policy that allows calls (each with "action" and "resources"), actions on the same resources together."""
    resources: dict[str, set[str]] = {}
    for call in calls:
        resources.setdefault(call["action"], set()).update(call["resources"])
    actions: dict[tuple[str, ...], list[str]] = {}
    for action, patterns in sorted(resources.items()):
        actions.setdefault(_uncovered(patterns), []).append(action)
    statements = [
        {"Effect": "Allow", "Action": _one(group), "Resource": _one(list(patterns))}
        for patterns, group in sorted(actions.items(), key=lambda pair: pair[1])
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def _uncovered(patterns: set[str]) -> tuple[str, ...]:
    """The patterns without those that another of them covers."""
    heads = [pattern[:-1] for pattern in patterns if pattern.endswith("*")]
    return tuple(
        sorted(p for p in patterns if not any(p.startswith(head) and p != head + "*" for head in heads))
    )  # fmt: skip


def _one(texts: list[str]) -> str | list[str]:
    return texts[0] if len(texts) == 1 else texts


def _context(pairs: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise NoAnswerError(f"--context {pair}: must be KEY=VALUE")
        found.setdefault(key, []).append(value)
    return found


def _given_policy(arguments: argparse.Namespace) -> str:
    if arguments.resource_policy == "none":
        return ""
    if not arguments.resource_policy:
        return _policy_of(arguments.endpoint, arguments.resource)
    try:
        return Path(arguments.resource_policy).read_text(encoding="utf-8")
    except OSError as error:
        raise NoAnswerError(f"--resource-policy {arguments.resource_policy}: {error.strerror}") from None


_READERS: dict[str, Callable[[Any, str, str], Any]] = {
    "s3": lambda s3, arn, name: s3.get_bucket_policy(Bucket=name.partition("/")[0])["Policy"],
    "lambda": lambda functions, arn, name: functions.get_policy(FunctionName=arn)["Policy"],
    "dynamodb": lambda tables, arn, name: tables.get_resource_policy(ResourceArn=arn.partition("/index/")[0])["Policy"],
    "kms": lambda kms, arn, name: kms.get_key_policy(KeyId=arn)["Policy"],
    "sns": lambda sns, arn, name: sns.get_topic_attributes(TopicArn=arn)["Attributes"]["Policy"],
    "sqs": lambda sqs, arn, name: sqs.get_queue_attributes(
        QueueUrl=sqs.get_queue_url(QueueName=name)["QueueUrl"], AttributeNames=["Policy"]
    )["Attributes"]["Policy"],
}
"""Service in an ARN -> reads the policy of the resource (client, ARN, the ARN's last part)."""


_THERE_IS_NONE = re.compile("NoSuch|NotFound|NonExistent|NotImplemented").search


def _policy_of(endpoint: str, resource: str) -> str:
    """The policy that a resource carries; "" where it has none, or the service has no such thing here."""
    from botocore.exceptions import ClientError

    parts = resource.split(":", 5)
    read = _READERS.get(parts[2]) if len(parts) == 6 and "*" not in parts[5].partition("/")[0] else None
    if read is None:
        return ""
    try:
        return str(read(client(endpoint, parts[2], parts[3], parts[4]), resource, parts[5]))
    except KeyError:
        return ""
    except ClientError as error:
        if not _THERE_IS_NONE(error.response["Error"]["Code"]):
            print(f"left out, for it could not be read: the policy of {resource}: {error}", file=sys.stderr)
        return ""


def _arn(endpoint: str, name: str) -> str:
    """The ARN of what is named role/NAME, user/NAME or group/NAME; anything else is one already."""
    from botocore.exceptions import BotoCoreError, ClientError

    kind, _, short = name.partition("/")
    if kind not in ("role", "user", "group"):
        return name
    if short.startswith("arn:"):
        return short
    iam = client(endpoint, "iam")
    short = short.rpartition("/")[2]
    try:
        if kind == "role":
            return str(iam.get_role(RoleName=short)["Role"]["Arn"])
        if kind == "group":
            return str(iam.get_group(GroupName=short)["Group"]["Arn"])
        return str(iam.get_user(UserName=short)["User"]["Arn"])
    except (ClientError, BotoCoreError) as error:
        raise NoAnswerError(str(error)) from None
