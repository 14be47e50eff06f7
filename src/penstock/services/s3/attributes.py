"""GetObjectAttributes."""

from __future__ import annotations

from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.s3 import checksums, reading, versions
from penstock.services.s3.access import OBJECT_ARN
from penstock.services.s3.encryption import opening
from penstock.services.s3.listing import page_size
from penstock.wire.errors import AwsError

_KNOWN = ("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize")


@operation(
    "s3:GetObjectAttributes",
    action_of=versions.version_action("s3:GetObjectAttributes", "s3:GetObjectVersionAttributes"),
    resource=OBJECT_ARN,
    policy=reading.load_policy_and_object,
    conditions=reading.existing_tags,
)
async def get_object_attributes(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAttributes.html"""
    wanted = params.get("ObjectAttributes") or []
    if not any(wanted):
        raise AwsError(
            "InvalidRequest",
            "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty",
            400,
        )
    for name in wanted:
        if name not in _KNOWN:
            raise AwsError(
                "InvalidArgument", "Invalid attribute name specified.", 400,
                members={"ArgumentName": "x-amz-object-attributes", "ArgumentValue": name},
            )  # fmt: skip
    found = await reading.find_object(call, params)
    record = found.record
    opening.check(call, params, record.encryption)
    result: Result = {"LastModified": record.modified_ms // 1000}
    if found.version_id:
        result["VersionId"] = found.version_id
    if "ETag" in wanted:
        result["ETag"] = record.etag
    if "StorageClass" in wanted:
        result["StorageClass"] = record.storage_class or "STANDARD"
    if "ObjectSize" in wanted:
        result["ObjectSize"] = record.size
    if "Checksum" in wanted and record.checksum:
        told: dict[str, Any] = {}
        value = record.checksum_value.partition("-")[0]
        checksums.tell(told, record.checksum, value, record.checksum_type)
        result["Checksum"] = told
    if "ObjectParts" in wanted and record.part_count:
        result["ObjectParts"] = _parts(params, found)
    return result


def _parts(params: Params, found: reading.Found) -> dict[str, Any]:
    record = found.record
    told: dict[str, Any] = {"TotalPartsCount": record.part_count}
    if not found.parts or record.checksum_type != checksums.COMPOSITE:
        return told  # as AWS's recorded answers
    most = page_size(params, "MaxParts")
    marker = int(params.get("PartNumberMarker") or 0)
    rest = [part for part in found.parts if part.number > marker]
    shown = rest[:most]
    member = checksums.MEMBER_OF[record.checksum]
    told["PartNumberMarker"] = marker
    told["NextPartNumberMarker"] = shown[-1].number if shown else 0
    told["MaxParts"] = most
    told["IsTruncated"] = len(rest) > most
    told["Parts"] = [{"PartNumber": p.number, "Size": p.size, member: p.checksum} for p in shown]
    return told
