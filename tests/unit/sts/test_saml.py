"""AssumeRoleWithSAML: real signatures of a provider of our own, and everything that must not pass for one."""

from __future__ import annotations

import base64
import copy
import json
import random
import time
from typing import Any

import pytest

pytest.importorskip("signxml")
from lxml import etree

import bend
from bare_node import ACCOUNT, Ask, signed_in
from penstock.core.identity import ANONYMOUS
from penstock.core.node import Node
from penstock.services.sts import saml
from penstock.wire.errors import AwsError
from saml_provider import AWS, SamlProvider, wrapped

ROLE = f"arn:aws:iam::{ACCOUNT}:role/federated"
PROVIDER = f"arn:aws:iam::{ACCOUNT}:saml-provider/idp"
PAIR = {"Role": [f"{ROLE},{PROVIDER}"], "RoleSessionName": ["ann"]}
IDP = SamlProvider()


@pytest.fixture(autouse=True)
async def _role(ask: Ask) -> None:
    await ask("iam:CreateSAMLProvider", Name="idp", SAMLMetadataDocument=IDP.metadata)
    trust = {
        "Effect": "Allow", "Principal": {"Federated": PROVIDER}, "Action": ["sts:AssumeRoleWithSAML", "sts:TagSession"],
        "Condition": {"StringEquals": {"saml:aud": AWS, "saml:iss": IDP.entity}, "StringLike": {"saml:sub": "a*"}},
    }  # fmt: skip
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    await ask("iam:CreateRole", RoleName="federated", AssumeRolePolicyDocument=document)
    allowed = {
        "Effect": "Allow", "Action": "iam:ListRoles", "Resource": "*",
        "Condition": {"StringEquals": {"aws:PrincipalTag/team": "red", "saml:sub": "ann"}},
    }  # fmt: skip
    document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    await ask("iam:PutRolePolicy", RoleName="federated", PolicyName="p", PolicyDocument=document)


async def assume(ask: Ask, response: str, **params: Any) -> dict[str, Any]:
    given = {"RoleArn": ROLE, "PrincipalArn": PROVIDER, "SAMLAssertion": response, **params}
    return await ask("sts:AssumeRoleWithSAML", ANONYMOUS, _account=ACCOUNT, **given)


@pytest.mark.parametrize("whole", [False, True])
async def test_a_signed_assertion_is_enough(node: Node, ask: Ask, whole: bool) -> None:
    now = node.clock.host_now()
    tagged = PAIR | {"PrincipalTag:team": ["red"], "SessionDuration": ["1800"]}
    got = await assume(ask, IDP.response(now, tagged, whole=whole))
    assert got["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/federated/ann"
    assert (got["Subject"], got["SubjectType"], got["Issuer"], got["Audience"]) == (
        "ann",
        "persistent",
        IDP.entity,
        AWS,
    )
    assert len(base64.b64decode(got["NameQualifier"])) == 20
    assert 1795 < got["Credentials"]["Expiration"] - now <= 1801
    await ask("iam:ListRoles", await signed_in(node, got["Credentials"]))
    got = await assume(ask, IDP.response(now, PAIR, whole=whole))
    with pytest.raises(AwsError, match="AccessDenied"):
        await ask("iam:ListRoles", await signed_in(node, got["Credentials"]))


async def test_what_is_refused(node: Node, ask: Ask) -> None:
    now = node.clock.host_now()
    invalid = "InvalidIdentityToken"
    for response, code, text in (
        ("###", invalid, "Invalid base64"),
        (base64.b64encode(b"<a/>").decode(), invalid, "invalid SAML response"),
        (base64.b64encode(b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>').decode(), invalid, "invalid SAML response"),
        (SamlProvider().response(now, PAIR), invalid, "Response signature invalid"),
        (IDP.response(now, PAIR, issuer="https://other.example"), invalid, "Issuer not present"),
        (IDP.response(now, PAIR, audience="urn:other"), invalid, "required audience"),
        (IDP.response(now - 400, PAIR), "ExpiredTokenException", "within 5 minutes"),
        (IDP.response(now + 4000, PAIR), "ExpiredTokenException", "within 5 minutes"),
        (IDP.response(now, PAIR | {"RoleSessionName": []}), invalid, "RoleSessionName is required"),
        (IDP.response(now, PAIR | {"RoleSessionName": ["a b"]}), invalid, "must match"),
        (IDP.response(now, PAIR | {"Role": [f"{ROLE}x,{PROVIDER}"]}), "AccessDenied", "AssumeRoleWithSAML"),
        (IDP.response(now, PAIR, subject="bob"), "AccessDenied", "AssumeRoleWithSAML"),
        (IDP.response(now, PAIR, recipient="https://elsewhere/saml"), "AccessDenied", "AssumeRoleWithSAML"),
        (wrapped(etree.fromstring(IDP.assertion(now, PAIR)), now), invalid, "Response signature invalid"),
    ):
        with pytest.raises(AwsError, match=text) as caught:
            await assume(ask, response)
        assert caught.value.code == code, text
    with pytest.raises(AwsError, match="provider doesn't exist"):
        await assume(ask, IDP.response(now, PAIR), PrincipalArn=PROVIDER + "x")
    with pytest.raises(AwsError, match="Not authorized to perform"):
        await assume(ask, IDP.response(now, PAIR), RoleArn=ROLE + "x")


async def test_nothing_around_the_signature_counts(node: Node, ask: Ask) -> None:
    """XML signature wrapping: a forged assertion before, around or inside of the signed one."""
    now = node.clock.host_now()
    genuine = IDP.signed(etree.fromstring(IDP.assertion(now, {"Role": ["nothing"], "RoleSessionName": ["x"]})))
    forged = etree.fromstring(IDP.assertion(now, PAIR))
    forged.set("ID", "_forged")
    around = copy.deepcopy(forged)
    around.append(copy.deepcopy(genuine))
    same_id = etree.fromstring(IDP.assertion(now, PAIR))
    for response in (
        wrapped(copy.deepcopy(genuine), now, None, copy.deepcopy(forged)),
        wrapped(copy.deepcopy(forged), now, None, copy.deepcopy(genuine)),
        wrapped(around, now),
        wrapped(copy.deepcopy(genuine), now, None, same_id),
    ):
        with pytest.raises(AwsError) as caught:
            await assume(ask, response)
        assert caught.value.code in ("AccessDenied", "InvalidIdentityToken")


async def test_a_comment_does_not_cut_a_name(node: Node, ask: Ask) -> None:
    got = await assume(ask, IDP.response(node.clock.host_now(), PAIR, subject="ann<!-- -->.evil"))
    assert got["Subject"] == "ann.evil"


def test_damaged_responses_are_refused_in_awss_words() -> None:
    """Whatever is changed, cut or put in: a refusal or, where the signature does not cover it, the same assertion."""
    chance = random.Random(1)
    now = time.time()
    whole = base64.b64decode(IDP.response(now, PAIR))
    right = saml.verified(base64.b64encode(whole).decode(), IDP.metadata, now)
    for _ in range(400):
        damaged = bend.body(whole, chance)
        try:
            found = saml.verified(base64.b64encode(damaged).decode(), IDP.metadata, now)
        except AwsError as error:
            assert error.code in ("InvalidIdentityToken", "ExpiredTokenException", "NotImplemented")
        else:
            assert found == right
