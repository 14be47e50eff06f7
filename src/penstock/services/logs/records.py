"""What is kept of a group, a stream and a chunk of events."""

from __future__ import annotations

import msgspec


class Group(msgspec.Struct, array_like=True):
    """A log group. Times in ms."""

    created_ms: int
    retention_days: int = 0
    """0: for ever."""
    protected: bool = False
    """Deletion protection."""
    tags: dict[str, str] = {}


class Stream(msgspec.Struct, array_like=True):
    """A log stream. Times in ms; -1: no events."""

    created_ms: int
    first_ms: int = -1
    last_ms: int = -1
    ingested_ms: int = -1
    next_seq: int = 1
    stored_bytes: int = 0


class Chunk(msgspec.Struct, array_like=True):
    """Consecutive events of one batch, in order of time. size_bytes: as AWS counts, 26 for each event besides it."""

    ingested_ms: int
    size_bytes: int
    times_ms: list[int]
    messages: list[str]


encode = msgspec.msgpack.Encoder().encode
decode_group = msgspec.msgpack.Decoder(Group).decode
decode_stream = msgspec.msgpack.Decoder(Stream).decode
decode_chunk = msgspec.msgpack.Decoder(Chunk).decode
