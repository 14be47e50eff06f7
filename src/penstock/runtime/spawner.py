"""The server's end of a zygote: start it, ask it for forks, hear of their ends."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.runtime.interpreters import Interpreter

log = logging.getLogger(__name__)

_START = (
    "import json, socket, sys; boot = json.loads(sys.argv[1]); sys.argv[:] = ['bootstrap'];"
    " sys.path.insert(0, boot['source']); from penstock.runtime.zygote import main;"
    " main(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=boot['fd']), boot)"
)
PRELOAD = (
    "boto3", "boto3.session", "boto3.resources.factory", "boto3.dynamodb.transform", "boto3.dynamodb.conditions",
    "boto3.s3.inject", "botocore.session", "botocore.client", "botocore.endpoint", "botocore.auth", "botocore.args",
    "botocore.httpsession", "botocore.paginate", "botocore.waiter", "botocore.signers", "botocore.regions",
    "botocore.retries.standard", "botocore.retries.adaptive", "botocore.parsers", "botocore.httpchecksum",
    "concurrent.futures.thread", "xml.etree.ElementTree", "encodings.idna", "csv", "uuid", "base64", "random",
    "urllib.request", "decimal", "gzip", "zipfile", "dateutil.tz",
)  # fmt: skip
SERVICES = (
    "dynamodb", "s3", "sqs", "sns", "kinesis", "lambda", "events", "sts", "logs", "firehose", "secretsmanager",
    "stepfunctions",
)  # fmt: skip
"""Whose models the zygote parses, the first before it is ready, the others when it has nothing else to do."""


class ZygoteFailed(Exception):
    """The zygote could not start, or ended."""


class Zygote:
    """One zygote process. It is started by `start`, and cannot be started again."""

    def __init__(self, interpreter: Interpreter, scratch: Path, *, host_network: bool) -> None:
        self._interpreter = interpreter
        self._scratch = scratch
        self._host_network = host_network
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._spawned: dict[str, asyncio.Future[tuple[int, int]]] = {}
        self._ended: dict[str, Callable[[int], None]] = {}
        self._ready: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
        self.found: dict[str, str] = {}
        """Namespace -> "" if in force, else why not. Filled once ready."""
        self.alive = True

    @property
    def pid(self) -> int:
        """The process id, 0 before the start."""
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        """Start the process and wait until it can fork. Raises ZygoteFailed."""
        template = self._scratch / f"root-{os.getpid()}-{id(self):x}"
        template.mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        interpreter = self._interpreter
        boot = {
            "fd": theirs.fileno(),
            "parent": os.getpid(),
            "source": str(Path(__file__).resolve().parents[2]),
            "template": str(template.resolve()),
            "prefixes": [interpreter.prefix],
            "site": interpreter.site,
            "packages": interpreter.packages(),
            "preload": PRELOAD,
            "services": SERVICES,
            "host_network": self._host_network,
        }
        command = [interpreter.path, "-S", "-B", "-X", "utf8", "-c", _START, json.dumps(boot)]
        with theirs:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - a vfork, 1 ms; asyncio's own needs a child watcher
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, cwd="/", start_new_session=True,
                env={"LANG": "en_US.UTF-8", "TZ": ":UTC", "PATH": "/usr/local/bin:/usr/bin:/bin"},
            )  # fmt: skip
        ours.setblocking(False)
        self._socket = ours
        asyncio.get_running_loop().add_reader(ours.fileno(), self._read)
        try:
            self.found = await asyncio.shield(self._ready)
        finally:
            if self.alive:
                template.rmdir()

    async def spawn(self, request: dict[str, Any], fds: list[int], ended: Callable[[int], None]) -> tuple[int, int]:
        """Fork an environment. Returns its init's process id and a pidfd, which the caller closes.

        ended: called with the wait status of the environment's init. Raises ZygoteFailed.
        """
        if self._socket is None or not self.alive:
            raise ZygoteFailed("the zygote is gone")
        spawned: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
        self._spawned[request["id"]] = spawned
        self._ended[request["id"]] = ended
        message = json.dumps(request).encode()
        while True:
            try:
                socket.send_fds(self._socket, [message], fds)
                break
            except BlockingIOError:  # many at once: the zygote forks about 300 a second
                await asyncio.sleep(0.002)
            except OSError as error:
                self._fail()
                raise ZygoteFailed(f"the zygote is gone: {error}") from error
        return await spawned

    def _read(self) -> None:
        assert self._socket is not None
        try:
            text, fds, _, _ = socket.recv_fds(self._socket, 200_000, 1)
        except BlockingIOError:
            return
        except OSError:
            text, fds = b"", []
        if not text:
            self._fail()
            return
        event = json.loads(text)
        kind = event["event"]
        if kind == "ready":
            self._ready.set_result(event["found"])
        elif kind == "spawned":
            spawned = self._spawned.pop(event["id"], None)
            if spawned is None or spawned.done():
                os.close(fds[0])  # nobody waits any more: closing its control socket has ended it
            else:
                spawned.set_result((event["pid"], fds[0]))
        elif kind == "ended":
            ended = self._ended.pop(event["id"], None)
            if ended is not None:
                ended(event["status"])

    def _fail(self) -> None:
        if not self.alive:
            return
        self.alive = False
        self._disconnect()
        status = self._process.poll() if self._process else None
        log.warning("the zygote of %s ended (status %s)", self._interpreter.path, status)
        error = ZygoteFailed("the zygote ended")
        if not self._ready.done():
            self._ready.set_exception(error)
        for waiting in self._spawned.values():
            if not waiting.done():
                waiting.set_exception(error)
        self._spawned.clear()
        for ended in list(self._ended.values()):
            ended(9)
        self._ended.clear()

    def _disconnect(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    async def close(self) -> None:
        """End it, and with it every environment it forked."""
        self.alive = False
        self._disconnect()
        if self._process is None:
            return
        self._process.kill()
        for _ in range(500):
            if self._process.poll() is not None:
                break
            await asyncio.sleep(0.005)
        for ended in list(self._ended.values()):
            ended(9)
        self._ended.clear()
