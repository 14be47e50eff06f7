"""A bucket's default encryption.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-encryption.html
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.s3 import keys, zones
from penstock.services.s3.access import BUCKET_ARN, load_policy, require_bucket
from penstock.services.s3.encryption.data_key import AES256, DSSE, KMS, SSE_C
from penstock.services.s3.records import Bucket, BucketEncryption, encode
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError, not_implemented
from penstock.wire.s3_quirks import malformed_xml


def _checked(configuration: dict[str, Any]) -> BucketEncryption:
    """Raises AwsError MalformedXML, InvalidArgument, NotImplemented."""
    rules = configuration.get("Rules") or []
    if len(rules) != 1:
        raise malformed_xml()
    rule = rules[0]
    default = rule.get("ApplyServerSideEncryptionByDefault") or {"SSEAlgorithm": AES256}
    algorithm, key_id = default.get("SSEAlgorithm"), default.get("KMSMasterKeyID", "")
    if algorithm == "aws:fsx":
        raise not_implemented("SSEAlgorithm=aws:fsx")
    if algorithm not in (AES256, KMS, DSSE):
        raise malformed_xml()
    if key_id and algorithm == AES256:
        raise AwsError(
            "InvalidArgument",
            "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse",
            400,
            members={"ArgumentName": "ApplyServerSideEncryptionByDefault"},
        )
    bucket_key = bool(rule.get("BucketKeyEnabled"))
    if bucket_key and algorithm == DSSE:
        raise AwsError("InvalidArgument", "S3 Bucket Keys are not supported for DSSE-KMS", 400)
    blocked = (rule.get("BlockedEncryptionTypes") or {}).get("EncryptionType") or []
    if len(blocked) > 1 or not set(blocked) <= {SSE_C, "NONE"}:
        raise malformed_xml()
    return BucketEncryption(algorithm, key_id, bucket_key, tuple(kind for kind in blocked if kind != "NONE"))


def _set(txn: Transaction, call: Call, params: Params, encryption: BucketEncryption | None) -> None:
    bucket = require_bucket(txn, call, params)
    txn.set(keys.bucket(params["Bucket"]), encode(msgspec.structs.replace(bucket, encryption=encryption)))


@operation("s3:PutBucketEncryption", action="s3:PutEncryptionConfiguration", resource=BUCKET_ARN, policy=load_policy)
async def put_bucket_encryption(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketEncryption.html

    That there is such a KMS key is seen at the first write, as on AWS.
    """
    await call.store.transact(lambda txn: require_bucket(txn, call, params), read_only=True)
    encryption = _checked(params["ServerSideEncryptionConfiguration"])
    if zones.zone_of(params["Bucket"]) and encryption.algorithm != AES256:
        raise zones.unsupported("SSE-KMS")
    await call.store.transact(lambda txn: _set(txn, call, params, encryption))
    return {}


@operation("s3:GetBucketEncryption", action="s3:GetEncryptionConfiguration", resource=BUCKET_ARN, policy=load_policy)
async def get_bucket_encryption(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketEncryption.html"""

    def body(txn: Transaction) -> Bucket:
        return require_bucket(txn, call, params)

    found = (await call.store.transact(body, read_only=True)).encryption or BucketEncryption()
    default = {"SSEAlgorithm": found.algorithm}
    if found.key_id:
        default["KMSMasterKeyID"] = found.key_id
    rule: dict[str, Any] = {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": found.bucket_key}
    if found.blocked:
        rule["BlockedEncryptionTypes"] = {"EncryptionType": list(found.blocked)}
    return {"ServerSideEncryptionConfiguration": {"Rules": [rule]}}


@operation("s3:DeleteBucketEncryption", action="s3:PutEncryptionConfiguration", resource=BUCKET_ARN, policy=load_policy)
async def delete_bucket_encryption(call: Call, params: Params) -> Result:
    """Back to SSE-S3. https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucketEncryption.html"""
    await call.store.transact(lambda txn: _set(txn, call, params, None))
    return {}
