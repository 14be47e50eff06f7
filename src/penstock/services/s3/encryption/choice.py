"""What a write's bytes are encrypted under: as its headers ask, else as its bucket does, else SSE-S3."""

from __future__ import annotations

from penstock.core.call import Call
from penstock.core.operation import Params
from penstock.services.s3.encryption import customer_keys, kms_keys
from penstock.services.s3.encryption.data_key import AES256, DSSE, KMS, SSE_C, DataKey
from penstock.services.s3.encryption.service_keys import ServiceKeys
from penstock.services.s3.records import Bucket, BucketEncryption
from penstock.wire.errors import AwsError, not_implemented

_ASKING = frozenset(
    ("ServerSideEncryption", "SSEKMSKeyId", "SSEKMSEncryptionContext", "BucketKeyEnabled", *customer_keys.MEMBERS)
)
_DEFAULT = BucketEncryption()
_NAME = "x-amz-server-side-encryption"


def usual(call: Call, params: Params) -> DataKey | None:
    """The key for a write that asks for nothing to a bucket that has set nothing, if this process knows it by now."""
    bucket = call.seen
    if isinstance(bucket, Bucket) and bucket.encryption is None and _ASKING.isdisjoint(params):
        return call.node.own(ServiceKeys).current
    return None


def asks(params: Params) -> bool:
    """Whether a write says something of its encryption."""
    return not _ASKING.isdisjoint(params)


async def choose(call: Call, params: Params) -> DataKey:
    """The key for the bytes of a PutObject, copy or multipart upload.

    Raises AwsError InvalidArgument, InvalidEncryptionAlgorithmError, AccessDenied, KMS.* (see the modules of the keys).
    """
    found = usual(call, params)
    if found is not None:
        return found
    bucket = call.seen if isinstance(call.seen, Bucket) else None
    default = (bucket.encryption if bucket is not None else None) or _DEFAULT
    mode = params.get("ServerSideEncryption")
    if mode is not None and not params.keys().isdisjoint(customer_keys.MEMBERS):
        raise AwsError(
            "InvalidArgument",
            "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
            400,
            members={"ArgumentName": _NAME, "ArgumentValue": mode},
        )
    customer = customer_keys.given(call, params)
    if customer is not None:
        if SSE_C in default.blocked:
            raise AwsError(
                "AccessDenied", "The bucket blocks server-side encryption with customer-provided keys (SSE-C).", 403
            )
        return customer_keys.for_new(customer)
    _check_companions(params, mode)
    if mode is None:
        mode, key_id = default.algorithm, default.key_id
    else:
        key_id = params.get("SSEKMSKeyId", "")
    if mode == AES256:
        return await call.node.own(ServiceKeys).for_new()
    if mode not in (KMS, DSSE):
        raise not_implemented(f"ServerSideEncryption={mode}")
    wants_bucket_key = params.get("BucketKeyEnabled", default.bucket_key)
    return await kms_keys.for_new(
        call, bucket.region if bucket is not None else call.region, mode, key_id,
        f"arn:aws:s3:::{params['Bucket']}/{params['Key']}", params.get("SSEKMSEncryptionContext", ""),
        bucket_key=bool(wants_bucket_key) and mode == KMS,
    )  # fmt: skip


def _check_companions(params: Params, mode: str | None) -> None:
    """A KMS key or a context is for KMS alone. Raises AwsError InvalidArgument."""
    if mode in (KMS, DSSE) or ("SSEKMSKeyId" not in params and "SSEKMSEncryptionContext" not in params):
        return
    raise AwsError(
        "InvalidArgument",
        "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms",
        400,
        members={"ArgumentName": _NAME, **({"ArgumentValue": mode} if mode else {})},
    )
