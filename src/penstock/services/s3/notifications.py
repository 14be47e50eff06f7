"""A bucket's notification configuration: which functions are told of which events.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/EventNotifications.html
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import msgspec

from penstock.core import identity
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.s3 import keys
from penstock.services.s3.access import BUCKET_ARN, load_policy, require_bucket
from penstock.services.s3.events import INVOKER, Rule, decode_rules, region_and_account
from penstock.services.s3.records import Bucket, encode
from penstock.services.s3.rules import KEY_BYTES
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError, not_implemented

EVENTS = frozenset(
    {
        "s3:ObjectCreated:*", "s3:ObjectCreated:Put", "s3:ObjectCreated:Post", "s3:ObjectCreated:Copy",
        "s3:ObjectCreated:CompleteMultipartUpload", "s3:ObjectRemoved:*", "s3:ObjectRemoved:Delete",
        "s3:ObjectRemoved:DeleteMarkerCreated", "s3:ObjectTagging:*", "s3:ObjectTagging:Put", "s3:ObjectTagging:Delete",
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
    for kind in ("TopicConfigurations", "QueueConfigurations", "EventBridgeConfiguration"):
        if configuration.get(kind) is not None and configuration[kind] != []:
            raise not_implemented(f"{kind} in a notification configuration: only functions can be told yet")
    rules = [_rule(item) for item in configuration.get("LambdaFunctionConfigurations") or []]
    _check_together(rules)
    for rule in rules:
        _check_region(rule, bucket)
    if not params.get("SkipDestinationValidation"):
        for arn in sorted({rule.function_arn for rule in rules}):
            await _check_destination(call, name, bucket, arn)

    def body(txn: Transaction) -> None:
        found = require_bucket(txn, call, params)
        if rules:
            txn.set(keys.setting(name, keys.NOTIFICATION), encode(rules))
        else:
            txn.clear(keys.setting(name, keys.NOTIFICATION))
        txn.set(keys.bucket(name), encode(msgspec.structs.replace(found, has_notification=bool(rules))))

    await call.store.transact(body)
    return {}


def _rule(item: Mapping[str, Any]) -> Rule:
    """Raises AwsError InvalidArgument, NotImplemented."""
    arn = item["LambdaFunctionArn"]
    try:
        region_and_account(arn)
    except ValueError:
        raise _invalid("The ARN could not be parsed", arn) from None
    events = tuple(item["Events"])
    for event in events:
        if event not in EVENTS:
            raise not_implemented(f"the event {event} in a notification configuration")
    prefix, suffix = _filters((item.get("Filter") or {}).get("Key") or {})
    rule_id = item.get("Id") or base64.b32encode(secrets.token_bytes(20)).decode().lower()
    if len(rule_id) > 255:
        raise _invalid("ID length should not exceed allowed limit of 255", rule_id)
    return Rule(rule_id, arn, events, prefix, suffix)


def _filters(key_filter: Mapping[str, Any]) -> tuple[str, str]:
    found: dict[str, str] = {}
    for filter_rule in key_filter.get("FilterRules") or []:
        kind = str(filter_rule.get("Name", "")).lower()
        if kind not in ("prefix", "suffix"):
            raise _invalid("filter rule name must be either prefix or suffix", str(filter_rule.get("Name", "")))
        if kind in found:
            raise _invalid(f"Cannot specify more than one {kind} rule in a filter.", kind)
        value = str(filter_rule.get("Value", ""))
        if len(value.encode()) > KEY_BYTES:
            raise _invalid("Size of filter rule value cannot exceed 1024 bytes in UTF-8 representation", value)
        found[kind] = value
    return found.get("prefix", ""), found.get("suffix", "")


def _invalid(message: str, value: str) -> AwsError:
    return AwsError("InvalidArgument", message, 400, members={"ArgumentName": value, "ArgumentValue": value})


def _check_together(rules: list[Rule]) -> None:
    """No event of a key may be two rules'. Raises AwsError InvalidArgument."""
    if len(rules) > MOST_RULES:
        raise _invalid(f"The maximum number of notification configurations is {MOST_RULES}", str(len(rules)))
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
    if region_and_account(rule.function_arn)[0] != bucket.region:
        raise _invalid(
            "The notification destination service region is not valid for the bucket location constraint",
            rule.function_arn,
        )


async def _check_destination(call: Call, name: str, bucket: Bucket, arn: str) -> None:
    """Ask the function's service whether S3 may invoke it for this bucket. Raises AwsError InvalidArgument."""
    region, account = region_and_account(arn)
    try:
        await call.node.call(
            "lambda",
            "Invoke",
            {"FunctionName": arn, "InvocationType": "DryRun"},
            principal=identity.service(INVOKER, bucket.account),
            account=account,
            region=region,
            context={"aws:SourceArn": f"arn:aws:s3:::{name}", "aws:SourceAccount": bucket.account},
        )
    except AwsError as error:
        if error.status >= 500:
            raise
        reason = "The destination Lambda does not exist"
        if error.code != "ResourceNotFoundException":
            reason = f"Not authorized to invoke function [{arn}]"
        raise AwsError(
            "InvalidArgument", "Unable to validate the following destination configurations", 400,
            members={"ArgumentName": arn, "ArgumentValue": reason},
        ) from None  # fmt: skip


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
    return {"LambdaFunctionConfigurations": [_told(rule) for rule in decode_rules(raw)]}


def _told(rule: Rule) -> dict[str, Any]:
    told: dict[str, Any] = {"Id": rule.id, "LambdaFunctionArn": rule.function_arn, "Events": list(rule.events)}
    filters = [
        {"Name": name, "Value": value} for name, value in (("Prefix", rule.prefix), ("Suffix", rule.suffix)) if value
    ]
    if filters:
        told["Filter"] = {"Key": {"FilterRules": filters}}
    return told
