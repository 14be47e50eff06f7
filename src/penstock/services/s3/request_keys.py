"""Condition keys that every request to S3 has by how it came: its signature's form, version and age, its TLS.

https://docs.aws.amazon.com/AmazonS3/latest/API/bucket-policy-s3-sigv4-conditions.html
"""

from __future__ import annotations

import datetime
from email.utils import parsedate_to_datetime

from penstock.core.authz.facts import CallFacts, condition_key
from penstock.wire import querystring
from penstock.wire.message import Request

_SIGV4 = "AWS4-HMAC-SHA256"
_HEADER, _QUERY = "REST-HEADER", "REST-QUERY-STRING"


def _query(request: Request, name: str) -> str | None:
    return next((value for key, value in querystring.parse(request.query) if key == name), None)


def _form(request: Request) -> str | None:
    """How it is signed; None for an anonymous request."""
    if "authorization" in request.headers:
        return _HEADER
    return _QUERY if "Signature=" in request.query else None


def _auth_type(facts: CallFacts) -> str | None:
    request = facts.call.request
    return None if request is None else _form(request)


def _signature_version(facts: CallFacts) -> str | None:
    request = facts.call.request
    form = None if request is None else _form(request)
    if request is None or form is None:
        return None
    if form == _HEADER:
        return _SIGV4 if request.headers["authorization"].startswith(_SIGV4) else "AWS"
    return _query(request, "X-Amz-Algorithm") or "AWS"


def _signature_age(facts: CallFacts) -> str | None:
    """Milliseconds. A signature of version 2 in the query has an end and no beginning, so no age."""
    request = facts.call.request
    form = None if request is None else _form(request)
    if request is None or form is None:
        return None
    signed = request.headers.get("x-amz-date") if form == _HEADER else _query(request, "X-Amz-Date")
    try:
        if signed is not None:
            at = datetime.datetime.strptime(signed, "%Y%m%dT%H%M%S%z")
        elif form == _HEADER:
            at = parsedate_to_datetime(request.headers["date"])
        else:
            return None
    except (KeyError, ValueError):
        return None
    return str(int(max(0.0, facts.call.node.clock.host_now() - at.timestamp()) * 1000))


def _content_sha256(facts: CallFacts) -> str | None:
    """What is signed in the payload's place, as it came."""
    request = facts.call.request
    if request is None:
        return None
    return request.headers.get("x-amz-content-sha256") or ("UNSIGNED-PAYLOAD" if _form(request) == _QUERY else None)


def _tls_version(facts: CallFacts) -> str | None:
    """A number, as "1.3"."""
    request = facts.call.request
    return request.tls.removeprefix("TLSv") if request is not None and request.tls else None


condition_key("s3:authType", _auth_type)
condition_key("s3:signatureversion", _signature_version)
condition_key("s3:signatureAge", _signature_age)
condition_key("s3:x-amz-content-sha256", _content_sha256)
condition_key("s3:TlsVersion", _tls_version)
condition_key("s3:ResourceAccount", lambda facts: facts.owner or None)
