"""Heads of HTTP/2's requests and responses. What RFC 9113 says of fields (8.2, 8.3) h2 has checked before. No sockets here."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

from penstock.edge.outgoing import BODILESS, BadResponse
from penstock.edge.reader import HOST_BYTES, METHODS, Limits, Refused
from penstock.wire.message import Request, Response

Fields = list[tuple[bytes, bytes]]

_NOT_IN_HTTP2 = frozenset(
    {"connection", "content-length", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
)
"""Fields of a response that belong to the connection, and the length, which is ours to say."""
_UNSENDABLE = re.compile(rb"[\r\n\0]").search
_BAD_TARGET = re.compile(r"[^\x21-\x7e]|#").search


def read_head(fields: Iterable[tuple[bytes, bytes]], limits: Limits, peer: str, tls: str) -> Request:
    """The request that a block of fields begins. Raises Refused, as HTTP/1.1's reader does for the same faults."""
    method = target = authority = ""
    headers: dict[str, str] = {}
    count = 0
    for raw_name, raw_value in fields:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        count += 1
        if name[:1] == ":":
            if name == ":method":
                method = value
            elif name == ":path":
                target = value
            elif name == ":authority":
                authority = value
        elif name not in headers:
            headers[name] = value
        elif name == "host":
            raise Refused(400, "more than one Host header")
        else:
            headers[name] += "," + value
    if count > limits.header_count:
        raise Refused(431, "the request has too many or too large headers")
    if method not in METHODS:
        raise Refused(501, "unknown method")
    if authority:
        headers["host"] = headers[":authority"] = authority  # clients sign it by either name
    if not headers.get("host"):
        raise Refused(400, "an :authority or a Host header is required")
    if len(headers["host"]) > HOST_BYTES:
        raise Refused(400, "the Host header is too long for a host's name")
    if len(target) > limits.url_bytes:
        raise Refused(414, "the request's URI is too long")
    path, _, query = target.partition("?")
    if (path[:1] != "/" and not (path == "*" and method == "OPTIONS")) or _BAD_TARGET(target):
        raise Refused(400, "the request's target must be an absolute path")
    return Request(
        method,
        path,
        query,
        headers,
        peer=peer,
        secure=tls != "",
        tls=tls,
        http_version="2",
        received_at=time.monotonic(),
    )


def response_head(response: Response, method: str, constant: str) -> Fields:
    """The fields of a response. constant: as HTTP/1.1 sends it, Date and Server. Raises BadResponse."""
    date, server = constant.split("\r\n", 2)[:2]
    status = response.status
    fields: Fields = [
        (b":status", str(status).encode()),
        (b"date", date[6:].encode()),
        (b"server", server[8:].encode()),
    ]
    said_length = ""
    for name, value in response.headers:
        name = name.lower()
        if name in _NOT_IN_HTTP2:
            if name == "content-length":
                said_length = value
            continue
        try:
            encoded = value.encode("latin-1")
        except UnicodeEncodeError:
            encoded = value.encode("utf-8")
        field = name.encode("latin-1", "replace")
        if _UNSENDABLE(encoded) or _UNSENDABLE(field):
            raise BadResponse("a response header holds a line break")
        fields.append((field, encoded.strip(b" \t")))
    if status not in BODILESS and status >= 200:
        if response.stream is None:
            length = said_length if method == "HEAD" and said_length else str(len(response.body))
            fields.append((b"content-length", length.encode()))
        elif response.length is not None:
            fields.append((b"content-length", str(response.length).encode()))
    return fields
