"""What a write tells its bucket's notification targets: matched, written out and put into the outbox within it.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
"""

from __future__ import annotations

import functools
import json
import time
from typing import Any, NamedTuple
from urllib.parse import quote_plus

import msgspec

from penstock.core.call import Call
from penstock.core.identity import Kind
from penstock.events.outbox import Delivery
from penstock.events.outbox import emit as put_into_outbox
from penstock.services.s3 import keys, versions
from penstock.services.s3.grants import canonical_id
from penstock.services.s3.records import Bucket, ObjectRecord
from penstock.store.api import Transaction
from penstock.wire.s3_quirks import HOST_ID

_VERSIONS = {"ObjectCreated": "2.1", "ObjectRemoved": "2.1", "ObjectTagging": "2.3", "ObjectAcl": "2.3"}
_EMPTY_ETAG = "d41d8cd98f00b204e9800998ecf8427e"
INVOKER = "s3.amazonaws.com"
BUS = "events"
"""In place of an ARN: the default event bus of the bucket's owner, which is told of everything."""
CALLS = {"lambda": "Invoke", "sqs": "SendMessage", "sns": "Publish", BUS: "PutEvents"}
"""A target's service -> the operation that tells it."""
_SUBJECT = "Amazon S3 Notification"
_REASONS = {
    "ObjectCreated:Put": "PutObject", "ObjectCreated:Post": "POST Object", "ObjectCreated:Copy": "CopyObject",
    "ObjectCreated:CompleteMultipartUpload": "CompleteMultipartUpload", "ObjectRemoved:Delete": "DeleteObject",
    "ObjectRemoved:DeleteMarkerCreated": "DeleteObject",
}  # fmt: skip
_DETAIL_TYPES = {
    "ObjectCreated": "Object Created", "ObjectRemoved": "Object Deleted", "ObjectAcl:Put": "Object ACL Updated",
    "ObjectTagging:Put": "Object Tags Added", "ObjectTagging:Delete": "Object Tags Deleted",
}  # fmt: skip


class Rule(msgspec.Struct, array_like=True, frozen=True):
    """One notification configuration. events: "s3:ObjectCreated:*" and the like. prefix, suffix: of plain keys.

    arn: of a function, a queue or a topic; `BUS` for EventBridge.
    """

    id: str
    arn: str
    events: tuple[str, ...]
    prefix: str = ""
    suffix: str = ""

    def covers(self, event: str, key: str) -> bool:
        """Whether an event ("ObjectCreated:Put") of that key is this rule's."""
        if self.arn == BUS:
            return True
        if not key.startswith(self.prefix) or not key.endswith(self.suffix):
            return False
        wildcard = f"s3:{event.partition(':')[0]}:*"
        return f"s3:{event}" in self.events or wildcard in self.events


class Target(NamedTuple):
    """Where a rule's events go. name: a function's (with its qualifier), queue's or topic's."""

    service: str
    region: str
    account: str
    name: str


_decode_rules = msgspec.msgpack.Decoder(tuple[Rule, ...]).decode


@functools.lru_cache(1024)
def decode_rules(raw: bytes) -> tuple[Rule, ...]:
    """A bucket's stored rules."""
    return _decode_rules(raw)


def emit(txn: Transaction, call: Call, name: str, bucket: Bucket, event: str, key: str, record: ObjectRecord) -> None:
    """Put what follows from `event` into the outbox, in the transaction that made it happen."""
    raw = txn.get(keys.setting(name, keys.NOTIFICATION))
    if raw is None:
        return
    for rule in decode_rules(raw):
        if not rule.covers(event, key):
            continue
        if rule.arn == BUS:
            target = Target(BUS, bucket.region, bucket.account, "")
            params: dict[str, Any] = {"Entries": [_entry(call, name, event, key, record)]}
        else:
            target = target_of(rule.arn)
            params = message(target, rule.arn, document(call, name, bucket, rule.id, event, key, record))
        delivery = Delivery(
            service=target.service,
            operation=CALLS[target.service],
            params=params,
            principal=INVOKER,
            account=target.account,
            region=target.region,
            source_arn=f"arn:aws:s3:::{name}",
            source_account=bucket.account,
            trace=call.trace,
        )
        put_into_outbox(txn, delivery, now=call.node.clock.now())


@functools.lru_cache(1024)
def target_of(arn: str) -> Target:
    """What an ARN of a function, a queue or a topic names. Raises ValueError for anything else."""
    start, partition, service, region, account, *rest = arn.split(":")
    if (start, partition) != ("arn", "aws") or service not in ("lambda", "sqs", "sns"):
        raise ValueError(f"{arn!r} is not the ARN of a function, a queue or a topic")
    if service == "lambda":
        kind, *rest = rest
        if kind != "function":
            raise ValueError(f"{arn!r} is not a function's ARN")
    if not rest or not rest[0] or (service != "lambda" and len(rest) > 1):
        raise ValueError(f"{arn!r} has no name")
    return Target(service, region, account, ":".join(rest))


def message(target: Target, arn: str, payload: bytes) -> dict[str, Any]:
    """The parameters of the call that hands a document to a target."""
    if target.service == "lambda":
        return {"FunctionName": arn, "InvocationType": "Event", "Payload": payload}
    if target.service == "sqs":
        url = f"https://sqs.{target.region}.amazonaws.com/{target.account}/{target.name}"
        return {"QueueUrl": url, "MessageBody": payload.decode()}
    return {"TopicArn": arn, "Subject": _SUBJECT, "Message": payload.decode()}


def test_event(call: Call, name: str) -> bytes:
    """What a queue or a topic is told when it becomes a target."""
    told = {
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": _iso_ms(call.now),
        "Bucket": name,
        "RequestId": call.request_id,
        "HostId": HOST_ID,
    }
    return json.dumps(told, separators=(",", ":")).encode()


def document(call: Call, name: str, bucket: Bucket, rule_id: str, event: str, key: str, record: ObjectRecord) -> bytes:
    """The event document of one record, as AWS sends it."""
    told = {
        "eventVersion": _VERSIONS[event.partition(":")[0]],
        "eventSource": "aws:s3",
        "awsRegion": bucket.region,
        "eventTime": _iso_ms(call.now),
        "eventName": event,
        "userIdentity": {"principalId": _principal_id(call)},
        "requestParameters": {"sourceIPAddress": call.source_ip},
        "responseElements": {"x-amz-request-id": call.request_id, "x-amz-id-2": HOST_ID},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": rule_id,
            "bucket": {
                "name": name,
                "ownerIdentity": {"principalId": canonical_id(bucket.account)},
                "arn": f"arn:aws:s3:::{name}",
            },
            "object": {"key": quote_plus(key, safe="/"), **_object(event, record, ("size", "eTag", "versionId"))},
        },
    }
    return json.dumps({"Records": [told]}, separators=(",", ":")).encode()


def _object(event: str, record: ObjectRecord, names: tuple[str, str, str]) -> dict[str, Any]:
    """What is told of an object beside its key. names: of size, ETag and version, which EventBridge spells otherwise.

    Only writes and deletes of an object have a size or a sequencer.
    """
    size, etag, version = names
    kind = event.partition(":")[0]
    told: dict[str, Any] = {}
    if kind == "ObjectCreated":
        told[size] = record.size
    if kind != "ObjectRemoved":
        told[etag] = record.etag
    elif event.endswith("DeleteMarkerCreated"):
        told[etag] = _EMPTY_ETAG
    if record.versioned:
        told[version] = versions.make_id(record.order)
    if kind in ("ObjectCreated", "ObjectRemoved"):
        told["sequencer"] = f"{record.sequencer:018X}"
    return told


def _entry(call: Call, name: str, event: str, key: str, record: ObjectRecord) -> dict[str, Any]:
    """The event for EventBridge, whose document is another.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
    """
    detail: dict[str, Any] = {
        "version": "0",
        "bucket": {"name": name},
        "object": {"key": key, **_object(event, record, ("size", "etag", "version-id"))},
        "request-id": call.request_id,
        "requester": call.principal.account or "anonymous",
        "source-ip-address": call.source_ip,
    }
    if event in _REASONS:
        detail["reason"] = _REASONS[event]
    if event.startswith("ObjectRemoved:"):
        made = event.endswith("DeleteMarkerCreated")
        detail["deletion-type"] = "Delete Marker Created" if made else "Permanently Deleted"
    return {
        "Source": "aws.s3",
        "DetailType": _DETAIL_TYPES.get(event) or _DETAIL_TYPES[event.partition(":")[0]],
        "Detail": json.dumps(detail, separators=(",", ":")),
        "Resources": [f"arn:aws:s3:::{name}"],
        "Time": int(call.now),
    }


def _principal_id(call: Call) -> str:
    principal = call.principal
    if principal.kind is Kind.ANONYMOUS:
        return "Anonymous"
    return f"AWS:{principal.id or principal.account}"


def _iso_ms(seconds: float) -> str:
    ms = int(seconds * 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}Z"
