"""Lines of server access logs, as requests end; and who is charged for them.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/LogFormat.html. `access_logs` takes them on.
"""

from __future__ import annotations

import functools
import re
import time
from collections import defaultdict
from typing import TYPE_CHECKING
from urllib.parse import quote

from penstock.core.call import Call
from penstock.core.identity import Kind
from penstock.core.operation import Params
from penstock.services.s3.grants import canonical_id
from penstock.services.s3.records import Bucket
from penstock.wire.s3_quirks import HOST_ID

if TYPE_CHECKING:
    from penstock.core.node import Node
    from penstock.wire.message import Request, Response

MOST_WAITING = 100_000
"""Lines in memory; more are dropped, and counted."""
CHARGED = frozenset(
    "AbortMultipartUpload CompleteMultipartUpload CopyObject CreateMultipartUpload DeleteObject DeleteObjects GetObject "
    "GetObjectAcl GetObjectAttributes GetObjectTagging HeadObject ListMultipartUploads ListObjects ListObjectsV2 "
    "ListObjectVersions ListParts PutObject PutObjectAcl PutObjectTagging UploadPart UploadPartCopy".split()
)
"""Operations that a requester must offer to pay for, where the bucket's owner does not."""
_OBJECTS = {
    "GetObject": "GET.OBJECT", "HeadObject": "HEAD.OBJECT", "PutObject": "PUT.OBJECT", "DeleteObject": "DELETE.OBJECT",
    "CopyObject": "COPY.OBJECT", "UploadPart": "PUT.PART", "UploadPartCopy": "COPY.PART",
    "CreateMultipartUpload": "POST.UPLOADS", "CompleteMultipartUpload": "POST.UPLOAD",
    "AbortMultipartUpload": "DELETE.UPLOAD", "ListParts": "GET.UPLOAD", "ListMultipartUploads": "GET.UPLOADS",
    "ListObjects": "GET.BUCKET", "ListObjectsV2": "GET.BUCKET", "ListObjectVersions": "GET.BUCKETVERSIONS",
    "HeadBucket": "HEAD.BUCKET", "DeleteBucket": "DELETE.BUCKET", "DeleteObjects": "POST.MULTI_OBJECT_DELETE",
    "GetBucketLogging": "GET.LOGGING_STATUS", "PutBucketLogging": "PUT.LOGGING_STATUS",
    "GetBucketPolicy": "GET.BUCKETPOLICY", "PutBucketPolicy": "PUT.BUCKETPOLICY",
    "DeleteBucketPolicy": "DELETE.BUCKETPOLICY", "SelectObjectContent": "SELECT.OBJECT",
}  # fmt: skip
_WORDS = re.compile(r"(Get|Put|Delete|List)(?:Bucket)?(\w+?)(?:Configuration)?")


class Waiting:
    """Lines that are not in the store yet, by source bucket."""

    def __init__(self, _: Node) -> None:
        self._lines: dict[str, list[bytes]] = defaultdict(list)
        self._count = 0

    def add(self, bucket: str, line: bytes) -> bool:
        """False where there are too many."""
        if self._count >= MOST_WAITING:
            return False
        self._count += 1
        self._lines[bucket].append(line)
        return True

    def take(self) -> dict[str, list[bytes]]:
        """All of them; they are the caller's now."""
        lines, self._lines, self._count = self._lines, defaultdict(list), 0
        return lines


def watch(call: Call, params: Params, bucket: Bucket | None) -> None:
    """Have the call's end written down, if the bucket's requests are logged, and say whom it is charged to."""
    if bucket is None:
        return
    if bucket.logging or (bucket.requester_pays and "RequestPayer" in params and call.operation.name in CHARGED):
        call.on_end = functools.partial(_ended, bucket, params["Bucket"], str(params.get("Key", "")))


def _ended(bucket: Bucket, name: str, key: str, call: Call, request: Request, response: Response, code: str) -> None:
    if bucket.requester_pays and not code:
        response.headers.append(("x-amz-request-charged", "requester"))
    if not bucket.logging:
        return
    line = _line(call, name, key, bucket.account, request, response, code)
    if not call.node.own(Waiting).add(name, line.encode()):
        call.node.telemetry.count("penstock_s3_access_log_lines_dropped_total")


def operation_name(name: str) -> str:
    """An operation as access logs call it: REST.GET.OBJECT."""
    known = _OBJECTS.get(name)
    if known is not None:
        return f"REST.{known}"
    match = _WORDS.fullmatch(name)
    if match is None:
        return f"REST.{name.upper()}"
    resource = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", match.group(2)).upper()
    return f"REST.{'GET' if match.group(1) == 'List' else match.group(1).upper()}.{resource}"


def _line(call: Call, name: str, key: str, owner: str, request: Request, response: Response, code: str) -> str:
    clock = call.node.clock
    took_ms = max(0, round((clock.monotonic() - request.received_at) * 1000)) if request.received_at else 0
    sent = response.length if response.stream is not None else len(response.body)
    headers = {header.lower(): value for header, value in response.headers}
    size = _object_bytes(call, request, headers, sent) if not code else "-"
    target = request.path + (f"?{request.query}" if request.query else "")
    asked = request.headers
    signed = "authorization" in asked
    by_query = "X-Amz-Signature=" in request.query
    signature = "SigV4" if signed or by_query else "-"
    how = "AuthHeader" if signed else "QueryString" if by_query else "-"
    when = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(clock.now()))
    fields = (
        canonical_id(owner), name, f"[{when}]", request.peer or "-", _requester(call), call.request_id,
        operation_name(call.operation.name), quote(key) or "-",
        _quoted(f"{request.method} {target} HTTP/{request.http_version}"),
        str(response.status), code or "-", str(sent or "-"), size, str(took_ms), str(took_ms),
        _quoted(asked.get("referer", "-")), _quoted(asked.get("user-agent", "-")),
        headers.get("x-amz-version-id", "-"), HOST_ID, signature, "TLS_AES_256_GCM_SHA384" if request.secure else "-", how,
        asked.get("host", "-"), "TLSv1.3" if request.secure else "-", "-", "-",
    )  # fmt: skip
    return " ".join(field.replace("\n", " ").replace("\r", " ") for field in fields)


def _object_bytes(call: Call, request: Request, headers: dict[str, str], sent: int | None) -> str:
    """The size of the object that a request was about, where that is known."""
    match call.operation.name:
        case "GetObject":
            return headers.get("content-range", "").rpartition("/")[2] or str(sent or 0)
        case "HeadObject":
            return headers.get("content-range", "").rpartition("/")[2] or headers.get("content-length", "-")
        case "PutObject" | "UploadPart":
            return request.headers.get("x-amz-decoded-content-length") or request.headers.get("content-length", "-")
        case _:
            return "-"


def _quoted(text: str) -> str:
    escaped = text.replace('"', "%22")
    return f'"{escaped}"'


def _requester(call: Call) -> str:
    principal = call.principal
    if principal.kind is Kind.ANONYMOUS:
        return "-"
    return canonical_id(principal.account) if principal.kind is Kind.ROOT else principal.arn
