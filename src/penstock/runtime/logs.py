"""A function's output: from its pipe to lines, kept for the invocation's tail and handed to whoever keeps logs.

stdout, stderr and the runtime client's framed records share one pipe, so that they stay in order. A frame is AWS's:
type (0xA55A00..), length, timestamp, message; its message is one record however many lines it has. (The bytes of a
frame's type cannot occur in UTF-8 text.)
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable

_FRAME = b"\xa5\x5a\x00"
_FRAME_HEADER_BYTES = 16
_LINE_BYTES_MAX = 256 * 1024
"""One CloudWatch Logs event: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html"""
_READ_BYTES = 16 * 1024
_BUDGET_BYTES = 1 << 20
_BUDGET_WINDOW_S = 0.1
_LINE_COST_BYTES = 64
TAIL_BYTES = 64 * 1024
_BATCH_BYTES = 64 * 1024
_BATCH_AFTER_S = 0.2


class Records:
    """Cuts a stream of bytes into records: lines, or frames. Pure."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The records that are complete now, each ending in a newline."""
        data = self._rest + data
        out: list[str] = []
        if _FRAME[:1] not in data:
            self._rest = self._lines(data, out)
            return out
        while True:
            at = data.find(_FRAME)
            if at < 0:
                partial = next((n for n in (2, 1) if data.endswith(_FRAME[:n])), 0)
                head, tail = (data[:-partial], data[-partial:]) if partial else (data, b"")
                self._rest = self._lines(head, out) + tail
                return out
            if rest := self._lines(data[:at], out):
                out.append(_text(rest))
            data = data[at:]
            if len(data) < _FRAME_HEADER_BYTES:
                break
            end = _FRAME_HEADER_BYTES + min(int.from_bytes(data[4:8], "big"), _LINE_BYTES_MAX)
            if len(data) < end:
                break
            out.append(_text(data[_FRAME_HEADER_BYTES:end].removesuffix(b"\n")))
            data = data[end:]
        self._rest = data
        return out

    def flush(self) -> list[str]:
        """What is left without a newline, at the end of an invocation."""
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest else []

    @staticmethod
    def _lines(data: bytes, out: list[str]) -> bytes:
        *lines, rest = data.split(b"\n")
        out.extend(_text(line) for line in lines)
        while len(rest) > _LINE_BYTES_MAX:
            out.append(_text(rest[:_LINE_BYTES_MAX]))
            rest = rest[_LINE_BYTES_MAX:]
        return rest


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace") + "\n"


class FunctionLog:
    """One environment's log: reads the pipe, keeps the present invocation's tail, passes records on in batches.

    A flood is answered with back-pressure: past 1 MB in 100 ms (a line counts 64 bytes more) the pipe is left unread
    for the rest of that time, so the function waits in its write and the server does not.
    """

    def __init__(self, fd: int, now: Callable[[], float], sink: Callable[[list[tuple[float, str]]], None]) -> None:
        self._fd = fd
        self._now = now
        self._sink = sink
        self.tap: Callable[[float, str], None] | None = None
        """Hears what the function prints as well, and nothing of ours."""
        self._loop = asyncio.get_running_loop()
        self._records = Records()
        self._tail: deque[str] = deque()
        self._tail_bytes = 0
        self._batch: list[tuple[float, str]] = []
        self._batch_bytes = 0
        self._flusher: asyncio.TimerHandle | None = None
        self._window_until = 0.0
        self._spent = 0
        self._resume: asyncio.TimerHandle | None = None
        self._loop.add_reader(fd, self._readable)

    def beside(self, fd: int) -> FunctionLog:
        """Another pipe of the same environment, whose records go where these go."""
        return FunctionLog(fd, self._now, self._sink)

    def _readable(self) -> None:
        now = self._loop.time()
        if now >= self._window_until:
            self._window_until, self._spent = now + _BUDGET_WINDOW_S, 0
        if not self._read():
            self._loop.remove_reader(self._fd)
        elif self._spent > _BUDGET_BYTES:
            self._loop.remove_reader(self._fd)
            self._resume = self._loop.call_at(self._window_until, self._loop.add_reader, self._fd, self._readable)

    def _read(self) -> int:
        """Read once. Returns the number of bytes, 0 at the end, -1 if there is nothing now."""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return -1
        records = self._records.feed(data)
        self._spent += len(data) + _LINE_COST_BYTES * len(records)
        self._keep(records)
        return len(data)

    def _keep(self, records: list[str]) -> None:
        for record in records:
            self.write(record)
            if self.tap is not None:
                self.tap(self._now(), record)

    def drain(self) -> None:
        """Take in what the function has written up to now (bounded by the pipe's size)."""
        if self._fd < 0:
            return
        for _ in range(8):
            if self._read() < _READ_BYTES:
                break
        self._keep(self._records.flush())

    def write(self, record: str, *, in_tail: bool = True) -> None:
        """Add a record of our own, or one that was read; nothing for "". in_tail: `take_tail` gives it too."""
        if not record:
            return
        self._batch.append((self._now(), record))
        self._batch_bytes += len(record)
        if in_tail:
            self._tail.append(record)
            self._tail_bytes += len(record)
        while self._tail_bytes > TAIL_BYTES and len(self._tail) > 1:
            self._tail_bytes -= len(self._tail.popleft())
        if self._batch_bytes > _BATCH_BYTES:
            self.flush()
        elif self._flusher is None:
            self._flusher = self._loop.call_later(_BATCH_AFTER_S, self.flush)

    def flush(self) -> None:
        """Pass the batch on."""
        if self._flusher is not None:
            self._flusher.cancel()
            self._flusher = None
        if self._batch:
            batch, self._batch, self._batch_bytes = self._batch, [], 0
            self._sink(batch)

    def take_tail(self) -> bytes:
        """The records since the last call, the last 64 KB of them."""
        tail = "".join(self._tail).encode()
        self._tail.clear()
        self._tail_bytes = 0
        return tail[-TAIL_BYTES:]

    def close(self) -> None:
        """Read what is left, pass it on and close the pipe."""
        if self._fd < 0:
            return
        self.drain()
        self.flush()
        if self._resume is not None:
            self._resume.cancel()
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1
