"""Directory buckets (S3 Express One Zone): what they are called, what can be done with them, and who may.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/directory-buckets-overview.html. Requests about their objects are
allowed to sessions (CreateSession) of the bucket, and to whoever may create one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from penstock.core.identity import RESTRICTED
from penstock.wire.errors import AwsError

if TYPE_CHECKING:
    from penstock.core.call import Call
    from penstock.core.operation import Params
    from penstock.services.s3.records import Bucket

ENDING = "--x-s3"
STORAGE_CLASS = "EXPRESS_ONEZONE"
READ_ONLY, READ_WRITE = "ReadOnly", "ReadWrite"
_NAME = re.compile(r"(?P<base>[a-z0-9][a-z0-9-]*)--(?P<zone>[a-z0-9]+(?:-[a-z0-9]+)*-az\d+)--x-s3", re.ASCII)
_READS = frozenset(
    "GetObject HeadObject GetObjectAttributes ListObjectsV2 ListParts ListMultipartUploads HeadBucket".split()
)
ZONAL = _READS | frozenset(
    "PutObject CopyObject DeleteObject DeleteObjects CreateMultipartUpload UploadPart UploadPartCopy "
    "CompleteMultipartUpload AbortMultipartUpload RenameObject CreateSession".split()
)
REGIONAL = frozenset(
    "CreateBucket DeleteBucket GetBucketPolicy PutBucketPolicy DeleteBucketPolicy GetBucketEncryption PutBucketEncryption "
    "DeleteBucketEncryption GetBucketLocation".split()
)


def zone_of(name: str) -> str:
    """The zone that a directory bucket's name ends in, or "" for a general-purpose bucket."""
    return name[: -len(ENDING)].rpartition("--")[2] if name.endswith(ENDING) else ""


def check_new(params: Params, region: str) -> str:
    """The zone of a new directory bucket. Raises AwsError InvalidBucketName, InvalidRequest."""
    name = params["Bucket"]
    configuration = params.get("CreateBucketConfiguration") or {}
    location, info = configuration.get("Location") or {}, configuration.get("Bucket") or {}
    match = _NAME.fullmatch(name)
    if match is None or len(name) > 63 or match.group("zone") != location.get("Name"):
        raise AwsError("InvalidBucketName", "The specified bucket is not valid.", 400, members={"BucketName": name})
    if location.get("Type") != "AvailabilityZone" or info.get("Type") != "Directory":
        raise AwsError(
            "InvalidRequest", "A directory bucket needs Location.Type AvailabilityZone and Bucket.Type Directory.", 400
        )
    if info.get("DataRedundancy", "SingleAvailabilityZone") != "SingleAvailabilityZone":
        raise AwsError("InvalidRequest", "DataRedundancy of a directory bucket is SingleAvailabilityZone.", 400)
    if "LocationConstraint" in configuration:
        raise AwsError("InvalidRequest", "A directory bucket has a Location and no LocationConstraint.", 400)
    return str(location["Name"])


def arn(region: str, account: str, name: str) -> str:
    """A directory bucket's ARN."""
    return f"arn:aws:s3express:{region}:{account}:bucket/{name}"


def is_name(name: str) -> bool:
    """Whether a directory bucket may be called so."""
    return _NAME.fullmatch(name) is not None and len(name) <= 63


def decide(call: Call, params: Params, bucket: Bucket) -> None:
    """Put into `call.instead` what the call needs in place of S3's permissions. Raises AwsError.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-express-security-iam.html
    """
    name, operation = params["Bucket"], call.operation.name
    mode, own, owner = session_of(call)
    if mode and (own != name or owner != bucket.account):  # made for another, or before this one was somebody else's
        raise AwsError("AccessDenied", "Access Denied", 403)
    if operation in REGIONAL:
        call.instead = (f"s3express:{operation}", arn(bucket.region, bucket.account, name))
        return
    if operation not in ZONAL:
        raise AwsError(
            "MethodNotAllowed", "The specified method is not allowed against this resource.", 405,
            members={"ResourceType": "DIRECTORY_BUCKET"},
        )  # fmt: skip
    if not mode or operation == "CreateSession":
        call.instead = ("s3express:CreateSession", arn(bucket.region, bucket.account, name))
        return
    if mode == READ_ONLY and operation not in _READS:
        raise AwsError("AccessDenied", "Access Denied", 403)
    call.instead = ("", "")


def session_of(call: Call) -> tuple[str, str, str]:
    """(mode, bucket, its owner) of the session that the call came with, empty without one."""
    said = call.principal.session.get(RESTRICTED, "").removeprefix("s3express ")
    mode, _, place = said.partition(" ")
    bucket, _, owner = place.partition(" ")
    return mode, bucket, owner


def check_write(params: Mapping[str, Any]) -> None:
    """What a write to a directory bucket cannot ask for. Raises AwsError."""
    for member in ("Tagging", "ACL", "WebsiteRedirectLocation", "SSECustomerAlgorithm", "ObjectLockMode"):
        if member in params:
            raise unsupported(member)
    if params.get("ServerSideEncryption", "AES256") != "AES256":
        raise unsupported("SSE-KMS")
    if params.get("StorageClass", STORAGE_CLASS) != STORAGE_CLASS:
        raise AwsError("InvalidStorageClass", "The storage class you specified is not valid", 400)


def check_listing(params: Params) -> None:
    """Listings go by folders. Raises AwsError InvalidRequest."""
    prefix, delimiter = params.get("Prefix", ""), params.get("Delimiter", "")
    if (prefix and not prefix.endswith("/")) or delimiter not in ("", "/") or "StartAfter" in params:
        raise AwsError(
            "InvalidRequest",
            "Directory buckets list prefixes that end in the delimiter /, which is the only one, and no start-after.",
            400,
        )


def unsupported(what: str) -> AwsError:
    """For what AWS has no directory bucket do, or this server does not."""
    return AwsError(
        "NotImplemented", f"A header or parameter you provided is not implemented for directory buckets: {what}", 501
    )


def for_directories(header: str) -> AwsError:
    """For what only directory buckets have."""
    return AwsError(
        "NotImplemented", "A header you provided implies functionality that is not implemented", 501,
        members={"Header": header},
    )  # fmt: skip
