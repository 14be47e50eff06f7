"""SSE-KMS and DSSE: data keys that KMS makes and opens, with the permissions of whoever writes and reads.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html. With an S3 Bucket Key, KMS is asked once for
a bucket's key and a requester, and again when that is `BUCKET_KEY_S` old.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from penstock.core.call import Call, forwarded
from penstock.core.identity import Kind
from penstock.core.node import Node
from penstock.services.s3.encryption.data_key import DSSE, DataKey
from penstock.services.s3.encryption.service_keys import ServiceKeys
from penstock.services.s3.records import Encryption
from penstock.wire.errors import AwsError

MANAGED = "alias/aws/s3"
BUCKET_KEY_S = 300.0
_MOST_KEPT = 1000
_CONTEXT_ARN = "aws:s3:arn"


class BucketKeys:
    """The bucket keys that this process has in use: by what they were asked for, with the time they are good until."""

    def __init__(self, _: Node) -> None:
        self._kept: dict[tuple[Any, ...], tuple[float, DataKey]] = {}

    def get(self, what: tuple[Any, ...], now: float) -> DataKey | None:
        found = self._kept.get(what)
        return found[1] if found is not None and found[0] > now else None

    def put(self, what: tuple[Any, ...], key: DataKey, now: float) -> None:
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        self._kept[what] = (now + BUCKET_KEY_S, key)


async def for_new(
    call: Call, region: str, mode: str, key_id: str, arn: str, context: str, *, bucket_key: bool
) -> DataKey:
    """A fresh data key under a KMS key; with a bucket key, the one in use.

    arn: the object's. context: the client's own, as its header says it. Raises AwsError InvalidArgument, AccessDenied,
    KMS.NotFoundException, KMS.DisabledException and the like.
    """
    own = parse_context(context)
    context_arn = arn.partition("/")[0] if bucket_key else arn
    asked = ("new", call.principal.arn, region, mode, key_id, context_arn, context)
    in_use = call.node.own(BucketKeys)
    found = in_use.get(asked, call.now) if bucket_key else None
    if found is not None:
        return found
    answer = await _ask(
        call, region, "GenerateDataKey",
        {"KeyId": key_id or MANAGED, "KeySpec": "AES_256", "EncryptionContext": _full(own, context_arn)},
    )  # fmt: skip
    outer = await call.node.own(ServiceKeys).for_new() if mode == DSSE else None
    record = Encryption(
        mode, outer.record.service_key if outer else "", answer["KeyId"], answer["CiphertextBlob"], context_arn, context,
        bucket_key,
    )  # fmt: skip
    made = DataKey(record, answer["Plaintext"] + (outer.key if outer else b""))
    if bucket_key:
        in_use.put(asked, made, call.now)
    return made


async def of(call: Call, record: Encryption) -> DataKey:
    """The data key of an object, for whoever may use its KMS key. Raises AwsError."""
    asked = ("open", call.principal.arn, record.sealed)
    in_use = call.node.own(BucketKeys)
    found = in_use.get(asked, call.now) if record.bucket_key else None
    if found is not None:
        return found
    region = record.key_arn.split(":")[3]
    context = _full(parse_context(record.context), record.context_arn)
    asked_of_kms = {"CiphertextBlob": record.sealed, "KeyId": record.key_arn, "EncryptionContext": context}
    answer = await _ask(call, region, "Decrypt", asked_of_kms)
    outer = await call.node.own(ServiceKeys).of(record.service_key) if record.service_key else None
    opened = DataKey(record, answer["Plaintext"] + (outer.key if outer else b""))
    if record.bucket_key:
        in_use.put(asked, opened, call.now)
    return opened


def parse_context(text: str) -> dict[str, str]:
    """What x-amz-server-side-encryption-context says. Raises AwsError InvalidArgument."""
    if not text:
        return {}
    try:
        found = json.loads(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise AwsError(
            "InvalidArgument",
            "The header 'x-amz-server-side-encryption-context' shall be Base64-encoded UTF-8 string holding JSON which "
            "represents a string-string map",
            400,
            members={"ArgumentName": "x-amz-server-side-encryption-context", "ArgumentValue": text},
        )
    return found


def _full(own: dict[str, str], arn: str) -> dict[str, str]:
    return {_CONTEXT_ARN: arn, **own}


async def _ask(call: Call, region: str, operation: str, params: dict[str, Any]) -> dict[str, Any]:
    """KMS's answer to the call's principal, asked through S3."""
    if call.principal.kind is Kind.ANONYMOUS:
        raise AwsError("AccessDenied", "Anonymous users cannot use KMS keys", 403)
    context = {**forwarded("s3", call.context), "kms:ViaService": f"s3.{region}.amazonaws.com"}
    try:
        return await call.node.call(
            "kms", operation, params, principal=call.principal, account=call.principal.account or call.account,
            region=region, context=context,
        )  # fmt: skip
    except AwsError as error:
        if error.code == "AccessDeniedException":
            raise AwsError("AccessDenied", error.message, 403) from None
        if error.status is not None and error.status >= 500:
            raise
        raise AwsError(f"KMS.{error.code}", error.message, 400) from None
