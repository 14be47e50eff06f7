"""The objects of a listing, written as text at once: the one answer of S3's that is long and asked for often.

What the model's writers make of a thousand dicts, this makes in a fourth of the time, and no dict. Whoever looks at the
objects as a sequence finds those dicts.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar, overload

from penstock.wire.timestamps import iso_minute
from penstock.wire.xml_out import escape

_SECONDS = tuple(f"{second:02}.000Z" for second in range(60))


class Record(Protocol):
    """What is told of an object. modified_ms: since the epoch. etag: without quotes.

    checksum: the algorithm, or ""; checksum_type: of it. storage_class: "" for STANDARD.
    """

    etag: str
    size: int
    modified_ms: int
    checksum: str
    checksum_type: str
    storage_class: str


R = TypeVar("R", bound=Record)


class ListedObjects(Sequence[dict[str, Any]], Generic[R]):
    """What a listing's result has as its Contents. All of the result's objects are in here: it is never empty."""

    __slots__ = ("_encode", "_objects", "_owner")

    def __init__(
        self, objects: list[tuple[str, R]], encode: Callable[[str], str], owner: Callable[[R], str] | None
    ) -> None:
        """encode: how keys are written. owner: gives the canonical id of an object's; None where it is not told."""
        self._objects = objects
        self._encode = encode
        self._owner = owner

    def __len__(self) -> int:
        return len(self._objects)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        return list(self)[index]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for key, record in self._objects:
            told: dict[str, Any] = {
                "Key": self._encode(key),
                "LastModified": record.modified_ms // 1000,
                "ETag": f'"{record.etag}"',
                "Size": record.size,
                "StorageClass": record.storage_class or "STANDARD",
            }
            if record.checksum:
                told["ChecksumAlgorithm"] = [record.checksum]
                told["ChecksumType"] = record.checksum_type
            if self._owner is not None:
                told["Owner"] = {"ID": self._owner(record)}
            yield told

    def xml(self) -> str:
        """Their elements, one after the other, as the model's writers would have it."""
        encode, owner, minute, seconds = self._encode, self._owner, iso_minute, _SECONDS
        parts = []
        for key, record in self._objects:
            second = record.modified_ms // 1000
            parts.append(
                f"<Contents><Key>{escape(encode(key))}</Key><LastModified>{minute(second // 60)}{seconds[second % 60]}"
                f'</LastModified><ETag>"{record.etag}"{_before_size(record.checksum, record.checksum_type)}{record.size}'
                f"{_behind_size(record.storage_class, '' if owner is None else owner(record))}"
            )
        return "".join(parts)


@functools.lru_cache(256)
def _before_size(checksum: str, checksum_type: str) -> str:
    if not checksum:
        return "</ETag><Size>"
    return f"</ETag><ChecksumAlgorithm>{checksum}</ChecksumAlgorithm><ChecksumType>{checksum_type}</ChecksumType><Size>"


@functools.lru_cache(1024)
def _behind_size(storage_class: str, owner: str) -> str:
    told = f"<Owner><ID>{owner}</ID></Owner>" if owner else ""
    return f"</Size><StorageClass>{storage_class or 'STANDARD'}</StorageClass>{told}</Contents>"
