"""A provider's token in place of a signature: what is taken, what is refused, what the session may do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bare_node import ACCOUNT, Ask, asking, made_node, signed_in
from identity_provider import IdentityProvider, encoded
from penstock.core.identity import ANONYMOUS
from penstock.core.node import Node
from penstock.wire.errors import AwsError

ROLE = f"arn:aws:iam::{ACCOUNT}:role/web"


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    with IdentityProvider() as running:
        yield running


async def set_up(ask: Ask, provider: IdentityProvider) -> None:
    host = provider.url.partition("://")[2]
    made = await ask("iam:CreateOpenIDConnectProvider", Url=provider.url, ClientIDList=["app"])
    assert made["OpenIDConnectProviderArn"] == f"arn:aws:iam::{ACCOUNT}:oidc-provider/{host}"
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Federated": made["OpenIDConnectProviderArn"]},
                "Action": ["sts:AssumeRoleWithWebIdentity", "sts:TagSession"],
                "Condition": {"StringEquals": {f"{host}:aud": "app"}, "StringLike": {f"{host}:sub": "repo:mine/*"}},
            }
        ],
    }
    await ask("iam:CreateRole", RoleName="web", AssumeRolePolicyDocument=json.dumps(trust))
    policy = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iam:GetRole", "Resource": "*"}}
    await ask("iam:PutRolePolicy", RoleName="web", PolicyName="p", PolicyDocument=json.dumps(policy))


def claims(node: Node, provider: IdentityProvider, **more: Any) -> dict[str, Any]:
    now = node.clock.now()
    return {"iss": provider.url, "sub": "repo:mine/a", "aud": "app", "iat": now, "exp": now + 600} | more


async def assume(ask: Ask, token: str) -> dict[str, Any]:
    return await ask(
        "sts:AssumeRoleWithWebIdentity", ANONYMOUS, ACCOUNT, RoleArn=ROLE, RoleSessionName="ci", WebIdentityToken=token
    )  # fmt: skip


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_a_good_token_is_taken(node: Node, ask: Ask, provider: IdentityProvider, algorithm: str) -> None:
    await set_up(ask, provider)
    answer = await assume(ask, provider.token(claims(node, provider), algorithm))
    assert answer["SubjectFromWebIdentityToken"] == "repo:mine/a"
    assert (answer["Provider"], answer["Audience"]) == (provider.url, "app")
    principal = await signed_in(node, answer["Credentials"])
    await ask("iam:GetRole", principal, RoleName="web")
    with pytest.raises(AwsError, match="AccessDenied"):
        await ask("iam:ListRoles", principal)


async def test_tags_in_the_token_become_the_sessions(node: Node, ask: Ask, provider: IdentityProvider) -> None:
    await set_up(ask, provider)
    tags = {"https://aws.amazon.com/tags": {"principal_tags": {"team": ["blue"]}, "transitive_tag_keys": ["team"]}}
    answer = await assume(ask, provider.token(claims(node, provider, **tags)))
    assert (await signed_in(node, answer["Credentials"])).tags == {"team": "blue"}


async def test_bad_tokens_are_refused(node: Node, ask: Ask, provider: IdentityProvider) -> None:
    await set_up(ask, provider)
    good = claims(node, provider)
    with IdentityProvider() as other:
        forged = other.token(good)
    signed = provider.token(good)
    for token, code, text in (
        ("nonsense", "InvalidIdentityToken", "not a valid JWT"),
        (forged, "InvalidIdentityToken", "signature"),
        (provider.token(good, "none"), "InvalidIdentityToken", "signature"),
        (signed[:-8] + "AAAAAAAA", "InvalidIdentityToken", "signature"),
        (provider.token(good | {"aud": "other"}), "InvalidIdentityToken", "Incorrect token audience"),
        (provider.token(good | {"exp": node.clock.now() - 1}), "ExpiredTokenException", "Token expired"),
        (provider.token(good | {"iat": node.clock.now() + 9000}), "InvalidIdentityToken", "not valid yet"),
        (provider.token(good | {"iss": "https://nobody.example"}), "InvalidIdentityToken", "No OpenIDConnect provider"),
        (provider.token(good | {"sub": "repo:other/a"}), "AccessDenied", "sts:AssumeRoleWithWebIdentity"),
    ):  # fmt: skip
        with pytest.raises(AwsError, match=text) as caught:
            await assume(ask, token)
        assert caught.value.code == code


async def test_root_too_needs_a_token(ask: Ask, provider: IdentityProvider) -> None:
    await set_up(ask, provider)
    with pytest.raises(AwsError, match="not a valid JWT"):
        await ask("sts:AssumeRoleWithWebIdentity", RoleArn=ROLE, RoleSessionName="ci", WebIdentityToken="x.y")


async def test_a_provider_that_is_gone_lets_nobody_in(node: Node, ask: Ask) -> None:
    with IdentityProvider() as gone:
        await set_up(ask, gone)
        token = gone.token(claims(node, gone))
    with pytest.raises(AwsError, match="Couldn't retrieve verification key"):
        await assume(ask, token)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
NAMES = ["iss", "sub", "aud", "azp", "iat", "exp", "nbf", "amr", "https://aws.amazon.com/tags",
         "https://aws.amazon.com/source_identity"]  # fmt: skip


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changed=st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=3),
    tags=st.none() | st.dictionaries(st.sampled_from(["principal_tags", "transitive_tag_keys"]), ANYTHING),
    algorithm=st.sampled_from(["RS256", "ES256"]) | ANYTHING,
)
async def test_whatever_a_token_says_is_taken_or_refused(
    provider: IdentityProvider, changed: dict[str, Any], tags: Any, algorithm: Any
) -> None:
    """Anybody may send one, unsigned by AWS's keys: no token is a failure of ours."""
    node = made_node()
    ask = asking(node)
    await set_up(ask, provider)
    said = claims(node, provider, **changed)
    if tags is not None:
        said["https://aws.amazon.com/tags"] = tags
    try:
        answer = await assume(ask, provider.token(said, algorithm))
    except AwsError as error:
        assert error.status in (400, 403)
    else:
        assert answer["AssumedRoleUser"]["Arn"].endswith("assumed-role/web/ci")


async def test_tokens_that_are_none(ask: Ask, provider: IdentityProvider) -> None:
    await set_up(ask, provider)
    deep = encoded(b"[" * 7000)
    for token in (
        "",
        "a.b",
        "a.b.c",
        f"{deep}.{deep}.",
        f"e30.{encoded(b'[]')}.AA",
        "e30.e30.e30",
        "é.é.é",
        "...",
        "e30.\x00.e30",
    ):
        with pytest.raises(AwsError, match="InvalidIdentityToken"):
            await assume(ask, token)


@pytest.mark.parametrize(
    "url", ["", "https://", "https://i[d.example", "http://id.example", "https://id.example?a=b", "ftp://x"]
)
async def test_urls_that_no_provider_has(ask: Ask, url: str) -> None:
    with pytest.raises(AwsError, match="InvalidInput"):
        await ask("iam:CreateOpenIDConnectProvider", Url=url)
