"""Tuples as bytes that sort as the tuples do, so that a key space reads like a table of columns.

The encoding is FoundationDB's tuple layer (https://github.com/apple/foundationdb/blob/main/design/tuple.md): None <
bytes < str < nested tuple < int < float < False < True, and within a type its own order; a tuple sorts right before
those that extend it. This file knows nothing of stores.
"""

from __future__ import annotations

import struct
from typing import Any, TypeAlias

Tuple: TypeAlias = tuple[Any, ...]

_NONE = 0x00
_BYTES = 0x01
_STR = 0x02
_NESTED = 0x05
_INT_NEGATIVE_LARGE = 0x0B
_INT_ZERO = 0x14
_INT_POSITIVE_LARGE = 0x1D
_FLOAT = 0x21
_FALSE = 0x26
_TRUE = 0x27

_SMALL_INTS = tuple(b"\x14" if i == 0 else bytes((0x15, i)) for i in range(256))
_INT_CODES = tuple(bytes((0x14 + n,)) for n in range(9))
_DOUBLE = struct.Struct(">d")


def pack(t: Tuple) -> bytes:
    """Encode a tuple of None, bytes, str, int, float, bool and tuples of these.

    Raises TypeError for another type, ValueError for a str with lone surrogates or an int of more than 255 bytes.
    """
    parts = []
    for item in t:
        kind = type(item)
        if kind is str:
            if "\0" in item:
                parts.append(b"\x02" + item.encode().replace(b"\0", b"\0\xff") + b"\0")
            else:
                parts.append(("\x02" + item + "\0").encode())
        elif kind is bytes:
            if b"\0" in item:
                item = item.replace(b"\0", b"\0\xff")
            parts.append(b"\x01" + item + b"\0")
        elif kind is int:
            if 0 <= item < 256:
                parts.append(_SMALL_INTS[item])
            elif 0 < item < 0x10000000000000000:
                n = (item.bit_length() + 7) >> 3
                parts.append(_INT_CODES[n] + item.to_bytes(n, "big"))
            else:
                parts.append(_pack_rare_int(item))
        else:
            parts.append(_pack_other(item))
    return b"".join(parts)


def _pack_rare_int(item: int) -> bytes:
    """Negative ones, and those of more than 8 bytes."""
    n = (abs(item).bit_length() + 7) >> 3
    if n > 255:
        raise ValueError("an int of more than 255 bytes cannot be part of a key")
    if item > 0:
        return bytes((_INT_POSITIVE_LARGE, n)) + item.to_bytes(n, "big")
    complement = item + (1 << (8 * n)) - 1
    if n <= 8:
        return bytes((_INT_ZERO - n,)) + complement.to_bytes(n, "big")
    return bytes((_INT_NEGATIVE_LARGE, n ^ 0xFF)) + complement.to_bytes(n, "big")


def _pack_other(item: Any) -> bytes:
    if item is None:
        return b"\0"
    if item is False:
        return b"\x26"
    if item is True:
        return b"\x27"
    if isinstance(item, float):
        return b"\x21" + _ordered_double(_DOUBLE.pack(item))
    if isinstance(item, tuple):
        # None inside a nested tuple is 00 FF, so that the terminating 00 is less than anything that could follow.
        return b"\x05" + b"".join(b"\0\xff" if x is None else pack((x,)) for x in item) + b"\0"
    if isinstance(item, (bytearray, memoryview)):
        return pack((bytes(item),))
    for kind in (str, int):  # subclasses: enums
        if isinstance(item, kind):
            return pack((kind(item),))
    raise TypeError(f"{type(item).__name__} cannot be part of a key")


def _ordered_double(raw: bytes) -> bytes:
    """IEEE order to byte order: the sign bit flips, and for negative numbers all others too."""
    if raw[0] & 0x80:
        return bytes(b ^ 0xFF for b in raw)
    return bytes((raw[0] ^ 0x80,)) + raw[1:]


def _double_of(raw: bytes) -> float:
    restored = bytes((raw[0] ^ 0x80,)) + raw[1:] if raw[0] & 0x80 else bytes(b ^ 0xFF for b in raw)
    value: float = _DOUBLE.unpack(restored)[0]
    return value


def unpack(b: bytes) -> Tuple:
    """The tuple that `pack` made `b` of. Raises ValueError if it made no such bytes."""
    items: list[Any] = []
    at = 0
    size = len(b)
    try:
        while at < size:
            item, at = _decode(b, at)
            items.append(item)
    except IndexError:
        raise ValueError(f"not a packed tuple: {b[:64]!r}") from None
    return tuple(items)


def _decode(b: bytes, at: int) -> tuple[Any, int]:
    code = b[at]
    if code == _STR:
        raw, at = _decode_escaped(b, at + 1)
        return raw.decode(), at
    if code == _BYTES:
        return _decode_escaped(b, at + 1)
    if _INT_NEGATIVE_LARGE <= code <= _INT_POSITIVE_LARGE:
        return _decode_int(b, at, code)
    if code == _NONE:
        return None, at + 1
    if code == _NESTED:
        return _decode_nested(b, at + 1)
    if code == _FLOAT:
        return _double_of(_take(b, at + 1, 8)), at + 9
    if code in (_FALSE, _TRUE):
        return code == _TRUE, at + 1
    raise ValueError(f"not a packed tuple: code {code} at {at}")


def _decode_escaped(b: bytes, at: int) -> tuple[bytes, int]:
    end = b.index(0, at)
    if b[end + 1 : end + 2] != b"\xff":
        return b[at:end], end + 1
    while b[end + 1 : end + 2] == b"\xff":
        end = b.index(0, end + 2)
    return b[at:end].replace(b"\0\xff", b"\0"), end + 1


def _decode_int(b: bytes, at: int, code: int) -> tuple[int, int]:
    at += 1
    if code == _INT_POSITIVE_LARGE:
        n, at, negative = b[at], at + 1, False
    elif code == _INT_NEGATIVE_LARGE:
        n, at, negative = b[at] ^ 0xFF, at + 1, True
    else:
        n, negative = abs(code - _INT_ZERO), code < _INT_ZERO
    value = int.from_bytes(_take(b, at, n), "big")
    return (value - (1 << (8 * n)) + 1 if negative else value), at + n


def _decode_nested(b: bytes, at: int) -> tuple[Tuple, int]:
    items: list[Any] = []
    while True:
        if b[at] == 0:
            if b[at + 1 : at + 2] != b"\xff":
                return tuple(items), at + 1
            items.append(None)
            at += 2
        else:
            item, at = _decode(b, at)
            items.append(item)


def _take(b: bytes, at: int, n: int) -> bytes:
    raw = b[at : at + n]
    if len(raw) != n:
        raise ValueError("not a packed tuple: cut short")
    return raw


def range_of(t: Tuple) -> tuple[bytes, bytes]:
    """(begin, end) of all keys that extend `t` by at least one item or by a versionstamp, so not of `t` itself."""
    packed = pack(t)
    return packed + b"\0", packed + b"\xff"


def prefix_end(b: bytes) -> bytes:
    """The first key after all that begin with `b`. Raises ValueError where there is none (`b` empty or all 0xFF)."""
    stripped = b.rstrip(b"\xff")
    if not stripped:
        raise ValueError("no key comes after every key with this prefix")
    return stripped[:-1] + bytes((stripped[-1] + 1,))
