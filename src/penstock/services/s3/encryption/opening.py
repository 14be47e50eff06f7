"""How a read comes by an object's data key again."""

from __future__ import annotations

from penstock.core.call import Call
from penstock.core.operation import Params
from penstock.services.s3.encryption import customer_keys, kms_keys
from penstock.services.s3.encryption.data_key import AES256, SSE_C, DataKey
from penstock.services.s3.encryption.service_keys import ServiceKeys
from penstock.services.s3.records import Encryption, Upload
from penstock.wire.errors import AwsError


async def data_key(call: Call, params: Params, record: Encryption) -> DataKey:
    """The key that an object's bytes are under. Raises AwsError AccessDenied, InvalidRequest, KMS.*, InternalError."""
    if record.mode == AES256:
        return await call.node.own(ServiceKeys).of(record.service_key)
    if record.mode == SSE_C:
        customer = _required(call, params)
        return customer_keys.of(customer, record)
    return await kms_keys.of(call, record)


def known(call: Call, record: Encryption) -> DataKey | None:
    """As `data_key`, where that is one of the service's own and open already; else None."""
    return call.node.own(ServiceKeys).opened.get(record.service_key) if record.mode == AES256 else None


def check(call: Call, params: Params, record: Encryption | None) -> str:
    """Whether a read's headers fit the object, whose bytes are not needed. Returns the customer key's MD5, or "".

    Raises AwsError InvalidRequest, InvalidArgument, AccessDenied.
    """
    if "ServerSideEncryption" in params:
        raise AwsError(
            "InvalidArgument", "x-amz-server-side-encryption header is not supported for this operation.", 400,
            members={"ArgumentName": "x-amz-server-side-encryption", "ArgumentValue": params["ServerSideEncryption"]},
        )  # fmt: skip
    if record is not None and record.mode == SSE_C:
        customer = _required(call, params)
        if not customer_keys.matches(customer, record):
            raise customer_keys.wrong()
        return customer.md5
    if customer_keys.ALGORITHM in params and customer_keys.given(call, params, reading=True) is not None:
        raise AwsError("InvalidRequest", "The encryption parameters are not applicable to this object.", 400)
    return ""


async def upload_key(call: Call, params: Params, upload: Upload) -> DataKey | None:
    """The key for a part of a multipart upload; None for an upload from before there was encryption.

    Raises AwsError InvalidRequest where the part's headers are not those of the upload.
    """
    record = upload.encryption
    customer = customer_keys.given(call, params)
    if (record is not None and record.mode == SSE_C) != (customer is not None):
        raise AwsError(
            "InvalidRequest",
            "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate "
            "encryption parameters.",
            400,
        )
    if record is None:
        return None
    if customer is not None:
        if not customer_keys.matches(customer, record):
            raise _another_key()
        return customer_keys.of(customer, record)
    return await data_key(call, params, record)


def check_upload(call: Call, params: Params, upload: Upload) -> None:
    """Where a call about an upload brings a customer's key, it must be the upload's. Raises AwsError InvalidRequest."""
    customer = customer_keys.given(call, params)
    if customer is None:
        return
    record = upload.encryption
    if record is None or record.mode != SSE_C or not customer_keys.matches(customer, record):
        raise _another_key()


def _another_key() -> AwsError:
    return AwsError(
        "InvalidRequest", "The provided encryption parameters did not match the ones used originally.", 400
    )  # fmt: skip


def _required(call: Call, params: Params) -> customer_keys.CustomerKey:
    customer = customer_keys.given(call, params, reading=True)
    if customer is None:
        raise AwsError(
            "InvalidRequest",
            "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to "
            "retrieve the object.",
            400,
        )
    return customer
