"""Which operation of which service a request is, from what it says: target, credential scope, host, path and form.

Protocols that share an endpoint are told apart here too: X-Amz-Target carries JSON or the older CBOR, by Content-Type; the
newer CBOR names service and operation in the path ("Smithy RPC v2 CBOR protocol" at smithy.io).

Knows the services' names only through the wire's models. Names follow AWS's endpoints: "Virtual hosting of buckets" in
the Amazon S3 user guide, "AWS service endpoints" in the general reference.
"""

from __future__ import annotations

import functools
import re
from urllib.parse import unquote

import msgspec

from penstock.core.web import Place
from penstock.edge import sigv4
from penstock.edge.origin import bare_host
from penstock.edge.refusals import Family, family
from penstock.wire import catalog, models, uris
from penstock.wire.errors import AwsError
from penstock.wire.message import Request

_ACTION = re.compile(rb"(?:^|&)Action=([A-Za-z0-9]+)").search
_VERSION = re.compile(rb"(?:^|&)Version=(\d{4}-\d{2}-\d{2})").search
FORM = "application/x-www-form-urlencoded"
CBOR = "application/x-amz-cbor-1.1"
TARGET_BYTES = 256
"""The longest X-Amz-Target, or path of RPC v2, looked up, and remembered."""
_RPC = re.compile(r"/service/([A-Za-z0-9_.]+)/operation/([A-Za-z0-9_]+)\Z").search
_REST_JSON = tuple(entry.name for entry in catalog.ENTRIES if "rest-json" in entry.protocols)
_BY_VERSION = {entry.version: entry.name for entry in catalog.ENTRIES if "query" in entry.protocols}
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d").fullmatch
_WHOLE = frozenset({"PutObject", "CopyObject"})
_API_DATE = re.compile(r"/20\d\d-\d\d-\d\d/").match
_DOMAINS = (
    ".localhost.localstack.cloud", ".localhost", ".amazonaws.com.cn", ".amazonaws.com", ".api.aws",
)  # fmt: skip


class Route(msgspec.Struct, frozen=True, eq=False):
    """Where a request goes. Known before anything in it is verified.

    (A Struct because that is made in C: every request to S3 makes one.)
    """

    service: str
    """botocore's name."""
    operation: str
    """The model's name; "" where the service has no such operation."""
    protocol: str
    family: Family
    signing: str
    labels: dict[str, str]
    region: str = ""
    """The region that the host names, "" for none."""
    problem: AwsError | None = None
    """Why there is no operation."""
    signed: sigv4.Header | None = None
    """What the Authorization header says, where it was looked at."""


class Host(msgspec.Struct, frozen=True):
    """What a host name says."""

    service: str = ""
    region: str = ""
    bucket: str = ""


def place_of(request: Request) -> Place | None:
    """The bucket and key that a request to S3 is about, signed or not; None where it is about none."""
    host = read_host(request.headers.get("host", ""))
    if host.service not in ("", "s3"):
        return None
    path = f"/{host.bucket}{request.path}" if host.bucket else request.path
    bucket, _, key = path[1:].partition("/")
    return Place(unquote(bucket), unquote(key)) if bucket else None


def route(request: Request) -> Route:
    """Find the service and the operation. Where there is none, `problem` says so in the service's words."""
    headers = request.headers
    host = read_host(headers.get("host", ""))
    target = headers.get("x-amz-target")
    found: Route | None
    if target is not None:
        if len(target) <= TARGET_BYTES:
            found = _by_target(target, host.region, "cbor" if headers.get("content-type") == CBOR else "json")
            if found is not None:
                return found
    elif headers.get("smithy-protocol") == "rpc-v2-cbor" and request.method == "POST":
        found = _by_path(request.path, host.region) if len(request.path) <= TARGET_BYTES else None
        if found is not None:
            return found
    signing, signed = sigv4.peek(request)
    service = models.by_signing_name(signing) or host.service or _unsigned(request)
    if signing and host.service and host.region and signing != models.S3_EXPRESS:
        # A regional endpoint's own name: what is signed for another service is that endpoint's to refuse.
        service = service if models.service(host.service).signing_name == signing else host.service
    if target is not None and service != "s3":
        problem = AwsError("UnknownOperationException", "", 400)
        return _to(service, "", "json", host.region, {}, problem)
    protocol, kind, own = _usual(service)
    if protocol == "rest-xml" or protocol == "rest-json":
        said = _rest(request, service, host, signing)
        if isinstance(said, AwsError):
            return _to(service, "", protocol, host.region, {}, said)
        return Route(service, said[0], protocol, kind, own, said[1], host.region, None, signed)
    if protocol == "query":
        return _query(request, service, host)
    problem = AwsError("UnknownOperationException", "", 404)
    return _to(service, "", protocol, host.region, {}, problem)


@functools.cache
def _usual(service: str) -> tuple[str, Family, str]:
    """(protocol, its family, signing name): the first of a service's protocols that needs no X-Amz-Target, else its first."""
    protocols = models.service(service).protocols
    protocol = next((p for p in protocols if p in ("rest-xml", "rest-json", "query")), protocols[0])
    return protocol, *_spoken(service, protocol)


@functools.lru_cache(maxsize=4096)
def _by_target(target: str, region: str, protocol: str) -> Route | None:
    found = models.by_target(target)
    if found is None:
        return None
    service, operation = found
    if protocol not in models.service(service).protocols:
        protocol = "json"
    if operation not in models.service(service).operations:
        return _to(service, "", protocol, region, {}, AwsError("UnknownOperationException", "", 400))
    return _to(service, operation, protocol, region, {})


@functools.lru_cache(maxsize=1024)
def _by_path(path: str, region: str) -> Route | None:
    """By the path of RPC v2; None where it names no service that speaks it."""
    named = _RPC(path)
    found = models.by_target(f"{named.group(1)}.{named.group(2)}") if named else None
    if found is None or "smithy-rpc-v2-cbor" not in models.service(found[0]).protocols:
        return None
    service, operation = found
    if operation not in models.service(service).operations:
        problem = AwsError("UnknownOperationException", "", 404)
        return _to(service, "", "smithy-rpc-v2-cbor", region, {}, problem)
    return _to(service, operation, "smithy-rpc-v2-cbor", region, {})


def _rest(request: Request, service: str, host: Host, signing: str) -> tuple[str, dict[str, str]] | AwsError:
    """(operation, labels), or why there is no operation."""
    path = request.path
    if host.bucket and service == "s3":
        path = f"/{host.bucket}{path}"
    try:
        found = uris.match(service, request.method, path, request.query, request.headers)
    except AwsError as error:
        return error
    if found is not None:
        if request.query and found[0] in _WHOLE and (problem := _of_a_part(request.query)) is not None:
            return problem
        if found[0] == "ListBuckets" and signing == models.S3_EXPRESS:
            return "ListDirectoryBuckets", found[1]  # the same request; only the signing name tells them apart
        return found
    if service == "s3" and request.method == "POST" and path.count("/", 1) <= path.endswith("/") and not request.query:
        return AwsError(
            "PreconditionFailed", "At least one of the pre-conditions you specified did not hold", 412,
            members={"Condition": "Bucket POST must be of the enclosure-type multipart/form-data"},
        )  # fmt: skip
    if service == "s3":
        return AwsError("MethodNotAllowed", "The specified method is not allowed against this resource.", 405)
    return AwsError("UnknownOperationException", "", 404)


def _of_a_part(query: str) -> AwsError | None:
    """Why a write of a whole object is none, as what it says speaks of a part."""
    names = {name for name, _ in sigv4.query_pairs(query)}
    if "partNumber" in names:
        return AwsError(
            "InvalidArgument", "This operation does not accept partNumber without uploadId", 400,
            members={"ArgumentName": "partNumber", "ArgumentValue": "partNumber"},
        )  # fmt: skip
    if "uploadId" in names:
        return AwsError("MethodNotAllowed", "The specified method is not allowed against this resource.", 405)
    return None


def _query(request: Request, service: str, host: Host) -> Route:
    action = _ACTION(request.body) or _ACTION(request.query.encode())
    if action is None:
        problem = AwsError("MissingAction", "The request is missing an action or a required parameter.", 400)
        return _to(service, "", "query", host.region, {}, problem)
    operation = action.group(1).decode()
    if operation not in models.service(service).operations:
        version = _VERSION(request.body) or _VERSION(request.query.encode())
        said = version.group(1).decode() if version else ""
        message = f"Could not find operation {operation} for version {said}"
        return _to(service, "", "query", host.region, {}, AwsError("InvalidAction", message, 400))
    return _to(service, operation, "query", host.region, {})


def _to(
    service: str, operation: str, protocol: str, region: str, labels: dict[str, str], problem: AwsError | None = None
) -> Route:
    kind, signing = _spoken(service, protocol)
    return Route(service, operation, protocol, kind, signing, labels, region, problem)


@functools.cache
def _spoken(service: str, protocol: str) -> tuple[Family, str]:
    return family(service, protocol), models.service(service).signing_name


def _unsigned(request: Request) -> str:
    """The service of a request that names none: by its form, by its path, else S3."""
    if _API_DATE(request.path):
        for service in _REST_JSON:
            if uris.match(service, request.method, request.path, request.query, request.headers):
                return service
    version = _VERSION(request.query.encode())
    if request.method == "POST" and request.headers.get("content-type", "").startswith(FORM):
        version = version or _VERSION(request.body)
    if version is not None and (_ACTION(request.body) or _ACTION(request.query.encode())):
        return _BY_VERSION.get(version.group(1).decode(), "s3")
    return "s3"


@functools.lru_cache(maxsize=2048)
def read_host(host: str) -> Host:
    """What a Host header says of service, region and bucket.

    `bucket.localhost`, `bucket.s3.localhost`, `bucket.s3.eu-west-1.localhost`, `s3.localhost.localstack.cloud`,
    `dynamodb.us-east-1.amazonaws.com`, ...: the label before the region names the service, what precedes "s3" is the
    bucket. A bare address, `localhost` and foreign names say nothing.
    """
    name = bare_host(host)
    for domain in _DOMAINS:
        if name.endswith(domain):
            labels = name.removesuffix(domain).split(".")
            break
    else:
        return Host()
    region = ""
    rest = labels
    if _REGION(rest[-1]):
        region, rest = rest[-1], rest[:-1]
    if rest and rest[-1] == "dualstack":
        rest = rest[:-1]
    if not rest:
        return Host("", region)
    last = rest[-1]
    if last == "s3" or last.startswith("s3express-") or (match := re.fullmatch(r"s3-([a-z0-9-]+)", last)):
        if last != "s3" and match and _REGION(match.group(1)):
            region = match.group(1)
        return Host("s3", region, ".".join(rest[:-1]))
    service = models.by_endpoint_prefix(".".join(rest)) or models.by_endpoint_prefix(last)
    if service:
        return Host(service, region)
    if domain in (".localhost", ".localhost.localstack.cloud") and not region:
        return Host("s3", "", ".".join(rest))
    return Host("", region)
