"""A request's payload behind its signature: decoded, held to the hash that was signed, collected where needed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import zlib
from collections.abc import AsyncIterator, Callable

from penstock.edge import checksums, refusals
from penstock.edge.aws_chunked import Decoder
from penstock.edge.refusals import Family
from penstock.edge.sigv4 import STREAMING, UNSIGNED, Proof
from penstock.wire import models
from penstock.wire.errors import AwsError
from penstock.wire.message import BodyStream, Request


class Collector:
    """Makes streams whole bodies, and bounds what all requests at once may hold that way: nothing of it is verified."""

    def __init__(self, limit_bytes: int = 512 * 1024**2) -> None:
        self._limit = limit_bytes
        self.held_bytes = 0

    async def __call__(self, request: Request, limit_bytes: int, kind: Family, operation: str = "") -> None:
        """Raises AwsError where the body is larger than `limit_bytes`, or all together are too large."""
        stream = request.stream
        if len(request.body) > limit_bytes or (stream is not None and (stream.length or 0) > limit_bytes):
            raise too_large(kind, limit_bytes, operation)
        if stream is None:
            return
        parts: list[bytes | memoryview] = []
        size = 0
        try:
            async for piece in stream:
                size += len(piece)
                self.held_bytes += len(piece)
                if size > limit_bytes:
                    raise too_large(kind, limit_bytes, operation)
                if self.held_bytes > self._limit:
                    raise refusals.overloaded(kind)
                parts.append(piece)
        finally:
            self.held_bytes -= size
        request.headers.update(stream.trailers)
        request.body, request.stream = b"".join(parts), None


def too_large(kind: Family, limit_bytes: int = 0, operation: str = "") -> AwsError:
    """The body is larger than the operation takes; said in Lambda's words where the protocol is its."""
    if kind is Family.S3:
        return AwsError("MaxMessageLengthExceeded", "Your request was too big.", 400)
    code = "RequestEntityTooLarge" if kind is Family.QUERY else "RequestEntityTooLargeException"
    if kind is Family.REST_JSON and operation:
        return AwsError(code, f"Request must be smaller than {limit_bytes} bytes for the {operation} operation", 413)
    return AwsError(code, "The request body is too large.", 413)


def settle(request: Request, proof: Proof | None, kind: Family) -> None:
    """Turn what came over the wire into the payload itself, in place.

    Raises AwsError; a stream raises it when it is read.
    """
    headers = request.headers
    said = proof.payload if proof is not None else headers.get("x-amz-content-sha256", "")
    if said not in STREAMING:
        if request.stream is not None and proof is not None and said and said != UNSIGNED:
            request.stream = _Hashed(request.stream, said, kind)
        return
    announced = headers.get("x-amz-decoded-content-length", "")
    if not announced.isascii() or not announced.isdigit():
        raise AwsError("MissingContentLength", "You must provide the Content-Length HTTP header.", 411)
    declared = [name.strip().lower() for name in headers.get("x-amz-trailer", "").split(",") if name.strip()]
    decoder = Decoder(proof, said, int(announced), declared)
    codings = [c.strip() for c in headers.get("content-encoding", "").split(",")]
    kept = ",".join(c for c in codings if c and c.lower() != "aws-chunked")
    if kept:
        headers["content-encoding"] = kept
    else:
        headers.pop("content-encoding", None)
    headers["content-length"] = announced
    if request.stream is not None:
        request.stream = _Decoded(request.stream, decoder, int(announced))
        return
    pieces = decoder.feed(request.body)
    decoder.finish()
    request.body = pieces[0] if len(pieces) == 1 and type(pieces[0]) is bytes else b"".join(pieces)
    headers.update(decoder.trailers)


COMPRESSIBLE = frozenset({Family.JSON, Family.QUERY})
"""Whose bodies may come compressed. Elsewhere Content-Encoding belongs to an object, or to nothing that AWS takes."""


def inflate(request: Request, limit_bytes: int, kind: Family) -> None:
    """Undo a whole body's Content-Encoding, in place; what was signed is the compressed form, so verify first.

    limit_bytes bounds the decompressed body. Raises AwsError: too large, no gzip, or a coding that is not taken. Source:
    "Request compression" in the AWS SDKs and Tools reference guide: gzip is the only one.
    """
    codings = [c for c in (c.strip().lower() for c in request.headers["content-encoding"].split(",")) if c]
    if codings == ["gzip"]:
        body = _gunzip(request.body, limit_bytes)
        if body is None:
            raise AwsError("SerializationException", "The request body is not valid gzip.", 400)
        if len(body) > limit_bytes:
            raise too_large(kind)
        request.body = body
        request.headers["content-length"] = str(len(body))
    elif codings not in ([], ["identity"]):
        raise AwsError("UnsupportedMediaTypeException", "The only Content-Encoding taken is gzip.", 415)
    del request.headers["content-encoding"]


def legible(request: Request, limit_bytes: int) -> Request:
    """The request with its body decompressed, to be routed by what its form says; itself where that cannot be had."""
    headers = request.headers
    if headers["content-encoding"].strip().lower() != "gzip" or request.stream is not None:
        return request
    body = _gunzip(request.body, limit_bytes)
    return request if body is None else Request(request.method, request.path, request.query, headers, body)


def _gunzip(body: bytes, limit_bytes: int) -> bytes | None:
    """At most one byte more than the limit; None where it is not one whole gzip member."""
    opened = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        plain = opened.decompress(body, limit_bytes + 1)
    except zlib.error:
        return None
    if len(plain) > limit_bytes:
        return plain
    return plain if opened.eof and not opened.unused_data else None


def check_document(request: Request, operation: str) -> None:
    """Compare an S3 request's XML with the checksums it came with. Raises AwsError InvalidDigest, BadDigest, InvalidRequest.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html says which operations must carry one.
    """
    rule = models.service("s3").operations[operation].http_checksum
    if "requestAlgorithmMember" not in rule and "content-md5" not in request.headers:
        return  # a checksum, if any, is of something else: of the object that CompleteMultipartUpload makes
    body, given = request.body, False
    for name, said in request.headers.items():
        if name == "content-md5":
            found = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
            if len(said) != len(found):
                raise AwsError("InvalidDigest", "The Content-MD5 you specified was invalid.", 400)
        elif (
            "requestAlgorithmMember" in rule
            and name.startswith("x-amz-checksum-")
            and (sum_of := checksums.running(name)) is not None
        ):
            sum_of.update(body)
            found = checksums.text(sum_of)
        else:
            continue
        given = True
        if not hmac.compare_digest(found.encode(), said.encode("latin-1", "replace")):
            what = "Content-MD5" if name == "content-md5" else name.removeprefix("x-amz-checksum-").upper()
            raise AwsError("BadDigest", f"The {what} you specified did not match what we received.", 400)
    if not given and rule.get("requestChecksumRequired"):
        raise AwsError(
            "InvalidRequest", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*", 400
        )


class _Hashed:
    """A stream whose SHA-256 was signed: see `wire.message.HashedStream`."""

    def __init__(self, stream: BodyStream, said: str, kind: Family) -> None:
        self._stream = stream
        self._said = said
        self._kind = kind
        self._hash = hashlib.sha256()
        self.length = stream.length
        self.trailers: dict[str, str] = {}

    async def __aiter__(self) -> AsyncIterator[bytes | memoryview]:
        async for piece in self._stream:
            self._hash.update(piece)
            yield piece
            del piece  # its memory may be used again
        self.check()

    def unhashed(self) -> tuple[AsyncIterator[bytes | memoryview], Callable[[bytes | memoryview], object]]:
        return aiter(self._stream), self._hash.update

    def check(self) -> None:
        found = self._hash.hexdigest()
        if not hmac.compare_digest(found, self._said.lower()):
            raise refusals.payload_differs(self._kind, self._said, found)


class _Decoded:
    """The payload of an aws-chunked stream."""

    def __init__(self, stream: BodyStream, decoder: Decoder, length: int) -> None:
        self._stream = stream
        self._decoder = decoder
        self.length: int | None = length
        self.trailers = decoder.trailers

    async def __aiter__(self) -> AsyncIterator[bytes | memoryview]:
        async for coded in self._stream:
            for piece in self._decoder.feed(coded):
                yield piece
                del piece  # its memory may be used again
            del coded
        self._decoder.finish()
