"""The aws-chunked content coding: a payload in chunks that may each be signed, with trailers that may be signed too.

Source: "Signature calculations for the Authorization header: Transferring payload in multiple chunks (AWS Signature
Version 4)", with and without trailers, and "Checking object integrity", in the Amazon S3 documentation.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from penstock.blobs.checksums import Running
from penstock.edge import checksums, refusals
from penstock.edge.refusals import Family
from penstock.edge.sigv4 import EMPTY_SHA256, STREAMING_UNSIGNED_TRAILER, Proof
from penstock.wire.errors import AwsError

_LINE_BYTES = 1024
_TRAILER_BYTES = 8 * 1024
_SIGNATURE = b"chunk-signature="


class Decoder:
    """Takes coded bytes as they come and gives the payload. All errors are AwsError; after one it is of no more use.

    proof: the request's own signature, which the first chunk's is chained to; None for an unsigned request, whose
    chunks cannot be signed either. length: bytes of payload that the client announced, None where it did not.
    """

    __slots__ = (
        "_buffer", "_checksum", "_checksum_name", "_declared", "_ended", "_hash", "_left", "_length", "_previous",
        "_proof", "_said", "_signed", "_state", "decoded_bytes", "trailers",
    )  # fmt: skip

    def __init__(self, proof: Proof | None, payload: str, length: int | None, declared: Sequence[str]) -> None:
        self.trailers: dict[str, str] = {}
        self.decoded_bytes = 0
        self._proof = proof
        self._signed = payload != STREAMING_UNSIGNED_TRAILER and proof is not None
        self._declared = tuple(declared)
        self._length = length
        self._buffer = b""
        self._state = "size"
        self._left = 0
        self._said = ""
        self._previous = proof.signature if proof else ""
        self._hash = hashlib.sha256()
        self._ended = False
        self._checksum: Running | None = None
        self._checksum_name = ""
        for name in self._declared:
            if name.startswith("x-amz-checksum-"):
                self._checksum = checksums.running(name)
                self._checksum_name = name
                if self._checksum is None:
                    raise AwsError(
                        "InvalidRequest", "The value specified in the x-amz-trailer header is not supported", 400
                    )

    def feed(self, data: bytes | memoryview) -> Sequence[bytes | memoryview]:
        """Payload out of the next coded bytes, in pieces, which are not copied where `data` is a memoryview."""
        pieces: list[bytes | memoryview] = []
        if self._buffer:
            data = self._buffer + bytes(data)
            self._buffer = b""
        at = 0
        while at < len(data):
            if self._state == "data":
                piece = data[at : at + self._left] if at or len(data) > self._left else data
                at += len(piece)
                self._take(piece)
                pieces.append(piece)
                continue
            if self._state == "end":
                raise _malformed("bytes after the last chunk")
            # No line may be longer than this: what is behind it need not be looked at.
            window = bytes(data[at : at + _TRAILER_BYTES + 2])
            end = window.find(b"\r\n")
            if end < 0:
                self._buffer = bytes(data[at:])
                if len(self._buffer) > (_TRAILER_BYTES if self._state == "trailer" else _LINE_BYTES):
                    raise _malformed("a line without end")
                break
            at += end + 2
            self._line(window[:end])
        return pieces

    def finish(self) -> None:
        """The coded bytes have ended: see that they ended where they should, and that all sums are right."""
        if self._state not in ("end", "trailer") or self._buffer:
            raise AwsError("IncompleteBody", "The request body terminated unexpectedly", 400)
        if self._length is not None and self.decoded_bytes != self._length:
            raise _incomplete()
        missing = [name for name in self._declared if name not in self.trailers]
        if missing or (self._state == "trailer" and self._signed and self._declared):
            raise _trailer()
        if self._checksum is not None:
            self._check_sum()

    def _take(self, piece: bytes | memoryview) -> None:
        self.decoded_bytes += len(piece)
        if self._length is not None and self.decoded_bytes > self._length:
            raise _incomplete()
        if self._signed:
            self._hash.update(piece)
        if self._checksum is not None:
            self._checksum.update(piece)
        self._left -= len(piece)
        if not self._left:
            self._state = "crlf"

    def _line(self, line: bytes) -> None:
        if self._state == "crlf":
            if line:
                raise _malformed("a chunk is longer than it says")
            self._check_chunk()
            self._state = "size"
        elif self._state == "size":
            self._size(line)
        elif line.strip():
            self._trailer(line)
        else:
            if self._signed and self._declared:
                self._check_trailers()
            self._state = "end"

    def _size(self, line: bytes) -> None:
        digits, _, extension = line.partition(b";")
        if not digits or len(digits) > 16 or not all(c in b"0123456789abcdefABCDEF" for c in digits):
            raise _malformed("a chunk's size")
        self._left = int(digits, 16)
        if self._signed:
            if not extension.startswith(_SIGNATURE):
                raise _malformed("a chunk without its signature")
            self._said = extension[len(_SIGNATURE) :].decode("latin-1")
            self._hash = hashlib.sha256()
        if self._left:
            self._state = "data"
            return
        self._check_chunk()
        self._state = "trailer"

    def _check_chunk(self) -> None:
        if self._signed and self._proof is not None:
            self._sign(f"AWS4-HMAC-SHA256-PAYLOAD\n{{}}\n{EMPTY_SHA256}\n{self._hash.hexdigest()}", self._said)

    def _sign(self, form: str, said: str) -> None:
        proof = self._proof
        assert proof is not None
        to_sign = form.format(f"{proof.amz_date}\n{proof.scope}\n{self._previous}")
        expected = hmac.digest(proof.key, to_sign.encode(), "sha256").hex()
        if not hmac.compare_digest(expected.encode(), said.encode("latin-1", "replace")):
            raise refusals.mismatch(Family.S3, "", said, to_sign, "")
        self._previous = expected

    def _trailer(self, line: bytes) -> None:
        name, colon, value = line.decode("latin-1").strip("\n").partition(":")
        name = name.strip().lower()
        if not colon or len(self.trailers) >= 16 or (name not in self._declared and name != "x-amz-trailer-signature"):
            raise _trailer()
        self.trailers[name] = value.strip()

    def _check_trailers(self) -> None:
        said = self.trailers.pop("x-amz-trailer-signature", "")
        text = "".join(f"{name}:{value}\n" for name, value in sorted(self.trailers.items()))
        digest = hashlib.sha256(text.encode("latin-1")).hexdigest()
        self._sign(f"AWS4-HMAC-SHA256-TRAILER\n{{}}\n{digest}", said)

    def _check_sum(self) -> None:
        assert self._checksum is not None
        said = self.trailers[self._checksum_name]
        algorithm = self._checksum_name.removeprefix("x-amz-checksum-").upper()
        if not hmac.compare_digest(said.encode("latin-1"), checksums.text(self._checksum).encode()):
            raise AwsError("BadDigest", f"The {algorithm} you specified did not match the calculated checksum.", 400)


def _malformed(what: str) -> AwsError:
    return AwsError("InvalidRequest", f"The body is not well-formed aws-chunked content: {what}.", 400)


def _incomplete() -> AwsError:
    return AwsError(
        "IncompleteBody",
        "You did not provide the number of bytes specified by the x-amz-decoded-content-length header",
        400,
    )


def _trailer() -> AwsError:
    return AwsError(
        "MalformedTrailerError",
        "The request contained trailing data that was not well-formed or did not conform to our published schema.",
        400,
    )
