"""STS over the wire: sessions work with boto3, and end."""

from __future__ import annotations

import base64
import json
import time
import uuid

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from identity_provider import IdentityProvider
from penstock.services.iam.mfa_devices import STEP_S, code_at
from served import Served


def make_role(server: Served, action: str) -> str:
    trust = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}, "Action": "sts:AssumeRole"}
    iam, name = server.client("iam"), f"role-{uuid.uuid4().hex[:8]}"
    arn = iam.create_role(
        RoleName=name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": trust})
    )["Role"]["Arn"]  # fmt: skip
    policy = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": action, "Resource": "*"}}
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=json.dumps(policy))
    return str(arn)


def test_the_default_key_is_root(server: Served) -> None:
    assert {k: v for k, v in server.client("sts").get_caller_identity().items() if k != "ResponseMetadata"} == {
        "UserId": "000000000000", "Account": "000000000000", "Arn": "arn:aws:iam::000000000000:root",
    }  # fmt: skip
    other = server.client("sts", "123456789012", "test")
    assert other.get_caller_identity()["Account"] == "123456789012"


def test_a_session_does_what_its_role_may(server: Served) -> None:
    arn = make_role(server, "s3:ListAllMyBuckets")
    answer = server.client("sts").assume_role(RoleArn=arn, RoleSessionName="me", DurationSeconds=900)
    key = answer["Credentials"]
    session = (key["AccessKeyId"], key["SecretAccessKey"], key["SessionToken"])
    who = server.client("sts", *session).get_caller_identity()
    assert who["Arn"] == answer["AssumedRoleUser"]["Arn"]
    server.client("s3", *session).list_buckets()
    with pytest.raises(ClientError, match="AccessDenied"):
        server.client("iam", *session).list_users()
    with pytest.raises(ClientError, match="AccessDeniedException"):
        server.client("lambda", *session).list_functions()


def test_a_token_that_was_altered_is_none(server: Served) -> None:
    key = server.client("sts").assume_role(RoleArn=make_role(server, "*"), RoleSessionName="me")["Credentials"]
    token = key["SessionToken"]
    altered = token[:40] + ("A" if token[40] != "A" else "B") + token[41:]
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        server.client("sts", key["AccessKeyId"], key["SecretAccessKey"], altered).get_caller_identity()
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        server.client("sts", key["AccessKeyId"], "x" * 40, token).get_caller_identity()


def test_a_session_outlives_a_crash_of_the_server(own_server: Served) -> None:
    key = own_server.client("sts").assume_role(RoleArn=make_role(own_server, "*"), RoleSessionName="me")["Credentials"]
    own_server.kill()
    own_server.restart()
    session = own_server.client("sts", key["AccessKeyId"], key["SecretAccessKey"], key["SessionToken"])
    assert session.get_caller_identity()["Arn"].endswith("/me")


def test_durations_are_checked(server: Served) -> None:
    sts, arn = server.client("sts", parameter_validation=False), make_role(server, "*")
    with pytest.raises(ClientError, match="exceeds the MaxSessionDuration set for this role"):
        sts.assume_role(RoleArn=arn, RoleSessionName="me", DurationSeconds=3601)
    with pytest.raises(ClientError, match="ValidationError"):
        sts.assume_role(RoleArn=arn, RoleSessionName="me", DurationSeconds=899)
    with pytest.raises(ClientError, match="ValidationError"):
        sts.assume_role(RoleArn=arn, RoleSessionName="a space")


def test_a_web_identity_needs_no_signature(server: Served) -> None:
    with IdentityProvider() as provider:
        iam, name = server.client("iam"), f"web-{uuid.uuid4().hex[:8]}"
        arn = iam.create_open_id_connect_provider(Url=provider.url, ClientIDList=["app"])["OpenIDConnectProviderArn"]
        trust = {"Effect": "Allow", "Principal": {"Federated": arn}, "Action": "sts:AssumeRoleWithWebIdentity"}
        role = iam.create_role(
            RoleName=name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": trust})
        )["Role"]["Arn"]  # fmt: skip
        now = time.time()
        token = provider.token({"iss": provider.url, "sub": "me", "aud": "app", "iat": now, "exp": now + 600})
        sts = server.client("sts", "nobody", "nothing")
        key = sts.assume_role_with_web_identity(RoleArn=role, RoleSessionName="ci", WebIdentityToken=token)[
            "Credentials"
        ]
        session = server.client("sts", key["AccessKeyId"], key["SecretAccessKey"], key["SessionToken"])
        assert session.get_caller_identity()["Arn"].endswith(f":assumed-role/{name}/ci")
        iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)


def test_a_saml_assertion_needs_no_signature(server: Served) -> None:
    pytest.importorskip("signxml")
    from saml_provider import SamlProvider

    iam, idp, name = server.client("iam"), SamlProvider(), f"saml-{uuid.uuid4().hex[:8]}"
    provider = iam.create_saml_provider(Name=name, SAMLMetadataDocument=idp.metadata)["SAMLProviderArn"]
    statement = {"Effect": "Allow", "Principal": {"Federated": provider}, "Action": "sts:AssumeRoleWithSAML"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    sts = boto3.client(
        "sts", endpoint_url=server.endpoint, region_name="us-east-1", config=Config(signature_version=UNSIGNED)
    )
    response = idp.response(time.time(), {"Role": [f"{role},{provider}"], "RoleSessionName": ["ann"]})
    got = sts.assume_role_with_saml(RoleArn=role, PrincipalArn=provider, SAMLAssertion=response)
    keys = got["Credentials"]
    who = server.client("sts", keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"]).get_caller_identity()
    assert who["Arn"].endswith(f":assumed-role/{name}/ann")


def test_a_code_of_an_mfa_device(server: Served) -> None:
    """As an authenticator app makes it from the seed."""
    iam, name = server.client("iam"), f"mfa-{uuid.uuid4().hex[:8]}"
    iam.create_user(UserName=name)
    device = iam.create_virtual_mfa_device(VirtualMFADeviceName=name)["VirtualMFADevice"]
    seed, serial = base64.b32decode(device["Base32StringSeed"]), device["SerialNumber"]
    step = int(time.time()) // STEP_S
    codes = {"AuthenticationCode1": code_at(seed, step - 2), "AuthenticationCode2": code_at(seed, step - 1)}
    iam.enable_mfa_device(UserName=name, SerialNumber=serial, **codes)
    condition = {"Bool": {"aws:MultiFactorAuthPresent": "true"}}
    statement = {"Effect": "Allow", "Action": "iam:ListRoles", "Resource": "*", "Condition": condition}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    own = (key["AccessKeyId"], key["SecretAccessKey"])
    with pytest.raises(ClientError, match="AccessDenied"):
        server.client("iam", *own).list_roles()
    code = code_at(seed, int(time.time()) // STEP_S)
    got = server.client("sts", *own).get_session_token(SerialNumber=serial, TokenCode=code)["Credentials"]
    server.client("iam", got["AccessKeyId"], got["SecretAccessKey"], got["SessionToken"]).list_roles()
    with pytest.raises(ClientError, match="invalid MFA one time pass code"):
        server.client("sts", *own).get_session_token(SerialNumber=serial, TokenCode=code)
