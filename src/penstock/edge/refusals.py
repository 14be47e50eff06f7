"""What the edge itself refuses, in AWS's codes and words, which differ by family of services.

Sources: "Error responses" of the Amazon S3 API reference, "Common errors" of the services' API references, and
"Troubleshoot Signature Version 4" of the IAM user guide.
"""

from __future__ import annotations

import enum
import functools
import time

from penstock.wire import catalog, models
from penstock.wire.errors import AwsError


class Family(enum.Enum):
    """Whose wording is spoken."""

    __hash__ = object.__hash__  # Enum's own is a Python function; every request looks something up by its family

    S3 = "s3"
    JSON = "json"
    REST_JSON = "rest-json"
    QUERY = "query"


def family(service: str, protocol: str) -> Family:
    """The family of a service's protocol at hand."""
    if service == "s3":
        return Family.S3
    if protocol == "query" or protocol == "ec2":
        return Family.QUERY
    return Family.REST_JSON if protocol == "rest-json" else Family.JSON


MISMATCH = "The request signature we calculated does not match the signature you provided. Check your "
_TOKEN_INVALID = "The security token included in the request is invalid."


def _signature(kind: Family, message: str) -> AwsError:
    if kind is Family.QUERY:
        return AwsError("SignatureDoesNotMatch", message, 403)
    return AwsError("InvalidSignatureException", message, 403 if kind is Family.REST_JSON else 400)


def mismatch(kind: Family, access_key_id: str, provided: str, to_sign: str, canonical: str) -> AwsError:
    """The signature is wrong. S3 says what it computed from, so that a client's author can compare."""
    if kind is Family.S3:
        return AwsError(
            "SignatureDoesNotMatch",
            MISMATCH + "key and signing method.",
            403,
            members={
                "AWSAccessKeyId": access_key_id,
                "StringToSign": to_sign,
                "SignatureProvided": provided,
                "StringToSignBytes": to_sign.encode("latin-1", "replace").hex(" "),
                "CanonicalRequest": canonical,
                "CanonicalRequestBytes": canonical.encode("latin-1", "replace").hex(" "),
            },
        )
    return _signature(
        kind, MISMATCH + "AWS Secret Access Key and signing method. Consult the service documentation for details."
    )


def unknown_key(kind: Family, access_key_id: str) -> AwsError:
    """No such access key, or it is not active."""
    if kind is Family.S3:
        return AwsError(
            "InvalidAccessKeyId",
            "The AWS Access Key Id you provided does not exist in our records.",
            403,
            members={"AWSAccessKeyId": access_key_id},
        )
    if kind is Family.QUERY:
        return AwsError("InvalidClientTokenId", _TOKEN_INVALID, 403)
    return AwsError("UnrecognizedClientException", _TOKEN_INVALID, 403 if kind is Family.REST_JSON else 400)


def bad_token(kind: Family) -> AwsError:
    """The session token does not belong to the key."""
    if kind is Family.S3:
        return AwsError("InvalidToken", "The provided token is malformed or otherwise invalid.", 400)
    return unknown_key(kind, "")


def expired_token(kind: Family) -> AwsError:
    """The temporary credentials are past their time."""
    if kind is Family.S3:
        return AwsError("ExpiredToken", "The provided token has expired.", 400)
    message = "The security token included in the request is expired"
    if kind is Family.QUERY:
        return AwsError("ExpiredToken", message, 403)
    return AwsError("ExpiredTokenException", message, 403 if kind is Family.REST_JSON else 400)


def unsigned(kind: Family) -> AwsError:
    """A request without any authentication for what needs one."""
    if kind is Family.S3:
        return AwsError("AccessDenied", "Access Denied", 403)
    message = "Request is missing Authentication Token"
    if kind is Family.QUERY:
        return AwsError("MissingAuthenticationToken", message, 403)
    return AwsError("MissingAuthenticationTokenException", message, 403 if kind is Family.REST_JSON else 400)


def incomplete(kind: Family, what: str, header: str) -> AwsError:
    """The Authorization header, or the query form of it, cannot be read. what: the sentence that says why."""
    if kind is Family.S3:
        return AwsError("AuthorizationHeaderMalformed", f"The authorization header is malformed; {what}", 400)
    code = "IncompleteSignature" if kind is Family.QUERY else "IncompleteSignatureException"
    return AwsError(code, f"{what} Authorization={header[:64]}", 403 if kind is Family.REST_JSON else 400)


def bad_query(kind: Family, message: str) -> AwsError:
    """A presigned request's parameters are wrong."""
    if kind is Family.S3:
        return AwsError("AuthorizationQueryParametersError", message, 400)
    code = "IncompleteSignature" if kind is Family.QUERY else "IncompleteSignatureException"
    return AwsError(code, message, 400)


def two_mechanisms() -> AwsError:
    """Both the header and the query claim to authenticate."""
    return AwsError(
        "InvalidArgument",
        "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter "
        "or the Authorization header should be specified",
        400,
    )


def no_date(kind: Family) -> AwsError:
    """Neither X-Amz-Date nor a readable Date."""
    if kind is Family.S3:
        return AwsError("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header", 403)
    return incomplete(
        kind, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.", "AWS4-HMAC-SHA256"
    )


def wrong_scope_date(kind: Family, said: str, of_request: str, date: str) -> AwsError:
    """The scope's day is not the request's."""
    message = (
        f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
        f"'{said}' != '{of_request}', from '{date}'."
    )
    if kind is Family.S3:
        return AwsError(
            "AuthorizationHeaderMalformed",
            f'The authorization header is malformed; Invalid credential date "{said}". This date is not the same as '
            f'X-Amz-Date: "{of_request}".',
            400,
        )
    return _signature(kind, message)


def wrong_service(kind: Family, said: str, expected: str) -> AwsError:
    """The scope names another service."""
    if kind is Family.S3:
        return AwsError(
            "AuthorizationHeaderMalformed",
            f'The authorization header is malformed; incorrect service "{said}". This endpoint belongs to '
            f'"{expected}".',
            400,
        )
    return _signature(kind, f"Credential should be scoped to correct service: '{expected}'. ")


def wrong_region(kind: Family, said: str, expected: str) -> AwsError:
    """The scope names another region than the host."""
    if kind is Family.S3:
        return AwsError(
            "AuthorizationHeaderMalformed",
            f"The authorization header is malformed; the region '{said}' is wrong; expecting '{expected}'",
            400,
            members={"Region": expected},
        )
    return _signature(kind, "Credential should be scoped to a valid region. ")


def skewed(kind: Family, amz_date: str, at: float, now: float, allowed_s: float) -> AwsError:
    """The request's time and ours are too far apart. at, now: seconds since the epoch."""
    if kind is Family.S3:
        return AwsError(
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
            403,
            members={
                "RequestTime": amz_date,
                "ServerTime": _iso(now),
                "MaxAllowedSkewMilliseconds": str(int(allowed_s * 1000)),
            },
        )
    minutes = int(allowed_s // 60)
    if at < now:
        return _signature(
            kind,
            f"Signature expired: {amz_date} is now earlier than {_basic(now - allowed_s)} "
            f"({_basic(now)} - {minutes} min.)",
        )
    return _signature(
        kind,
        f"Signature not yet current: {amz_date} is still later than {_basic(now + allowed_s)} "
        f"({_basic(now)} + {minutes} min.)",
    )


def expired_url(kind: Family, amz_date: str, at: float, expires_s: int, now: float) -> AwsError:
    """A presigned request came too late."""
    if kind is Family.S3:
        return AwsError(
            "AccessDenied",
            "Request has expired",
            403,
            members={"X-Amz-Expires": str(expires_s), "Expires": _iso(at + expires_s), "ServerTime": _iso(now)},
        )
    return _signature(
        kind,
        f"Signature expired: {amz_date} is now earlier than {_basic(now - expires_s)} ({_basic(now)} - {expires_s} s.)",
    )


def not_yet_valid(kind: Family, amz_date: str, at: float, now: float, allowed_s: float) -> AwsError:
    """A presigned request is of the future."""
    if kind is Family.S3:
        return AwsError(
            "AccessDenied", "Request is not yet valid", 403,
            members={"X-Amz-Date": amz_date, "ServerTime": _iso(now)},
        )  # fmt: skip
    return skewed(kind, amz_date, at, now, allowed_s)


def headers_not_signed(kind: Family, names: list[str]) -> AwsError:
    """Headers that must be signed are not: they could have been added on the way."""
    if kind is Family.S3:
        return AwsError(
            "AccessDenied",
            "There were headers present in the request which were not signed",
            403,
            members={"HeadersNotSigned": ", ".join(names)},
        )
    named = ", ".join(f"'{name}'" for name in names)
    return _signature(kind, f"{named} must be a 'SignedHeader' in the AWS Authorization.")


def payload_hash_missing() -> AwsError:
    """S3 wants to be told how the payload is protected."""
    return AwsError("InvalidRequest", "Missing required header for this request: x-amz-content-sha256", 400)


def payload_hash_unreadable(value: str) -> AwsError:
    """x-amz-content-sha256 is neither a hash nor one of the words."""
    return AwsError(
        "InvalidArgument",
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
        400,
        members={"ArgumentName": "x-amz-content-sha256", "ArgumentValue": value},
    )


def payload_differs(kind: Family, said: str, computed: str) -> AwsError:
    """The body is not the one whose hash was signed."""
    if kind is Family.S3:
        return AwsError(
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
            400,
            members={"ClientComputedContentSHA256": said, "S3ComputedContentSHA256": computed},
        )
    return mismatch(kind, "", "", "", "")


def unsupported_algorithm(kind: Family, header: str) -> AwsError:
    """Not AWS4-HMAC-SHA256: signature version 2, 4A, or something else altogether."""
    if kind is not Family.S3:
        return incomplete(kind, "Unsupported AWS 'algorithm'.", header.split(" ", 1)[0])
    if header.startswith("AWS"):
        return AwsError(
            "InvalidRequest",
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
            400,
        )
    return AwsError(
        "InvalidArgument", "Unsupported Authorization Type", 400,
        members={"ArgumentName": "Authorization", "ArgumentValue": header[:256]},
    )  # fmt: skip


def overloaded(kind: Family) -> AwsError:
    """Too many requests are at work: try again in a moment."""
    after = {"Retry-After": "1"}
    if kind is Family.S3:
        return AwsError("SlowDown", "Please reduce your request rate.", 503, headers=after)
    if kind is Family.QUERY:
        return AwsError("Throttling", "Rate exceeded", 400, headers=after)
    return AwsError("ThrottlingException", "Rate exceeded", 429 if kind is Family.REST_JSON else 400, headers=after)


def contended(kind: Family) -> AwsError:
    """The store gave up after many tries against other transactions: nothing was written."""
    code = "SlowDown" if kind is Family.S3 else "ServiceUnavailable"
    return AwsError(code, "Please reduce your request rate.", 503, headers={"Retry-After": "1"})


def too_much_at_once(kind: Family) -> AwsError:
    """One transaction cannot hold all that the request wants changed. Nothing was written, nor would be next time."""
    message = "The request changes more at once than can be changed in one transaction. Please make it smaller."
    if kind is Family.S3:
        return AwsError("EntityTooLarge", message, 400)
    if kind is Family.QUERY:
        return AwsError("LimitExceeded", message, 409)
    if kind is Family.REST_JSON:
        return AwsError("RequestTooLargeException", message, 413)
    return AwsError("ValidationException", message, 400)


_FAULTS = (
    "InternalServerError", "InternalServerException", "InternalServiceError", "InternalServiceException",
    "InternalFailureException", "ServiceException", "ServiceFailureException", "ServiceUnavailableException",
)  # fmt: skip
"""What operations' models call a failure of the service, the plainest first."""


@functools.cache
def _fault(service: str, operation: str) -> str:
    if service not in catalog.BY_NAME or operation not in (known := models.service(service).operations):
        return "InternalFailure"
    named = {target.shape for target in known[operation].errors}
    return next((fault for fault in _FAULTS if fault in named), "InternalFailure")


def internal(kind: Family, service: str, operation: str) -> AwsError:
    """We failed, and what was asked for may have been done or not: AWS's 500."""
    if kind is Family.S3:
        return AwsError("InternalError", "We encountered an internal error. Please try again.", 500)
    message = "The request processing has failed because of an unknown error, exception or failure."
    return AwsError(_fault(service, operation), message, 500)


def _iso(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def _basic(at: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
