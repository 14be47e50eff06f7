"""S3 without a wire: a node on the memory store, called as the edge would call it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import penstock.services.s3  # noqa: F401  (registers the operations)
from penstock.blobs.files import FileBlobs
from penstock.clock import Clock
from penstock.config import Settings
from penstock.core.identity import Directory, Principal, root
from penstock.core.node import Node
from penstock.runtime.api import Runtime
from penstock.store.api import Store
from penstock.store.memory import MemoryStore
from penstock.telemetry import Telemetry
from penstock.wire.message import OutgoingStream

ACCOUNT = "111111111111"
_STAYS = (b"intent", b"master key", b"\x02s3\x00\x02sk")
"""Parts of keys that outlive all buckets: names of blobs for later, and S3's own encryption keys."""


MASTER_KEY = "2a" * 32
"""The same for every node of a test: a store is opened again by another one."""


def left_behind(store: Any) -> list[bytes]:
    """The keys of a memory store that should have gone with the last bucket."""
    return [key for key in store.data if not any(part in key for part in _STAYS)]


class S3:
    """`await s3("PutObject", Bucket=..., ...)` as root of `account` in `region`."""

    def __init__(self, data: Path, store: Store | None = None, region: str = "us-east-1", limits: bool = True) -> None:
        self.clock = Clock()
        self.store = store or MemoryStore()
        self.blobs = FileBlobs(data / "blobs", self.store, self.clock)
        self.region = region
        self.node = Node(
            Settings(limits=limits, master_key=MASTER_KEY), self.clock, self.store, self.blobs, cast(Runtime, None),
            cast(Directory, None), Telemetry(),
        )  # fmt: skip

    async def __call__(
        self,
        operation: str,
        *,
        account: str = ACCOUNT,
        region: str = "",
        principal: Principal | None = None,
        **params: Any,
    ) -> dict[str, Any]:
        return await self.node.call(
            "s3", operation, params, principal=principal or root(account), account=account, region=region or self.region
        )

    async def get(self, bucket: str, key: str, **params: Any) -> bytes:
        """A whole body."""
        return await whole((await self("GetObject", Bucket=bucket, Key=key, **params))["Body"])


async def whole(body: bytes | OutgoingStream) -> bytes:
    """A result's body as bytes; its announced length is checked."""
    if isinstance(body, bytes):
        return body
    data = b"".join([piece async for piece in body.chunks])
    assert len(data) == body.length
    return data


class Arriving:
    """A request body that arrives in pieces, as the edge hands it on."""

    def __init__(
        self, data: bytes, piece: int = 50_000, trailers: dict[str, str] | None = None, length: int | None = -1
    ):
        self.data = data
        self.piece = piece
        self.after = trailers or {}
        self.trailers: dict[str, str] = {}
        self.length: int | None = len(data) if length == -1 else length

    async def __aiter__(self):  # type: ignore[no-untyped-def]
        for at in range(0, len(self.data), self.piece):
            yield self.data[at : at + self.piece]
        self.trailers.update(self.after)
