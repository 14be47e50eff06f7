"""What a write tells its bucket's notification targets: matched, written out and put into the outbox within it.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
"""

from __future__ import annotations

import functools
import json
import time
from typing import Any
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

_VERSIONS = {"ObjectCreated": "2.1", "ObjectRemoved": "2.1", "ObjectTagging": "2.3"}
_EMPTY_ETAG = "d41d8cd98f00b204e9800998ecf8427e"
INVOKER = "s3.amazonaws.com"


class Rule(msgspec.Struct, array_like=True, frozen=True):
    """One notification configuration. events: "s3:ObjectCreated:*" and the like. prefix, suffix: of plain keys."""

    id: str
    function_arn: str
    events: tuple[str, ...]
    prefix: str = ""
    suffix: str = ""

    def covers(self, event: str, key: str) -> bool:
        """Whether an event ("ObjectCreated:Put") of that key is this rule's."""
        if not key.startswith(self.prefix) or not key.endswith(self.suffix):
            return False
        wildcard = f"s3:{event.partition(':')[0]}:*"
        return f"s3:{event}" in self.events or wildcard in self.events


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
        if rule.covers(event, key):
            payload = document(call, name, bucket, rule.id, event, key, record)
            _put(txn, call, name, bucket, rule, payload)


def region_and_account(function_arn: str) -> tuple[str, str]:
    """Of arn:aws:lambda:REGION:ACCOUNT:function:NAME. Raises ValueError for what is no such ARN."""
    arn, partition, service, region, account, kind, *rest = function_arn.split(":")
    if (arn, partition, service, kind) != ("arn", "aws", "lambda", "function") or not rest or not rest[0]:
        raise ValueError(f"{function_arn!r} is not a function's ARN")
    return region, account


def _put(txn: Transaction, call: Call, name: str, bucket: Bucket, rule: Rule, payload: bytes) -> None:
    region, account = region_and_account(rule.function_arn)
    delivery = Delivery(
        service="lambda",
        operation="Invoke",
        params={"FunctionName": rule.function_arn, "InvocationType": "Event", "Payload": payload},
        principal=INVOKER,
        account=account,
        region=region,
        source_arn=f"arn:aws:s3:::{name}",
        source_account=bucket.account,
        trace=call.trace,
    )
    put_into_outbox(txn, delivery, now=call.node.clock.now())


def document(call: Call, name: str, bucket: Bucket, rule_id: str, event: str, key: str, record: ObjectRecord) -> bytes:
    """The event document of one record, as AWS sends it."""
    what: dict[str, Any] = {"key": quote_plus(key, safe="/")}
    if not event.startswith("ObjectRemoved:"):
        what["size"] = record.size
        what["eTag"] = record.etag
    elif record.marker:
        what["eTag"] = _EMPTY_ETAG
    if record.versioned:
        what["versionId"] = versions.make_id(record.order)
    what["sequencer"] = f"{record.sequencer:018X}"
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
            "object": what,
        },
    }
    return json.dumps({"Records": [told]}, separators=(",", ":")).encode()


def _principal_id(call: Call) -> str:
    principal = call.principal
    if principal.kind is Kind.ANONYMOUS:
        return "Anonymous"
    return f"AWS:{principal.id or principal.account}"


def _iso_ms(seconds: float) -> str:
    ms = int(seconds * 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}Z"
