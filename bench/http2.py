"""Server CPU of a request over HTTP/1.1 and over HTTP/2, in microseconds: the best of several rounds, without sockets.

The request is as large as a signed GetItem, its answer 900 bytes; the application gives a constant. Last, what it costs a
connection of one request to find out which of the two it speaks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import uvloop
from h2.config import H2Configuration
from h2.connection import H2Connection

from penstock.edge.http2 import Http2Connection
from penstock.edge.listener import Connection, Shared
from penstock.edge.opening import Opening
from penstock.edge.reader import Limits
from penstock.wire.message import Request, Response

ROUNDS, CALLS = 5, 1500
CONSTANT = "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nServer: Penstock\r\n"
BODY = b'{"TableName":"t","Key":{"k":{"S":"key-1"}}}'
ANSWER = [
    ("x-amzn-RequestId", "a" * 36), ("Content-Type", "application/x-amz-json-1.0"), ("x-amz-crc32", "1234567890"),
]  # fmt: skip
FIELDS = [
    ("content-type", "application/x-amz-json-1.0"), ("x-amz-target", "DynamoDB_20120810.GetItem"),
    ("x-amz-date", "20260101T000000Z"), ("user-agent", "u" * 60), ("content-length", str(len(BODY))),
    ("authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders="
     "content-type;host;x-amz-date;x-amz-target, Signature=" + "a" * 64),
]  # fmt: skip


class Sink:
    """A transport that keeps what was written last."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written = data

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else None

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_protocol(self, protocol: object) -> None: ...


async def app(_request: Request) -> Response:
    return Response(200, ANSWER, b"x" * 900)


def http2(shared: Shared) -> float:
    """Seconds for `CALLS` requests one after the other on one connection."""
    sink = Sink()
    connection = Http2Connection(shared, app)
    connection.connection_made(cast(Any, sink))
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    connection.data_received(client.data_to_send())
    client.receive_data(sink.written)
    total_s = 0.0
    for _ in range(CALLS):
        stream_id = client.get_next_available_stream_id()
        pseudo = [(":method", "POST"), (":scheme", "http"), (":authority", "127.0.0.1:4566"), (":path", "/")]
        client.send_headers(stream_id, pseudo + FIELDS)
        client.send_data(stream_id, BODY, end_stream=True)
        data = client.data_to_send()
        began_s = time.process_time()
        connection.data_received(data)
        total_s += time.process_time() - began_s
        client.receive_data(sink.written)
        client.increment_flow_control_window(900)
    return total_s


def message() -> bytes:
    head = "".join(f"{name}: {value}\r\n" for name, value in FIELDS)
    return f"POST / HTTP/1.1\r\nHost: 127.0.0.1:4566\r\n{head}\r\n".encode() + BODY


def http1(shared: Shared) -> float:
    connection, data = Connection(shared, app), message()
    connection.connection_made(cast(Any, Sink()))
    began_s = time.process_time()
    for _ in range(CALLS):
        connection.data_received(data)
    return time.process_time() - began_s


def connections(shared: Shared, kind: type[Connection] | type[Opening]) -> float:
    data = message()
    began_s = time.process_time()
    for _ in range(CALLS):
        connection = kind(shared, app)
        connection.connection_made(cast(Any, Sink()))
        connection.data_received(data)
        connection.connection_lost(None)
    return time.process_time() - began_s


def main() -> None:
    loop = uvloop.new_event_loop()
    shared = Shared(loop, Limits(), CONSTANT)
    measured: dict[str, Callable[[], float]] = {
        "HTTP/1.1, a request": lambda: http1(shared),
        "HTTP/2, a request": lambda: http2(shared),
        "HTTP/1.1, a connection with a request, its protocol known": lambda: connections(shared, Connection),
        "HTTP/1.1, a connection with a request": lambda: connections(shared, Opening),
    }

    def run() -> None:
        for name, once in measured.items():
            best_s = min(once() for _ in range(ROUNDS)) / CALLS
            print(f"{best_s * 1e6:8.1f}  {name}")
        loop.stop()

    loop.call_soon(run)
    loop.run_forever()
    loop.close()


if __name__ == "__main__":
    main()
