"""Checksums of bodies, kept while they pass."""

from __future__ import annotations

from penstock.blobs.checksums import SIZES_BYTES, Running, encode
from penstock.blobs.checksums import running as running_of

PREFIX = "x-amz-checksum-"
_ALGORITHMS = {f"{PREFIX}{name.lower()}": name for name in SIZES_BYTES}


def running(header: str) -> Running | None:
    """The checksum that a header `x-amz-checksum-<algorithm>` holds; None for an algorithm that is not known."""
    algorithm = _ALGORITHMS.get(header)
    return None if algorithm is None else running_of(algorithm)


def text(value: Running) -> str:
    """As it stands in a header."""
    return encode(value.digest())
