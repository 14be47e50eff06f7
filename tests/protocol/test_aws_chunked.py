"""aws-chunked payloads: signed by hand as AWS documents it, cut anywhere, and tampered with."""

from __future__ import annotations

import base64
import hashlib
import hmac
import zlib
from collections.abc import Iterable

import pytest
from awscrt import checksums as crt
from hypothesis import given
from hypothesis import strategies as st

from penstock.edge import sigv4
from penstock.edge.aws_chunked import Decoder
from penstock.edge.sigv4 import STREAMING_SIGNED, STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER, Proof
from penstock.wire.errors import AwsError

DATE, SCOPE, SEED = "20130524T000000Z", "20130524/us-east-1/s3/aws4_request", "a" * 64
KEY = sigv4.signing_key("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524", "us-east-1", "s3")
CHUNKS = [b"a" * 8192, b"b" * 8192, b"the end"]
DATA = b"".join(CHUNKS)


def sign(kind: str, previous: str, *rest: str) -> str:
    text = "\n".join((f"AWS4-HMAC-SHA256-{kind}", DATE, SCOPE, previous, *rest))
    return hmac.new(KEY, text.encode(), hashlib.sha256).hexdigest()


def coded(chunks: Iterable[bytes], trailers: dict[str, str] | None = None) -> bytes:
    """A signed payload, as the documentation's example has it."""
    previous, out = SEED, b""
    for chunk in (*chunks, b""):
        previous = sign("PAYLOAD", previous, sigv4.EMPTY_SHA256, hashlib.sha256(chunk).hexdigest())
        out += b"%x;chunk-signature=%s\r\n" % (len(chunk), previous.encode())
        if chunk:
            out += chunk + b"\r\n"
    if trailers:
        text = "".join(f"{name}:{value}\n" for name, value in sorted(trailers.items()))
        signature = sign("TRAILER", previous, hashlib.sha256(text.encode()).hexdigest())
        out += "".join(f"{name}:{value}\r\n" for name, value in trailers.items()).encode()
        out += f"x-amz-trailer-signature:{signature}\r\n".encode()
    return out + b"\r\n"


def unsigned(chunks: Iterable[bytes], trailers: dict[str, str]) -> bytes:
    out = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n"
    return out + "".join(f"{name}:{value}\r\n" for name, value in trailers.items()).encode() + b"\r\n"


def proof(payload: str, signature: str = SEED) -> Proof:
    return Proof(KEY, DATE, SCOPE, signature, payload)


def decode(payload: str, data: bytes, declared: Iterable[str] = (), length: int | None = None, cut: int = 0) -> bytes:
    decoder = Decoder(proof(payload), payload, length, tuple(declared))
    pieces: list[bytes] = []
    step = cut or len(data)
    for at in range(0, len(data), step):
        pieces += decoder.feed(data[at : at + step])
    decoder.finish()
    return b"".join(pieces)


def crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def test_the_documentations_example() -> None:
    # "Example calculations" of "Transferring payload in multiple chunks": 65 KB in one chunk of 64 KB and one of 1 KB.
    seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    first = "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"
    second = "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"
    last = "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"
    data = b"".join(
        f"{size:x};chunk-signature={signature}\r\n".encode() + b"a" * size + b"\r\n"
        for size, signature in ((65536, first), (1024, second), (0, last))
    )
    decoder = Decoder(proof(STREAMING_SIGNED, seed), STREAMING_SIGNED, 66560, ())
    assert b"".join(decoder.feed(data)) == b"a" * 66560
    decoder.finish()


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 100, 8192, 0])
def test_signed_chunks_however_cut(cut: int) -> None:
    assert decode(STREAMING_SIGNED, coded(CHUNKS), length=len(DATA), cut=cut) == DATA
    trailers = {"x-amz-checksum-crc32": crc32(DATA)}
    assert decode(STREAMING_SIGNED_TRAILER, coded(CHUNKS, trailers), trailers, len(DATA), cut) == DATA
    assert decode(STREAMING_UNSIGNED_TRAILER, unsigned(CHUNKS, trailers), trailers, len(DATA), cut) == DATA


def test_every_checksum() -> None:
    sums = {
        "crc32": zlib.crc32(DATA).to_bytes(4, "big"),
        "crc32c": crt.crc32c(DATA).to_bytes(4, "big"),
        "crc64nvme": crt.crc64nvme(DATA).to_bytes(8, "big"),
        "sha1": hashlib.sha1(DATA).digest(),
        "sha256": hashlib.sha256(DATA).digest(),
    }
    for name, value in sums.items():
        trailers = {f"x-amz-checksum-{name}": base64.b64encode(value).decode()}
        assert decode(STREAMING_UNSIGNED_TRAILER, unsigned(CHUNKS, trailers), trailers) == DATA
        wrong = {f"x-amz-checksum-{name}": base64.b64encode(value[::-1]).decode()}
        with pytest.raises(AwsError) as caught:
            decode(STREAMING_UNSIGNED_TRAILER, unsigned(CHUNKS, wrong), wrong)
        assert caught.value.code == "BadDigest"
        assert name.upper() in caught.value.message


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.integers(1, 30))
def test_round_trip(chunks: list[bytes], cut: int) -> None:
    data = b"".join(chunks)
    trailers = {"x-amz-checksum-crc32": crc32(data)}
    assert decode(STREAMING_SIGNED_TRAILER, coded(chunks, trailers), trailers, len(data), cut) == data


@given(st.data())
def test_one_changed_byte_never_passes(data: st.DataObject) -> None:
    trailers = {"x-amz-checksum-crc32": crc32(DATA)}
    whole = bytearray(coded(CHUNKS, trailers))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    try:
        assert (
            decode(STREAMING_SIGNED_TRAILER, bytes(whole), trailers, len(DATA)) == DATA
        )  # a hex digit's case, a space
    except AwsError as error:
        assert error.status in (400, 403)


@given(
    st.binary(max_size=300), st.sampled_from([STREAMING_SIGNED, STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER])
)
def test_nonsense_is_refused(data: bytes, payload: str) -> None:
    declared = ("x-amz-checksum-crc32",) if payload != STREAMING_SIGNED else ()
    with pytest.raises(AwsError):
        decode(payload, data or b"x", declared, 10)


BAD = {
    "IncompleteBody": [
        coded(CHUNKS)[:-20], coded(CHUNKS)[:9000], unsigned(CHUNKS, {})[:8000], coded(CHUNKS[:2]), coded([*CHUNKS, b"x"]),
    ],
    "SignatureDoesNotMatch": [coded([CHUNKS[1], CHUNKS[0], CHUNKS[2]]).replace(b"b" * 8192, b"c" * 8192, 1)],
    "InvalidRequest": [coded(CHUNKS) + b"more", b"zz;chunk-signature=0\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"1" * 5000],
}  # fmt: skip


@pytest.mark.parametrize("code", BAD)
def test_what_is_wrong_is_said(code: str) -> None:
    for data in BAD[code]:
        payload = STREAMING_UNSIGNED_TRAILER if data.startswith(b"2000\r\n") else STREAMING_SIGNED
        with pytest.raises(AwsError) as caught:
            decode(payload, data, (), len(DATA))
        assert caught.value.code == code, data[:40]


def test_trailers_must_be_the_declared_ones() -> None:
    trailers = {"x-amz-checksum-crc32": crc32(DATA)}
    for data in (unsigned(CHUNKS, {}), unsigned(CHUNKS, {**trailers, "x-other": "1"}), unsigned(CHUNKS, {"y": "z"})):
        with pytest.raises(AwsError) as caught:
            decode(STREAMING_UNSIGNED_TRAILER, data, trailers)
        assert caught.value.code == "MalformedTrailerError"
    with pytest.raises(AwsError) as caught:
        decode(STREAMING_SIGNED_TRAILER, coded(CHUNKS, trailers).replace(crc32(DATA).encode(), b"AAAAAA=="), trailers)
    assert caught.value.code == "SignatureDoesNotMatch"
    # Signed trailers cannot be left off.
    cut = coded(CHUNKS, trailers).partition(b"x-amz-trailer-signature")[0] + b"\r\n"
    with pytest.raises(AwsError) as caught:
        decode(STREAMING_SIGNED_TRAILER, cut, trailers)
    assert caught.value.code == "SignatureDoesNotMatch"
