"""Multipart uploads in progress: create, abort, list."""

from __future__ import annotations

import secrets
from typing import Any

from penstock.core.call import Call
from penstock.core.identity import Kind
from penstock.core.operation import Params, Result, operation
from penstock.services.s3 import acls, checksums, conditions, keys, locks, rules, tagging
from penstock.services.s3.access import BUCKET_ARN, OBJECT_ARN, load_policy, owner, require_bucket
from penstock.services.s3.encryption import choice
from penstock.services.s3.encryption import headers as encryption_headers
from penstock.services.s3.grants import allowing
from penstock.services.s3.listing import encoder, list_conditions, page_size
from penstock.services.s3.objects import system_headers, write_conditions
from penstock.services.s3.records import Upload, decode_part, decode_upload, encode
from penstock.store.api import Transaction
from penstock.store.tuples import prefix_end
from penstock.wire.errors import AwsError


def no_such_upload(upload_id: str) -> AwsError:
    return AwsError(
        "NoSuchUpload",
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or "
        "completed.",
        404,
        members={"UploadId": upload_id},
    )


def require_upload(txn: Transaction, params: Params) -> Upload:
    """The upload in progress that a call names. Raises AwsError NoSuchUpload."""
    upload_id = params["UploadId"]
    rules.check_key(params["Key"])
    raw = None
    if len(upload_id) < 200 and "\0" not in upload_id:
        raw = txn.get(keys.upload(params["Bucket"], params["Key"], upload_id))
    if raw is None:
        raise no_such_upload(upload_id)
    return decode_upload(raw)


@operation(
    "s3:CreateMultipartUpload",
    action="s3:PutObject",
    resource=OBJECT_ARN,
    policy=load_policy,
    conditions=write_conditions,
    unsupported=rules.UNSUPPORTED_WRITE,
)
async def create_multipart_upload(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html"""
    if call.principal.kind is Kind.ANONYMOUS:
        why = "Anonymous users cannot initiate multipart uploads.  Please authenticate."
        raise AwsError("AccessDenied", why, 403)
    name, key = params["Bucket"], params["Key"]
    rules.check_key(key)
    metadata = rules.metadata_of(params)
    algorithm = checksums.declared(params)
    under = choice.usual(call, params) or await choice.choose(call, params)
    upload = Upload(
        int(call.now * 1000), call.principal.arn, algorithm, checksums.upload_type(algorithm, params.get("ChecksumType")),
        headers=system_headers(params), metadata=metadata,
        tags=await tagging.asked_for(call, params), lock=await locks.asked_for(call, params),
        encryption=under.record, storage_class=rules.storage_class(params),
    )  # fmt: skip
    await acls.check_permission(call, params)
    upload_id = f"{upload.initiated_ms:012x}{secrets.token_urlsafe(32)}"

    def body(txn: Transaction) -> None:
        bucket = require_bucket(txn, call, params)
        if upload.lock is not None and not bucket.object_lock:
            raise locks.no_configuration()
        acls.put_on(call, bucket, upload, params)
        txn.set(keys.upload(name, key, upload_id), encode(upload))

    await call.store.transact(body)
    result: Result = {"Bucket": name, "Key": key, "UploadId": upload_id}
    encryption_headers.tell(result, under.record, under.customer_md5, with_context=True)
    if algorithm:
        result["ChecksumAlgorithm"] = algorithm
        result["ChecksumType"] = upload.checksum_type
    return result


async def load_policy_of_initiator(call: Call, params: Params) -> str | None:
    """As `access.load_policy`. Who has begun an upload may list its parts and abort it.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html ("Multipart upload API and permissions")
    """
    document = await load_policy(call, params)
    if call.seen is None or (call.principal.kind is Kind.ROOT and call.principal.account == call.account):
        return document
    try:
        upload = await call.store.transact(lambda txn: require_upload(txn, params), read_only=True)
    except AwsError:
        return document  # said again, and then to whoever may know
    if upload.initiator != call.principal.arn:
        return document
    return allowing(document, params["Bucket"], "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")


@operation(
    "s3:AbortMultipartUpload",
    resource=OBJECT_ARN,
    policy=load_policy_of_initiator,
)
async def abort_multipart_upload(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html"""

    def body(txn: Transaction) -> None:
        bucket = require_bucket(txn, call, params)
        upload = require_upload(txn, params)
        conditions.check_abort(params, upload, directory=bool(bucket.zone))
        forget_upload(txn, call, params["Bucket"], params["Key"], params["UploadId"])

    await call.store.transact(body)
    return {}


def has_uploads(txn: Transaction, name: str) -> bool:
    """Whether a bucket has any in progress."""
    begin = keys.uploads(name)
    return next(txn.scan(begin, prefix_end(begin), limit=1), None) is not None


def disturb(txn: Transaction, name: str, key: str) -> None:
    """An object of that key goes: what is being uploaded to it cannot be completed on a condition any more."""
    begin = keys.uploads(name) + keys.upload_suffix(key)
    for at, raw in list(txn.scan(begin, prefix_end(begin))):
        upload = decode_upload(raw)
        if not upload.disturbed:
            upload.disturbed = True
            txn.set(at, encode(upload))


def forget_upload(txn: Transaction, call: Call, name: str, key: str, upload_id: str) -> None:
    """Take an upload and all its parts away."""
    begin = keys.parts(upload_id)
    end = prefix_end(begin)
    for _, raw in txn.scan(begin, end):
        for segment in decode_part(raw).segments:
            call.blobs.release(txn, segment[0])
    txn.clear(begin, end)
    txn.clear(keys.upload(name, key, upload_id))


@operation(
    "s3:ListMultipartUploads",
    action="s3:ListBucketMultipartUploads",
    resource=BUCKET_ARN,
    policy=load_policy,
    conditions=list_conditions,
)
async def list_multipart_uploads(call: Call, params: Params) -> Result:
    """By key, and the uploads of one key by age.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html
    """
    most = page_size(params, "MaxUploads")
    encode_key = encoder(params)
    prefix, delimiter = params.get("Prefix", ""), params.get("Delimiter", "")
    marker, id_marker = params.get("KeyMarker", ""), params.get("UploadIdMarker", "") if params.get("KeyMarker") else ""

    def body(txn: Transaction) -> tuple[str, list[tuple[str, str, Upload | None]], bool]:
        account = require_bucket(txn, call, params).account
        if id_marker and ("\0" in id_marker or txn.get(keys.upload(params["Bucket"], marker, id_marker)) is None):
            raise AwsError(
                "InvalidArgument", "Invalid uploadId marker", 400,
                members={"ArgumentName": "upload-id-marker", "ArgumentValue": id_marker},
            )  # fmt: skip
        return account, *_page(txn, params["Bucket"], prefix, delimiter, (marker, id_marker), most)

    account, entries, truncated = await call.store.transact(body, read_only=True)
    result: Result = {
        "Bucket": params["Bucket"],
        "KeyMarker": encode_key(marker),
        "UploadIdMarker": id_marker,
        "MaxUploads": most,
        "IsTruncated": truncated,
        "Uploads": [
            _told(account, encode_key(key), upload_id, upload)
            for key, upload_id, upload in entries
            if upload is not None
        ],
        "CommonPrefixes": [{"Prefix": encode_key(key)} for key, _, upload in entries if upload is None],
    }
    if delimiter:
        result["Delimiter"] = encode_key(delimiter)
    if "EncodingType" in params:
        result["EncodingType"] = "url"
    if prefix:
        result["Prefix"] = encode_key(prefix)
    shown = bool(entries) and (truncated or entries[-1][2] is not None)
    result["NextKeyMarker"] = encode_key(entries[-1][0]) if shown else ""
    result["NextUploadIdMarker"] = entries[-1][1] if shown else ""
    return result


def initiator(account: str, upload: Upload) -> dict[str, str]:
    """Who began the upload: the account's canonical id for its root user, else the ARN."""
    name = upload.initiator.rpartition("/")[2].rpartition(":")[2]
    return {"ID": owner(account)["ID"] if name == "root" else upload.initiator, "DisplayName": name}


def _told(account: str, key: str, upload_id: str, upload: Upload) -> dict[str, Any]:
    told: dict[str, Any] = {
        "Key": key,
        "UploadId": upload_id,
        "Initiated": upload.initiated_ms // 1000,
        "StorageClass": upload.storage_class or "STANDARD",
        "Owner": owner(account),
        "Initiator": initiator(account, upload),
    }
    if upload.checksum:
        told["ChecksumAlgorithm"] = upload.checksum
        told["ChecksumType"] = upload.checksum_type
    return told


def _page(
    txn: Transaction, name: str, prefix: str, delimiter: str, after: tuple[str, str], most: int
) -> tuple[list[tuple[str, str, Upload | None]], bool]:
    """((key, upload id, upload) or (common prefix, "", None), ..., whether there are more)."""
    space = keys.uploads(name)
    begin = space + keys.escape(prefix.encode())
    end = prefix_end(begin)
    marker, id_marker = after
    if marker:
        past = keys.upload_suffix(marker, id_marker)
        begin = max(begin, space + past + b"\0" if id_marker else prefix_end(space + past))
        cut = marker.find(delimiter, len(prefix)) if delimiter and marker.startswith(prefix) else -1
        if cut >= 0:  # as in listings of objects, a marker inside of a common prefix stands for all it holds
            begin = max(begin, prefix_end(space + keys.escape(marker[: cut + len(delimiter)].encode())))
    found: list[tuple[str, str, Upload | None]] = []
    while begin < end:
        common = None
        for stored, raw in txn.scan(begin, end):
            if len(found) == most:
                return found, most > 0
            key, upload_id = keys.split_upload(stored[len(space) :])
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                common = key[: cut + len(delimiter)]
                found.append((common, "", None))
                break
            found.append((key, upload_id, decode_upload(raw)))
        if common is None:
            break
        begin = prefix_end(space + keys.escape(common.encode()))
    return found, False
