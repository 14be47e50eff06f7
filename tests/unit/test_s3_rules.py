"""S3's pure rules, and running checksums."""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.blobs.checksums import COMBINABLE, SIZES_BYTES, combine, decode, digest, encode, running
from penstock.blobs.layout import ChunkTable
from penstock.blobs.sealing import CHUNK_BYTES
from penstock.services.s3 import conditions, keys, policies, reading, rules
from penstock.services.s3.listing import after
from penstock.services.s3.records import Listed, ObjectRecord, PartShape, decode_listed, decode_object
from penstock.services.s3.records import encode as pack
from penstock.wire.errors import AwsError

KEYS = st.text(min_size=1, max_size=8).filter(
    lambda text: text.isascii() or text.encode("utf-8", "ignore").decode() == text
)


@given(st.lists(st.binary(max_size=300), max_size=8), st.sampled_from(sorted(SIZES_BYTES)))
def test_running_checksums_do_not_see_how_bytes_are_cut(pieces: list[bytes], algorithm: str) -> None:
    one = running(algorithm)
    for piece in pieces:
        one.update(piece)
    assert one.digest() == digest(algorithm, b"".join(pieces))
    assert len(one.digest()) == SIZES_BYTES[algorithm]
    assert decode(algorithm, encode(one.digest())) == one.digest()


@given(st.lists(st.binary(max_size=300), max_size=8), st.sampled_from(COMBINABLE))
def test_crcs_of_parts_combine_to_the_crc_of_the_whole(parts: list[bytes], algorithm: str) -> None:
    combined = combine(algorithm, [(digest(algorithm, part), len(part)) for part in parts])
    assert combined == digest(algorithm, b"".join(parts))


def test_known_checksums() -> None:
    """The check values of each algorithm's specification, over "123456789"."""
    check = b"123456789"
    assert digest("CRC32", check) == zlib.crc32(check).to_bytes(4, "big") == bytes.fromhex("cbf43926")
    assert digest("CRC32C", check) == bytes.fromhex("e3069283")
    assert digest("CRC64NVME", check) == bytes.fromhex("ae8b14860a799888")
    assert digest("SHA256", check) == hashlib.sha256(check).digest()
    for text in ("", "AAAA", "not base64!", base64.b64encode(b"12345").decode()):
        assert decode("CRC32", text) is None


@given(st.lists(st.integers(0, 2 * CHUNK_BYTES), max_size=6))
def test_a_chunk_table_does_not_see_how_bytes_are_cut(sizes: list[int]) -> None:
    data = bytes(range(256)) * (sum(sizes) // 256 + 1)
    whole, cut = ChunkTable("0123456789abcdef.00"), ChunkTable("0123456789abcdef.00")
    whole.update(data[: sum(sizes)])
    at = 0
    for size in sizes:
        cut.update(data[at : at + size])
        at += size
    assert whole.ending(at) == cut.ending(at)
    assert len(whole.ending(at)) == 8 * -(-at // CHUNK_BYTES) + 24


@given(KEYS, KEYS)
def test_record_keys_sort_as_s3_sorts_and_stay_apart(a: str, b: str) -> None:
    assert (keys.record("bucket", a) < keys.record("bucket", b)) == (a.encode() < b.encode())
    assert (keys.upload_suffix(a) < keys.upload_suffix(b)) == (a.encode() < b.encode())
    assert keys.split_upload(keys.upload_suffix(a, "0123id")) == (a, "0123id")
    if a != b:
        assert not keys.upload_suffix(a, "x").startswith(keys.upload_suffix(b))
    assert not keys.record("bucket-2", a).startswith(keys.objects("bucket"))


def test_records_come_back_and_listings_read_their_beginning() -> None:
    record = ObjectRecord(
        "etag", 5, 1000, "CRC32", "FULL_OBJECT", "", "AAAA", segments=[("b", 0, 5)], headers={"ContentType": "x"},
        metadata={"a": "é"}, tags=[("t", "v")], parts=[PartShape(1, 5, "c")], part_count=1, sequencer=2**60, upload_id="u",
    )  # fmt: skip
    assert decode_object(pack(record)) == record
    assert decode_listed(pack(record)) == Listed("etag", 5, 1000, "CRC32", "FULL_OBJECT")


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60))
def test_ranges_are_what_slices_are(size: int, first: int, last: int) -> None:
    data = bytes(range(size))
    for text, expected in ((f"bytes={first}-{last}", data[first : last + 1]), (f"bytes={first}-", data[first:])):
        if "-" in text[-1] or last >= first:
            if first >= size:
                with pytest.raises(AwsError):
                    reading.parse_range(text, size)
            else:
                found = reading.parse_range(text, size)
                assert found is not None
                assert data[found[0] : found[1]] == expected
    if last and size:
        found = reading.parse_range(f"bytes=-{last}", size)
        assert found is not None
        assert data[found[0] : found[1]] == data[-last:]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.data())
def test_spans_are_what_slices_are(sizes: list[int], data: st.DataObject) -> None:
    blobs = {f"b{i}": bytes([i]) * 5 + bytes(range(size)) for i, size in enumerate(sizes)}
    segments = [(name, 5, len(held)) for name, held in blobs.items()]
    whole = b"".join(held[5:] for held in blobs.values())
    begin = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(begin, len(whole)))
    found = reading.spans(segments, begin, end)
    assert b"".join(blobs[name][first:last] for name, first, last in found) == whole[begin:end]


RECORD = Listed("abc", 1, 1_000_500)


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({}, 200), ({"IfMatch": '"abc"'}, 200), ({"IfMatch": 'abc, "x"'}, 200), ({"IfMatch": '"x"'}, 412),
        ({"IfNoneMatch": '"abc"'}, 304), ({"IfNoneMatch": 'W/"abc"'}, 304), ({"IfNoneMatch": "*"}, 304),
        ({"IfModifiedSince": 1000.0}, 304), ({"IfModifiedSince": 999.0}, 200), ({"IfUnmodifiedSince": 999.0}, 412),
        ({"IfUnmodifiedSince": 1000.0}, 200), ({"IfMatch": '"abc"', "IfUnmodifiedSince": 1.0}, 200),
        ({"IfNoneMatch": '"abc"', "IfModifiedSince": 1.0}, 304), ({"IfNoneMatch": '"x"', "IfModifiedSince": 9e9}, 200),
        ({"IfMatch": '"x"', "IfNoneMatch": '"abc"'}, 412),
    ],
)  # fmt: skip
def test_read_conditions(params: dict[str, Any], status: int) -> None:
    try:
        conditions.check_read(params, RECORD, 2_000_000_000)
    except AwsError as error:
        assert error.status == status
    else:
        assert status == 200


@pytest.mark.parametrize(
    ("marker", "delimiter", "prefix", "expected"),
    [
        ("", "/", "", b""), ("a", "", "", b"a\0"), ("a/", "/", "", b"a0"), ("a/", "", "", b"a/\0"), ("a/b", "/", "", b"a0"),
        ("a/b/", "/", "a/", b"a/b0"), ("a/", "/", "a/", b"a/\0"),
    ],
)  # fmt: skip
def test_where_a_page_begins(marker: str, delimiter: str, prefix: str, expected: bytes) -> None:
    assert after(marker, delimiter, prefix) == expected


@pytest.mark.parametrize(
    ("principal", "condition", "public"),
    [
        ("*", {}, True), ({"AWS": "*"}, {}, True), ({"AWS": ["1", "*"]}, {}, True), ({"AWS": "111111111111"}, {}, False),
        ("*", {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}, False), ("*", {"StringLike": {"aws:userid": "A*"}}, True),
        ("*", {"IpAddress": {"aws:SourceIp": "1.2.3.0/24"}}, False), ("*", {"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}, True),
        ("*", {"Bool": {"aws:SecureTransport": "true"}}, True), ({"Service": "s3.amazonaws.com"}, {}, False),
    ],
)  # fmt: skip
def test_what_is_public(principal: Any, condition: dict[str, Any], public: bool) -> None:
    statement = {"Effect": "Allow", "Principal": principal, "Condition": condition}
    assert policies.is_public({"Statement": [statement]}) is public
    assert not policies.is_public({"Statement": {**statement, "Effect": "Deny"}})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("plain", "plain"),
        ("=?UTF-8?B?YWJj?=", "abc"),
        ("=?UTF-8?B?AAECAw==?=", "=?UTF-8?B?AAECAw==?="),
        ("ÄMÄZÕÑ S3", "=?UTF-8?Q?=C3=84M=C3=84Z=C3=95=C3=91_S3?="),
        ("=?UTF-8?B?!!!?=", "=?UTF-8?B?!!!?="),
    ],
)  # fmt: skip
def test_metadata_is_told_as_java_mail_would(given: str, told: str) -> None:
    """As AWS's recorded answers have it."""
    kept = rules.metadata_of({"Metadata": {"a": given}})
    assert rules.told_metadata(kept) == {"a": told}
