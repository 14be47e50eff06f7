"""`penstock up`: put a node together, serve, and take it apart again."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import uvloop

from penstock import __version__, services
from penstock.blobs.open import open_blobs
from penstock.clock import Clock
from penstock.config import Settings
from penstock.core.master_key import MasterKeyError, MasterKeys
from penstock.core.node import Node
from penstock.core.shared_clock import catch_up
from penstock.core.worker import run_workers
from penstock.edge.server import Server
from penstock.edge.tls import context, self_signed
from penstock.runtime.open import open_runtime
from penstock.services.iam.directory import StoreDirectory
from penstock.store import StoreError
from penstock.store.datadir import claim
from penstock.store.measured import MeasuredStore
from penstock.store.open import open_store
from penstock.telemetry import Telemetry, configure_logging

log = logging.getLogger("penstock")


def up(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. Returns 0 after a clean stop, 1 where it could not start."""
    configure_logging(settings.log_level, settings.log_format)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings))
    except (StoreError, MasterKeyError, OSError) as error:
        print(f"penstock: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(settings: Settings) -> None:
    listening = _bind(settings.host, settings.port)
    settings = msgspec.structs.replace(settings, port=listening.getsockname()[1])
    tls = _bind(settings.tls_host or settings.host, settings.tls_port) if settings.tls_port >= 0 else None
    if tls is not None:
        settings = msgspec.structs.replace(settings, tls_port=tls.getsockname()[1])
    async with node_of(settings) as node:
        server = Server(node)
        node.runtime.serve = server.serve_socket
        await server.start_on(listening)
        if tls is not None:
            await server.start_on(tls, tls=_tls_context(settings))
        workers = asyncio.create_task(run_workers(node))
        await node.runtime.start()
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        # What start-up made stays for good: the collector need not walk it again at every pass.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        _say_ready(settings)
        await stop.wait()
        log.info("stopping: requests under way get %g s", settings.drain_timeout_s)
        await server.stop()
        workers.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await workers


@contextlib.asynccontextmanager
async def node_of(settings: Settings) -> AsyncIterator[Node]:
    """A node with every part open, and closed again at the end. Raises StoreError, MasterKeyError, OSError."""
    services.load()
    clock = Clock()
    telemetry = Telemetry()
    data = Path(settings.data)
    async with contextlib.AsyncExitStack() as parts:
        if settings.store and Path(settings.store.removeprefix("rocks://")) != data:
            # An embedded store claims its directory itself; this is for what else lies in ours.
            parts.enter_context(claim(data))
        store = MeasuredStore(await open_store(settings.store, data), telemetry)
        parts.push_async_callback(store.close)
        await catch_up(store, clock)
        kept_nowhere = settings.store.startswith("memory:")
        master_keys = MasterKeys(settings, store, None if kept_nowhere else data)
        await master_keys.verify(shared=settings.store.startswith("postgres"))
        cache_bytes = settings.blob_cache_mib * 1024**2
        blobs = open_blobs(settings.blobs, data, store, clock, cache_bytes=cache_bytes, telemetry=telemetry)
        parts.push_async_callback(blobs.close)
        runtime = open_runtime(settings, clock, data / "runtime")
        parts.push_async_callback(runtime.close)
        directory = StoreDirectory(store, clock, settings)
        yield Node(settings, clock, store, blobs, runtime, directory, telemetry, master_keys)


def _tls_context(settings: Settings) -> ssl.SSLContext:
    """Of the given certificate, or of our own. Raises OSError (TlsError)."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if not certificate:
        host = settings.tls_host or settings.host
        made = self_signed(Path(settings.data) / "tls", host, Clock().host_now())
        certificate, key = map(str, made)
        log.info("TLS under a certificate of our own: clients trust it by AWS_CA_BUNDLE=%s", made[0].resolve())
    return context(certificate, key)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise OSError(
            f"cannot listen on {host}:{port}: {error.strerror}. Is another server on it? Try --port 0."
        ) from error
    listening.listen(1024)
    listening.setblocking(False)
    return listening


def _say_ready(settings: Settings) -> None:
    where = settings.store or f"data in {Path(settings.data).resolve()}"
    at = f"http://{_url_host(settings.host)}:{settings.port}"
    if settings.tls_port >= 0:
        at += f" and https://{_url_host(settings.tls_host or settings.host)}:{settings.tls_port}"
    print(f"Penstock {__version__} ready at {at} ({where.split('@')[-1]})", flush=True)


def _url_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
