"""Is a browser page behind this request, and may it act here? Cross-origin answers for pages served from this machine.

The well-known keys work on loopback, and a browser on this machine is on loopback too: without care any web page could
use them (by CORS-less simple requests, or by pointing a name of its own at 127.0.0.1). So they, and the endpoints that
change the server's state, are refused to a request with a foreign Origin or for a host that is not one of ours.
"""

from __future__ import annotations

import functools
import ipaddress
from urllib.parse import urlsplit

from penstock.wire.message import Request, Response

_OWN_DOMAINS = (".localhost", ".localhost.localstack.cloud", ".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
_ALLOW_METHODS = "HEAD,GET,PUT,POST,DELETE,OPTIONS,PATCH"
_EXPOSE = (
    "etag,date,x-amz-version-id,x-amz-request-id,x-amz-id-2,x-amzn-requestid,x-amzn-errortype,x-amz-delete-marker,"
    "x-amz-checksum-crc32,x-amz-checksum-crc32c,x-amz-checksum-crc64nvme,x-amz-checksum-sha1,x-amz-checksum-sha256,"
    "x-amz-function-error,x-amz-log-result,x-amz-executed-version,content-length,content-range"
)


def trusted(request: Request, *, reading: bool = False) -> bool:
    """Whether no foreign web page can be behind the request.

    A page needs no script to make a browser send a GET: an image will do, and names no Origin. So what the browser
    says of the page's site counts as well. reading: following a link from anywhere may be let pass.
    """
    headers = request.headers
    origin = headers.get("origin")
    if origin is not None:
        return own_host(headers.get("host", "")) and own_origin(origin)
    if headers.get("sec-fetch-site") == "cross-site":
        return reading and headers.get("sec-fetch-mode") == "navigate" and own_host(headers.get("host", ""))
    return own_host(headers.get("host", ""))


@functools.lru_cache(maxsize=1024)
def own_host(host: str) -> bool:
    """An address, a name without dots, or one of the names that stand for AWS here: not a name that others control."""
    name = bare_host(host)
    if not name or "." not in name or name.endswith(_OWN_DOMAINS) or name == "localhost.localstack.cloud":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


@functools.lru_cache(maxsize=1024)
def own_origin(origin: str) -> bool:
    """Whether a page of that origin is served from this machine."""
    if len(origin) > 300:
        return False
    try:
        name = urlsplit(origin).hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost") or ("." + name).endswith(".localhost.localstack.cloud"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


@functools.lru_cache(maxsize=2048)
def bare_host(host: str) -> str:
    """A Host header without port and brackets, in lower case."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def preflight(request: Request) -> Response | None:
    """The answer to a browser's question whether it may send a request; None where this is no such question."""
    headers = request.headers
    if request.method != "OPTIONS" or "origin" not in headers or "access-control-request-method" not in headers:
        return None
    if not own_origin(headers["origin"]):
        return Response(403, [("Content-Type", "text/plain")], b"This CORS request is not allowed.\n")
    response = Response(204)
    allow(headers["origin"], response)
    response.headers += [
        ("Access-Control-Allow-Methods", _ALLOW_METHODS),
        ("Access-Control-Allow-Headers", headers.get("access-control-request-headers", "*")),
        ("Access-Control-Max-Age", "3000"),
    ]
    if "access-control-request-private-network" in headers:
        response.headers.append(("Access-Control-Allow-Private-Network", "true"))
    return response


def allow(origin: str, response: Response) -> None:
    """Let a page of this machine read the response."""
    if own_origin(origin):
        response.headers += [
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Expose-Headers", _EXPOSE),
            ("Vary", "Origin"),
        ]
