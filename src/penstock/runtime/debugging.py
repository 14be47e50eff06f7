"""A debugger attached to a running function: debugpy for Python, Node's inspector.

The debugger listens inside the environment, whose network nobody reaches; the server listens on the host's loopback and
carries bytes between the two. Time-outs do not run while a function is debugged, and one event is worked on at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib.util
import logging
import shutil
from pathlib import Path

from penstock.runtime.api import FunctionSpec, RuntimeUnsupported
from penstock.runtime.processes import Processes

log = logging.getLogger(__name__)

PORT = 5678
"""Where the debugger listens inside."""
FOLDER = "/var/lang"
"""Where debugpy is shown to a Python environment, which has nothing else there."""
_HELD_S = 3600.0
_PIECE_BYTES = 65536
_TRY_EVERY_S, _TRIES = 0.1, 100


def debugpy_in(scratch: Path) -> Path:
    """A folder with debugpy and nothing else in it. Raises RuntimeUnsupported where debugpy is not installed."""
    found = importlib.util.find_spec("debugpy")
    if found is None or found.origin is None:
        raise RuntimeUnsupported("debugpy is not installed beside Penstock: `pip install debugpy`")
    folder = scratch / "debugpy"
    if not folder.is_dir():
        partial = scratch / "debugpy.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(Path(found.origin).parent, partial / "debugpy", ignore=shutil.ignore_patterns("__pycache__"))
        partial.rename(folder)
    return folder


class DebugSession:
    """One function's. Ended by `close`."""

    def __init__(self, arn: str, folder: Path | None) -> None:
        """folder: debugpy's (see `debugpy_in`); None for Node.js."""
        self.arn = arn
        self.folder = folder
        self.one_at_a_time = asyncio.Lock()
        self.processes: Processes | None = None
        """Of the environment that is debugged, once there is one."""
        self._server: asyncio.Server | None = None
        self._carrying: set[asyncio.Task[None]] = set()

    async def listen(self, port: int) -> int:
        """Listen on the host's loopback; 0 picks a port. Returns which. Raises OSError."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", port)
        listening: int = self._server.sockets[0].getsockname()[1]
        return listening

    def spec(self, spec: FunctionSpec) -> FunctionSpec:
        """The function as it is debugged: with an hour for init and for each event."""
        return dataclasses.replace(
            spec, key=f"{spec.key}/debug", timeout_s=_HELD_S, init_timeout_s=_HELD_S, snap_start=False, debug=True
        )

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        try:
            inside = await self._connect()
        except (OSError, asyncio.CancelledError):  # Python 3.11's streams log a handler that ends as cancelled
            writer.close()
            return
        there_reader, there_writer = inside
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(
                    [
                        asyncio.ensure_future(_carry(reader, there_writer)),
                        asyncio.ensure_future(_carry(there_reader, writer)),
                    ],
                    return_when=asyncio.FIRST_COMPLETED,
                )
        finally:
            writer.close()
            there_writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """To the debugger inside: it may have to be started by the first event. Raises OSError."""
        for _ in range(_TRIES):
            if self.processes is not None and not self.processes.over:
                with contextlib.suppress(OSError, TimeoutError):
                    return await asyncio.open_connection(sock=await self.processes.connect(PORT))
            await asyncio.sleep(_TRY_EVERY_S)
        raise OSError("no environment is debugged: invoke the function")

    def close(self) -> None:
        """Listen no more and drop who is attached."""
        if self._server is not None:
            self._server.close()
        for task in self._carrying:
            task.cancel()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(_PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
