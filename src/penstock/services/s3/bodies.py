"""Bodies on their way in: small ones are gathered for the store, large ones go to a blob; all are checked."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from awscrt.checksums import crc64nvme

from penstock.blobs.api import BlobMissing, BlobWriter
from penstock.blobs.checksums import CRC64NVME, Running, decode, digest, encode, running
from penstock.core.call import Call
from penstock.core.operation import Params
from penstock.services.s3 import checksums, rules
from penstock.services.s3.encryption.data_key import DataKey, bound_to
from penstock.services.s3.records import Segment
from penstock.store.api import Conflict, Transaction, TransactionTooLarge
from penstock.wire.errors import AwsError
from penstock.wire.message import BodyStream, HashedStream

T = TypeVar("T")
log = logging.getLogger(__name__)

INLINE_BYTES = 64 * 1024
"""Bodies up to this size are kept in the store, in the transaction of their record."""


class Received:
    """A body that has come in whole and right. Until `commit` nothing of it can be seen.

    crc: CRC64NVME. algorithm, checksum: what the client gave (verified), else what we computed.
    """

    __slots__ = ("algorithm", "checksum", "crc", "inline", "md5", "size", "writer")

    def __init__(
        self,
        md5: bytes,
        size: int,
        algorithm: str,
        checksum: str,
        crc: int,
        *,
        inline: bytes | None = None,
        writer: BlobWriter | None = None,
    ) -> None:
        self.md5 = md5
        self.size = size
        self.algorithm = algorithm
        self.checksum = checksum
        self.crc = crc
        self.inline = inline
        self.writer = writer

    @property
    def segments(self) -> list[Segment]:
        """Where the bytes are, if not inline."""
        return [] if self.writer is None else [(self.writer.name, 0, self.size)]

    async def discard(self) -> None:
        """Take nothing after all."""
        if self.writer is not None:
            await self.writer.abort()

    def commit(self, call: Call, body: Callable[[Transaction], T]) -> Awaitable[T]:
        """Run the transaction that makes a record name these bytes. What is kept in the store is a part of it."""
        return call.store.transact(body) if self.writer is None else self._commit(call, body)

    async def _commit(self, call: Call, body: Callable[[Transaction], T]) -> T:
        """If the transaction certainly did not happen, the blob goes.

        After anything else (an unknown commit, a failed sync, a cancellation while the commit was under way) a record
        may name them, now or after a restart: then the sweep finds out, and takes only what nobody names.
        """
        try:
            return await call.store.transact(body)
        except (AwsError, BlobMissing, Conflict, TransactionTooLarge) as error:
            await self.discard()
            if isinstance(error, BlobMissing):
                raise _internal() from error
            raise


async def receive(
    call: Call, params: Params, under: DataKey | None, wanted: str = "", *, inline_bytes: int = INLINE_BYTES
) -> Received:
    """Take the call's Body, and encrypt it. `wanted`: a checksum to compute besides what the client gave, if another.

    under: None leaves it as it is, for the part of an upload that was begun so.
    Raises AwsError InvalidDigest, BadDigest, InvalidRequest, EntityTooLarge, InternalError (disk).
    """
    source = params.get("Body", b"")
    if isinstance(source, bytes) and len(source) <= inline_bytes:
        return take(params, source, under, wanted)
    algorithm, expected, expected_md5 = _expected(params, wanted)
    received = await _streamed(call, source, algorithm, inline_bytes, under.key if under is not None else b"")
    try:
        _verify(received, params, expected, expected_md5, getattr(source, "trailers", None))
    except BaseException:
        await received.discard()
        raise
    if received.inline is not None and under is not None:
        received.inline = under.bodies.seal(received.inline, bound_to(params["Bucket"], params["Key"]))
    return received


def take(params: Params, data: bytes, under: DataKey | None, wanted: str = "") -> Received:
    """As `receive`, of a small body that is here whole: nothing is waited for."""
    said = checksums.named(params)
    if said is None and "ChecksumAlgorithm" in params:
        raise checksums.without_value()
    received = _whole(data, said[0] if said is not None else wanted or CRC64NVME)
    if "ContentMD5" in params or (said is not None and said[1] != received.checksum):
        _, expected, expected_md5 = _expected(params, wanted)
        _verify(received, params, expected, expected_md5, None)
    if under is not None:
        received.inline = under.bodies.seal(data, bound_to(params["Bucket"], params["Key"]))
    return received


def _expected(params: Params, wanted: str) -> tuple[str, str | None, bytes | None]:
    """The checksum to compute; its value and the MD5, where the client says them. Raises AwsError."""
    given = checksums.given(params)
    expected_md5 = None
    if "ContentMD5" in params:
        expected_md5 = decode("MD5", params["ContentMD5"])
        if expected_md5 is None:
            raise AwsError(
                "InvalidDigest", "The Content-MD5 you specified was invalid.", 400,
                members={"Content-MD5": params["ContentMD5"]},
            )  # fmt: skip
    if given is not None:
        return given[0], given[1], expected_md5
    return wanted or checksums.declared(params) or CRC64NVME, None, expected_md5


def _whole(data: bytes, algorithm: str) -> Received:
    md5 = hashlib.md5(data, usedforsecurity=False).digest()
    crc: int = crc64nvme(data)
    value = crc.to_bytes(8, "big") if algorithm == CRC64NVME else digest(algorithm, data)
    return Received(md5, len(data), algorithm, encode(value), crc, inline=data)


def _verify(
    received: Received,
    params: Params,
    expected: str | None,
    expected_md5: bytes | None,
    trailers: dict[str, str] | None,
) -> None:
    if expected_md5 is not None and expected_md5 != received.md5:
        told = params["ContentMD5"] if "PartNumber" in params else expected_md5.hex()  # as AWS does
        raise AwsError(
            "BadDigest", "The Content-MD5 you specified did not match what we received.", 400,
            members={"ExpectedDigest": told, "CalculatedDigest": encode(received.md5)},
        )  # fmt: skip
    if expected is not None and expected != received.checksum:
        raise checksums.mismatch(received.algorithm)
    trailing = checksums.in_trailers(trailers) if trailers else None
    if trailing is None and expected is None and "ChecksumAlgorithm" in params:
        raise checksums.without_value()
    if trailing is not None and expected is None:
        if trailing[0] == received.algorithm and trailing[1] != received.checksum:
            raise checksums.mismatch(trailing[0])
        received.algorithm, received.checksum = trailing


async def _streamed(call: Call, source: bytes | BodyStream, algorithm: str, inline_bytes: int, key: bytes) -> Received:
    taps: dict[str, Running] = {name: running(name) for name in ("MD5", CRC64NVME, algorithm)}
    length = len(source) if isinstance(source, bytes) else source.length
    if length is not None and length > rules.OBJECT_BYTES_PER_PUT:
        raise too_large(length)
    writer: BlobWriter | None = None
    gathered = bytearray()
    updates = [tap.update for tap in taps.values()]
    pieces: Any = source
    hashed: HashedStream | None = None
    if hasattr(source, "unhashed") and length is not None and length > inline_bytes:
        hashed = cast(HashedStream, source)
        pieces, update = hashed.unhashed()
        updates.insert(0, update)
    try:
        if length is not None and length > inline_bytes:
            writer = await call.blobs.create(*updates, key=key, length=length)
        if isinstance(source, bytes):
            assert writer is not None, "the caller keeps small ones"
            await writer.write(source)
        else:
            async for piece in pieces:
                if writer is None:
                    gathered += piece
                    if len(gathered) <= inline_bytes:
                        continue
                    writer = await call.blobs.create(*updates, key=key, length=length)
                    await writer.write(bytes(gathered))
                else:
                    await writer.write(piece)
                    del piece  # its memory may be used again
                if writer.size_bytes > rules.OBJECT_BYTES_PER_PUT:
                    raise too_large(writer.size_bytes)
        if writer is None:
            return _whole(bytes(gathered), algorithm)
        await writer.finish()
        if hashed is not None:
            hashed.check()
    except BaseException as error:
        if writer is not None:
            await writer.abort()
        if isinstance(error, OSError):
            log.error("a body could not be kept: %s", error)
            raise _internal() from error
        raise
    crc = int.from_bytes(taps[CRC64NVME].digest(), "big")
    return Received(
        taps["MD5"].digest(), writer.size_bytes, algorithm, encode(taps[algorithm].digest()), crc, writer=writer
    )


def too_large(size: int) -> AwsError:
    members: dict[str, Any] = {"ProposedSize": str(size), "MaxSizeAllowed": str(rules.OBJECT_BYTES_PER_PUT)}
    return AwsError("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size", 400, members=members)


def _internal() -> AwsError:
    return AwsError("InternalError", "We encountered an internal error. Please try again.", 500)
