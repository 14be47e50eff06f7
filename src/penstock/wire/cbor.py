"""CBOR (RFC 8949) as Smithy's RPC v2 uses it. Hostile input costs no more than its own length.

Values are None, bool, int, float, bytes, str, list, dict with str keys, and `Timestamp` (tag 1).
"""

from __future__ import annotations

import math
import struct
from typing import Any

MAX_DEPTH = 64
_BREAK = object()
_HALF, _SINGLE, _DOUBLE = struct.Struct(">e"), struct.Struct(">f"), struct.Struct(">d")
_SIZES = {24: 1, 25: 2, 26: 4, 27: 8}


class Timestamp(float):
    """Seconds since the epoch that are written with tag 1."""

    __slots__ = ()


class BadCborError(ValueError):
    """The bytes are no CBOR, or use more of it than any AWS message does."""


def decode(data: bytes) -> Any:
    """The one value that `data` holds. Raises BadCborError."""
    reader = _Reader(data)
    value = reader.value(0)
    if value is _BREAK or reader.at != len(data):
        raise BadCborError("bytes are left over")
    return value


class _Reader:
    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        end = self.at + size
        if size < 0 or end > len(self.data):
            raise BadCborError("ends too early")
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def argument(self, info: int) -> int:
        """The number behind an initial byte; -1 for an indefinite length."""
        if info < 24:
            return info
        if info == 31:
            return -1
        if info not in _SIZES:
            raise BadCborError("a reserved length")
        return int.from_bytes(self.take(_SIZES[info]), "big")

    def value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise BadCborError("nested too deep")
        first = self.take(1)[0]
        kind, info = first >> 5, first & 31
        if kind == 7:
            return self._simple(info)
        number = self.argument(info)
        if number < 0 and kind in (0, 1, 6):
            raise BadCborError("an indefinite number")
        match kind:
            case 0:
                return number
            case 1:
                return -1 - number
            case 2:
                return self._string(number, 2)
            case 3:
                try:
                    return self._string(number, 3).decode("utf-8")
                except UnicodeDecodeError:
                    raise BadCborError("text that is not UTF-8") from None
            case 4:
                return self._list(number, depth)
            case 5:
                return self._map(number, depth)
            case _:
                return self._tagged(number, depth)

    def _string(self, size: int, kind: int) -> bytes:
        if size >= 0:
            return self.take(size)
        pieces: list[bytes] = []
        while (first := self.take(1)[0]) != 0xFF:
            if first >> 5 != kind or first & 31 == 31:
                raise BadCborError("a string of mixed pieces")
            pieces.append(self.take(self.argument(first & 31)))
        return b"".join(pieces)

    def _list(self, size: int, depth: int) -> list[Any]:
        found: list[Any] = []
        while size < 0 or len(found) < size:
            value = self.value(depth + 1)
            if value is _BREAK:
                if size < 0:
                    break
                raise BadCborError("a break where none belongs")
            found.append(value)
        return found

    def _map(self, size: int, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        count = 0
        while size < 0 or count < size:
            key = self.value(depth + 1)
            if key is _BREAK and size < 0:
                break
            if not isinstance(key, str):
                raise BadCborError("a key that is no text")
            value = self.value(depth + 1)
            if value is _BREAK:
                raise BadCborError("a break where none belongs")
            found[key] = value
            count += 1
        return found

    def _tagged(self, tag: int, depth: int) -> Any:
        value = self.value(depth + 1)
        if tag == 1:
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise BadCborError("a timestamp that is no number")
            try:
                return Timestamp(value)
            except OverflowError:
                raise BadCborError("a timestamp out of range") from None
        if tag in (2, 3):
            if not isinstance(value, bytes) or len(value) > 1024:
                raise BadCborError("a big number that is none")
            number = int.from_bytes(value, "big")
            return number if tag == 2 else -1 - number
        if value is _BREAK:
            raise BadCborError("a break where none belongs")
        return value

    def _simple(self, info: int) -> Any:
        match info:
            case 20:
                return False
            case 21:
                return True
            case 22 | 23:
                return None
            case 25:
                return _HALF.unpack(self.take(2))[0]
            case 26:
                return _SINGLE.unpack(self.take(4))[0]
            case 27:
                return _DOUBLE.unpack(self.take(8))[0]
            case 31:
                return _BREAK
        raise BadCborError("a simple value that has no meaning")


def encode(value: Any) -> bytes:
    """The value's bytes, of definite length. Raises TypeError for what CBOR has no form for."""
    out: list[bytes] = []
    _write(out, value)
    return b"".join(out)


def _head(kind: int, number: int) -> bytes:
    if number < 24:
        return bytes((kind << 5 | number,))
    for info, size in _SIZES.items():
        if number < 1 << (8 * size):
            return bytes((kind << 5 | info,)) + number.to_bytes(size, "big")
    raise TypeError(f"{number} is too large")


def _write(out: list[bytes], value: Any) -> None:
    if isinstance(value, str):
        text = value.encode("utf-8")
        out.append(_head(3, len(text)) + text)
    elif value is None or value is True or value is False:
        out.append({None: b"\xf6", True: b"\xf5", False: b"\xf4"}[value])
    elif isinstance(value, int):
        out.append(_head(0, value) if value >= 0 else _head(1, -1 - value))
    elif isinstance(value, Timestamp):
        out.append(b"\xc1" + (_head(0, int(value)) if value >= 0 and value.is_integer() else _float(value)))
    elif isinstance(value, float):
        out.append(_float(value))
    elif isinstance(value, bytes | bytearray | memoryview):
        out.append(_head(2, len(value)) + bytes(value))
    elif isinstance(value, list | tuple):
        out.append(_head(4, len(value)))
        for each in value:
            _write(out, each)
    elif isinstance(value, dict):
        out.append(_head(5, len(value)))
        for key, each in value.items():
            _write(out, key)
            _write(out, each)
    else:
        raise TypeError(f"CBOR has no form for {type(value).__name__}")


def _float(value: float) -> bytes:
    return b"\xfb" + _DOUBLE.pack(value)
