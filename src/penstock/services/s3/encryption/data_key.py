"""A data key in hand, with what an object's record says of it."""

from __future__ import annotations

import hmac

from penstock.core.sealed_bodies import BodySealer
from penstock.services.s3.records import Encryption

AES256, KMS, DSSE, SSE_C = "AES256", "aws:kms", "aws:kms:dsse", "SSE-C"
"""Modes: the first three are values of x-amz-server-side-encryption."""


class DataKey:
    """What bytes are encrypted under. Holds a secret: never logged, never stored. customer_md5: of SSE-C, base64."""

    __slots__ = ("bodies", "customer_md5", "key", "record")

    def __init__(self, record: Encryption, key: bytes, customer_md5: str = "") -> None:
        self.record = record
        self.key = key
        self.bodies = BodySealer(key, b"penstock s3 body ")
        self.customer_md5 = customer_md5

    def etag(self, md5: bytes) -> str:
        """The ETag of bytes with that MD5: itself only under SSE-S3, else something that tells nothing.

        The same bytes under the same key have the same one, so that a part that is sent again is the part it was.
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
        """
        if self.record.mode == AES256:
            return md5.hex()
        return hmac.digest(self.key, b"penstock s3 etag " + md5, "sha256")[:16].hex()


def bound_to(bucket: str, key: str) -> bytes:
    """What an object's body is bound to."""
    return f"{bucket}/{key}".encode()
