"""A function URL's cross-origin rules, carried out in front of the function.

https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html#urls-cors
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.wire.message import Request, Response


def is_preflight(request: Request) -> bool:
    """Whether a browser asks if it may send a request."""
    headers = request.headers
    return request.method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def preflight(cors: Mapping[str, Any], request: Request) -> Response:
    """The answer that the URL's rules give; the function does not see the question."""
    response = Response(200, [])
    if allow(cors, request, response):
        methods = ",".join(cors.get("AllowMethods") or ("*",))
        response.headers.append(("Access-Control-Allow-Methods", methods))
        if allowed := cors.get("AllowHeaders"):
            response.headers.append(("Access-Control-Allow-Headers", ",".join(allowed)))
        if "MaxAge" in cors:
            response.headers.append(("Access-Control-Max-Age", str(cors["MaxAge"])))
    return response


def allow(cors: Mapping[str, Any], request: Request, response: Response) -> bool:
    """Add what lets the request's page read the response, in place of what the function says of it; whether it may."""
    response.headers = [
        (name, value) for name, value in response.headers if not name.lower().startswith("access-control-")
    ]
    origin = request.headers.get("origin")
    if origin is None or not any(_matches(pattern, origin) for pattern in cors.get("AllowOrigins", ())):
        return False
    every = "*" in cors["AllowOrigins"] and not cors.get("AllowCredentials")
    response.headers.append(("Access-Control-Allow-Origin", "*" if every else origin))
    if not every:
        response.headers.append(("Vary", "Origin"))
    if cors.get("AllowCredentials"):
        response.headers.append(("Access-Control-Allow-Credentials", "true"))
    if exposed := cors.get("ExposeHeaders"):
        response.headers.append(("Access-Control-Expose-Headers", ",".join(exposed)))
    return True


def _matches(pattern: str, origin: str) -> bool:
    return pattern == "*" or pattern.lower() == origin.lower()
