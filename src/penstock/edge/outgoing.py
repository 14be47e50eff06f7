"""The head of a response as bytes. No sockets here."""

from __future__ import annotations

import http
from operator import itemgetter

from penstock.wire.message import Response

_REASONS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in http.HTTPStatus}
BODILESS = frozenset({204, 304})
_END = "\r\n\r\n"
_FRAMING = frozenset({"content-length", "transfer-encoding", "connection"})
_PLAIN: set[str] = set()
"""Names of headers that were looked at before: no framing, and no line break in them. Bounded."""
_NAME, _VALUE = itemgetter(0), itemgetter(1)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class BadResponse(Exception):
    """A handler made a response that cannot be sent, e.g. with a line break inside a header."""


def head(response: Response, method: str, constant: str, close: bool, chunked: bool) -> bytes:
    """Status line and headers, up to the empty line.

    constant: Date and Server lines, made once a second. chunked: whether a stream of unknown length goes out in chunks
    (a client of HTTP/1.0 gets it up to the end of the connection). The framing headers are ours alone, but for the
    Content-Length of an answer to HEAD. Raises BadResponse.
    """
    status, headers = response.status, response.headers
    said_length = framing = ""
    values = "".join(map(_VALUE, headers))
    if "\n" in values or "\r" in values:
        raise BadResponse("a response header holds a line break")
    if not all(map(_PLAIN.__contains__, map(_NAME, headers))):
        said_length = next((value for name, value in headers if name.lower() == "content-length"), "")
        headers = [header for header in headers if _is_plain(header[0])]
    text = "\r\n".join(map(": ".join, headers))
    if text:
        text += "\r\n"
    if status not in BODILESS and status >= 200:
        if response.stream is None:
            length = said_length if method == "HEAD" and said_length else len(response.body)
            framing = f"Content-Length: {length}\r\n"
        elif response.length is not None:
            framing = f"Content-Length: {response.length}\r\n"
        elif chunked:
            framing = "Transfer-Encoding: chunked\r\n"
    reason = _REASONS.get(status) or f"HTTP/1.1 {status} \r\n"
    text = f"{reason}{constant}{text}{framing}{'Connection: close' + _END if close else _END[2:]}"
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8")


def _is_plain(name: str) -> bool:
    """Whether a header of that name goes out as it is; the framing's do not. Raises BadResponse."""
    if name.lower() in _FRAMING:
        return False
    if "\n" in name or "\r" in name:
        raise BadResponse("a response header's name holds a line break")
    if len(_PLAIN) < 4096 and len(name) < 100:
        _PLAIN.add(name)
    return True


def plain(status: int, text: str) -> Response:
    """A short answer of the listener's own, below AWS's protocols."""
    return Response(status, [("Content-Type", "text/plain; charset=utf-8")], f"{text}\n".encode())
