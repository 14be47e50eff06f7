"""CloudWatch Logs' keys. Every one begins ("logs", account, region, ...), but for the worker's.

("logs", account, region, "group", group)                       records.Group
("logs", account, region, "bytes", group)                       counter: bytes of the group's events
("logs", account, region, "stream", group, stream)              records.Stream
("logs", account, region, "chunk", group, stream, first, seq)   records.Chunk (chunked): some consecutive events of a
                                                                batch; first: its first event's ms, seq: grows with
                                                                each chunk of the stream
("logs:retention", account, region, group)                      b"": the group has a retention policy
("logs:lease") + name                                           leases: who expires events
"""

from __future__ import annotations

from penstock.store.tuples import pack, prefix_end, unpack

RETENTION = pack(("logs:retention",))
LEASES = pack(("logs:lease",))


def group(account: str, region: str, name: str) -> bytes:
    return pack(("logs", account, region, "group", name))


def groups(account: str, region: str) -> bytes:
    """The prefix of all groups."""
    return pack(("logs", account, region, "group"))


def stored_bytes(account: str, region: str, name: str) -> bytes:
    return pack(("logs", account, region, "bytes", name))


def stream(account: str, region: str, group_name: str, name: str) -> bytes:
    return pack(("logs", account, region, "stream", group_name, name))


def streams(account: str, region: str, group_name: str) -> bytes:
    """The prefix of all streams of a group."""
    return pack(("logs", account, region, "stream", group_name))


def chunks(account: str, region: str, group_name: str, stream_name: str) -> bytes:
    """The prefix of all chunks of a stream: a chunk's key is this and `chunk`."""
    return pack(("logs", account, region, "chunk", group_name, stream_name))


def chunks_of_group(account: str, region: str, group_name: str) -> bytes:
    """The prefix of all chunks of a group."""
    return pack(("logs", account, region, "chunk", group_name))


def chunk(first_ms: int, seq: int) -> bytes:
    """What follows a stream's prefix."""
    return pack((first_ms, seq))


def retention(account: str, region: str, group_name: str) -> bytes:
    return pack(("logs:retention", account, region, group_name))


def last_name(key: bytes) -> str:
    """The last item of a group's or a stream's key."""
    name: str = unpack(key)[-1]
    return name


def range_under(prefix: bytes) -> tuple[bytes, bytes]:
    """(begin, end) of all that a prefix of the above covers."""
    return prefix, prefix_end(prefix)
