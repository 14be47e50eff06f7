"""`penstock demo`: the main job on real data, by plain boto3: S3 -> function -> S3 -> function -> DynamoDB -> answers.

Lives here: the server it starts for itself, what it deploys (`deploy`), the pipeline it watches (`pipeline`), its data
(`data/`, with source and licence) and its two functions (`functions/`). It talks to the server as any client would.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec

from penstock.cli.env import exports, variables
from penstock.config import Settings

START_TIMEOUT_S = 30.0


def demo(settings: Settings, *, endpoint: str | None, keep: bool) -> int:
    """Run the demo against `endpoint`, or a server of its own. Returns 0 when every row is accounted for."""
    try:
        import rich  # noqa: F401
    except ImportError:
        print("The demo draws with rich, which is not installed. Run script/demo, or: pip install 'penstock[demo]'")
        return 1
    from penstock.cli.demo.pipeline import run

    if endpoint:
        return run(endpoint, settings)
    with _server(settings, keep) as (own, own_endpoint):
        status = run(own_endpoint, own)
        if keep:
            print(f"\nThe server stays up. Data: {own.data}\n\n{exports(own)}\n")
        return status


@contextlib.contextmanager
def _server(settings: Settings, keep: bool) -> Iterator[tuple[Settings, str]]:
    """A server on an empty data directory, ended and removed afterwards unless it is to be kept."""
    data = Path(tempfile.mkdtemp(prefix="penstock-demo-"))
    port = settings.port if _is_free(settings.host, settings.port) else 0
    if not port:
        print(f"Port {settings.port} is taken (by an earlier demo --keep?); this one takes another.")
        port = _free_port(settings.host)
    settings = msgspec.structs.replace(settings, port=port, data=str(data / "data"))
    log = (data / "server.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock", "up", "--host", settings.host, "--port", str(port), "--data", settings.data],
        stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip
    endpoint = variables(settings)["AWS_ENDPOINT_URL"]
    kept = False
    try:
        _wait_until_ready(process, endpoint, data / "server.log")
        yield settings, endpoint
        kept = keep
    finally:
        if kept:
            print(f"\nStop it with: kill {process.pid}")
        else:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
            shutil.rmtree(data, ignore_errors=True)


def _wait_until_ready(process: subprocess.Popen[bytes], endpoint: str, log: Path) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(endpoint + "/_penstock/ready", timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.02)
    raise SystemExit("The server did not start:\n" + log.read_text()[-4000:])


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
