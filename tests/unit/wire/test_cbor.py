"""CBOR there and back, its standard's examples, and bytes that are none."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.wire import cbor, codec
from penstock.wire.errors import AwsError
from penstock.wire.message import Request

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_comes_back(value: Any) -> None:
    assert cbor.decode(cbor.encode(value)) == value


@given(st.binary())
def test_any_bytes_are_a_value_or_refused(data: bytes) -> None:
    try:
        cbor.decode(data)
    except cbor.BadCborError:
        pass


@given(VALUES, st.data())
def test_what_is_cut_is_refused(value: Any, data: st.DataObject) -> None:
    whole = cbor.encode(value)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(cbor.BadCborError):
        cbor.decode(cut)


@pytest.mark.parametrize(
    ("text", "value"),
    [  # RFC 8949, appendix A
        ("00", 0), ("1818", 24), ("1903e8", 1000), ("1bffffffffffffffff", 18446744073709551615),
        ("3bffffffffffffffff", -18446744073709551616), ("c249010000000000000000", 18446744073709551616),
        ("c349010000000000000000", -18446744073709551617), ("f90000", 0.0), ("f93c00", 1.0), ("f97bff", 65504.0),
        ("fa47c35000", 100000.0), ("fb7e37e43c8800759c", 1.0e300), ("f97c00", math.inf), ("f4", False), ("f6", None),
        ("c11a514b67b0", 1363896240.0), ("c1fb41d452d9ec200000", 1363896240.5), ("4401020304", b"\x01\x02\x03\x04"),
        ("64f0908591", "\U00010151"), ("83010203", [1, 2, 3]), ("a26161016162820203", {"a": 1, "b": [2, 3]}),
        ("5f42010243030405ff", b"\x01\x02\x03\x04\x05"), ("7f657374726561646d696e67ff", "streaming"),
        ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]), ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
    ],
)  # fmt: skip
def test_examples_of_the_standard(text: str, value: Any) -> None:
    assert cbor.decode(bytes.fromhex(text)) == value


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xff", b"\x00\x00", b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x81" * 100_000, b"\xa1\x01\x02", b"\x1f", b"\x3f", b"\xdf\x00", b"\x82\x00\xff", b"\xa1\x61a\xff", b"\x62\xff\xff",
        b"\xc1\x61a", b"\xc1\xf9\x7e\x00", b"\xc2\x61a", b"\xbf\x61a\x01", b"\x5f\x61a\xff", b"\xf8\x18", b"\x1c",
    ],
)  # fmt: skip
def test_refused(data: bytes) -> None:
    with pytest.raises(cbor.BadCborError):
        cbor.decode(data)


def test_kinesis_counts_milliseconds() -> None:
    coding = codec.codec("kinesis", "GetShardIterator", "cbor")
    sent = {
        "StreamName": "s",
        "ShardId": "shardId-0",
        "ShardIteratorType": "AT_TIMESTAMP",
        "Timestamp": cbor.Timestamp(1500),
    }
    params = coding.parse(Request("POST", "/", "", {}, cbor.encode(sent)), {})
    assert params == {**sent, "Timestamp": 1.5}
    record = {"SequenceNumber": "1", "Data": b"x", "PartitionKey": "k", "ApproximateArrivalTimestamp": 1.5}
    answer = codec.codec("kinesis", "GetRecords", "cbor").serialize({"Records": [record]}, "r")
    assert ("Content-Type", "application/x-amz-cbor-1.1") in answer.headers
    assert cbor.decode(answer.body) == {"Records": [{**record, "ApproximateArrivalTimestamp": 1500}]}
    error = codec.error_response("kinesis", "cbor", "GetRecords", AwsError("ResourceNotFoundException", "no"), "r")
    assert cbor.decode(error.body) == {"__type": "ResourceNotFoundException", "message": "no"}
    assert error.status == 400


@pytest.mark.parametrize("body", [b"\xff", b"\x80", b"\xa1\x6aStreamName\x01", b"\xa1\x64Data\x61x"])
def test_a_wrong_document_is_a_serialization_exception(body: bytes) -> None:
    with pytest.raises(AwsError) as refused:
        codec.codec("kinesis", "PutRecord", "cbor").parse(Request("POST", "/", "", {}, body), {})
    assert refused.value.code == "SerializationException"


def test_timestamps_have_their_tag() -> None:
    assert cbor.encode({"t": cbor.Timestamp(1.5)}) == b"\xa1\x61t\xc1\xfb?\xf8\x00\x00\x00\x00\x00\x00"
    assert isinstance(cbor.decode(b"\xc1\x01"), cbor.Timestamp)
