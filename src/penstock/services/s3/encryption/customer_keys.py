"""SSE-C: the key comes with the request and is not kept; a salted check value of it is.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerSideEncryptionCustomerKeys.html
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from typing import NamedTuple

from penstock.core.call import Call
from penstock.core.operation import Params
from penstock.services.s3.encryption.data_key import AES256, SSE_C, DataKey
from penstock.services.s3.records import Encryption
from penstock.wire.errors import AwsError

ALGORITHM, KEY, MD5 = "SSECustomerAlgorithm", "SSECustomerKey", "SSECustomerKeyMD5"
MEMBERS = (ALGORITHM, KEY, MD5)
OF_SOURCE = {
    "CopySourceSSECustomerAlgorithm": ALGORITHM, "CopySourceSSECustomerKey": KEY, "CopySourceSSECustomerKeyMD5": MD5,
}  # fmt: skip
"""A copy's parameters for the key of its source -> what they are when the source is read."""
_KEY_BYTES = 32
_NAME = "x-amz-server-side-encryption"


class CustomerKey(NamedTuple):
    """A request's key. md5: base64, as it is told back."""

    key: bytes
    md5: str


def given(call: Call, params: Params, *, reading: bool = False) -> CustomerKey | None:
    """The key that a request carries, or None. reading: to open something, where a missing MD5 is another error.

    Raises AwsError InvalidArgument, InvalidEncryptionAlgorithmError, AccessDenied.
    """
    if not any(name in params for name in MEMBERS):
        return None
    if not call.secure and not _is_loopback(call.source_ip):
        raise _invalid(
            "Requests specifying Server Side Encryption with Customer provided keys must be made over a secure "
            "connection."
        )
    algorithm = params.get(ALGORITHM)
    if not algorithm:
        raise _invalid(
            "Requests specifying Server Side Encryption with Customer provided keys must provide a valid encryption "
            "algorithm."
        )
    if algorithm != AES256:
        raise AwsError(
            "InvalidEncryptionAlgorithmError",
            "The Encryption request you specified is not valid. Supported value: AES256.",
            400,
            members={"ArgumentName": _NAME, "ArgumentValue": str(algorithm)},
        )
    if not params.get(KEY):
        raise _invalid(
            "Requests specifying Server Side Encryption with Customer provided keys must provide an appropriate secret key."
        )
    if reading and MD5 not in params:
        raise wrong()
    key = _decoded(params[KEY])
    if len(key) != _KEY_BYTES:
        raise wrong() if reading else _invalid("The secret key was invalid for the specified algorithm.")
    if MD5 not in params:
        raise _invalid("The secret key was invalid for the specified algorithm.")
    md5 = hashlib.md5(key, usedforsecurity=False).digest()
    if not hmac.compare_digest(md5, _decoded(params[MD5])):
        raise _invalid("The calculated MD5 hash of the key did not match the hash that was provided.")
    return CustomerKey(key, base64.b64encode(md5).decode())


def for_new(customer: CustomerKey) -> DataKey:
    """A fresh data key of a customer's key."""
    salt = os.urandom(16)
    return DataKey(
        Encryption(SSE_C, salt=salt, check=_check(customer.key, salt)), _derived(customer.key, salt), customer.md5
    )


def matches(customer: CustomerKey, record: Encryption) -> bool:
    """Whether it is the key that the record's data key was made of."""
    return hmac.compare_digest(_check(customer.key, record.salt), record.check)


def of(customer: CustomerKey, record: Encryption) -> DataKey:
    """The data key of an object. Raises AwsError AccessDenied for another customer's key."""
    if not matches(customer, record):
        raise wrong()
    return DataKey(record, _derived(customer.key, record.salt), customer.md5)


def wrong() -> AwsError:
    return AwsError(
        "AccessDenied",
        "Requests specifying Server Side Encryption with Customer provided keys must provide the correct secret key.",
        403,
    )


def _derived(key: bytes, salt: bytes) -> bytes:
    return hmac.digest(key, b"penstock s3 customer " + salt, "sha256")


def _check(key: bytes, salt: bytes) -> bytes:
    return hmac.digest(key, b"penstock s3 check " + salt, "sha256")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _invalid(message: str) -> AwsError:
    return AwsError("InvalidArgument", message, 400, members={"ArgumentName": _NAME})


def _is_loopback(address: str) -> bool:
    """Whether the request has not left this machine. A service's own call has no address."""
    return not address or address == "::1" or address.startswith(("127.", "::ffff:127."))
