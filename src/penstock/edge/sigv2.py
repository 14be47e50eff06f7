"""Presigned S3 URLs of signature version 2, which boto3 still makes for the older regions unless told otherwise.

Only this form of it: a version 2 Authorization header is refused, as AWS does in every newer region. Source: "Signing
and authenticating REST requests (AWS signature version 2)" in the Amazon S3 user guide.
"""

from __future__ import annotations

import base64
import hmac
import time
from typing import NamedTuple

from penstock.edge import refusals
from penstock.edge.refusals import MISMATCH
from penstock.edge.sigv4 import query_pairs
from penstock.wire.errors import AwsError
from penstock.wire.message import Request

_SUBRESOURCES = frozenset({
    "accelerate", "acl", "analytics", "cors", "delete", "inventory", "lifecycle", "location", "logging",
    "metrics", "notification", "object-lock", "partNumber", "policy", "replication", "requestPayment",
    "response-cache-control", "response-content-disposition", "response-content-encoding",
    "response-content-language", "response-content-type", "response-expires", "restore", "select",
    "select-type", "storageClass", "tagging", "torrent", "uploadId", "uploads", "versionId", "versioning",
    "versions", "website",
})  # fmt: skip


class Claim(NamedTuple):
    """What a presigned URL says. Nothing of it is verified."""

    access_key_id: str
    signature: str
    expires_at: str
    """Seconds since the epoch, as sent."""
    token: str


def read(request: Request) -> Claim | None:
    """The URL's claim, or None where it makes none of this kind. Raises AwsError AccessDenied for half a claim."""
    if "AWSAccessKeyId=" not in request.query:
        return None
    given = dict(query_pairs(request.query))
    if "AWSAccessKeyId" not in given:
        return None
    if "authorization" in request.headers:
        raise refusals.two_mechanisms()
    expires = given.get("Expires", "")
    if not given.get("Signature") or not expires:
        raise AwsError(
            "AccessDenied",
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
            403,
        )
    if not (expires.isascii() and expires.isdigit() and len(expires) < 16):
        raise AwsError("AccessDenied", f"Invalid date (should be seconds since epoch): {expires[:64]}", 403)
    return Claim(given["AWSAccessKeyId"], given["Signature"], expires, given.get("x-amz-security-token", ""))


def verify(claim: Claim, request: Request, secret: str, bucket: str, now: float) -> None:
    """Raises AwsError SignatureDoesNotMatch, AccessDenied. bucket: from a virtual host, "" for path style."""
    expires_at = int(claim.expires_at)
    if now > expires_at:
        raise AwsError(
            "AccessDenied", "Request has expired", 403,
            members={"Expires": _iso(expires_at), "ServerTime": _iso(now)},
        )  # fmt: skip
    to_sign = string_to_sign(request, claim.expires_at, bucket)
    signed = _holds(to_sign, claim, secret)
    if not signed and not bucket and request.path.count("/") == 1:
        # botocore signs a bucket by its path as /bucket/, however it asks for it
        signed = _holds(string_to_sign(request, claim.expires_at, bucket, "/"), claim, secret)
    if not signed:
        raise AwsError(
            "SignatureDoesNotMatch",
            MISMATCH + "key and signing method.",
            403,
            members={
                "AWSAccessKeyId": claim.access_key_id,
                "StringToSign": to_sign,
                "SignatureProvided": claim.signature,
                "StringToSignBytes": to_sign.encode("latin-1").hex(" "),
            },
        )


def _holds(to_sign: str, claim: Claim, secret: str) -> bool:
    expected = base64.b64encode(hmac.digest(secret.encode(), to_sign.encode("latin-1"), "sha1"))
    return hmac.compare_digest(expected, claim.signature.encode("latin-1", "replace"))


def string_to_sign(request: Request, expires: str, bucket: str, ending: str = "") -> str:
    """As latin-1 text. What a header would say may stand in the query: presigning clients put it there.

    ending: what is added to the request's path.
    """
    pairs = list(query_pairs(request.query))
    said = {name.lower(): value for name, value in pairs}
    headers = request.headers
    amz = {name: value for name, value in (*said.items(), *headers.items()) if name.startswith("x-amz-")}
    resource = (f"/{bucket}" if bucket else "") + request.path + ending
    subresources = sorted(
        f"{name}={value}" if value else name for name, value in pairs if name in _SUBRESOURCES
    )  # fmt: skip
    if subresources:
        resource += "?" + "&".join(subresources)
    md5 = headers.get("content-md5") or said.get("content-md5", "")
    content_type = headers.get("content-type") or said.get("content-type", "")
    lines = "".join(f"{name}:{' '.join(value.split())}\n" for name, value in sorted(amz.items()))
    return f"{request.method}\n{md5}\n{content_type}\n{expires}\n{lines}{resource}"


def _iso(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
