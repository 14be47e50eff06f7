"""The account as an issuer: its tokens are verified by its published keys, and taken where its URL is trusted."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from served import Served


def said(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def refused(what: Any, **params: Any) -> str:
    with pytest.raises(ClientError) as caught:
        what(**params)
    return str(caught.value.response["Error"]["Code"])


@pytest.fixture
def account(server: Served) -> Iterator[str]:
    """One of the test's own: federation is a setting of the account."""
    yield str(uuid.uuid4().int % 10**12).zfill(12)


def test_switched_on_and_off(server: Served, account: str) -> None:
    iam, sts = server.client("iam", account), server.client("sts", account)
    token = {"Audience": ["x"], "SigningAlgorithm": "RS256"}
    for what in (iam.get_outbound_web_identity_federation_info, iam.disable_outbound_web_identity_federation):
        assert refused(what) == "FeatureDisabled"
    assert refused(sts.get_web_identity_token, **token) == "OutboundWebIdentityFederationDisabledException"
    issuer = iam.enable_outbound_web_identity_federation()["IssuerIdentifier"]
    assert refused(iam.enable_outbound_web_identity_federation) == "FeatureEnabled"
    info = iam.get_outbound_web_identity_federation_info()
    assert (info["IssuerIdentifier"], info["JwtVendingEnabled"]) == (issuer, True)
    iam.disable_outbound_web_identity_federation()
    assert iam.get_outbound_web_identity_federation_info()["JwtVendingEnabled"] is False
    assert refused(sts.get_web_identity_token, **token) == "OutboundWebIdentityFederationDisabledException"
    assert iam.enable_outbound_web_identity_federation()["IssuerIdentifier"] == issuer
    keys = json.load(urllib.request.urlopen(issuer + "/.well-known/jwks.json"))["keys"]
    assert [(key["kty"], key["alg"]) for key in keys] == [("RSA", "RS256"), ("EC", "ES384")]
    assert not {"d", "p", "q"} & {name for key in keys for name in key}
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{server.endpoint}/_sts/{uuid.uuid4()}/.well-known/jwks.json")


@pytest.mark.parametrize("algorithm", ["RS256", "ES384"])
def test_a_users_token_is_taken_by_a_role_that_trusts_its_issuer(server: Served, account: str, algorithm: str) -> None:
    iam = server.client("iam", account)
    issuer = iam.enable_outbound_web_identity_federation()["IssuerIdentifier"]
    user = iam.create_user(UserName="ann", Tags=[{"Key": "team", "Value": "blue"}])["User"]["Arn"]
    allow = {"Effect": "Allow", "Action": "sts:GetWebIdentityToken", "Resource": "*",
             "Condition": {"ForAllValues:StringEquals": {"sts:IdentityTokenAudience": ["job", "other"]},
                           "NumericLessThanEquals": {"sts:DurationSeconds": "600"}}}  # fmt: skip
    document = {"Version": "2012-10-17", "Statement": [allow]}
    iam.put_user_policy(UserName="ann", PolicyName="p", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName="ann")["AccessKey"]
    sts = server.client("sts", key["AccessKeyId"], key["SecretAccessKey"])
    asked: dict[str, Any] = {"Audience": ["job"], "SigningAlgorithm": algorithm}
    given = sts.get_web_identity_token(**asked)
    claims = said(given["WebIdentityToken"])
    assert (claims["iss"], claims["sub"], claims["aud"]) == (issuer, user, "job")
    assert claims["exp"] - claims["iat"] == 300 and given["Expiration"].timestamp() == claims["exp"]
    own = claims["https://sts.amazonaws.com/"]
    assert own == {"aws_account": account, "source_region": "us-east-1", "principal_tags": {"team": "blue"}}
    assert said(sts.get_web_identity_token(**asked)["WebIdentityToken"])["jti"] != claims["jti"]
    assert refused(sts.get_web_identity_token, **asked | {"Audience": ["elsewhere"]}) == "AccessDenied"
    assert refused(sts.get_web_identity_token, **asked | {"DurationSeconds": 601}) == "AccessDenied"
    assert refused(sts.get_web_identity_token, **asked | {"SigningAlgorithm": "HS256"}) == "ValidationError"
    tags = [{"Key": "job", "Value": "7"}]
    assert refused(sts.get_web_identity_token, **asked, Tags=tags) == "AccessDenied"
    document["Statement"].append({"Effect": "Allow", "Action": "sts:TagGetWebIdentityToken", "Resource": "*"})
    iam.put_user_policy(UserName="ann", PolicyName="p", PolicyDocument=json.dumps(document))
    tagged = said(sts.get_web_identity_token(**asked, Tags=tags)["WebIdentityToken"])
    assert tagged["https://sts.amazonaws.com/"]["request_tags"] == {"job": "7"}

    other = server.client("iam", str(int(account) ^ 1).zfill(12))
    provider = other.create_open_id_connect_provider(Url=issuer, ClientIDList=["job"])["OpenIDConnectProviderArn"]
    trust = {"Effect": "Allow", "Principal": {"Federated": provider}, "Action": "sts:AssumeRoleWithWebIdentity",
             "Condition": {"StringEquals": {issuer.partition("://")[2] + ":sub": user}}}  # fmt: skip
    role = other.create_role(
        RoleName="guest", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": trust})
    )["Role"]["Arn"]
    answer = server.client("sts").assume_role_with_web_identity(
        RoleArn=role, RoleSessionName="ann", WebIdentityToken=given["WebIdentityToken"]
    )
    assert (answer["SubjectFromWebIdentityToken"], answer["Audience"]) == (user, "job")
    forged = given["WebIdentityToken"].rpartition(".")[0] + "." + "A" * 128
    assert refused(
        server.client("sts").assume_role_with_web_identity, RoleArn=role, RoleSessionName="ann", WebIdentityToken=forged
    ) == "InvalidIdentityToken"  # fmt: skip


def test_a_token_ends_with_the_session_that_asks_for_it(server: Served, account: str) -> None:
    iam = server.client("iam", account)
    iam.enable_outbound_web_identity_federation()
    trust = {"Effect": "Allow", "Principal": {"AWS": account}, "Action": "sts:AssumeRole"}
    role = iam.create_role(
        RoleName="app", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": trust})
    )["Role"]["Arn"]
    allow = {"Effect": "Allow", "Action": "sts:*", "Resource": "*"}
    iam.put_role_policy(
        RoleName="app", PolicyName="p", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": allow})
    )
    c = server.client("sts", account).assume_role(RoleArn=role, RoleSessionName="s1", DurationSeconds=900)[
        "Credentials"
    ]
    sts = server.client("sts", c["AccessKeyId"], c["SecretAccessKey"], c["SessionToken"])
    asked = {"Audience": ["x", "y"], "SigningAlgorithm": "ES384"}
    claims = said(sts.get_web_identity_token(**asked)["WebIdentityToken"])
    assert (claims["sub"], claims["aud"]) == (role, ["x", "y"])
    ends = claims["https://sts.amazonaws.com/"]["original_session_exp"]
    assert ends == time.strftime("%Y-%m-%dT%H:%M:%SZ", c["Expiration"].utctimetuple())
    assert refused(sts.get_web_identity_token, **asked, DurationSeconds=1000) == "SessionDurationEscalationException"
