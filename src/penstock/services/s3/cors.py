"""Which pages of other origins may use a bucket, and what their browsers are told.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/cors.html, https://docs.aws.amazon.com/AmazonS3/latest/API/RESTOPTIONSobject.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from penstock.core.call import Call
from penstock.core.node import Node
from penstock.core.operation import Params, Result, operation
from penstock.core.web import CROSS_ORIGIN, Place
from penstock.services.s3 import keys, settings
from penstock.services.s3.access import BUCKET_ARN, get_bucket, load_policy
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError
from penstock.wire.message import Request, Response
from penstock.wire.s3_quirks import malformed_xml

MOST_RULES = 100
METHODS = ("GET", "PUT", "POST", "DELETE", "HEAD")
_MISSING = ("NoSuchCORSConfiguration", "The CORS configuration does not exist")
_VARY = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"
_NOT_ALLOWED = (
    "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / "
    "Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec."
)
Rule = Mapping[str, Any]


@operation("s3:PutBucketCors", action="s3:PutBucketCORS", resource=BUCKET_ARN, policy=load_policy)
async def put_bucket_cors(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketCors.html"""
    rules = params["CORSConfiguration"].get("CORSRules") or []
    if not rules or len(rules) > MOST_RULES:
        raise malformed_xml()
    for rule in rules:
        _check(rule)
    await settings.put(call, params, keys.CORS, {"CORSRules": rules})
    return {}


def _check(rule: Rule) -> None:
    """Raises AwsError InvalidRequest, MalformedXML."""
    if not rule.get("AllowedMethods") or not rule.get("AllowedOrigins"):
        raise malformed_xml()
    for method in rule["AllowedMethods"]:
        if method not in METHODS:
            raise _invalid(f"Found unsupported HTTP method in CORS config. Unsupported method is {method}")
    for member, name in (("AllowedOrigins", "AllowedOrigin"), ("AllowedHeaders", "AllowedHeader")):
        for value in rule.get(member) or []:
            if value.count("*") > 1:
                raise _invalid(f'{name} "{value}" can not have more than one wildcard.')
    for value in rule.get("ExposeHeaders") or []:
        if "*" in value:
            raise _invalid(
                f'ExposeHeader "{value}" contains wildcard. We currently do not support wildcard for ExposeHeader.'
            )


def _invalid(message: str) -> AwsError:
    return AwsError("InvalidRequest", message, 400)


@operation("s3:GetBucketCors", action="s3:GetBucketCORS", resource=BUCKET_ARN, policy=load_policy)
async def get_bucket_cors(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketCors.html"""
    return dict(await settings.get(call, params, keys.CORS, _MISSING))


@operation("s3:DeleteBucketCors", action="s3:PutBucketCORS", resource=BUCKET_ARN, policy=load_policy)
async def delete_bucket_cors(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucketCors.html"""
    await settings.delete(call, params, keys.CORS)
    return {}


async def _rules(node: Node, bucket: str) -> tuple[bool, list[Rule]]:
    """(whether there is such a bucket, its rules)."""

    def body(txn: Transaction) -> tuple[bool, bytes | None]:
        return get_bucket(txn, bucket) is not None, txn.get(keys.setting(bucket, keys.CORS))

    exists, raw = await node.store.transact(body, read_only=True)
    return exists, settings.decode(raw)["CORSRules"] if raw is not None else []


class BucketsCors:
    """See `penstock.core.web.CrossOrigin`."""

    async def preflight(self, node: Node, request: Request, place: Place, otherwise: Response | None) -> Response:
        return await preflight(node, request, place, otherwise)

    async def allow(self, node: Node, request: Request, place: Place, response: Response) -> bool:
        return await allow(node, request, place, response)


CROSS_ORIGIN["s3"] = BucketsCors()


async def preflight(node: Node, request: Request, place: Place, otherwise: Response | None = None) -> Response:
    """The answer to a browser that asks whether it may send a request. otherwise: the one where there are no rules.

    Raises AwsError BadRequest, AccessForbidden.
    """
    origin = request.headers.get("origin")
    if origin is None:
        raise AwsError("BadRequest", "Insufficient information. Origin request header needed.", 400)
    method = request.headers.get("access-control-request-method", "")
    exists, rules = await _rules(node, place.bucket)
    if not rules and otherwise is not None:
        return otherwise
    if not rules:
        why = "CORS is not enabled for this bucket." if exists else "Bucket not found"
        raise _forbidden(f"CORSResponse: {why}", method, "BUCKET")
    if method not in METHODS:
        raise AwsError("BadRequest", f"Invalid Access-Control-Request-Method: {method or 'null'}", 400)
    asked = _asked(request)
    for rule in rules:
        if allows(rule, origin, method, asked):
            response = Response(200)
            _tell(response, rule, origin, asked)
            return response
    raise _forbidden(_NOT_ALLOWED, method, "OBJECT" if place.key else "BUCKET")


def _asked(request: Request) -> list[str]:
    wanted = request.headers.get("access-control-request-headers", "")
    return [name.strip().lower() for name in wanted.split(",") if name.strip()]


async def allow(node: Node, request: Request, place: Place, response: Response) -> bool:
    """Add to an answer what the bucket's first rule that fits has to say. False where the bucket has no rules."""
    _, rules = await _rules(node, place.bucket)
    origin = request.headers["origin"]
    method = request.headers.get("access-control-request-method") or request.method
    asked = _asked(request)
    for rule in rules:
        if allows(rule, origin, method, asked):
            _tell(response, rule, origin, [])
            break
    return bool(rules)


def allows(rule: Rule, origin: str, method: str, headers: list[str]) -> bool:
    """Whether a rule is for that origin, method and all of the headers (lower case)."""
    if method not in rule["AllowedMethods"] or not any(_fits(wanted, origin) for wanted in rule["AllowedOrigins"]):
        return False
    patterns = [wanted.lower() for wanted in rule.get("AllowedHeaders") or []]
    return all(any(_fits(pattern, name) for pattern in patterns) for name in headers)


def _fits(pattern: str, text: str) -> bool:
    before, star, after = pattern.partition("*")
    if not star:
        return pattern == text
    return len(text) >= len(before) + len(after) and text.startswith(before) and text.endswith(after)


def _tell(response: Response, rule: Rule, origin: str, asked: list[str]) -> None:
    anyone = "*" in rule["AllowedOrigins"]
    add = response.headers.append
    add(("Access-Control-Allow-Origin", "*" if anyone else re.sub(r"[\r\n]", "", origin)))
    add(("Access-Control-Allow-Methods", ", ".join(rule["AllowedMethods"])))
    if asked:
        add(("Access-Control-Allow-Headers", ", ".join(asked)))
    if rule.get("ExposeHeaders"):
        add(("Access-Control-Expose-Headers", ", ".join(rule["ExposeHeaders"])))
    if "MaxAgeSeconds" in rule:
        add(("Access-Control-Max-Age", str(rule["MaxAgeSeconds"])))
    if not anyone:
        add(("Access-Control-Allow-Credentials", "true"))
    add(("Vary", _VARY))


def _forbidden(message: str, method: str, kind: str) -> AwsError:
    return AwsError("AccessForbidden", message, 403, members={"Method": method or "OPTIONS", "ResourceType": kind})
