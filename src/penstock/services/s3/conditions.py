"""Conditional requests: in AWS's order, which for reads is RFC 9110's with its two documented combinations.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html
"""

from __future__ import annotations

from penstock.core.operation import Params
from penstock.services.s3.records import Listed, ObjectRecord, Upload
from penstock.wire.errors import AwsError, not_implemented

CREATES = "s3:ObjectCreationOperation"
"""Condition key of s3:PutObject: whether the request makes an object, as those that only prepare a multipart upload do not.
Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
"""


def failed(condition: str) -> AwsError:
    return AwsError(
        "PreconditionFailed", "At least one of the pre-conditions you specified did not hold", 412,
        members={"Condition": condition},
    )  # fmt: skip


def check_read(params: Params, record: Listed, now: float) -> None:
    """Raises AwsError PreconditionFailed (412) or NotModified (304) where the reader's conditions say so.

    If-Match that holds overrides If-Unmodified-Since; If-None-Match that holds overrides If-Modified-Since.
    A moment to come is no condition. now: seconds since the epoch.
    """
    modified_s = record.modified_ms // 1000
    if "IfMatch" in params:
        if not _matches(params["IfMatch"], record.etag):
            raise failed("If-Match")
    elif "IfUnmodifiedSince" in params and modified_s > int(params["IfUnmodifiedSince"]):
        raise failed("If-Unmodified-Since")
    if "IfNoneMatch" in params:
        if _matches(params["IfNoneMatch"], record.etag):
            raise _not_modified(record)
    elif "IfModifiedSince" in params and modified_s <= int(params["IfModifiedSince"]) <= now:
        raise _not_modified(record)


def check_copy_source(params: Params, record: Listed, now: float) -> None:
    """The x-amz-copy-source-if-* conditions: all of them give 412. now: seconds since the epoch.

    Raises AwsError PreconditionFailed.
    """
    modified_s = record.modified_ms // 1000
    if "CopySourceIfMatch" in params:
        if not _matches(params["CopySourceIfMatch"], record.etag):
            raise failed("x-amz-copy-source-If-Match")
    elif "CopySourceIfUnmodifiedSince" in params and modified_s > int(params["CopySourceIfUnmodifiedSince"]):
        raise failed("x-amz-copy-source-If-Unmodified-Since")
    if "CopySourceIfNoneMatch" in params:
        if _matches(params["CopySourceIfNoneMatch"], record.etag):
            raise failed("x-amz-copy-source-If-None-Match")
    elif "CopySourceIfModifiedSince" in params and modified_s <= int(params["CopySourceIfModifiedSince"]) <= now:
        raise failed("x-amz-copy-source-If-Modified-Since")


def check_write_parameters(params: Params) -> None:
    """What a conditional write may say at all. Raises AwsError NotImplemented, in AWS's own wording."""
    none_match = params.get("IfNoneMatch")
    if "IfMatch" in params and none_match is not None:
        raise _not_a_write_condition(
            "If-Match,If-None-Match", "Multiple conditional request headers present in the request"
        )  # fmt: skip
    if none_match is not None and none_match != "*":
        raise _not_a_write_condition("If-None-Match")
    if params.get("IfMatch") == "*":
        raise _not_a_write_condition("If-Match")


def check_write(params: Params, record: Listed | None) -> None:
    """Put-if-absent and compare-and-swap, inside the writing transaction. Raises AwsError."""
    if "IfNoneMatch" in params and record is not None:
        raise failed("If-None-Match")
    if "IfMatch" in params:
        if record is None:
            raise AwsError(
                "NoSuchKey", "The specified key does not exist.", 404, members={"Key": params["Key"]}
            )  # fmt: skip
        if not _matches(params["IfMatch"], record.etag):
            raise failed("If-Match")


def check_undisturbed(params: Params, record: Listed | None, upload: Upload) -> None:
    """A conditional completion of an upload that began before the object was written or deleted. Raises AwsError."""
    if "IfMatch" in params and record is not None and record.modified_ms >= upload.initiated_ms:
        raise _conflict(params, "If-Match")
    if "IfNoneMatch" in params and upload.disturbed:
        raise _conflict(params, "If-None-Match")


def check_unchanged(params: Params, record: ObjectRecord | None, seen: int) -> None:
    """That nobody wrote the object while a body came in. seen: its sequencer when that began, 0 if there was none.

    Raises AwsError ConditionalRequestConflict where it is another object with the same ETag.
    """
    if "IfMatch" in params and record is not None and record.sequencer != seen:
        raise _conflict(params, "If-Match")


def _conflict(params: Params, condition: str) -> AwsError:
    return AwsError(
        "ConditionalRequestConflict",
        "The conditional request cannot succeed due to a conflicting operation against this resource.",
        409,
        members={"Condition": condition, "Key": params["Key"]},
    )


def check_delete(params: Params, record: Listed | None, *, directory: bool) -> None:
    """If-Match on a delete: "*" asks that there be an object at all. directory: of a directory bucket, where there are
    conditions on size and date, too. Raises AwsError PreconditionFailed, NotImplemented.
    """
    for name, header in (("IfMatchLastModifiedTime", "Last-Modified-Time"), ("IfMatchSize", "Size")):
        if name not in params:
            continue
        if not directory:
            raise not_implemented(f"{name}, which AWS has for directory buckets only")
        wanted = int(params[name])
        if record is None or wanted != (record.size if name == "IfMatchSize" else record.modified_ms // 1000):
            raise failed(f"x-amz-if-match-{header.lower()}")
    if "IfMatch" not in params:
        return
    if record is None or (params["IfMatch"] != "*" and not _matches(params["IfMatch"], record.etag)):
        raise failed("If-Match")


def check_abort(params: Params, upload: Upload, *, directory: bool) -> None:
    """The moment at which the upload to be aborted was begun. Raises AwsError PreconditionFailed, NotImplemented."""
    if "IfMatchInitiatedTime" not in params:
        return
    if not directory:
        raise not_implemented("IfMatchInitiatedTime, which AWS has for directory buckets only")
    if int(params["IfMatchInitiatedTime"]) != upload.initiated_ms // 1000:
        raise failed("x-amz-if-match-initiated-time")


def _matches(header: str, etag: str) -> bool:
    for item in header.split(","):
        candidate = item.strip().removeprefix("W/").strip('"')
        if candidate == "*" or candidate == etag:
            return True
    return False


def _not_modified(record: Listed) -> AwsError:
    return AwsError("NotModified", "Not Modified", 304, headers={"ETag": f'"{record.etag}"'})


def _not_a_write_condition(header: str, message: str = "") -> AwsError:
    message = message or f"We don't accept the provided value of {header} header for this API"
    return AwsError(
        "NotImplemented", "A header you provided implies functionality that is not implemented", 501,
        members={"Header": header, "additionalMessage": message},
    )  # fmt: skip
