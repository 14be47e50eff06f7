"""What a role's calls reached, kept bounded: it never forgets a resource, and is exact for as long as it can be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.authz.facts import GivenFacts
from penstock.core.authz.pattern import compile_pattern
from penstock.core.authz.reach import MOST, Reach

NAMES = st.text(alphabet="ab/*?$:{}", min_size=1, max_size=6)
RESOURCES = st.builds("arn:aws:s3:::{}/{}".format, st.sampled_from(["in", "out", "log"]), NAMES) | st.builds(
    "arn:aws:dynamodb:{}:000000000000:table/{}".format, st.sampled_from(["us-east-1", "eu-west-1"]),
    st.text(alphabet="abcdef", min_size=3, max_size=4),
)  # fmt: skip


@given(st.lists(RESOURCES, max_size=200), st.lists(RESOURCES, max_size=100), st.integers(1, MOST))
def test_nothing_is_forgotten_and_no_set_grows_without_end(first: list[str], second: list[str], most: int) -> None:
    one, two = Reach(), Reach()
    for reach, resources in ((one, first), (two, second)):
        for resource in resources:
            reach.add(resource)
        assert len(reach.literals) + len(reach.heads) <= MOST
        if len(set(resources)) <= MOST:
            assert reach.literals == set(resources) and not reach.heads
    kept = two.copy()
    one.merge(two)
    assert len(one.literals) + len(one.heads) <= MOST
    assert (two.literals, two.heads) == (kept.literals, kept.heads)
    assert all(one.covers(resource) for resource in first + second)
    patterns = [compile_pattern(text, variables=True, arn=True) for text in one.patterns(most)]
    assert len(patterns) <= most
    assert all(any(matches(resource, GivenFacts({})) for matches in patterns) for resource in first + second)


def test_what_shares_most_is_taken_together_first() -> None:
    reach = Reach()
    for i in range(1000):
        reach.add(f"arn:aws:s3:::inbox/2026/11/{i}.csv")
    for name in ("a", "b"):
        reach.add(f"arn:aws:s3:::outbox/{name}")
    assert reach.patterns() == ["arn:aws:s3:::inbox/2026/11/*", "arn:aws:s3:::outbox/a", "arn:aws:s3:::outbox/b"]


def test_many_folders_become_their_parent() -> None:
    reach = Reach()
    for i in range(3000):
        reach.add(f"arn:aws:s3:::inbox/{i}/part")
    assert reach.patterns() == ["arn:aws:s3:::inbox/*"]
    queues = Reach()
    for i in range(60):
        queues.add(f"arn:aws:sqs:us-east-1:000000000000:q{i}")
    assert queues.patterns() == ["arn:aws:sqs:us-east-1:000000000000:*"]


def test_streams_of_a_log_group_are_one() -> None:
    group = "arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/f"
    reach = Reach()
    for stream in ("", "2026/11/21/[$LATEST]a", "2026/11/22/[$LATEST]b"):
        reach.add(f"{group}:log-stream:{stream}")
    assert reach.patterns() == [group + ":*"]


def test_coarser_on_demand() -> None:
    days = [f"arn:aws:s3:::inbox/2026-{day}.csv" for day in range(9)]
    reach = Reach([*days, "arn:aws:s3:::outbox/a"])
    assert reach.patterns(2) == ["arn:aws:s3:::inbox/*", "arn:aws:s3:::outbox/a"]
    assert reach.patterns(1) == ["arn:aws:s3:::*"]
    assert Reach(days).patterns(1) == ["arn:aws:s3:::inbox/*"]
    assert len(reach.patterns()) == 10 and reach.literals == {*days, "arn:aws:s3:::outbox/a"}


def test_a_star_in_a_key_is_a_star() -> None:
    reach = Reach(["arn:aws:s3:::b/what*is?this$", "arn:aws:dynamodb:us-east-1:000000000000:table/*"])
    assert reach.patterns() == [
        "arn:aws:dynamodb:us-east-1:000000000000:table/*", "arn:aws:s3:::b/what${*}is${?}this${$}",
    ]  # fmt: skip
    assert Reach(["*", "arn:aws:s3:::b"]).patterns() == ["*"]
