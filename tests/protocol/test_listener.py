"""The listener on a raw socket: what is refused, in which order answers leave, what is bounded."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from penstock.blobs.layout import HOP_BYTES
from penstock.edge.direct import DIRECT_BYTES
from penstock.edge.listener import DIRECT_MAX, Connection, Shared
from penstock.edge.reader import Limits
from penstock.wire.message import Request, Response

HOST = b"Host: a\r\n"


async def echo(request: Request) -> Response:
    """Says what it was asked. /slow waits first, /none answers without reading its stream."""
    if request.path == "/slow":
        await asyncio.sleep(0.05)
    if request.path == "/none":
        return Response(403, [], b"no")
    body = request.body
    if request.stream is not None:
        body = b"".join([piece async for piece in request.stream])
    if request.path == "/stream":

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield b"x" * 10

        return Response(200, [], stream=pieces(), length=30 if request.query else None)
    if request.path == "/sum":
        return Response(200, [], hashlib.sha256(body).hexdigest().encode())
    text = f"{request.method} {request.path} {len(body)};"
    return Response(200, [("X-Path", request.path)], text.encode())


class Raw:
    """A listener on a free port and connections to it."""

    def __init__(self, limits: Limits) -> None:
        self.shared = Shared(asyncio.get_running_loop(), limits)

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: Connection(self.shared, echo), "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self.server.close()
        for connection in list(self.shared.connections):
            connection.abort()
        await self.server.wait_closed()

    async def send(self, *pieces: bytes, pause_s: float = 0.01) -> bytes:
        """Everything that comes back until the server closes, or says nothing for a while."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for i, piece in enumerate(pieces):
            if i:
                await asyncio.sleep(pause_s)
            writer.write(piece)
        got = b""
        try:
            while piece := await asyncio.wait_for(reader.read(65536), 0.8):
                got += piece
            got += b"<closed>"
        except TimeoutError:
            pass
        except ConnectionResetError:
            got += b"<reset>"
        writer.close()
        return got


@pytest.fixture
async def raw() -> AsyncIterator[Raw]:
    listener = Raw(
        Limits(header_bytes=4096, header_count=20, url_bytes=1024, whole_body_bytes=1000, body_bytes=100_000)
    )
    await listener.start()
    yield listener
    await listener.stop()


REFUSED = {
    "both framings": b"POST / HTTP/1.1\r\n"
    + HOST
    + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both, turned": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "list of lengths": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3, 3\r\n\r\nabc",
    "signed length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +3\r\n\r\nabc",
    "empty length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: \r\n\r\nabc",
    "obs-fold": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n",
    "bare LF": b"GET / HTTP/1.1\nHost: a\n\n",
    "bare LF in headers": b"GET / HTTP/1.1\r\nHost: a\n\r\n",
    "bare CR": b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
    "space before colon": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "NUL": b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n",
    "not a token": b"GET / HTTP/1.1\r\nHo(st: a\r\n\r\n",
    "absolute target": b"GET http://x/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "fragment": b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n",
    "asterisk": b"GET * HTTP/1.1\r\n" + HOST + b"\r\n",
    "authority": b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "raw bytes in target": b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "long host": b"GET / HTTP/1.1\r\nHost: " + b"a" * 400 + b"\r\n\r\n",
    "chunks in 1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "0.9": b"GET /\r\n\r\n",
    "1.2": b"GET / HTTP/1.2\r\n" + HOST + b"\r\n",
    "2.0": b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
    "preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "other coding": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "coding unknown": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "identity": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: identity\r\n\r\n",
    "two codings": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n",
    "method": b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n",
    "known method of others": b"PROPFIND / HTTP/1.1\r\n" + HOST + b"\r\n",
    "too many headers": b"GET / HTTP/1.1\r\n" + HOST + b"".join(b"X%d: 1\r\n" % i for i in range(30)) + b"\r\n",
    "large header": b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 5000 + b"\r\n\r\n",
    "header without end": b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 5000,
    "long target": b"GET /" + b"x" * 2000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "large body": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 100001\r\n\r\n",
    "length overflow": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999999\r\n\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
async def test_refuses_and_closes(raw: Raw, name: str) -> None:
    # What follows a refused message must never be taken for a request of its own.
    got = await raw.send(REFUSED[name], b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n")
    assert got.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")), got
    assert b"/smuggled" not in got
    assert got.endswith((b"<closed>", b"<reset>")), got
    assert got.count(b"HTTP/1.1 ") == 1 or b"1.1 and" in got


CHUNKED = b"POST /c HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "body",
    [b"3 \r\nabc\r\n0\r\n\r\n", b"0x3\r\nabc\r\n0\r\n\r\n", b"3\nabc\r\n0\r\n\r\n", b"2\r\nabc\r\n0\r\n\r\n",
     b"ffffffffffffffffff\r\nabc\r\n", b"-1\r\nabc\r\n0\r\n\r\n", b"3\r\nabcd\r\n0\r\n\r\n"],
)  # fmt: skip
async def test_bad_chunks_end_the_connection(raw: Raw, body: bytes) -> None:
    got = await raw.send(CHUNKED + body, b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n")
    assert b"200 OK" not in got
    assert got.endswith((b"<closed>", b"<reset>"))


async def test_pipelined_requests_are_answered_in_order(raw: Raw) -> None:
    one = b"GET /slow HTTP/1.1\r\n" + HOST + b"\r\n"
    more = b"".join(b"POST /%d HTTP/1.1\r\n" % i + HOST + b"Content-Length: 2\r\n\r\nab" for i in range(40))
    got = await raw.send(one + more)
    assert got.startswith(b"HTTP/1.1 200 OK")
    answers = [line for line in got.replace(b";", b";\n").split(b"\n") if line.endswith(b";")]
    assert answers == [b"GET /slow 0;"] + [b"POST /%d 2;" % i for i in range(40)]


async def test_refusal_waits_for_earlier_answers(raw: Raw) -> None:
    got = await raw.send(b"GET /slow HTTP/1.1\r\n" + HOST + b"\r\nBREW / HTTP/1.1\r\n\r\n")
    assert got.index(b"GET /slow 0;") < got.index(b"400 Bad Request")
    assert got.endswith(b"<closed>")


async def test_byte_by_byte(raw: Raw) -> None:
    message = b"POST /x?y=z HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc"
    got = await raw.send(*[message[i : i + 1] for i in range(len(message))], pause_s=0)
    assert b"POST /x 3;" in got


async def test_chunked_upload_is_streamed(raw: Raw) -> None:
    got = await raw.send(CHUNKED + b"3\r\nabc\r\n", b"4;a=b\r\ndefg\r\n", b"0\r\nTrailer: x\r\n\r\n")
    assert b"POST /c 7;" in got


async def test_large_body_is_streamed_with_its_length(raw: Raw) -> None:
    got = await raw.send(b"PUT /l HTTP/1.1\r\n" + HOST + b"Content-Length: 50000\r\n\r\n", b"x" * 50000)
    assert b"PUT /l 50000;" in got


async def test_unread_body_ends_the_connection_after_the_answer(raw: Raw) -> None:
    got = await raw.send(
        b"PUT /none HTTP/1.1\r\n" + HOST + b"Content-Length: 50000\r\n\r\n", b"x" * 50000, b"GET / HTTP"
    )
    assert got.startswith(b"HTTP/1.1 403 ")
    assert b"Connection: close" in got
    assert got.endswith(b"<closed>")


async def test_expect_continue(raw: Raw) -> None:
    head = b"POST /e HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\n"
    assert await raw.send(head + b"Content-Length: 3\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    got = await raw.send(head + b"Content-Length: 3\r\n\r\n", b"abc")
    assert got.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
    got = await raw.send(head + b"Content-Length: 3000\r\n\r\n", b"x" * 3000)
    assert got.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
    got = await raw.send(head + b"Content-Length: 0\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"), "as AWS does; botocore counts on it"
    for other in (b"tea", b""):  # an expectation that nobody knows is none
        got = await raw.send(head.replace(b"100-continue", other) + b"Content-Length: 3\r\n\r\n", b"abc")
        assert got.startswith(b"HTTP/1.1 200 OK")
    # An answer that needs no body is given without asking for it.
    got = await raw.send(head.replace(b"/e", b"/none") + b"Content-Length: 3000\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 403 ")
    assert got.endswith(b"<closed>")


async def test_continue_waits_for_its_turn(raw: Raw) -> None:
    head = b"POST /e HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    got = await raw.send(b"GET /slow HTTP/1.1\r\n" + HOST + b"\r\n" + head)
    assert got.index(b"GET /slow") < got.index(b"100 Continue")


async def test_head_has_no_body(raw: Raw) -> None:
    got = await raw.send(b"HEAD /h HTTP/1.1\r\n" + HOST + b"\r\n")
    assert b"Content-Length: 10\r\n" in got
    assert got.endswith(b"\r\n\r\n")


async def test_old_http_closes(raw: Raw) -> None:
    got = await raw.send(b"GET /old HTTP/1.0\r\n\r\n")
    assert got.endswith(b"GET /old 0;<closed>")
    got = await raw.send(b"GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert b"chunked" not in got
    assert got.endswith(b"\r\n\r\n" + b"x" * 30 + b"<closed>")
    assert b"Connection: close" in got


async def test_streams_out(raw: Raw) -> None:
    got = await raw.send(b"GET /stream HTTP/1.1\r\n" + HOST + b"\r\n")
    assert got.endswith(b"\r\n\r\n" + (b"a\r\n" + b"x" * 10 + b"\r\n") * 3 + b"0\r\n\r\n")
    got = await raw.send(b"GET /stream?1 HTTP/1.1\r\n" + HOST + b"\r\n" + b"GET /after HTTP/1.1\r\n" + HOST + b"\r\n")
    assert b"Content-Length: 30\r\n" in got
    assert got.endswith(b"GET /after 0;")


async def test_offered_upgrade_is_not_taken(raw: Raw) -> None:
    head = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    got = await raw.send(b"GET /1 HTTP/1.1\r\n" + HOST + head + b"\r\nGET /2 HTTP/1.1\r\n" + HOST + b"\r\n")
    assert b"GET /1 0;" in got
    assert b"GET /2 0;" in got


async def test_connection_close(raw: Raw) -> None:
    got = await raw.send(
        b"GET /1 HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\nGET /2 HTTP/1.1\r\n" + HOST + b"\r\n"
    )
    assert b"GET /1 0;" in got
    assert b"/2" not in got
    assert got.endswith(b"<closed>")


@pytest.fixture
async def roomy() -> AsyncIterator[Raw]:
    listener = Raw(Limits())
    await listener.start()
    yield listener
    await listener.stop()


def put(path: bytes, body: bytes) -> bytes:
    return b"PUT %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (path, HOST, len(body), body)


SIZES = (DIRECT_BYTES - 1, DIRECT_BYTES, 250_000, 300_000, HOP_BYTES - 1, HOP_BYTES, HOP_BYTES + 1, 3_500_000)


@pytest.mark.parametrize("size", SIZES)
async def test_a_long_body_ends_where_the_next_message_begins(roomy: Raw, size: int) -> None:
    bodies = [random.Random(size + i).randbytes(size) for i in range(3)]
    sums = [hashlib.sha256(body).hexdigest().encode() for body in bodies]
    stream = b"".join(put(b"/sum", body) for body in bodies) + put(b"/last", b"xy")
    for cuts in ([], [size // 2], [200, size + 90], [2 * size + 300]):
        pieces = [stream[a:b] for a, b in pairwise([0, *cuts, len(stream)])]
        got = await roomy.send(*pieces)
        assert [got.count(each) for each in sums] == [1, 1, 1]
        assert got.index(sums[0]) < got.index(sums[1]) < got.index(sums[2]) < got.index(b"PUT /last 2;")
    assert roomy.shared.direct == 0


async def test_a_long_body_that_breaks_off_or_that_nobody_wants(roomy: Raw) -> None:
    body = bytes(3_000_000)
    for cut in (100, 300_000, 2_500_000):
        _, writer = await asyncio.open_connection("127.0.0.1", roomy.port)
        writer.write(put(b"/sum", body)[:cut])
        await writer.drain()
        writer.close()
    got = await roomy.send(put(b"/none", body))
    assert got.startswith(b"HTTP/1.1 403")
    while roomy.shared.connections:
        await asyncio.sleep(0.01)
    assert roomy.shared.direct == 0
    got = await roomy.send(b"GET /slow HTTP/1.1\r\n" + HOST + b"\r\n" + put(b"/sum", body))
    assert got.count(b"HTTP/1.1 200") == 2


async def test_the_memory_of_long_bodies_is_used_again(roomy: Raw) -> None:
    for _ in range(6):
        assert b"200" in await roomy.send(put(b"/sum", bytes(2_500_000)))
    buffers = roomy.shared.buffers
    assert 1 <= len(buffers._spare) <= 4
    assert buffers._lent == {}
    buffers.shrink()
    buffers.shrink()
    assert buffers._spare == [], "nobody needed them in between"


async def test_long_bodies_past_the_bound_go_the_usual_way(roomy: Raw) -> None:
    roomy.shared.direct = DIRECT_MAX
    body = random.Random(1).randbytes(2_000_000)
    assert hashlib.sha256(body).hexdigest().encode() in await roomy.send(put(b"/sum", body))
    assert roomy.shared.direct == DIRECT_MAX
