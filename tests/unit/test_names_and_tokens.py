"""What services share: ARNs, page tokens, tags and access key ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core import access_key, arn, paging, tags

ACCOUNTS = st.integers(0, 10**12 - 1).map(lambda n: f"{n:012d}")


@given(st.text(max_size=20), st.binary(max_size=60))
def test_a_token_gives_its_position_back(scope: str, position: bytes) -> None:
    assert paging.decode(scope, paging.encode(scope, position)) == position


@given(st.binary(max_size=30), st.integers(0, 200), st.integers(1, 255))
def test_an_altered_token_is_refused(position: bytes, at: int, change: int) -> None:
    token = paging.encode("list", position)
    at %= len(token)
    altered = token[:at] + chr((ord(token[at]) ^ change) & 0x7F) + token[at + 1 :]
    try:
        assert paging.decode("list", altered) == position  # base64's spare bits carry nothing
    except paging.BadToken:
        pass
    with pytest.raises(paging.BadToken):
        paging.decode("another list", token)


@given(ACCOUNTS, st.sampled_from(["AKIA", "ASIA"]))
def test_a_key_id_carries_its_account(account: str, prefix: str) -> None:
    key_id = access_key.new(prefix, account)
    assert (len(key_id), key_id[:4], access_key.account_of(key_id)) == (20, prefix, account)


@pytest.mark.parametrize("text", ["", "test", "AKIA", "AKIA0189", "AKIA" + "é" * 16])
def test_other_key_ids_carry_none(text: str) -> None:
    assert access_key.account_of(text) == ""


def test_arns_are_taken_apart_and_put_together() -> None:
    text = "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/f:*"
    assert arn.parse(text).resource == "log-group:/aws/lambda/f:*"
    assert str(arn.parse(text)) == text
    assert arn.build("s3", "", "", "b") == "arn:aws:s3:::b"
    assert arn.account_of(text) == "123456789012"
    for bad in ("", "arn", "arn:aws:s3", "urn:aws:s3:::b", "arn:aws:s3:::"):
        assert not arn.is_arn(bad)
        with pytest.raises(ValueError, match="not an ARN"):
            arn.parse(bad)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ([("a", "1"), ("a", "2")], "duplicate"),
        ([("aws:x", "1")], "reserved"),
        ([("", "1")], "key"),
        ([("k" * 129, "1")], "key"),
        ([("k", "v" * 257)], "value"),
        ([("k", "\x00")], "value"),
        ([(str(i), "") for i in range(51)], "count"),
    ],
)
def test_bad_tags_are_refused(given: list[tuple[str, str]], kind: str) -> None:
    with pytest.raises(tags.TagProblem) as caught:
        tags.from_list([{"Key": key, "Value": value} for key, value in given])
    assert caught.value.kind == kind


def test_good_tags_keep_their_order() -> None:
    given = [{"Key": "Ünï:/=+-@_.", "Value": ""}, {"Key": "a", "Value": "b c"}]
    assert tags.to_list(tags.from_list(given)) == given
