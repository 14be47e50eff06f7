"""The first bytes of a connection: HTTP/1.1, or HTTP/2 by its preface (RFC 9113, 3.3) or by ALPN.

It stands between a socket and its protocol for one packet only, so that no request of HTTP/1.1 pays for the choice, and
HTTP/2's modules are loaded when the first client speaks it.
"""

from __future__ import annotations

import asyncio
from typing import cast

from penstock.edge.listener import AnyConnection, App, Connection, Shared

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ALPN = ["h2", "http/1.1"]


class Opening(asyncio.Protocol):
    """One connection of which nothing is known yet. Until then it counts, and times out, as one of HTTP/1.1."""

    __slots__ = ("_app", "_family", "_first", "_peer", "_plain", "_shared", "_transport")

    def __init__(self, shared: Shared, app: App, *, peer: str = "", family: set[AnyConnection] | None = None) -> None:
        """As `Connection`."""
        self._shared = shared
        self._app = app
        self._peer = peer
        self._family = family
        self._first = b""
        self._plain = Connection(shared, app, peer=peer, family=family)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._plain.connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() == "h2" and not transport.is_closing():
            self._speak_http2()

    def data_received(self, data: bytes) -> None:
        first = self._first = self._first + data if self._first else data
        if first.startswith(PREFACE):
            self._speak_http2().data_received(first)
        elif not PREFACE.startswith(first):
            self._transport.set_protocol(self._plain)
            self._plain.data_received(first)

    def _speak_http2(self) -> asyncio.Protocol:
        from penstock.edge.http2 import Http2Connection

        self._shared.connections.discard(self._plain)
        spoken = Http2Connection(self._shared, self._app, peer=self._peer, family=self._family)
        if self._family is not None:
            self._family.discard(self._plain)
            self._family.add(spoken)
        self._transport.set_protocol(spoken)
        spoken.connection_made(self._transport)
        return spoken

    def eof_received(self) -> bool:
        return self._plain.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._plain.connection_lost(exc)
