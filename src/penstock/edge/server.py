"""A node on the network: listening sockets, the sweep over connections, and the end that drains."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import TYPE_CHECKING

from penstock.edge.authenticate import INSIDE
from penstock.edge.chain import Chain
from penstock.edge.listener import AnyConnection, App, Shared
from penstock.edge.opening import ALPN, Opening
from penstock.edge.reader import Limits

if TYPE_CHECKING:
    from penstock.core.node import Node

log = logging.getLogger(__name__)
BACKLOG = 1024


class Server:
    """Serves a node. `start`, then `serve_socket` for any further sockets, then `stop`."""

    def __init__(self, node: Node, *, tls: ssl.SSLContext | None = None, app: App | None = None) -> None:
        settings = node.settings
        self._node = node
        self._tls = tls
        if tls is not None:
            tls.set_alpn_protocols(ALPN)
        self._chain = Chain(node)
        self._inside = Chain(node, inside=True)
        self._app: App = app or self._chain
        self._limits = Limits(
            body_bytes=settings.max_body_bytes,
            header_timeout_s=settings.header_timeout_s,
            body_timeout_s=settings.body_timeout_s,
            idle_timeout_s=settings.idle_timeout_s,
            connections=settings.max_connections,
        )
        self._shared: Shared | None = None
        self._servers: list[asyncio.Server] = []
        self._adopting: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; port 0 takes a free one. Returns the port. Raises OSError where it is taken."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return await self.start_on(socket.create_server((host, port), family=family, backlog=BACKLOG))

    async def start_on(self, listening: socket.socket, *, tls: ssl.SSLContext | None = None) -> int:
        """Serve on a socket that listens already. tls: this socket's, else the server's. Returns its port."""
        shared = self._share()
        tls = tls or self._tls
        server = await shared.loop.create_server(
            lambda: Opening(shared, self._app),
            sock=listening,
            backlog=BACKLOG,
            ssl=tls,
            ssl_handshake_timeout=self._limits.header_timeout_s if tls else None,
        )
        self._servers.append(server)
        actual: int = server.sockets[0].getsockname()[1]
        return actual

    def serve_socket(self, sock: socket.socket) -> Callable[[], None]:
        """Serve on a listening socket that somebody else made, for a function's execution environment.

        Its peers are a function, wherever their namespace has them: not loopback, so the well-known keys make them root
        only where the settings allow functions that; and the server's own endpoints are not there.
        Returns what stops it listening, to be called when the environment ends.
        """
        shared = self._share()
        stopped = False
        served: list[asyncio.Server] = []
        family: set[AnyConnection] = set()

        async def adopt() -> None:
            try:
                server = await shared.loop.create_server(
                    lambda: Opening(shared, self._inside, peer=INSIDE, family=family), sock=sock, backlog=BACKLOG
                )
            except OSError:
                log.exception("a function's socket could not be served")
                return
            if stopped:
                server.close()
            else:
                self._servers.append(server)
                served.append(server)

        def stop() -> None:
            nonlocal stopped
            stopped = True
            for server in served:
                server.close()
                if server in self._servers:
                    self._servers.remove(server)
            served.clear()

        task = shared.loop.create_task(adopt())
        self._adopting.add(task)
        task.add_done_callback(self._adopting.discard)
        return stop

    async def stop(self) -> None:
        """Take no new connections, finish what is under way within `drain_timeout_s`, then end the rest. Idempotent."""
        shared = self._shared
        if shared is None:
            return
        shared.draining = True
        self._chain.draining = True
        for server in self._servers:
            server.close()
        for connection in list(shared.connections):
            connection.shut_down()
        if shared.connections:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(shared.emptied.wait(), self._node.settings.drain_timeout_s)
        if shared.connections:
            log.warning("ending %d connections that did not finish in time", len(shared.connections))
        for connection in list(shared.connections):
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._servers.clear()
        self._shared = None

    def _share(self) -> Shared:
        if self._shared is None:
            self._shared = shared = Shared(asyncio.get_running_loop(), self._limits)
            telemetry = self._node.telemetry
            telemetry.gauge("penstock_connections", lambda: len(shared.connections))
            telemetry.gauge("penstock_connections_refused", lambda: shared.refused)
            self._sweep()
        return self._shared

    def _sweep(self) -> None:
        """Once a second: renew the Date line, end connections past their deadline."""
        shared = self._shared
        if shared is None:
            return
        shared.constant = f"Date: {formatdate(self._node.clock.host_now(), usegmt=True)}\r\nServer: Penstock\r\n"
        shared.buffers.shrink()
        now = time.monotonic()
        for connection in [c for c in shared.connections if c.deadline < now]:
            connection.timed_out()
        self._sweeper = shared.loop.call_later(1.0, self._sweep)
