"""Timestamps in and out."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.wire import timestamps

SECONDS = st.integers(0, 253402300799)
MILLIS = st.integers(0, 253402300799999).map(lambda ms: ms / 1000)


@given(MILLIS)
def test_iso_comes_back(seconds: float) -> None:
    assert timestamps.parse(timestamps.iso(seconds)) == pytest.approx(seconds, abs=1e-4)
    assert timestamps.parse(timestamps.writer("iso8601", 3)(seconds)) == pytest.approx(seconds, abs=1e-4)


@given(SECONDS)
def test_written_as_the_standard_library_does(seconds: int) -> None:
    assert timestamps.http_date(seconds) == formatdate(seconds, usegmt=True)
    assert timestamps.iso(seconds) == datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")
    assert timestamps.parse(timestamps.http_date(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2019-12-16T23:48:18Z", 1576540098),
        ("2019-12-16T22:48:18-01:00", 1576540098),
        ("2019-12-17T00:48:18+0100", 1576540098),
        ("2019-12-16T23:48:18.5Z", 1576540098.5),
        ("2019-12-16", 1576454400),
        ("Mon, 16 Dec 2019 23:48:18 GMT", 1576540098),
        ("Monday, 16-Dec-19 23:48:18 GMT", 1576540098),
        ("1576540098", 1576540098),
        ("1576540098.25", 1576540098.25),
        ("1.5765E9", 1576500000),
    ],
)
def test_formats_of_clients(text: str, seconds: float) -> None:
    assert timestamps.parse(text) == seconds


@given(st.text())
def test_anything_else_is_refused(text: str) -> None:
    try:
        assert isinstance(timestamps.parse(text), float | int)
    except ValueError:
        pass


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2019-13-01", "2019-02-30", "99999999999999999999", "1_0", "١", "nan"]
)
def test_no_timestamps(text: str) -> None:
    with pytest.raises(ValueError):
        timestamps.parse(text)
