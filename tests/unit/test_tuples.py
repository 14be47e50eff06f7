"""Tuple keys: what goes in comes out, and bytes sort as tuples do."""

import math
from functools import cmp_to_key
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.store.tuples import pack, prefix_end, range_of, unpack

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, 255, 256, 2**63, 2**64 - 1, 2**64, -1, -255, -256, -(2**64), -(2**64) + 1]),
    st.floats(allow_nan=False),
    st.binary(max_size=12),
    st.text(max_size=12),
    st.sampled_from([b"", b"\0", b"\0\xff", b"\xff", "", "\0", "a\0b", "\x7f", "\x80", "\U0010ffff"]),
)
items = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=8)
tuples = st.lists(items, max_size=5).map(tuple)

_RANKS = {type(None): 0, bytes: 1, str: 2, tuple: 3, int: 4, float: 5, bool: 6}


def compare_items(a: Any, b: Any) -> int:
    if type(a) is not type(b):
        return _RANKS[type(a)] - _RANKS[type(b)]
    if a is None:
        return 0
    if isinstance(a, tuple):
        return compare(a, b)
    if isinstance(a, str):
        a, b = a.encode(), b.encode()
    if isinstance(a, float) and a == b == 0:
        a, b = math.copysign(1, a), math.copysign(1, b)  # -0.0 sorts before 0.0
    return int(a > b) - int(a < b)


def compare(a: tuple[Any, ...], b: tuple[Any, ...]) -> int:
    for x, y in zip(a, b, strict=False):
        if order := compare_items(x, y):
            return order
    return len(a) - len(b)


@given(tuples)
def test_round_trip(t: tuple[Any, ...]) -> None:
    back = unpack(pack(t))
    assert back == t
    assert repr(back) == repr(t), "types are kept too: True is not 1, -0.0 is not 0.0"


@given(tuples, tuples)
def test_order_is_kept(a: tuple[Any, ...], b: tuple[Any, ...]) -> None:
    pa, pb = pack(a), pack(b)
    assert int(pa > pb) - int(pa < pb) == (lambda o: int(o > 0) - int(o < 0))(compare(a, b))


@given(st.lists(tuples, max_size=12))
def test_sorting_bytes_sorts_tuples(ts: list[tuple[Any, ...]]) -> None:
    assert [unpack(b) for b in sorted(map(pack, ts))] == sorted(ts, key=cmp_to_key(compare))


@given(tuples, tuples)
def test_concatenation_is_concatenation(a: tuple[Any, ...], b: tuple[Any, ...]) -> None:
    assert pack(a) + pack(b) == pack(a + b)


@given(tuples, tuples)
def test_range_holds_exactly_the_extensions(t: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    begin, end = range_of(t)
    assert (begin <= pack(other) < end) == (len(other) > len(t) and pack(other[: len(t)]) == pack(t))
    if other:
        assert begin <= pack(t + other) < end
    assert not begin <= pack(t) < end


@given(st.binary(max_size=6), st.binary(max_size=8))
def test_prefix_end(prefix: bytes, key: bytes) -> None:
    if not prefix.strip(b"\xff"):
        with pytest.raises(ValueError, match="no key comes after"):
            prefix_end(prefix)
    else:
        assert (prefix <= key < prefix_end(prefix)) == key.startswith(prefix)


@given(st.binary(max_size=20))
def test_unpack_of_anything_is_a_tuple_or_a_value_error(b: bytes) -> None:
    try:
        unpack(b)
    except ValueError:
        pass


def test_what_cannot_be_a_key() -> None:
    for bad in ([], {}, object(), 1j):
        with pytest.raises(TypeError):
            pack((bad,))
    with pytest.raises(ValueError, match="surrogates"):
        pack(("\ud800",))
    with pytest.raises(ValueError, match="255 bytes"):
        pack((1 << 2040,))


def test_foundationdb_examples() -> None:
    """From FoundationDB's own description of the tuple layer."""
    assert pack((None,)) == b"\x00"
    assert pack((b"foo\x00bar",)) == b"\x01foo\x00\xffbar\x00"
    assert pack(("FÔO\x00bar",)) == b"\x02F\xc3\x94O\x00\xffbar\x00"
    assert pack(((b"foo\x00bar", None, ()),)) == b"\x05\x01foo\x00\xffbar\x00\x00\xff\x05\x00\x00"
    assert pack((-5551212,)) == b"\x11\xabK\x93"
    assert unpack(pack((-42.0,))) == (-42.0,)
