"""Where S3's wire differs from rest-xml as its model tells it: names of roots, statuses and wording of its own errors.

Sources: the API reference's response syntax of each operation and its "Error responses" page.
"""

from __future__ import annotations

import base64
import os

from penstock.wire.errors import AwsError

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
HOST_ID = base64.b64encode(os.urandom(48)).decode()
"""x-amz-id-2: names the process that answered."""

ROOTS = {
    "ListBuckets": "ListAllMyBucketsResult",
    "ListDirectoryBuckets": "ListAllMyDirectoryBucketsResult",
    "ListObjects": "ListBucketResult",
    "ListObjectsV2": "ListBucketResult",
    "ListObjectVersions": "ListVersionsResult",
    "ListMultipartUploads": "ListMultipartUploadsResult",
    "ListParts": "ListPartsResult",
    "CreateMultipartUpload": "InitiateMultipartUploadResult",
    "CompleteMultipartUpload": "CompleteMultipartUploadResult",
    "CreateSession": "CreateSessionResult",
    "DeleteObjects": "DeleteResult",
    "GetBucketAcl": "AccessControlPolicy",
    "GetObjectAcl": "AccessControlPolicy",
    "GetBucketTagging": "Tagging",
    "GetObjectTagging": "Tagging",
    "GetBucketVersioning": "VersioningConfiguration",
    "GetBucketCors": "CORSConfiguration",
    "GetBucketLifecycle": "LifecycleConfiguration",
    "GetBucketLifecycleConfiguration": "LifecycleConfiguration",
    "GetBucketNotification": "NotificationConfiguration",
    "GetBucketNotificationConfiguration": "NotificationConfiguration",
    "GetBucketLocation": "LocationConstraint",
    "GetBucketLogging": "BucketLoggingStatus",
    "GetBucketRequestPayment": "RequestPaymentConfiguration",
    "GetBucketWebsite": "WebsiteConfiguration",
    "GetBucketAccelerateConfiguration": "AccelerateConfiguration",
    "ListBucketAnalyticsConfigurations": "ListBucketAnalyticsConfigurationResult",
    "ListBucketInventoryConfigurations": "ListInventoryConfigurationsResult",
    "ListBucketMetricsConfigurations": "ListMetricsConfigurationsResult",
    "GetObjectAttributes": "GetObjectAttributesResponse",
}

STATUSES = {
    **dict.fromkeys(
        (
            "AccessDenied", "AccountProblem", "AllAccessDisabled", "InvalidAccessKeyId", "InvalidObjectState",
            "InvalidSecurity", "NotSignedUp", "RequestTimeTooSkewed", "SignatureDoesNotMatch",
            "CrossLocationLoggingProhibited", "UnauthorizedAccess", "AccessForbidden",
        ),
        403,
    ),
    **dict.fromkeys(
        (
            "NoSuchBucket", "NoSuchKey", "NoSuchUpload", "NoSuchVersion", "NoSuchBucketPolicy", "NoSuchTagSet",
            "NoSuchCORSConfiguration", "NoSuchLifecycleConfiguration", "NoSuchWebsiteConfiguration",
            "NoSuchPublicAccessBlockConfiguration", "NoSuchObjectLockConfiguration", "NoSuchConfiguration",
            "ReplicationConfigurationNotFoundError", "ServerSideEncryptionConfigurationNotFoundError",
            "ObjectLockConfigurationNotFoundError", "OwnershipControlsNotFoundError", "NotFound",
        ),
        404,
    ),
    **dict.fromkeys(("MethodNotAllowed",), 405),
    **dict.fromkeys(
        (
            "BucketAlreadyExists", "BucketAlreadyOwnedByYou", "BucketNotEmpty", "OperationAborted",
            "InvalidBucketState", "ConditionalRequestConflict",
        ),
        409,
    ),
    "MissingContentLength": 411,
    "PreconditionFailed": 412,
    "InvalidRange": 416,
    "NotModified": 304,
    "PermanentRedirect": 301,
    "InternalError": 500,
    "NotImplemented": 501,
    "SlowDown": 503,
    "ServiceUnavailable": 503,
}  # fmt: skip


def malformed_xml() -> AwsError:
    return AwsError(
        "MalformedXML",
        "The XML you provided was not well-formed or did not validate against our published schema",
        400,
    )


def invalid_argument(message: str, name: str, value: str) -> AwsError:
    return AwsError("InvalidArgument", message, 400, members={"ArgumentName": name, "ArgumentValue": value[:1024]})


def unreadable(name: str, value: str, kind: str) -> AwsError:
    """A header or query parameter that is not of its type."""
    if kind in ("integer", "long"):
        if name == "partNumber":
            return invalid_argument("Part number must be an integer between 1 and 10000, inclusive", name, value)
        return invalid_argument(f"Provided {name} not an integer or within integer range", name, value)
    return invalid_argument(f"Invalid value for {name}", name, value)


def not_of_enum(name: str, value: str) -> AwsError:
    """A header or query parameter that is none of its enum's values."""
    match name:
        case "x-amz-storage-class":
            return AwsError(
                "InvalidStorageClass", "The storage class you specified is not valid", 400,
                members={"StorageClassRequested": value},
            )  # fmt: skip
        case "encoding-type":
            return invalid_argument("Invalid Encoding Method specified in Request", name, value)
        case "x-amz-server-side-encryption":
            return invalid_argument("The encryption method specified is not supported", name, value)
        case "x-amz-copy-source" | "x-amz-rename-source":
            return invalid_argument(f"Invalid copy source {'object key' if value else 'bucket name'}", name, name)
        case "x-amz-metadata-directive":
            return invalid_argument("Unknown metadata directive.", name, value)
        case "x-amz-tagging-directive":
            return invalid_argument("Unknown tagging directive.", name, value)
        case "x-amz-object-lock-mode":
            return invalid_argument("Unknown wormMode directive.", name, value)
        case "x-amz-object-lock-legal-hold":
            return invalid_argument("Legal Hold must be either of 'ON' or 'OFF'", name, value)
        case "x-amz-sdk-checksum-algorithm" | "x-amz-checksum-algorithm":
            return AwsError(
                "InvalidRequest",
                "Checksum algorithm provided is unsupported. Please try again with any of the valid types: "
                "[CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
                400,
            )
        case _:
            return invalid_argument("", name, value)
