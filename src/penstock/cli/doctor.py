"""`penstock doctor`: what works on this machine, what protects functions here, and what to do about the rest."""

from __future__ import annotations

import importlib.util
import os
import platform
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from penstock import __version__
from penstock.clock import Clock
from penstock.config import Settings

SYNCS = 20
SLOW_SYNC_MS = 20.0


def doctor(settings: Settings) -> int:
    """Print one line for each thing examined: ok, note or bad. Returns 1 where something is bad, else 0."""
    bad = False
    for verdict, what, detail in _findings(settings):
        bad = bad or verdict == "bad"
        print(f"{verdict:<5} {what:<22} {detail}")
    return 1 if bad else 0


def _findings(settings: Settings) -> Iterator[tuple[str, str, str]]:
    yield (
        "ok",
        "penstock",
        f"{__version__} on Python {platform.python_version()}, {platform.system()} {platform.release()}",
    )
    yield _data(Path(settings.data))
    yield _disk(Path(settings.data))
    yield _port(settings)
    yield _postgres(settings)
    yield _credentials(settings)
    yield from _functions(settings)


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def _data(data: Path) -> tuple[str, str, str]:
    folder = _existing(data)
    if not os.access(folder, os.W_OK):
        return "bad", "data directory", f"{folder} is not writable: choose another with --data"
    status = os.statvfs(folder)
    free_gb = status.f_bavail * status.f_frsize / 1e9
    if free_gb < 1:
        return "note", "data directory", f"{data}: only {free_gb:.1f} GB free"
    return "ok", "data directory", f"{data}: {free_gb:.0f} GB free"


def _disk(data: Path) -> tuple[str, str, str]:
    folder = _existing(data)
    if not os.access(folder, os.W_OK):
        return "bad", "disk sync", "not measured: the data directory is not writable"
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        began = time.perf_counter()
        for _ in range(SYNCS):
            file.write(b"\0" * 4096)
            file.flush()
            os.fdatasync(file.fileno())
        each_ms = (time.perf_counter() - began) / SYNCS * 1e3
    detail = f"{each_ms:.2f} ms each; every acknowledged write waits for one, shared by all that come meanwhile"
    return ("note" if each_ms > SLOW_SYNC_MS else "ok"), "disk sync", detail


def _port(settings: Settings) -> tuple[str, str, str]:
    where = f"{settings.host}:{settings.port}"
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            return "note", "port", f"{where}: {error.strerror}; `penstock up --port 0` takes a free one"
    return "ok", "port", f"{where} is free"


def _postgres(settings: Settings) -> tuple[str, str, str]:
    if importlib.util.find_spec("psycopg"):
        return "ok", "PostgreSQL store", "psycopg is installed: --store postgresql://… works"
    wanted = settings.store.startswith("postgres")
    return (
        ("bad" if wanted else "note"),
        "PostgreSQL store",
        "for --store postgresql://…: pip install 'penstock[postgres]'",
    )


def _credentials(settings: Settings) -> tuple[str, str, str]:
    if not settings.default_credentials:
        return "ok", "credentials", "only keys made in IAM, and the configured one, are accepted"
    if settings.host in ("127.0.0.1", "::1", "localhost"):
        return "ok", "credentials", "the well-known keys act as root, on loopback only"
    return (
        "note", "credentials",
        f"listening on {settings.host}: the well-known keys work from this machine only; set --access-key-id and "
        "--secret-access-key for others",
    )  # fmt: skip


def _functions(settings: Settings) -> Iterator[tuple[str, str, str]]:
    from penstock.runtime.open import open_runtime

    with tempfile.TemporaryDirectory() as folder:
        runtime = open_runtime(settings, Clock(), Path(folder))
        own = f"python3.{sys.version_info.minor}"
        for name in sorted({own, *(f"python3.{minor}" for minor in range(10, 15)), "provided.al2023"}):
            reason = runtime.supports(name)
            yield ("ok", name, "functions of this runtime run here") if not reason else ("note", name, reason)
        yield _images(settings)
        for protection, state in runtime.protections().items():
            yield ("ok" if state.startswith("on") else "note"), protection, state


def _images(settings: Settings) -> tuple[str, str, str]:
    from penstock.runtime.images import Engine, NoEngine

    try:
        return (
            "ok",
            "container images",
            f"functions may be made of those that {Engine(settings.function_images, '').name()} has",
        )
    except NoEngine as error:
        return "note", "container images", str(error)
