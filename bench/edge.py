"""Server CPU of a request by stage, in microseconds: the best of several rounds, without sockets and without a store.

The request is DynamoDB's GetItem as boto3 sends it, signed; the operation gives a constant. What the kernel and uvloop
cost on top is in `script/bench load`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

import msgspec
import uvloop
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from penstock.clock import Clock
from penstock.config import Settings
from penstock.core.authz import authorize
from penstock.core.call import Call
from penstock.core.identity import root
from penstock.core.node import Node
from penstock.core.operation import REGISTRY, Operation
from penstock.edge import sigv4
from penstock.edge.chain import Chain
from penstock.edge.listener import Connection, Shared
from penstock.edge.reader import Limits
from penstock.edge.refusals import Family
from penstock.edge.route import route
from penstock.store.memory import MemoryStore
from penstock.telemetry import Telemetry
from penstock.wire.codec import codec
from penstock.wire.message import Request, Response

ROUNDS, CALLS = 9, 3000
ITEM = b'{"Item":{"k":{"S":"key-1"},"v":{"S":"' + b"x" * 900 + b'"}}}'


class Drain:
    """A transport that drops what is written."""

    def write(self, data: bytes) -> None: ...

    def writelines(self, data: object) -> None: ...

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else None

    def close(self) -> None: ...

    def is_closing(self) -> bool:
        return False


def message(service: str, method: str, target: str, body: bytes, headers: dict[str, str]) -> bytes:
    """A request on the wire, signed, with the headers that boto3 adds."""
    request = AWSRequest(method=method, url=f"http://127.0.0.1:4566{target}", data=body, headers=headers)
    kind = S3SigV4Auth if service == "s3" else SigV4Auth
    kind(Credentials("test", "test"), service, "us-east-1").add_auth(request)
    request.headers["User-Agent"] = "Boto3/1.42 md/Botocore#1.42 ua/2.1 os/linux md/arch#x86_64 lang/python#3.11"
    request.headers["amz-sdk-invocation-id"] = "00000000-0000-0000-0000-000000000000"
    request.headers["amz-sdk-request"] = "attempt=1"
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1:4566", "Accept-Encoding: identity"]
    for name, value in request.headers.items():
        lines.append(f"{name}: {value.decode() if isinstance(value, bytes) else value}")
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def best_us(call: Callable[[], object]) -> float:
    """CPU microseconds of one call, in the best round."""
    found = []
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        for _ in range(CALLS):
            call()
        found.append((time.process_time_ns() - began) / CALLS / 1000)
    return min(found)


def on_the_spot(make: Callable[[], Any]) -> Callable[[], object]:
    """Run a coroutine that never waits."""

    def call() -> object:
        try:
            make().send(None)
        except StopIteration as stop:
            return stop.value
        raise RuntimeError("it waited")

    return call


def stages(chain: Chain, shared: Shared, data: bytes, operation: Operation, kind: Family) -> dict[str, float]:
    """Microseconds by stage of one request."""
    service, name = operation.service, operation.name
    kept: list[Request] = []
    headers = [("x-amzn-RequestId", "x" * 36), ("Content-Type", "application/x-amz-json-1.0")]
    constant = Response(200, headers, ITEM)

    async def still(request: Request) -> Response:
        kept[:] = [request]
        return constant

    def feed(app: Any) -> Callable[[], object]:
        connection = Connection(shared, app)
        connection.connection_made(cast(Any, Drain()))
        return lambda: connection.data_received(data)

    rows = {"listener": best_us(feed(still))}
    request = kept[0]
    to = route(request)
    assert (to.service, to.operation) == (service, name)
    rows["route"] = best_us(lambda: route(request))
    claim = sigv4.read(request, kind)
    assert claim is not None
    rows["sigv4 (read)"] = best_us(lambda: sigv4.read(request, kind))
    rows["sigv4 (verify)"] = best_us(lambda: sigv4.verify(claim, request, "test", kind))
    authenticate = on_the_spot(lambda: chain._authenticate(request, kind, service, ""))
    rows["authenticate, all"] = best_us(authenticate)
    coding = codec(service, name, to.protocol)
    rows["parse"] = best_us(lambda: coding.parse(request, to.labels))
    params = coding.parse(request, to.labels)
    call = Call(chain.node, operation, root("000000000000"), "000000000000", "us-east-1", "id")
    rows["authorize (root)"] = best_us(on_the_spot(lambda: authorize(call, params)))
    result = on_the_spot(lambda: operation.handler(call, params))()
    rows["serialize"] = best_us(lambda: coding.serialize(cast(Any, result), "x" * 36))
    rows["all of it"] = best_us(feed(chain))
    rows["all but parse and serialize"] = rows["all of it"] - rows["parse"] - rows["serialize"]
    return rows


def measure(loop: asyncio.AbstractEventLoop) -> None:
    """Print the table. Called by the loop, as a connection's data would be."""
    nothing = cast(Any, None)
    node = Node(Settings(), Clock(), MemoryStore(), nothing, nothing, nothing, Telemetry())
    shared = Shared(loop, Limits())
    chain = Chain(node)

    async def get_item(call: Call, params: dict[str, Any]) -> dict[str, Any]:
        return {"Item": msgspec.Raw(ITEM[8:-1])}

    async def put_object(call: Call, params: dict[str, Any]) -> dict[str, Any]:
        return {"ETag": '"d41d8cd98f00b204e9800998ecf8427e"'}

    target = {"X-Amz-Target": "DynamoDB_20120810.GetItem", "Content-Type": "application/x-amz-json-1.0"}
    body = b'{"TableName":"table","Key":{"k":{"S":"key-1"}}}'
    octets = {"Content-Type": "application/octet-stream"}
    for title, data, service, name, handler, kind in (
        ("GetItem, 1 KB", message("dynamodb", "POST", "/", body, target), "dynamodb", "GetItem", get_item, Family.JSON),
        (
            "PutObject, 4 KB", message("s3", "PUT", "/bucket/some/key-1", b"x" * 4096, octets), "s3", "PutObject",
            put_object, Family.S3,
        ),
    ):  # fmt: skip
        operation = Operation(service, name, handler, f"{service}:{name}", "*", None, None, {})
        REGISTRY[service, name] = operation
        print(title)
        for stage, us in stages(chain, shared, data, operation, kind).items():
            print(f"  {stage:30} {us:7.1f} us")


def main() -> None:
    loop = uvloop.new_event_loop()

    def once() -> None:
        measure(loop)
        loop.stop()

    loop.call_soon(once)
    loop.run_forever()


if __name__ == "__main__":
    main()
