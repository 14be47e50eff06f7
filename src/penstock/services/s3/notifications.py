"""A bucket's notification configuration: which functions, queues and topics are told of which events, and EventBridge of all.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/EventNotifications.html
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from itertools import combinations
from typing import Any, NamedTuple

import msgspec

from penstock.core import identity
from penstock.core.call import Call
from penstock.core.operation import REGISTRY, Params, Result, operation
from penstock.services.s3 import keys
from penstock.services.s3.access import BUCKET_ARN, load_policy, require_bucket
from penstock.services.s3.events import BUS, CALLS, INVOKER, Rule, decode_rules, message, target_of, test_event
from penstock.services.s3.records import Bucket, encode
from penstock.services.s3.rules import KEY_BYTES, malformed_xml
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError, not_implemented

EVENTS = frozenset(
    {
        "s3:ObjectCreated:*", "s3:ObjectCreated:Put", "s3:ObjectCreated:Post", "s3:ObjectCreated:Copy",
        "s3:ObjectCreated:CompleteMultipartUpload", "s3:ObjectRemoved:*", "s3:ObjectRemoved:Delete",
        "s3:ObjectRemoved:DeleteMarkerCreated", "s3:ObjectTagging:*", "s3:ObjectTagging:Put", "s3:ObjectTagging:Delete",
        "s3:ObjectAcl:Put",
    }
)  # fmt: skip
"""Events of what can happen here. Those of features that are not there are refused, so that nobody waits for them."""
MOST_RULES = 100


@operation(
    "s3:PutBucketNotificationConfiguration", action="s3:PutBucketNotification", resource=BUCKET_ARN, policy=load_policy
)
async def put_bucket_notification_configuration(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketNotificationConfiguration.html

    Replaces the whole configuration. Every destination must exist and let S3 invoke it, unless the caller skips that.
    """
    name = params["Bucket"]
    bucket = await call.store.transact(lambda txn: require_bucket(txn, call, params), read_only=True)
    configuration = params["NotificationConfiguration"]
    rules = [_rule(item, kind) for kind in KINDS for item in configuration.get(kind.member) or []]
    _check_together(rules)
    for rule in rules:
        _check_region(rule, bucket)
    if configuration.get("EventBridgeConfiguration") is not None:
        rules.append(Rule("", BUS, ()))
    for service in {BUS if rule.arn == BUS else target_of(rule.arn).service for rule in rules}:
        if service != "lambda" and (service, CALLS[service]) not in REGISTRY:
            raise not_implemented(f"{service} as a target of notifications: there is no {service} here yet")
    if not params.get("SkipDestinationValidation"):
        await _check_destinations(call, name, bucket, [rule.arn for rule in rules if rule.arn != BUS])

    def body(txn: Transaction) -> None:
        found = require_bucket(txn, call, params)
        if rules:
            txn.set(keys.setting(name, keys.NOTIFICATION), encode(rules))
        else:
            txn.clear(keys.setting(name, keys.NOTIFICATION))
        txn.set(keys.bucket(name), encode(msgspec.structs.replace(found, has_notification=bool(rules))))

    await call.store.transact(body)
    return {}


class Kind(NamedTuple):
    """A kind of target. member: of the configuration; arn: of one rule in it; argument: its name in errors."""

    service: str
    member: str
    arn: str
    argument: str


KINDS = (
    Kind("sns", "TopicConfigurations", "TopicArn", "Topic"),
    Kind("sqs", "QueueConfigurations", "QueueArn", "Queue"),
    Kind("lambda", "LambdaFunctionConfigurations", "LambdaFunctionArn", "CloudFunction"),
)
_OF_SERVICE = {kind.service: kind for kind in KINDS}


def _rule(item: Mapping[str, Any], kind: Kind) -> Rule:
    """Raises AwsError InvalidArgument, NotImplemented."""
    arn = item[kind.arn]
    try:
        fits = target_of(arn).service == kind.service
    except ValueError:
        fits = False
    if not fits:
        raise _invalid("The ARN could not be parsed", kind.argument, arn)
    events = tuple(item["Events"])
    for event in events:
        if event not in EVENTS:
            raise not_implemented(f"the event {event} in a notification configuration")
    prefix, suffix = _filters((item.get("Filter") or {}).get("Key") or {})
    rule_id = item.get("Id") or base64.b32encode(secrets.token_bytes(20)).decode().lower()
    if len(rule_id) > 255:
        raise _invalid("ID length should not exceed allowed limit of 255", "Id", rule_id)
    return Rule(rule_id, arn, events, prefix, suffix)


def _filters(key_filter: Mapping[str, Any]) -> tuple[str, str]:
    found: dict[str, str] = {}
    for filter_rule in key_filter.get("FilterRules") or []:
        if "Name" not in filter_rule or "Value" not in filter_rule:
            raise malformed_xml()
        kind = str(filter_rule["Name"]).lower()
        if kind not in ("prefix", "suffix"):
            raise _invalid("filter rule name must be either prefix or suffix", "FilterRule.Name", filter_rule["Name"])
        if kind in found:
            raise _invalid(f"Cannot specify more than one {kind} rule in a filter.", "FilterRule.Name", kind)
        value = str(filter_rule["Value"])
        if len(value.encode()) > KEY_BYTES:
            raise _invalid(
                "Size of filter rule value cannot exceed 1024 bytes in UTF-8 representation", "FilterRule.Value", value
            )
        found[kind] = value
    return found.get("prefix", ""), found.get("suffix", "")


def _invalid(message: str, name: str, value: str) -> AwsError:
    return AwsError("InvalidArgument", message, 400, members={"ArgumentName": name, "ArgumentValue": value})


def _check_together(rules: list[Rule]) -> None:
    """No event of a key may be two rules'. Raises AwsError InvalidArgument."""
    if len(rules) > MOST_RULES:
        raise _invalid(
            f"The maximum number of notification configurations is {MOST_RULES}", "configurations", str(len(rules))
        )
    if len({rule.id for rule in rules}) != len(rules):
        raise AwsError("InvalidArgument", "Same ID used for multiple configurations. IDs must be unique", 400)
    for one, other in combinations(rules, 2):
        if (
            any(_same_event(a, b) for a in one.events for b in other.events)
            and (one.prefix.startswith(other.prefix) or other.prefix.startswith(one.prefix))
            and (one.suffix.endswith(other.suffix) or other.suffix.endswith(one.suffix))
        ):
            raise AwsError(
                "InvalidArgument",
                "Configuration is ambiguously defined. Cannot have overlapping suffixes in two rules if the prefixes "
                "are overlapping for the same event type.",
                400,
            )


def _same_event(a: str, b: str) -> bool:
    if a == b:
        return True
    return a.rpartition(":")[0] == b.rpartition(":")[0] and (a.endswith("*") or b.endswith("*"))


def _check_region(rule: Rule, bucket: Bucket) -> None:
    if target_of(rule.arn).region != bucket.region:
        raise _invalid(
            "The notification destination service region is not valid for the bucket location constraint",
            rule.arn,
            rule.arn,
        )


async def _check_destinations(call: Call, name: str, bucket: Bucket, arns: list[str]) -> None:
    """Raises AwsError InvalidArgument, which says of each target that cannot be told why it cannot."""
    wrong: dict[str, str] = {}
    for number, arn in enumerate(sorted(set(arns)), 1):
        reason = await _refusal(call, name, bucket, arn)
        if reason:
            wrong[f"ArgumentName{number}"] = f"{arn}, null" if target_of(arn).service == "lambda" else arn  # as AWS
            wrong[f"ArgumentValue{number}"] = reason
    if wrong:
        raise AwsError(
            "InvalidArgument", "Unable to validate the following destination configurations", 400, members=wrong
        )


async def _refusal(call: Call, name: str, bucket: Bucket, arn: str) -> str:
    """Why a target cannot be told of this bucket's events, "" if it can. A queue and a topic are told s3:TestEvent."""
    target = target_of(arn)
    if target.service == "lambda":
        params: dict[str, Any] = {"FunctionName": arn, "InvocationType": "DryRun"}
    else:
        params = message(target, arn, test_event(call, name))
    try:
        await call.node.call(
            target.service,
            CALLS[target.service],
            params,
            principal=identity.service(INVOKER, bucket.account),
            account=target.account,
            region=target.region,
            context={"aws:SourceArn": f"arn:aws:s3:::{name}", "aws:SourceAccount": bucket.account},
        )
    except AwsError as error:
        if error.status >= 500:
            raise
        if target.service == "lambda":
            return f"Not authorized to invoke function [{arn}]"  # nor whether there is one
        if "NotFound" in error.code or "DoesNotExist" in error.code or "NonExistent" in error.code:
            return f"The destination {_OF_SERVICE[target.service].argument.lower()} does not exist"
        return (
            f"Permissions on the destination {_OF_SERVICE[target.service].argument.lower()} do not allow S3 to publish "
            "notifications from this bucket"
        )
    return ""


@operation(
    "s3:GetBucketNotificationConfiguration", action="s3:GetBucketNotification", resource=BUCKET_ARN, policy=load_policy
)
async def get_bucket_notification_configuration(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketNotificationConfiguration.html"""

    def body(txn: Transaction) -> bytes | None:
        require_bucket(txn, call, params)
        return txn.get(keys.setting(params["Bucket"], keys.NOTIFICATION))

    raw = await call.store.transact(body, read_only=True)
    if raw is None:
        return {}
    result: Result = {}
    for rule in decode_rules(raw):
        if rule.arn == BUS:
            result["EventBridgeConfiguration"] = {}
            continue
        kind = _OF_SERVICE[target_of(rule.arn).service]
        result.setdefault(kind.member, []).append(_told(rule, kind))
    return result


def _told(rule: Rule, kind: Kind) -> dict[str, Any]:
    told: dict[str, Any] = {"Id": rule.id, kind.arn: rule.arn, "Events": list(rule.events)}
    filters = [
        {"Name": name, "Value": value} for name, value in (("Prefix", rule.prefix), ("Suffix", rule.suffix)) if value
    ]
    if filters:
        told["Filter"] = {"Key": {"FilterRules": filters}}
    return told
