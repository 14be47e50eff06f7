"""Ion text: what is written is read back, and what others write is read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.services.dynamodb import ion
from penstock.services.dynamodb.attributes import check_item
from penstock.services.dynamodb.numbers import canonical

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
NUMBER = st.decimals(-(10**20), 10**20, allow_nan=False, places=3).map(lambda n: canonical(format(n, "f")))
BINARY = st.sampled_from(["", "AA==", "aGVsbG8="])
SCALAR = st.one_of(
    TEXT.map(lambda x: {"S": x}), NUMBER.map(lambda x: {"N": x}), BINARY.map(lambda x: {"B": x}),
    st.booleans().map(lambda x: {"BOOL": x}), st.just({"NULL": True}),
    st.sets(TEXT, min_size=1, max_size=3).map(lambda x: {"SS": sorted(x)}),
    st.sets(NUMBER, min_size=1, max_size=3).map(lambda x: {"NS": sorted(x)}),
    st.sets(BINARY, min_size=1, max_size=3).map(lambda x: {"BS": sorted(x)}),
)  # fmt: skip
VALUE: Any = st.recursive(
    SCALAR,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda x: {"L": x}),
        st.dictionaries(TEXT, inner, max_size=3).map(lambda x: {"M": x}),
    ),
    max_leaves=8,
)


@given(st.dictionaries(TEXT.filter(bool), VALUE, max_size=4))
def test_round_trip(item: dict[str, Any]) -> None:
    text = f"{ion.VERSION} {{Item:{ion.item_text(item)}}}"
    assert "\n" not in text
    found = ion.parse_item(text)
    check_item(found)
    check_item(item)
    assert found == item


def test_the_guides_example() -> None:
    found = ion.parse_item(
        """$ion_1_0 {
        Item:{
            Authors:$dynamodb_SS::["Author1","Author2"],
            Dimensions:"8.5 x 11.0 x 1.5",
            Id:103., InPublication:false, PageCount:6d2, Price:2d3, // a comment
            'odd name':'''long ''' '''text''', 'x':"\\u00e9\\x41\\n", nothing:null.string, raw:{{ aGVs bG8= }},
        }
    }"""
    )
    check_item(found)
    assert found == {
        "Authors": {"SS": ["Author1", "Author2"]}, "Dimensions": {"S": "8.5 x 11.0 x 1.5"}, "Id": {"N": "103"},
        "InPublication": {"BOOL": False}, "PageCount": {"N": "600"}, "Price": {"N": "2000"},
        "odd name": {"S": "long text"}, "x": {"S": "éA\n"}, "nothing": {"NULL": True}, "raw": {"B": "aGVsbG8="},
    }  # fmt: skip
    text = ion.item_text(
        {"Id": {"N": "103"}, "n": {"N": "600"}, "z": {"N": "0"}, "q": {"N": "0.50"}, "null": {"S": "a"}}
    )
    assert text == "{Id:103.,n:6d2,z:0.,q:0.50,'null':\"a\"}"


@pytest.mark.parametrize(
    "text",
    ["", "{", "{Item:1}", "{Item:{a:}}", "{Item:{a:1}} 2", "{Item:{a:symbol}}", "[1]", "{Item:{a:2020-01-01}}", "\x00",
     "{Item:{a:$dynamodb_SS::[1]}}", "{Item:{a:{{!}}}}", "{Item:{a:" + "[" * 100 + "]" * 100 + "}}", "{Item:{1:2}}"],
)  # fmt: skip
def test_what_is_no_item_is_refused(text: str) -> None:
    with pytest.raises(ion.IonError):
        ion.parse_item(text)
