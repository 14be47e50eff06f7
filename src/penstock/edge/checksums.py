"""Checksums of bodies, kept while they pass."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any, Protocol

from awscrt import checksums

from penstock.blobs.checksums import crc32


class Running(Protocol):
    """A checksum so far."""

    def update(self, data: bytes | memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc:
    __slots__ = ("_function", "_size", "_value")

    def __init__(self, function: Callable[[Any, int], int], size_bytes: int) -> None:
        self._function = function
        self._size = size_bytes
        self._value = 0

    def update(self, data: bytes | memoryview, /) -> None:
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


ALGORITHMS: dict[str, Callable[[], Running]] = {
    "crc32": lambda: _Crc(crc32, 4),
    "crc32c": lambda: _Crc(checksums.crc32c, 4),
    "crc64nvme": lambda: _Crc(checksums.crc64nvme, 8),
    "sha1": hashlib.sha1,
    "sha256": hashlib.sha256,
}
"""By the last part of their header's name, x-amz-checksum-…"""


def running(header: str) -> Running | None:
    """The checksum that a header `x-amz-checksum-<algorithm>` holds; None for an algorithm that is not known."""
    make = ALGORITHMS.get(header.removeprefix("x-amz-checksum-"))
    return make() if make else None


def text(value: Running) -> str:
    """As it stands in a header."""
    return base64.b64encode(value.digest()).decode()
