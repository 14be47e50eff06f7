"""What awslambdaric's compiled `runtime_client` does, in Python: for interpreters of this host that have none of their own.

Runs inside an environment, on any Python: standard library only.
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import http.client
import os

_NEXT = "/2018-06-01/runtime/invocation/next"
_POST = "/2018-06-01/runtime/invocation/{}/{}"
_DEADLINE = "Lambda-Runtime-Deadline-Ms"
_HEADERS = (
    "Lambda-Runtime-Aws-Request-Id", "Lambda-Runtime-Trace-Id", "Lambda-Runtime-Client-Context",
    "Lambda-Runtime-Cognito-Identity", "Lambda-Runtime-Invoked-Function-Arn", "Lambda-Runtime-Aws-Tenant-Id",
    "Lambda-Runtime-Invocation-Id", "Content-Type",
)  # fmt: skip

_state: list[tuple[http.client.HTTPConnection, str]] = []


def initialize_client(user_agent: str) -> None:
    """Called once in each environment, before anything else."""
    _state[:] = [(http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"]), user_agent)]


def next() -> tuple[bytes, dict[str, str | int | None]]:
    """Wait for the next event: its body, and the headers that came with it (None where there is none)."""
    response, body = _ask("GET", _NEXT, None, {})
    if response.status // 100 != 2:
        raise RuntimeError(f"Failed to get next invocation. Http Response code: {response.status}")
    headers: dict[str, str | int | None] = {name: response.getheader(name) for name in _HEADERS}
    headers[_DEADLINE] = int(response.getheader(_DEADLINE, "0"))
    return body, headers


def post_invocation_result(
    invoke_id: str, content: bytes, content_type: str = "application/json", invocation_id: str | None = None
) -> None:
    """Answer an event."""
    _post("response", invoke_id, content, {"Content-Type": content_type.encode()}, invocation_id)


def post_error(invoke_id: str, error: str | bytes, xray_fault: str, invocation_id: str | None = None) -> None:
    """Say what an event failed with."""
    headers = {"Content-Type": b"application/json"}
    if xray_fault:
        headers["Lambda-Runtime-Function-XRay-Error-Cause"] = xray_fault.encode()
    _post("error", invoke_id, error if isinstance(error, bytes) else error.encode(), headers, invocation_id)


def _post(kind: str, invoke_id: str, content: bytes, headers: dict[str, bytes], invocation_id: str | None) -> None:
    if invocation_id:
        headers["Lambda-Runtime-Invocation-Id"] = invocation_id.encode()
    response, _ = _ask("POST", _POST.format(invoke_id, kind), content, headers)
    if response.status // 100 != 2 and response.status != http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        raise RuntimeError(f"Failed to post invocation {kind}. Http Response code: {response.status}")


def _ask(
    method: str, path: str, body: bytes | None, headers: dict[str, bytes]
) -> tuple[http.client.HTTPResponse, bytes]:
    connection, agent = _state[0]
    headers = {"User-Agent": agent.encode(), **headers}
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
    except (ConnectionError, http.client.BadStatusLine):
        connection.close()  # it was kept alive for too long
        connection.request(method, path, body, headers)
        response = connection.getresponse()
    return response, response.read()
