"""The compatibility page says what the registry says."""

from __future__ import annotations

from tidy import compatibility


def test_the_page_is_up_to_date() -> None:
    assert compatibility.PAGE.read_text() == compatibility.render(), "run script/compatibility"
