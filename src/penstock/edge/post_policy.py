"""The policy of an S3 upload by form: what whoever signed it lets the form hold. Pure: no store, no socket, no clock.

Source: "Creating a POST policy" in the Amazon S3 API reference (browser-based uploads): each field but the signature, the
policy, the file and x-ignore-… must be named by a condition, and every condition must hold.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import hashlib
import hmac
import json
import re
import time
from typing import Any, NamedTuple

from penstock.edge import refusals
from penstock.edge.refusals import Family
from penstock.edge.sigv4 import ALGORITHM, signing_key
from penstock.wire.errors import AwsError

_FREE = frozenset({"awsaccesskeyid", "file", "policy", "signature", "x-amz-signature"})
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d{1,9})?Z").fullmatch
_CREDENTIAL = re.compile(r"([^\s]+)/(\d{8})/([a-z0-9-]+)/s3/aws4_request").fullmatch


class Claim(NamedTuple):
    """How a form says it is authenticated. Nothing of it is verified."""

    access_key_id: str
    token: str
    signature: str
    policy: str
    """As sent, and signed: base64."""
    date: str
    """YYYYMMDD of the scope; "" for signature version 2."""
    region: str


def read(fields: dict[str, str]) -> Claim | None:
    """The form's claim; None where it makes none. Raises AwsError for half a one."""
    policy, token = fields.get("policy", ""), fields.get("x-amz-security-token", "")
    if "x-amz-signature" in fields or "x-amz-credential" in fields or "x-amz-algorithm" in fields:
        for name in ("policy", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature"):
            if not fields.get(name):
                raise _missing(name)
        scope = _CREDENTIAL(fields["x-amz-credential"])
        if fields["x-amz-algorithm"] != ALGORITHM or scope is None or fields["x-amz-date"][:8] != scope.group(2):
            raise AwsError(
                "InvalidArgument", "The x-amz-algorithm, x-amz-credential or x-amz-date of the form is malformed.", 400
            )  # fmt: skip
        return Claim(scope.group(1), token, fields["x-amz-signature"], policy, scope.group(2), scope.group(3))
    if policy or "signature" in fields or "awsaccesskeyid" in fields:
        for name in ("policy", "awsaccesskeyid", "signature"):
            if not fields.get(name):
                raise _missing("AWSAccessKeyId" if name == "awsaccesskeyid" else name)
        return Claim(fields["awsaccesskeyid"], token, fields["signature"], policy, "", "")
    return None


def verify(claim: Claim, secret: str) -> None:
    """Raises AwsError SignatureDoesNotMatch."""
    signed = claim.policy.encode("latin-1")
    if claim.date:
        expected = hmac.digest(signing_key(secret, claim.date, claim.region, "s3"), signed, "sha256").hex()
    else:
        expected = base64.b64encode(hmac.digest(secret.encode(), signed, hashlib.sha1)).decode()
    if not hmac.compare_digest(expected.encode(), claim.signature.encode("latin-1")):
        raise refusals.mismatch(Family.S3, claim.access_key_id, claim.signature, claim.policy, "")


def check(policy: str, fields: dict[str, str], bucket: str, now: float) -> tuple[int, int] | None:
    """Hold the form against its policy. fields: as `post_form` reads them. now: seconds since the epoch.

    Returns the bounds of the file's size in bytes, where the policy has them. Raises AwsError InvalidPolicyDocument,
    AccessDenied.
    """
    expires_at, conditions = _document(policy)
    if expires_at <= now:
        raise AwsError("AccessDenied", "Invalid according to Policy: Policy expired.", 403)
    given = {name: value.encode("latin-1").decode("utf-8", "replace") for name, value in fields.items()}
    given["bucket"] = bucket
    named: set[str] = set()
    bounds: tuple[int, int] | None = None
    for condition in conditions:
        operator, name, value = _condition(condition)
        if operator == "content-length-range":
            bounds = _sizes(name, value)
            continue
        named.add(name)
        found = given.get(name, "")
        holds = found == value if operator == "eq" else found.startswith(value)
        if operator == "starts-with" and name == "content-type" and "," in found:
            holds = all(part.strip().startswith(value) for part in found.split(","))
        if not holds:
            raise _failed([operator, f"${name}", value])
    extra = [name for name in given if name not in named and name not in _FREE and not name.startswith("x-ignore-")]
    if extra:
        raise AwsError("AccessDenied", f"Invalid according to Policy: Extra input fields: {', '.join(extra)}", 403)
    return bounds


def _document(policy: str) -> tuple[float, list[Any]]:
    try:
        document = json.loads(base64.b64decode(policy, validate=True))
    except (binascii.Error, UnicodeDecodeError, ValueError, RecursionError):
        raise _invalid("Invalid JSON.") from None
    if not isinstance(document, dict):
        raise _invalid("Invalid JSON.")
    known = {name.lower(): value for name, value in document.items()}
    expiration, conditions = known.get("expiration"), known.get("conditions")
    if not isinstance(expiration, str):
        raise _invalid("Policy missing expiration.")
    moment = _MOMENT(expiration)
    try:
        at = calendar.timegm(time.strptime(moment.group(1), "%Y-%m-%dT%H:%M:%S")) if moment else None
    except ValueError:
        at = None
    if at is None:
        raise _invalid(f"Invalid 'expiration' value: '{expiration[:64]}'")
    if not isinstance(conditions, list):
        raise _invalid("Policy missing conditions.")
    return float(at), conditions


def _condition(condition: Any) -> tuple[str, str, str]:
    """(operator, field in lower case, value); the two sizes for content-length-range."""
    if isinstance(condition, dict) and len(condition) == 1:
        [(name, value)] = condition.items()
        if isinstance(value, str):
            return "eq", name.lower(), value
        raise _invalid("Invalid Simple-Condition: value must be a string.")
    if isinstance(condition, list) and len(condition) == 3 and isinstance(condition[0], str):
        operator, name, value = condition[0].lower(), condition[1], condition[2]
        if operator == "content-length-range":
            return operator, str(name), str(value)
        if operator in ("eq", "starts-with") and isinstance(name, str) and isinstance(value, str):
            if not name.startswith("$"):
                raise _failed(condition)
            return operator, name[1:].lower(), value
    if isinstance(condition, dict):
        raise _invalid("Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.")
    raise _invalid("Invalid Condition: it must be an object with one member, or a list of three.")


def _failed(condition: list[str]) -> AwsError:
    said = json.dumps(condition)
    return AwsError("AccessDenied", f"Invalid according to Policy: Policy Condition failed: {said}", 403)


def _sizes(least: str, most: str) -> tuple[int, int]:
    if not all(text.isascii() and text.isdigit() and len(text) < 16 for text in (least, most)):
        raise _failed(["content-length-range", least, most])
    return int(least), int(most)


def _invalid(why: str) -> AwsError:
    return AwsError("InvalidPolicyDocument", f"Invalid Policy: {why}", 400)


def _missing(name: str) -> AwsError:
    return AwsError(
        "InvalidArgument",
        f"Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the fields.",
        400,
        members={"ArgumentName": name, "ArgumentValue": ""},
    )
