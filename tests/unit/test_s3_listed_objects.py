"""The short way of writing a listing gives what the model's writers give."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from penstock.services.s3.listing import encoder
from penstock.services.s3.records import Listed
from penstock.wire.codec import codec
from penstock.wire.listed_objects import ListedObjects

RECORDS = st.builds(
    Listed, st.text("0123456789abcdef-", min_size=1), st.integers(0, 5 * 1024**4), st.integers(0, 4_000_000_000_000),
    st.sampled_from(["", "CRC32", "SHA256"]), st.sampled_from(["FULL_OBJECT", "COMPOSITE"]),
    st.sampled_from(["", "GLACIER_IR"]),
)  # fmt: skip
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(st.lists(st.tuples(KEYS, RECORDS), min_size=1), st.booleans(), st.sampled_from(["", "0123abcd"]))
def test_a_listing_is_written_as_the_model_has_it(objects: list[tuple[str, Listed]], url: bool, owner: str) -> None:
    encode = encoder({"EncodingType": "url"} if url else {})
    listed = ListedObjects(objects, encode, (lambda _: owner) if owner else None)
    told: list[dict[str, Any]] = list(listed)
    assert listed.xml().count("<Contents>") == len(told) == len(listed)
    for operation in ("ListObjects", "ListObjectsV2"):
        coding = codec("s3", operation, "rest-xml")
        assert coding.serialize({"Contents": listed}, "1").body == coding.serialize({"Contents": told}, "1").body
    assert [entry["Key"] for entry in told] == [quote(key, safe="/") if url else key for key, _ in objects]
    assert listed[0] == told[0]
    assert listed[-2:] == told[-2:]
