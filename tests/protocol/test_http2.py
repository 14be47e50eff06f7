"""HTTP/2 by its frames: many requests at once, both windows, what ends a stream and what ends the connection."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator

import httpx
import pytest
from h2.errors import ErrorCodes
from h2.events import InformationalResponseReceived
from h2.settings import SettingCodes
from hyperframe.frame import ContinuationFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.edge import http2
from penstock.edge.opening import PREFACE
from penstock.edge.reader import Limits
from protocol.http2_peer import Listening, Peer

LIMITS = Limits(
    url_bytes=2000, header_count=50, whole_body_bytes=50_000, body_bytes=5_000_000, header_timeout_s=0.3,
    body_timeout_s=0.3, idle_timeout_s=0.5,
)  # fmt: skip
CALM = int(ErrorCodes.ENHANCE_YOUR_CALM)
BLOCK = b"\x82\x86\x84\x41\x01a"
"""GET http://a/ in HPACK."""


@pytest.fixture
async def listening() -> AsyncIterator[Listening]:
    running = Listening(LIMITS)
    await running.start()
    yield running
    await running.stop()


async def test_httpx(listening: Listening) -> None:
    base = f"http://127.0.0.1:{listening.port}"
    async with httpx.AsyncClient(http1=False, http2=True, base_url=base, timeout=10) as client:
        paths = ["/slow" if i % 3 else f"/{i}" for i in range(60)]
        answers = await asyncio.gather(*[client.get(path) for path in paths])
        assert [a.text.split()[1] for a in answers] == paths
        assert {a.http_version for a in answers} == {"HTTP/2"}
        assert len(listening.shared.connections) == 1
        assert answers[0].headers["x-path"] == "/0" and answers[0].headers["server"] == "Penstock"
        for size in (0, 1, 16_384, 16_385, 70_000, 3_000_000):
            answer = await client.post("/x", content=b"y" * size)
            assert answer.text == f"POST /x {size} 127.0.0.1:{listening.port};"
            assert (await client.get(f"/large?{size}")).content == b"x" * size
        answer = await client.head("/large?12")
        assert (answer.headers["content-length"], answer.content) == ("12", b"")

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield b"z" * 1000

        assert (await client.put("/x", content=pieces())).text.startswith("PUT /x 100000 ")


async def test_http1_beside_it(listening: Listening) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listening.port}") as client:
        for method in ("PUT", "POST", "PATCH", "GET"):
            answer = await client.request(method, "/x")
            assert (answer.http_version, answer.text.split()[0]) == ("HTTP/1.1", method)
    for first in (b"P", b"PR", b"PRI * HTTP/2.0\r\n\r\nSM\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
        writer.write(first)
        await asyncio.sleep(0.02)
        writer.write(b"UT /y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (b"PUT /y 0 a;" in await reader.read()) is (first == b"P")
        writer.close()


async def test_preface_in_pieces(listening: Listening) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
    headers = HeadersFrame(1, BLOCK, flags=["END_HEADERS", "END_STREAM"])
    for byte in PREFACE + SettingsFrame(0).serialize() + headers.serialize():
        writer.write(bytes((byte,)))
        await asyncio.sleep(0)
    answer = b""
    while b"GET / 0 a;" not in answer:
        answer += await asyncio.wait_for(reader.read(1000), 5)
    writer.close()


async def test_a_client_that_does_not_read_its_answer(listening: Listening) -> None:
    """No more goes out than the window lets, other streams are answered, and in the end the stream is given up."""
    async with Peer(listening.port, acknowledge=False) as peer:
        large = peer.ask("GET", "/large?300000")
        while len(peer.streams[large].body) < 65535:
            assert await peer.receive()
        assert (await peer.answer(peer.ask("HEAD", "/x"))).status == 200
        assert len(peer.streams[large].body) == 65535
        await asyncio.sleep(0.35)
        await listening.tick()
        assert (await peer.answer(large)).reset == ErrorCodes.CANCEL
        assert len(listening.shared.connections) == 1


async def test_window_given_late(listening: Listening) -> None:
    async with Peer(listening.port, acknowledge=False) as peer:
        peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 10})
        large = peer.ask("GET", "/large?100")
        while len(peer.streams[large].body) < 10:
            assert await peer.receive()
        peer.h2.increment_flow_control_window(5, large)
        peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1000})
        peer.flush()
        assert (await peer.answer(large)).body == b"x" * 100


async def test_a_handler_that_does_not_read(listening: Listening) -> None:
    """The client is held back, until the handler reads; nothing is lost."""
    async with Peer(listening.port) as peer:
        upload = peer.ask("PUT", "/wait-and-read", end=False)
        sending = asyncio.ensure_future(peer.send(upload, b"y" * 2_000_000))
        await asyncio.sleep(0.25)
        window = peer.h2.local_flow_control_window(upload)
        assert window == 0
        await asyncio.sleep(0.15)
        await listening.tick()  # it is not the client who is late
        listening.go.set()
        await sending
        assert (await peer.answer(upload)).body == b"PUT /wait-and-read 2000000 a;"


async def test_unwanted_body(listening: Listening) -> None:
    """The answer comes, the rest of the body is told off, and the connection goes on."""
    async with Peer(listening.port) as peer:
        for _ in range(5):
            upload = peer.ask("PUT", "/none", end=False)
            seen = await peer.answer(upload)
            while seen.reset is None:
                assert await peer.receive()
            assert (seen.status, seen.body, seen.reset) == (403, b"no", ErrorCodes.NO_ERROR)
        assert (await peer.answer(peer.ask("GET", "/x"))).ended


async def test_abandoned_uploads_give_their_window_back(listening: Listening) -> None:
    async with Peer(listening.port) as peer:
        for _ in range(40):  # 40 times 200 kB is twice the connection's window
            upload = peer.ask("PUT", "/wait", end=False)
            await peer.send(upload, b"y" * 200_000, end=False)
            peer.h2.reset_stream(upload)
            peer.flush()
        upload = peer.ask("PUT", "/x", end=False)
        await peer.send(upload, b"y" * 300_000)
        assert (await peer.answer(upload)).body == b"PUT /x 300000 a;"


async def test_expectation(listening: Listening) -> None:
    async with Peer(listening.port) as peer:
        for path, size in (("/x", "10"), ("/x", "100000")):
            upload = peer.ask("PUT", path, ("expect", "100-continue"), ("content-length", size), end=False)
            peer.events.clear()
            while not any(isinstance(e, InformationalResponseReceived) for e in peer.events):
                assert await peer.receive()
            await peer.send(upload, b"z" * int(size))
            assert (await peer.answer(upload)).body == f"PUT /x {size} a;".encode()


async def test_streams_end_with_their_client_or_their_error(
    listening: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    async with Peer(listening.port) as peer:
        watched = peer.ask("GET", "/events")
        while peer.streams[watched].body != b"one":
            assert await peer.receive()  # at once, though the stream goes on
        assert "connection" not in peer.streams[watched].headers
        peer.h2.reset_stream(watched)
        peer.flush()
        second = peer.ask("GET", "/events")
        while peer.streams[second].body != b"one":
            assert await peer.receive()
        assert listening.closed == 1
        broken = peer.ask("GET", "/broken")
        while peer.streams[broken].body != b"one":
            assert await peer.receive()
        listening.go.set()
        assert (await peer.answer(second)).body == b"onetwo" and peer.streams[second].ended
        assert (await peer.answer(broken)).reset == ErrorCodes.INTERNAL_ERROR
        assert "more bytes than it had announced" in caplog.text
    listening.go.clear()
    async with Peer(listening.port) as peer:
        watched = peer.ask("GET", "/events")
        while peer.streams[watched].body != b"one":
            assert await peer.receive()
    while listening.closed < 4:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"method": "BREW"}, 501),
        ({"path": "/a#b"}, 400),
        ({"path": "x"}, 400),
        ({"path": "/a b"}, 400),
        ({"path": "/" + "a" * 3000}, 414),
        ({"authority": "a" * 400}, 400),
        ({"more": [("content-length", "6000000")]}, 413),
        ({"more": [(f"x-{i}", "1") for i in range(60)]}, 431),
    ],
)
async def test_refused_requests(listening: Listening, fields: dict[str, object], status: int) -> None:
    async with Peer(listening.port) as peer:
        given = {"method": "GET", "path": "/", "authority": "a", "more": (), **fields}
        asked = peer.ask(
            str(given["method"]), str(given["path"]), *given["more"], authority=str(given["authority"]), end=False
        )  # type: ignore[misc]
        assert (await peer.answer(asked)).status == status
        assert (await peer.answer(peer.ask("GET", "/x"))).status == 200
        assert listening.begun == 1


@pytest.mark.parametrize(
    "more",
    [
        [("connection", "close")], [("transfer-encoding", "chunked")], [("X-Upper", "a")], [("host", "b")],
        [(":path", "/b")], [("content-length", "x")], [("x", "a\r\nb: c")], [("big", "a" * 70_000)],
    ],
)  # fmt: skip
async def test_malformed_requests_end_the_connection(listening: Listening, more: list[tuple[str, str]]) -> None:
    async with Peer(listening.port) as peer:
        peer.ask("GET", "/", *more)
        await peer.until_closed()
        assert peer.closed and peer.goaway is not None and peer.goaway.error_code != 0
        assert (listening.begun, listening.shared.refused) == (0, 1)


async def flood(listening: Listening, frames: bytes) -> Peer:
    async with Peer(listening.port) as peer:
        await peer.receive()
        peer.writer.write(frames)
        await peer.until_closed()
        return peer


async def test_floods(listening: Listening, caplog: pytest.LogCaptureFixture) -> None:
    pings = PingFrame(0, opaque_data=b"12345678").serialize() * 3000
    modes = SettingsFrame(0, settings={SettingsFrame.HEADER_TABLE_SIZE: 1}).serialize() * 3000
    for frames in (pings, modes):
        peer = await flood(listening, frames)
        assert peer.goaway is not None and peer.goaway.error_code == CALM
    endless = HeadersFrame(1, BLOCK, flags=[]).serialize() + ContinuationFrame(1, b"").serialize() * 1000
    peer = await flood(listening, endless)
    assert peer.goaway is not None and peer.goaway.error_code != 0
    assert listening.begun == 0


async def test_rapid_reset(listening: Listening) -> None:
    """https://nvd.nist.gov/vuln/detail/CVE-2023-44487: in one packet nothing begins; in several, it soon ends."""
    path = b"\x82\x86\x04\x05/wait\x41\x01a"

    def pair(i: int) -> tuple[bytes, bytes]:
        begin = HeadersFrame(2 * i + 1, path, flags=["END_HEADERS", "END_STREAM"]).serialize()
        return begin, RstStreamFrame(2 * i + 1, error_code=8).serialize()

    peer = await flood(listening, b"".join(b"".join(pair(i)) for i in range(2000)))
    assert peer.goaway is not None and peer.goaway.error_code == CALM
    assert listening.begun < 10
    listening.begun = 0
    async with Peer(listening.port) as peer:
        for i in range(2000):
            begin, reset = pair(i)
            peer.writer.write(begin)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            peer.writer.write(reset)
            if i % 20 == 0:
                await peer.receive(0.001)
            if peer.goaway is not None:
                break
        await peer.until_closed()
        assert listening.begun <= http2.AT_WORK
    listening.go.set()


async def test_too_many_streams(listening: Listening) -> None:
    async with Peer(listening.port) as peer:
        await peer.receive()
        assert peer.h2.remote_settings.max_concurrent_streams == http2.STREAMS
        peer.h2.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 1000
        peer.h2.remote_settings.acknowledge()
        for _ in range(http2.STREAMS + 1):
            peer.ask("GET", "/wait")
        await peer.until_closed()
        assert peer.goaway is not None and listening.begun <= http2.STREAMS
    listening.go.set()


async def test_time_outs(listening: Listening) -> None:
    async with Peer(listening.port) as idle, Peer(listening.port) as slow, Peer(listening.port) as stream:
        await idle.answer(idle.ask("GET", "/x"))
        small = slow.ask("PUT", "/x", ("content-length", "10"), end=False)
        large = stream.ask("PUT", "/x", end=False)
        waiting = slow.ask("GET", "/wait")
        await asyncio.sleep(0.35)
        await listening.tick()
        assert (await slow.answer(small)).status == 408
        assert (await stream.answer(large)).status == 500  # the chain makes RequestTimeout of it
        assert len(listening.shared.connections) == 3
        await asyncio.sleep(0.4)
        await listening.tick()
        await idle.until_closed()
        assert idle.goaway is not None and idle.goaway.error_code == 0
        listening.go.set()
        assert (await slow.answer(waiting)).status == 200


async def test_draining(listening: Listening) -> None:
    async with Peer(listening.port) as peer, Peer(listening.port) as idle:
        under_way = peer.ask("GET", "/wait")
        while not listening.begun:
            await asyncio.sleep(0.01)
        await idle.receive()
        listening.shared.draining = True
        for connection in list(listening.shared.connections):
            connection.shut_down()
        await idle.until_closed()
        assert idle.closed
        await peer.receive()
        listening.go.set()
        data = b""
        while piece := await asyncio.wait_for(peer.reader.read(1000), 5):
            data += piece
        assert b"GET /wait 0 a;" in data
        assert under_way == 1 and not listening.shared.connections


async def test_a_client_that_says_goodbye_gets_its_answer(listening: Listening) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
    slow = HeadersFrame(1, b"\x82\x86\x04\x05/slow\x41\x01a", flags=["END_HEADERS", "END_STREAM"])
    goaway = bytes.fromhex("000008070000000000" + "00" * 8)
    writer.write(PREFACE + SettingsFrame(0).serialize() + slow.serialize() + goaway)
    assert b"GET /slow 0 a;" in await asyncio.wait_for(reader.read(-1), 5)
    writer.close()


FRAMES = st.builds(
    lambda kind, flags, stream, body: (
        len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + body
    ),
    st.integers(0, 11), st.sampled_from([0, 1, 4, 5, 8, 13, 32, 37, 255]), st.sampled_from([0, 1, 3, 5, 2, 2**31 - 1]),
    st.one_of(st.binary(max_size=30), st.just(BLOCK), st.just(b"\x00\x00\x00\x08")),
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(FRAMES, max_size=20), st.binary(max_size=40))
def test_nonsense(caplog: pytest.LogCaptureFixture, frames: list[bytes], rest: bytes) -> None:
    """Whatever comes, the connection ends when the client ends it, and nothing of ours fails."""

    async def run() -> None:
        listening = Listening(LIMITS)
        await listening.start()
        listening.go.set()
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
        writer.write(PREFACE + SettingsFrame(0).serialize() + b"".join(frames) + rest)
        writer.write_eof()
        try:
            await asyncio.wait_for(reader.read(-1), 5)
        except ConnectionResetError:
            pass
        writer.close()
        await listening.stop()

    asyncio.run(run())
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


NODE = """
const http2 = require('node:http2');
const session = http2.connect(process.argv[1]);
let left = 50;
session.on('error', e => { console.error(e); process.exit(1); });
for (let i = 0; i < 50; i++) {
  const request = session.request({':method': 'POST', ':path': '/' + i});
  let text = '';
  request.setEncoding('utf8');
  request.on('response', h => { if (h[':status'] !== 200) process.exit(2); });
  request.on('data', d => { text += d; });
  request.on('end', () => {
    if (!text.startsWith('POST /' + i + ' ' + 5000 * i + ' ')) process.exit(3);
    if (--left === 0) session.close();
  });
  request.end(Buffer.alloc(5000 * i));
}
session.on('close', () => console.log(left === 0 ? 'all' : 'not all'));
"""


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
async def test_node(listening: Listening) -> None:
    process = await asyncio.create_subprocess_exec(
        "node", "-e", NODE, f"http://127.0.0.1:{listening.port}", stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert (out, err, process.returncode) == (b"all\n", b"", 0)
