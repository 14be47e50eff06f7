"""The compiled evaluation and the slow reference agree on whatever policies Hypothesis thinks of."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import policy_reference as reference
from penstock.core.authz.evaluate import Question, decide
from penstock.core.authz.facts import GivenFacts
from penstock.core.authz.why import ALLOWS, DENIES, told
from penstock.core.identity import Identity, Kind, PolicyText, Principal

A, B = "111111111111", "222222222222"
CALLERS = [
    reference.Caller("root", A, f"arn:aws:iam::{A}:root"),
    reference.Caller("user", A, f"arn:aws:iam::{A}:user/u", id="AIDAUNIQUEIDOFTHEUSER"),
    reference.Caller("user", B, f"arn:aws:iam::{B}:user/u"),
    reference.Caller("role", A, f"arn:aws:sts::{A}:assumed-role/r/s", f"arn:aws:iam::{A}:role/r"),
    reference.Caller("role", B, f"arn:aws:sts::{B}:assumed-role/r/s", f"arn:aws:iam::{B}:role/r"),
    reference.Caller("federated", A, f"arn:aws:sts::{A}:federated-user/f"),
    reference.Caller("service", "", "s3.amazonaws.com"),
    reference.Caller("anonymous", "", "*"),
    reference.Caller("web identity", A, f"arn:aws:iam::{A}:oidc-provider/id.example"),
]
PRINCIPALS = st.one_of(
    st.just("*"),
    st.dictionaries(
        st.sampled_from(["AWS", "AWS", "Service", "Federated"]),
        st.lists(
            st.sampled_from(
                ["*", A, B, f"arn:aws:iam::{A}:root", f"arn:aws:iam::{B}:role/r", "s3.amazonaws.com"]
                + [caller.arn for caller in CALLERS[1:6]]
                + [f"arn:aws:iam::{A}:role/r", CALLERS[-1].arn, "AIDAUNIQUEIDOFTHEUSER"]
            ),
            min_size=1, max_size=3,
        ),
        min_size=1,
    ),
)  # fmt: skip
ACTIONS = st.sampled_from(
    ["s3:GetObject", "s3:PutObject", "S3:getobject", "s3:*", "s3:Get*", "*", "s3:?etObject", "a:B"]
)
RESOURCES = st.sampled_from(
    [
        "*", "arn:aws:s3:::b/k", "arn:aws:s3:::b/*", "arn:aws:s3:::b/${aws:username}", "arn:aws:s3:::?/k",
        "arn:aws:s3:::b/${*}", "arn:aws:s3:::b/${nothing, 'k'}", "arn:aws:s3:::b/${nothing}", "arn:aws:s3:::c/*",
    ]
)  # fmt: skip
KEYS = ["aws:username", "aws:tagkeys", "s3:n", "aws:sourceip", "aws:sourcearn", "aws:currenttime", "flag"]
VALUES = ["k", "K", "aGVsbG8=", "aGVsbG8", "abc", "1e3", "300.0.0.1", "10.0.0.0/33", "2026-13-01",
          "b", "1", "2.0", "10", "10.0.0.1", "10.0.0.0/8", "::1", "true", "FALSE", "arn:aws:s3:::b",
          "arn:aws:sqs:eu-west-1:111111111111:q:x", "2026-01-01T00:00:00Z", "2026-06-01", "1767225600", "a*b", ""]  # fmt: skip
STRINGS = [
    "StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "StringLike", "StringNotLike",
]  # fmt: skip
ORDERS = ["Equals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals", "NotEquals"]


def operators(names: list[str], values: list[str]) -> st.SearchStrategy[tuple[str, list[str]]]:
    quantified = st.tuples(
        st.sampled_from(["", "ForAllValues:", "ForAnyValue:"]), st.sampled_from(names),
        st.sampled_from(["", "IfExists"]),
    ).map("".join)  # fmt: skip
    return st.tuples(quantified, st.lists(st.sampled_from(values), min_size=1, max_size=3))


CONDITION = st.one_of(
    operators(STRINGS, [*VALUES, "*", "?", "1*", "${aws:username}", "${nothing}", "${aws:tagkeys}", "${$}",
                        "${nothing, 'k'}", "x${nothing,1}*", "${aws:username, 'K'}", "${?}"]),
    operators(["Numeric" + order for order in ORDERS], ["1", "2", "2.0", "10", "1e3", "-1"]),
    operators(["Date" + order for order in ORDERS], ["2026-01-01T00:00:00Z", "2026-06-01", "1767225600"]),
    operators(["IpAddress", "NotIpAddress"], ["10.0.0.0/8", "10.0.0.1", "::/0", "10.0.0.1/32"]),
    operators(
        ["ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"],
        ["arn:aws:s3:::b", "arn:aws:s3:::*", "arn:aws:*:*:*:*", "arn:aws:sqs:*:1111*:q:?", "arn:aws:s3:::${aws:username}"],
    ),
    operators(["Bool"], ["true", "false"]),
    operators(["BinaryEquals"], ["aGVsbG8=", "YQ==", ""]),
    st.tuples(st.just("Null"), st.lists(st.sampled_from(["true", "false"]), min_size=1, max_size=2)),
)  # fmt: skip


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    block: dict[str, Any] = {}
    for _ in range(draw(st.integers(0, 2))):
        operator, values = draw(CONDITION)
        block.setdefault(operator, {})[draw(st.sampled_from(KEYS))] = values
    return block


@st.composite
def statements(draw: st.DrawFn, *, principal: bool) -> dict[str, Any]:
    statement: dict[str, Any] = {
        "Effect": draw(st.sampled_from(["Allow", "Allow", "Deny"])),
        draw(st.sampled_from(["Action", "Action", "NotAction"])): draw(st.lists(ACTIONS, min_size=1, max_size=2)),
    }
    where = draw(
        st.sampled_from(["Resource", "Resource", "NotResource", ""] if principal else ["Resource", "NotResource"])
    )
    if where:  # a role's trust policy has none
        statement[where] = draw(st.lists(RESOURCES, min_size=1, max_size=2))
    if block := draw(conditions()):
        statement["Condition"] = block
    if principal:
        statement[draw(st.sampled_from(["Principal", "Principal", "NotPrincipal"]))] = draw(PRINCIPALS)
    return statement


def documents(*, principal: bool = False) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "Version": st.sampled_from(["2012-10-17", "2012-10-17", "2008-10-17"]),
            "Statement": st.lists(statements(principal=principal), max_size=3),
        }
    )


def text(document: dict[str, Any]) -> PolicyText:
    return PolicyText("a policy", json.dumps(document))


def check(
    caller: reference.Caller,
    action: str,
    resource: str,
    owner: str,
    keys: dict[str, list[str]],
    identity: list[dict[str, Any]],
    boundary: dict[str, Any] | None,
    session: list[dict[str, Any]],
    policy: dict[str, Any] | None,
    must_be_named: bool,
    managed: bool = False,
    missing: bool = False,
) -> None:
    """managed: session policies are given by ARN. missing: IAM has the caller no more."""
    if caller.kind in ("service", "anonymous", "web identity", "root"):
        identity, boundary, session, missing = [], None, [], False
    wanted = reference.evaluate(
        caller, action, resource, owner, keys, identity, boundary, session, policy, must_be_named
    ) and not missing  # fmt: skip
    by_arn = [PolicyText(f"arn:aws:iam::{A}:policy/{i}", json.dumps(one)) for i, one in enumerate(session)]
    principal = Principal(
        Kind(caller.kind), caller.account, caller.arn, caller.id, role_arn=caller.role,
        session_policies=tuple(one.source if managed else one.text for one in by_arn),
    )  # fmt: skip
    held = Identity(
        tuple(map(text, identity)), text(boundary) if boundary else None, {}, "it is gone" if missing else "",
        tuple(by_arn) if managed else (),
    )  # fmt: skip
    question = Question(
        principal, action, resource, owner, GivenFacts(keys), held, text(policy) if policy else None,
        must_be_named=must_be_named,
    )  # fmt: skip
    decision = decide(question)
    assert decision.allowed is wanted, decision.where
    explanation = told(question)
    assert (explanation["allowed"], explanation["reason"]) == (decision.allowed, decision.where)
    outcomes = {row["outcome"] for row in explanation["statements"]}
    if decision.allowed:
        assert DENIES not in outcomes and (ALLOWS in outcomes or caller.kind == "root")
    elif decision.explicit and not session and not missing:
        assert DENIES in outcomes


@settings(max_examples=400, deadline=None)
@given(
    caller=st.sampled_from(CALLERS),
    action=st.sampled_from(["s3:GetObject", "s3:PutObject"]),
    resource=st.sampled_from(["arn:aws:s3:::b/k", "arn:aws:s3:::b/*", "*"]),
    owner=st.sampled_from([A, A, B]),
    keys=st.dictionaries(st.sampled_from(KEYS), st.lists(st.sampled_from(VALUES), min_size=1, max_size=2)),
    identity=st.lists(documents(), max_size=2),
    boundary=st.none() | documents(),
    session=st.lists(documents(), max_size=2),
    policy=st.none() | documents(principal=True),
    must_be_named=st.booleans(),
    managed=st.booleans(),
    missing=st.sampled_from([False] * 9 + [True]),
)
def test_agrees_with_the_reference(**case: Any) -> None:
    check(**case)


def blanket(principal: Any = None, named: str = "Principal") -> st.SearchStrategy[dict[str, Any]]:
    """Statements about everything: what is left to differ is who is named, where."""
    fields: dict[str, Any] = {
        "Effect": st.sampled_from(["Allow", "Allow", "Allow", "Deny"]), "Action": st.just("*"), "Resource": st.just("*"),
    }  # fmt: skip
    if principal is not None:
        fields[named] = principal
    statement = st.fixed_dictionaries(fields)
    return st.fixed_dictionaries({"Version": st.just("2012-10-17"), "Statement": st.lists(statement, max_size=2)})


@settings(max_examples=400, deadline=None)
@given(
    caller=st.sampled_from(CALLERS),
    owner=st.sampled_from([A, A, B]),
    identity=st.lists(blanket(), max_size=1),
    boundary=st.none() | blanket(),
    session=st.lists(blanket(), max_size=2),
    policy=st.none() | blanket(PRINCIPALS) | blanket(PRINCIPALS, "NotPrincipal"),
    must_be_named=st.booleans(),
    managed=st.booleans(),
)
def test_who_may_agrees_with_the_reference(**case: Any) -> None:
    check(action="s3:GetObject", resource="arn:aws:s3:::b/k", keys={}, **case)


@settings(max_examples=400, deadline=None)
@given(
    pattern=st.text("ab*?:/", max_size=8),
    value=st.text("ab:/", max_size=8),
)
def test_wildcards_agree_with_the_reference(pattern: str, value: str) -> None:
    document = {"Statement": {"Effect": "Allow", "Action": "*", "Resource": "arn:aws:s3:::" + pattern}}
    resource = "arn:aws:s3:::" + value
    held = Identity((text(document),))
    user = Principal(Kind.USER, A, CALLERS[1].arn)
    decision = decide(Question(user, "s3:GetObject", resource, A, GivenFacts({}), held))
    assert decision.allowed is reference.matches_resource("arn:aws:s3:::" + pattern, resource, {}, "")
