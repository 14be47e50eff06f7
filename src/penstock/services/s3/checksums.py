"""Which checksum a request speaks of, and how checksums are told in answers.

Source: "Checking object integrity" in the S3 User Guide. An object whose writer gave no checksum gets CRC64NVME.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.blobs.checksums import CRC64NVME, decode
from penstock.core.call import Call
from penstock.wire.errors import AwsError

FULL_OBJECT = "FULL_OBJECT"
COMPOSITE = "COMPOSITE"
MEMBERS = {
    "ChecksumCRC32": "CRC32",
    "ChecksumCRC32C": "CRC32C",
    "ChecksumCRC64NVME": CRC64NVME,
    "ChecksumSHA1": "SHA1",
    "ChecksumSHA256": "SHA256",
    "ChecksumSHA512": "SHA512",
    "ChecksumMD5": "MD5",
    "ChecksumXXHASH64": "XXHASH64",
    "ChecksumXXHASH3": "XXHASH3",
    "ChecksumXXHASH128": "XXHASH128",
}
"""Member of the model -> algorithm."""
_MEMBERS = frozenset(MEMBERS)
MEMBER_OF = {algorithm: member for member, algorithm in MEMBERS.items()}
_HEADERS = {algorithm: f"x-amz-checksum-{algorithm.lower()}" for algorithm in MEMBER_OF}
_ALLOWED_TYPES = {
    **dict.fromkeys(MEMBER_OF, (COMPOSITE,)),
    "CRC32": (COMPOSITE, FULL_OBJECT),
    "CRC32C": (COMPOSITE, FULL_OBJECT),
    CRC64NVME: (FULL_OBJECT,),
}
"""Of multipart uploads. Only what can be combined can be of the whole object."""


def given(params: Mapping[str, Any]) -> tuple[str, str] | None:
    """(algorithm, base64 value) that the request carries, or None. Raises AwsError for two, or for a broken one."""
    found = named(params)
    if found is not None:
        check_value(*found)
    return found


def named(params: Mapping[str, Any]) -> tuple[str, str] | None:
    """As `given`, of a value that is compared at once: one that is equal to what was computed need not be looked at."""
    names = _MEMBERS.intersection(params)
    if not names:
        return None
    if len(names) > 1:
        raise AwsError(
            "InvalidRequest",
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            400,
        )
    (name,) = names
    algorithm = MEMBERS[name]
    if (params.get("ChecksumAlgorithm") or algorithm) != algorithm:
        raise AwsError(
            "InvalidRequest", "Value for x-amz-sdk-checksum-algorithm header is invalid.", 400
        )  # fmt: skip
    return algorithm, params[name]


def in_trailers(trailers: Mapping[str, str]) -> tuple[str, str] | None:
    """(algorithm, base64 value) that came after the body; it has been verified as the body was read."""
    for algorithm, header in _HEADERS.items():
        value = trailers.get(header)
        if value is not None:
            check_value(algorithm, value)
            return algorithm, value
    return None


def declared(params: Mapping[str, Any]) -> str:
    """The algorithm that x-amz-checksum-algorithm or x-amz-sdk-checksum-algorithm names, or "". Raises AwsError."""
    algorithm = str(params.get("ChecksumAlgorithm") or "").upper()
    if algorithm and algorithm not in MEMBER_OF:
        raise AwsError(
            "InvalidRequest",
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types: "
            "[CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
            400,
        )
    return algorithm


def without_value() -> AwsError:
    """For x-amz-sdk-checksum-algorithm alone."""
    return AwsError(
        "InvalidRequest",
        "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.",
        400,
    )


def require_one(call: Call, params: Mapping[str, Any], what: str) -> None:
    """What is put under a lock must be told with its checksum. what: as "Put Object". Raises AwsError InvalidRequest.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html. Services' own writes have no wire to cross.
    """
    if call.request is None or "ContentMD5" in params or not MEMBERS.keys().isdisjoint(params):
        return
    if "x-amz-checksum-" not in call.request.headers.get("x-amz-trailer", ""):
        raise AwsError(
            "InvalidRequest",
            f"Content-MD5 OR x-amz-checksum- HTTP header is required for {what} requests with Object Lock parameters",
            400,
        )


def check_value(algorithm: str, value: str) -> bytes:
    """The digest of a base64 value. Raises AwsError InvalidRequest."""
    raw = decode(algorithm, value)
    if raw is None:
        raise AwsError("InvalidRequest", f"Value for {_HEADERS[algorithm]} header is invalid.", 400)
    return raw


def mismatch(algorithm: str) -> AwsError:
    return AwsError("BadDigest", f"The {algorithm} you specified did not match the calculated checksum.", 400)


def upload_type(algorithm: str, wanted: str | None) -> str:
    """The checksum type of a multipart upload. Raises AwsError for a combination that there is not.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html
    """
    if not algorithm:
        if wanted:
            raise AwsError(
                "InvalidRequest",
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
                400,
            )
        return ""
    allowed = _ALLOWED_TYPES[algorithm]
    if not wanted:
        return allowed[0]
    if wanted not in allowed:
        raise AwsError(
            "InvalidRequest",
            f"The {wanted} checksum type cannot be used with the {algorithm.lower()} checksum algorithm.",
            400,
        )
    return wanted


def usual_type(algorithm: str) -> str:
    """What a multipart upload's checksum is taken for where nothing is said of its type."""
    return _ALLOWED_TYPES[algorithm][0]


def tell(result: dict[str, Any], algorithm: str, value: str, checksum_type: str) -> None:
    """Put an object's checksum into a result."""
    if algorithm and value:
        result[MEMBER_OF[algorithm]] = value
        result["ChecksumType"] = checksum_type
