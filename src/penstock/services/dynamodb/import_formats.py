"""From the bytes of an object to be imported to its items: decompressing, cutting into lines, reading a line.

Source: "Amazon S3 import formats for DynamoDB" of the developer guide. Items are lines in every format.
"""

from __future__ import annotations

import csv
import importlib
import json
import re
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from penstock.services.dynamodb import ion
from penstock.services.dynamodb.attributes import Item
from penstock.wire.errors import AwsError, not_implemented

_spaces = re.compile(r"\s*").match
_raw_decode = json.JSONDecoder().raw_decode
MAX_LINE_BYTES = 16 << 20
"""An item of 400 KB takes far less, whatever its format: what is longer is not cut into items."""


class BrokenObjectError(Exception):
    """The rest of an object cannot be read: not what it is said to be compressed by, or no lines."""


class LineError(Exception):
    """A line that stands for no item."""


class _Decompressor(Protocol):
    def decompress(self, data: bytes, /) -> bytes: ...


class _Gzip:
    """Members one after the other, as gzip allows."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self.unfinished = False
        """Whether a member has begun and not ended."""

    def decompress(self, data: bytes) -> bytes:
        found = []
        while data:
            found.append(self._member.decompress(data))
            data = self._member.unused_data
            self.unfinished = not self._member.eof
            if self._member.eof:
                self._member = zlib.decompressobj(wbits=31)
        return b"".join(found)


class _Plain:
    def decompress(self, data: bytes) -> bytes:
        return data


def decompressor(kind: str) -> _Decompressor:
    """For GZIP, ZSTD or NONE. Raises NotImplemented for ZSTD where the package `zstandard` is not installed."""
    if kind == "GZIP":
        return _Gzip()
    if kind == "ZSTD":
        try:
            zstandard = importlib.import_module("zstandard")
        except ImportError:
            raise not_implemented("imports compressed by ZSTD without the package zstandard (penstock[zstd])") from None
        found: _Decompressor = zstandard.ZstdDecompressor().decompressobj(read_across_frames=True)
        return found
    return _Plain()


async def lines(chunks: AsyncIterator[bytes], compression: str) -> AsyncIterator[bytes]:
    """The lines of an object, without their ends, empty ones left out. Raises BrokenObjectError."""
    unpack = decompressor(compression)
    rest = b""
    async for chunk in chunks:
        for begin in range(0, len(chunk), 1 << 16):
            try:
                rest += unpack.decompress(chunk[begin : begin + (1 << 16)])
            except Exception as error:
                raise BrokenObjectError(f"the object is not compressed by {compression}: {error}") from error
            *whole, rest = rest.split(b"\n")
            for line in whole:
                if line.strip():
                    yield line.rstrip(b"\r")
            if len(rest) > MAX_LINE_BYTES:
                raise BrokenObjectError(f"a line is longer than {MAX_LINE_BYTES} bytes")
    if isinstance(unpack, _Gzip) and unpack.unfinished:
        raise BrokenObjectError("the object ends before what is compressed in it does")
    if rest.strip():
        yield rest.rstrip(b"\r")


class JsonLines:
    """{"Item": {…}} in each line."""

    first = False

    def cut(self, line: bytes) -> Iterable[bytes]:
        """The items of a line: AWS reads several that nothing stands between, too."""
        if b"}{" not in line and b"} {" not in line:
            return (line,)
        try:
            text, at, found = line.decode(), 0, []
            while at < len(text):
                _, end = _raw_decode(text, at)
                found.append(text[at:end].encode())
                at = _spaces(text, end).end()  # type: ignore[union-attr]
        except ValueError:
            return (line,)
        return found

    def item(self, line: bytes) -> Item:
        """The item of a line. Raises LineError."""
        try:
            found = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise LineError(f"The line is not JSON: {error}") from None
        item = found.get("Item") if isinstance(found, dict) else None
        if not isinstance(item, dict):
            raise LineError('The line is not of the form {"Item": {...}}')
        return item


class IonLines:
    """{Item:{…}} in each line."""

    first = False

    def cut(self, line: bytes) -> Iterable[bytes]:
        """A line is an item."""
        return (line,)

    def item(self, line: bytes) -> Item:
        """The item of a line. Raises LineError."""
        try:
            return ion.parse_item(line.decode())
        except (ion.IonError, UnicodeDecodeError) as error:
            raise LineError(f"The line is not an item in Ion: {error}") from None


class CsvLines:
    """Values in each line: strings but for the keys of the table and of its indexes, which have their types."""

    def __init__(self, options: Mapping[str, Any], types: Mapping[str, str]) -> None:
        self._delimiter = options.get("Delimiter", ",")
        self._types = types
        self._header: list[str] = list(options.get("HeaderList") or ())
        self.first = not self._header
        """Whether the first line of each object is its header."""

    def cut(self, line: bytes) -> Iterable[bytes]:
        """A line is an item."""
        return (line,)

    def header(self, line: bytes) -> None:
        """Take an object's first line."""
        self._header = self._cells(line)

    def item(self, line: bytes) -> Item:
        """The item of a line. Raises LineError."""
        cells = self._cells(line)
        if len(cells) != len(self._header):
            raise LineError(f"The line has {len(cells)} values, but there are {len(self._header)} columns")
        return {name: {self._types.get(name, "S"): cell} for name, cell in zip(self._header, cells, strict=True)}

    def _cells(self, line: bytes) -> list[str]:
        try:
            return next(csv.reader([line.decode("utf-8-sig")], delimiter=self._delimiter, strict=True))
        except (csv.Error, UnicodeDecodeError) as error:
            raise LineError(f"The line is not CSV: {error}") from None


Lines = JsonLines | IonLines | CsvLines


def reader(params: Mapping[str, Any], types: Mapping[str, str]) -> Lines:
    """What reads the lines of one object, as ImportTable's parameters say."""
    match params["InputFormat"]:
        case "DYNAMODB_JSON":
            return JsonLines()
        case "ION":
            return IonLines()
    return CsvLines(params.get("InputFormatOptions", {}).get("Csv", {}), types)


def failure(error: LineError | AwsError) -> str:
    """What is wrong with a line, in words."""
    return error.message if isinstance(error, AwsError) else str(error)
