"""A running server as the command line talks to it: its own endpoints, and AWS clients for it.

The credentials are the environment's (AWS_ACCESS_KEY_ID ...), else the well-known ones.
"""

from __future__ import annotations

import contextlib
import json
import os
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

DEFAULT_ENDPOINT = "http://127.0.0.1:4566"
TIMEOUT_S = 30


class NoAnswerError(Exception):
    """The server could not be asked, or said no; the message is for the person at the terminal."""


def _credentials(account: str = "") -> tuple[str, str]:
    return os.environ.get("AWS_ACCESS_KEY_ID") or account or "test", os.environ.get("AWS_SECRET_ACCESS_KEY") or "test"


def client(endpoint: str, service: str, region: str = "", account: str = "") -> Any:
    """A boto3 client of the server. account: whose, where the environment names no key."""
    import boto3
    from botocore.config import Config

    key, secret = _credentials(account)
    return boto3.client(
        service, endpoint_url=endpoint, region_name=region or os.environ.get("AWS_DEFAULT_REGION", "us-east-1"),
        aws_access_key_id=key, aws_secret_access_key=secret, aws_session_token=os.environ.get("AWS_SESSION_TOKEN"),
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, connect_timeout=TIMEOUT_S),
    )  # fmt: skip


def ask(
    endpoint: str, path: str, body: Any = None, *, timeout_s: float = TIMEOUT_S, method: str = "", service: str = "iam",
    region: str = "",
) -> Any:  # fmt: skip
    """The JSON that one of the server's own endpoints answers with. Signed, so that a server elsewhere answers too.

    method: GET without a body and POST with one, unless it is said. Raises NoAnswerError.
    """
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    if urlsplit(endpoint).scheme not in ("http", "https"):
        raise NoAnswerError(f"--endpoint {endpoint}: must be http:// or https://")
    data = b"" if body is None else json.dumps(body).encode()
    method = method or ("GET" if body is None else "POST")
    region = region or os.environ.get("AWS_DEFAULT_REGION", "us-east-1")
    signed = AWSRequest(method, endpoint.rstrip("/") + path, data=data or None)
    SigV4Auth(Credentials(*_credentials(), os.environ.get("AWS_SESSION_TOKEN")), service, region).add_auth(signed)
    request = urllib.request.Request(
        endpoint.rstrip("/") + path, data=data or None, method=method, headers=dict(signed.headers.items())
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        with contextlib.suppress(ValueError, KeyError, TypeError):
            text = json.loads(text)["message"]
        raise NoAnswerError(f"the server at {endpoint} says: {text}") from None
    except (OSError, ValueError) as error:
        raise NoAnswerError(
            f"no answer from {endpoint}: {getattr(error, 'reason', error)}. Is the server up?"
        ) from None
