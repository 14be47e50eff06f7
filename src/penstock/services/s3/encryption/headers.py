"""What answers and policies are told of encryption."""

from __future__ import annotations

from typing import Any

from penstock.core.operation import Params, Result
from penstock.services.s3.encryption.data_key import AES256, SSE_C
from penstock.services.s3.records import Encryption


def tell(result: Result, record: Encryption | None, customer_md5: str = "", *, with_context: bool = False) -> None:
    """Put an object's encryption into a result. with_context: the client's encryption context too, as writes do."""
    if record is None:
        return
    mode = record.mode
    if mode == AES256:
        result["ServerSideEncryption"] = mode
    elif mode == SSE_C:
        result["SSECustomerAlgorithm"] = AES256
        if customer_md5:
            result["SSECustomerKeyMD5"] = customer_md5
    else:
        result["ServerSideEncryption"] = mode
        result["SSEKMSKeyId"] = record.key_arn
        if record.bucket_key:
            result["BucketKeyEnabled"] = True
        if with_context and record.context:
            result["SSEKMSEncryptionContext"] = record.context


def conditions(params: Params) -> dict[str, Any]:
    """Condition keys, as the request's headers say them: what the bucket's default does is no part of them."""
    found: dict[str, Any] = {}
    for member, name in _KEYS.items():
        if member in params:
            found[name] = params[member]
    return found


_KEYS = {
    "ServerSideEncryption": "s3:x-amz-server-side-encryption",
    "SSEKMSKeyId": "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "SSECustomerAlgorithm": "s3:x-amz-server-side-encryption-customer-algorithm",
}
