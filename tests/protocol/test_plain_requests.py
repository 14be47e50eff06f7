"""What is read without llhttp is read as llhttp would read it: any bytes, in any pieces, whether plain or not."""

from __future__ import annotations

import itertools
from typing import Any

import httptools
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from penstock.edge.direct import DirectBody
from penstock.edge.reader import Limits, Refused, RequestReader, Waiting

LIMITS = Limits(url_bytes=200, header_bytes=400, header_count=8, whole_body_bytes=50, body_bytes=100)


class Reader(RequestReader):
    """Keeps what it reads; answers nothing."""

    def __init__(self, *, plain: bool) -> None:
        super().__init__(LIMITS)
        self.found: list[tuple[Any, ...]] = []
        self.plainly = 0
        self._may = plain

    def _plain(self, data: bytes) -> int:
        taken = super()._plain(data) if self._may else 0
        self.plainly += bool(taken)
        return taken

    def _enqueue(self, waiting: Waiting) -> None:
        request, body, keep, _ = waiting
        assert request is not None
        if body is not None:
            body.discard()
        self.found.append(
            (request.method, request.path, request.query, request.headers, request.body, request.http_version, keep,
             body is None)
        )  # fmt: skip

    def _straight(self, length: int) -> DirectBody | None:
        return None

    def _send_continue(self) -> None: ...

    def _pause(self) -> None: ...

    def _resume(self) -> None: ...

    def _after_answer(self, keep_alive: bool) -> None: ...


def read(pieces: list[bytes], *, plain: bool) -> tuple[list[tuple[Any, ...]], Any, Reader]:
    """(requests, what was refused, the reader)."""
    reader = Reader(plain=plain)
    try:
        for piece in pieces:
            reader._read(piece)
    except Refused as refused:
        why = "malformed" if refused.why.startswith("malformed HTTP") else refused.why
        return reader.found, (refused.status, why), reader
    return reader.found, None, reader


def same(pieces: list[bytes]) -> None:
    expected = read(pieces, plain=False)
    read(pieces, plain=True)  # header names that are new are known from here on
    got = read(pieces, plain=True)
    assert got[:2] == expected[:2]


LINES = st.sampled_from(
    [
        b"Host: a", b"host: b.localhost:4566", b"Host:c", b"Host:  d", b"Host: e ", b"Host: ", b"Host:", b"HOST: \tf",
        b"Content-Length: 5", b"content-length: 0", b"Content-Length: +5", b"Content-Length: 05", b"Content-Length: 5 5",
        b"Content-Length: 99", b"Content-Length: 5_0", b"Connection: keep-alive", b"Connection: close",
        b"Connection: Upgrade", b"Upgrade: h2c", b"Expect: 100-continue", b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip", b"X-Amz-Date: 20260101T000000Z", b"x-amz-meta-a: one  two", b"x: caf\xc3\xa9",
        b"x: \x00", b"x: \x7f", b"x: a\rb", b"x: a\nb", b" folded: yes", b"a b: c", b"x : y", b": z", b"nothing", b"x:: y",
        b"x: y: z", b"Proxy-Connection: close", b"long: " + b"l" * 300, b"\tx: y", b"x: a\tb",
    ]
)  # fmt: skip
FIRST = st.sampled_from(
    [
        b"GET / HTTP/1.1", b"PUT /b/k?x=1&y HTTP/1.1", b"POST / HTTP/1.1", b"GET / HTTP/1.0", b"OPTIONS * HTTP/1.1",
        b"GET http://a/ HTTP/1.1", b"GET /a#b HTTP/1.1", b"GET  / HTTP/1.1", b"GET /a b HTTP/1.1", b"get / HTTP/1.1",
        b"GET /\xc3\xa9 HTTP/1.1", b"TRACE / HTTP/1.1", b"BREW / HTTP/1.1", b"GET /?a\"<>\\^`{|} HTTP/1.1", b"GET /",
        b"GET / HTTP/1.2", b"GET / HTTP/2.0", b"GET /%zz%41 HTTP/1.1 ", b"GET ?a HTTP/1.1",
        b"PUT /" + b"k" * 250 + b" HTTP/1.1",
        b"CONNECT a:1 HTTP/1.1", b"GET // HTTP/1.1", b"",
    ]
)  # fmt: skip


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    end = draw(st.sampled_from([b"\r\n"] * 9 + [b"\n", b"\r"]))
    lines = [draw(FIRST), *draw(st.lists(LINES, max_size=6))]
    if draw(st.booleans()):
        lines.insert(1, b"Host: localhost:4566")
    body = draw(st.sampled_from([b"", b"hello", b"hello", b"hello again", b"5\r\nhello\r\n0\r\n\r\n"]))
    return end.join(lines) + end + end + body


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(messages(), min_size=1, max_size=3), st.lists(st.integers(0, 400), max_size=2))
@example([b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"], [])
@example([b"GET / HTTP/1.1\r\nHost: a\r\nx: \r\r\n\r\n"], [])
def test_plain_requests_are_what_llhttp_says(sent: list[bytes], cuts: list[int]) -> None:
    data = b"".join(sent)
    marks = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    same([piece for begin, end in itertools.pairwise(marks) if (piece := data[begin:end])])


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_damaged_requests_are_what_llhttp_says(data: st.DataObject) -> None:
    sent = b"PUT /b/k?x=1 HTTP/1.1\r\nHost: a\r\nX-Amz-Date: 1\r\nContent-Length: 5\r\n\r\nhello"
    at = data.draw(st.integers(0, len(sent) - 1))
    same([sent[:at] + data.draw(st.binary(max_size=3)) + sent[at + data.draw(st.integers(0, 2)) :]])


@pytest.mark.parametrize("connection", [b"", b"Connection: keep-alive\r\n", b"connection: Keep-Alive\r\n"])
def test_what_clients_send_is_plain(connection: bytes) -> None:
    one = b"PUT /b/k?x=1 HTTP/1.1\r\nHost: a\r\n" + connection + b"X-Amz-Date: 1\r\nContent-Length: 5\r\n\r\nhello"
    read([one], plain=True)
    found, refused, reader = read([one * 3, one[:30], one[30:]], plain=True)
    assert refused is None
    assert len(found) == 4
    assert reader.plainly == 3
    assert found[0] == (
        "PUT", "/b/k", "x=1",
        {"host": "a", **({"connection": connection[12:-2].decode()} if connection else {}), "x-amz-date": "1",
         "content-length": "5"},
        b"hello", "1.1", True, True,
    )  # fmt: skip


def test_the_parser_is_llhttp() -> None:
    """What the comparison above rests on."""
    assert isinstance(Reader(plain=False)._parser, httptools.HttpRequestParser)
