"""Rules that deserve a name of their own, and what a denial says."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

import pytest

from bare_node import ACCOUNT, Ask, signed_in
from penstock.core.authz.document import PolicyError, compile_policy
from penstock.core.authz.evaluate import Question, decide
from penstock.core.authz.facts import GivenFacts
from penstock.core.authz.validate import Purpose, validate
from penstock.core.identity import ANONYMOUS, Identity, Kind, PolicyText, Principal, root, service
from penstock.core.node import Node
from penstock.wire.errors import AwsError

USER = Principal(Kind.USER, ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/u", "AIDA" + "A" * 17)
QUEUE = f"arn:aws:sqs:us-east-1:{ACCOUNT}:q"


def policy(**statement: Any) -> PolicyText:
    full = {"Effect": "Allow", "Action": "*", "Resource": "*"} | statement
    return PolicyText("p", json.dumps({"Version": "2012-10-17", "Statement": full}))


def allowed(
    principal: Principal = USER,
    action: str = "sqs:SendMessage",
    resource: str = QUEUE,
    keys: dict[str, Any] | None = None,
    own: PolicyText | None = None,
    theirs: PolicyText | None = None,
    owner: str = ACCOUNT,
) -> bool:
    held = Identity((own,)) if own else Identity()
    return decide(Question(principal, action, resource, owner, GivenFacts(keys or {}), held, theirs)).allowed


def test_a_service_needs_the_targets_policy_and_its_conditions() -> None:
    condition = {"ArnLike": {"aws:SourceArn": "arn:aws:s3:::mine"}, "StringEquals": {"aws:SourceAccount": ACCOUNT}}
    theirs = policy(Principal={"Service": "s3.amazonaws.com"}, Condition=condition)
    s3 = service("s3.amazonaws.com")
    keys = {"aws:SourceArn": "arn:aws:s3:::mine", "aws:SourceAccount": ACCOUNT}
    assert allowed(s3, theirs=theirs, keys=keys)
    assert not allowed(s3, theirs=theirs, keys=keys | {"aws:SourceArn": "arn:aws:s3:::other"})
    assert not allowed(s3, theirs=theirs, keys=keys | {"aws:SourceAccount": "1" * 12})
    assert not allowed(s3, theirs=theirs)
    assert not allowed(s3)
    assert not allowed(service("sns.amazonaws.com"), theirs=theirs, keys=keys)


def test_another_accounts_root_needs_to_be_let_in() -> None:
    other = root("1" * 12)
    assert not allowed(other)
    assert allowed(other, theirs=policy(Principal={"AWS": "1" * 12}))
    assert not allowed(other, theirs=policy(Principal={"AWS": "2" * 12}))


def test_across_accounts_both_sides_must_allow() -> None:
    foreign = Principal(Kind.USER, "1" * 12, f"arn:aws:iam::{'1' * 12}:user/x")
    theirs = policy(Principal={"AWS": foreign.arn})
    assert not allowed(foreign, theirs=theirs)
    assert not allowed(foreign, own=policy())
    assert allowed(foreign, own=policy(), theirs=theirs)


def test_naming_the_account_delegates_to_its_policies() -> None:
    theirs = policy(Principal={"AWS": ACCOUNT})
    assert not allowed(theirs=theirs)
    assert allowed(theirs=theirs, own=policy())
    assert allowed(theirs=policy(Principal={"AWS": USER.arn}))


def test_nobody_in_particular_is_let_in_by_a_star() -> None:
    assert allowed(ANONYMOUS, theirs=policy(Principal="*"))
    assert allowed(ANONYMOUS, theirs=policy(Principal={"AWS": "*"}))
    assert not allowed(ANONYMOUS, theirs=policy(Principal={"AWS": ACCOUNT}))
    assert not allowed(ANONYMOUS)


def test_a_users_id_names_it_too() -> None:
    assert allowed(theirs=policy(Principal={"AWS": USER.id}))


def test_a_star_at_a_segments_end_crosses_colons_and_one_inside_does_not() -> None:
    assert allowed(own=policy(Resource="arn:aws:sqs:*:q"))
    assert not allowed(own=policy(Resource="arn:aws:sqs:us*1:q"))
    assert allowed(own=policy(Resource=f"arn:aws:sqs:us*1:{ACCOUNT}:q"))
    assert not allowed(own=policy(Resource="arn:aws:sqs:us*/x*"), resource="arn:aws:sqs:us-east-1:1:a/x")
    assert allowed(own=policy(Resource="arn:aws:sqs:*:us*1:q"), resource="arn:aws:sqs:us-east-1:us-west-1:q")


def test_a_variable_is_never_a_wildcard() -> None:
    own = policy(Resource="arn:aws:s3:::b/${aws:username}/*")
    assert allowed(resource="arn:aws:s3:::b/*/x", keys={"aws:username": "*"}, own=own)
    assert not allowed(resource="arn:aws:s3:::b/other/x", keys={"aws:username": "*"}, own=own)
    assert not allowed(resource="arn:aws:s3:::b/other/x", keys={"aws:username": "\0*"}, own=own)


def test_condition_keys_have_no_case_and_values_have() -> None:
    own = policy(Condition={"StringEquals": {"AWS:PrincipalTag/Team": "blue"}})
    assert allowed(own=own, keys={"aws:principaltag/team": "blue"})
    assert not allowed(own=own, keys={"aws:principaltag/team": "Blue"})


def test_a_policy_that_cannot_be_understood_denies() -> None:
    broken = PolicyText("p", '{"Statement": [{"Effect": "Allow", "Action": "*", "Condition": {"Nope": {"a": "b"}}}]}')
    decision = decide(Question(USER, "a:b", "*", ACCOUNT, GivenFacts({}), Identity((broken, policy()))))
    assert not decision.allowed and "cannot be understood" in decision.where
    with pytest.raises(PolicyError):
        compile_policy(broken.text)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ({"Action": "sts:AssumeRole"}, "Missing required field Principal"),
        ({"Principal": "*"}, "Missing required field Action"),
        ({"Principal": "*", "Action": "sts:AssumeRole", "Resource": "*"}, "Has prohibited field Resource"),
        ({"Principal": "*", "Action": "s3:*"}, "AssumeRole policy may only specify STS AssumeRole actions."),
    ],
)
def test_trust_policies_have_their_own_rules(statement: dict[str, Any], message: str) -> None:
    text = json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Allow"} | statement})
    with pytest.raises(PolicyError, match=message):
        validate(text, Purpose.TRUST)


async def test_the_log_says_which_statement_denied(node: Node, ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    await ask("iam:CreateUser", UserName="u")
    user = await signed_in(node, (await ask("iam:CreateAccessKey", UserName="u"))["AccessKey"])
    document = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "iam:*", "Resource": "*"},
            {"Sid": "NoLists", "Effect": "Deny", "Action": "iam:List*", "Resource": "*"},
        ],
    }
    await ask("iam:PutUserPolicy", UserName="u", PolicyName="p", PolicyDocument=json.dumps(document))
    with caplog.at_level(logging.WARNING), pytest.raises(AwsError):
        await ask("iam:ListUsers", user)
    assert "denied by identity-based policy, statement 2 (NoLists) of inline policy p of user u" in caplog.text
    last = node.decisions.recent(1)[0]
    assert (last.action, last.allowed) == ("iam:ListUsers", False)
    await ask("iam:GetUser", user)
    assert node.decisions.recent(1)[0].allowed


def test_many_stars_take_no_longer_than_one() -> None:
    own = policy(Resource="arn:aws:s3:::b/" + "*a" * 40 + "*c", Condition={"StringLike": {"k": "*a" * 40 + "c"}})
    began = time.process_time()
    assert not allowed(resource="arn:aws:s3:::b/" + "a" * 1000, own=own, keys={"k": "a" * 1000})
    assert not allowed(resource="arn:aws:s3:::b/" + "a" * 1000 + "c", own=own, keys={"k": "a" * 1000})
    assert allowed(resource="arn:aws:s3:::b/" + "a" * 1000 + "c", own=own, keys={"k": "a" * 1000 + "c"})
    assert time.process_time() - began < 1.0
