"""Every noun of IAM once over the wire: boto3 understands the answers, and reads back what it wrote."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import pytest

from certificates import issue
from served import Served

TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    }
)
ALLOW = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}]}
TAGS = [{"Key": "k", "Value": "v"}]


@pytest.fixture
def iam(server: Served) -> Any:
    return server.client("iam")


@pytest.fixture
def name() -> str:
    return f"x{uuid.uuid4().hex[:10]}"


def test_users(iam: Any, name: str) -> None:
    boundary = iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(ALLOW))["Policy"]["Arn"]
    made = iam.create_user(UserName=name, Path="/p/", Tags=TAGS, PermissionsBoundary=boundary)["User"]
    assert made == iam.get_user(UserName=name)["User"]
    assert made["PermissionsBoundary"] == {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": boundary}
    assert iam.list_user_tags(UserName=name)["Tags"] == TAGS
    iam.untag_user(UserName=name, TagKeys=["k"])
    iam.tag_user(UserName=name, Tags=[{"Key": "other", "Value": ""}])
    assert iam.list_user_tags(UserName=name)["Tags"] == [{"Key": "other", "Value": ""}]
    profile = iam.create_login_profile(UserName=name, Password="Long enough 1!", PasswordResetRequired=True)
    assert iam.get_login_profile(UserName=name)["LoginProfile"] == profile["LoginProfile"]
    iam.delete_login_profile(UserName=name)
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.get_login_profile(UserName=name)
    made = iam.create_service_specific_credential(UserName=name, ServiceName="codecommit.amazonaws.com")
    credential = made["ServiceSpecificCredential"]["ServiceSpecificCredentialId"]
    assert len(iam.list_service_specific_credentials(UserName=name)["ServiceSpecificCredentials"]) == 1
    iam.delete_service_specific_credential(UserName=name, ServiceSpecificCredentialId=credential)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    assert key["CreateDate"].timestamp() == pytest.approx(time.time(), abs=60)
    assert iam.get_access_key_last_used(AccessKeyId=key["AccessKeyId"])["UserName"] == name
    iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
    iam.delete_user_permissions_boundary(UserName=name)
    iam.delete_user(UserName=name)


def test_roles_and_profiles(iam: Any, name: str) -> None:
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)
    iam.create_instance_profile(InstanceProfileName=name, Tags=TAGS)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    shown = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
    assert shown["Roles"][0]["AssumeRolePolicyDocument"] == json.loads(TRUST)
    assert shown["Tags"] == TAGS
    iam.update_role(RoleName=name, Description="new", MaxSessionDuration=7200)
    assert iam.get_role(RoleName=name)["Role"]["Description"] == "new"
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=TRUST)
    iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=name)
    iam.delete_instance_profile(InstanceProfileName=name)
    iam.delete_role(RoleName=name)
    linked = iam.create_service_linked_role(AWSServiceName="autoscaling.amazonaws.com", CustomSuffix=name)["Role"]
    assert linked["RoleName"] == f"AWSServiceRoleForAutoScaling_{name}"
    task = iam.delete_service_linked_role(RoleName=linked["RoleName"])["DeletionTaskId"]
    assert iam.get_service_linked_role_deletion_status(DeletionTaskId=task)["Status"] == "SUCCEEDED"


def test_policies(iam: Any, name: str) -> None:
    arn = iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(ALLOW), Description="d", Tags=TAGS)["Policy"][
        "Arn"
    ]
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(ALLOW), SetAsDefault=True)
    assert [v["VersionId"] for v in iam.list_policy_versions(PolicyArn=arn)["Versions"]] == ["v2", "v1"]
    assert iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"] == "v2"
    pages = iam.get_paginator("list_policies").paginate(Scope="Local", PaginationConfig={"PageSize": 1})
    assert name in [policy["PolicyName"] for page in pages for policy in page["Policies"]]
    group = iam.create_group(GroupName=name)["Group"]
    iam.put_group_policy(GroupName=name, PolicyName="i", PolicyDocument=json.dumps(ALLOW))
    iam.attach_group_policy(GroupName=name, PolicyArn=arn)
    result = iam.simulate_principal_policy(
        PolicySourceArn=group["Arn"], ActionNames=["s3:GetObject", "s3:PutObject"], ResourceArns=["arn:aws:s3:::b/k"]
    )["EvaluationResults"]  # fmt: skip
    assert [row["EvalDecision"] for row in result] == ["allowed", "implicitDeny"]
    assert len(result[0]["MatchedStatements"]) == 2
    details = iam.get_account_authorization_details(Filter=["Group", "LocalManagedPolicy"])
    shown = next(row for row in details["GroupDetailList"] if row["GroupName"] == name)
    assert shown["GroupPolicyList"] == [{"PolicyName": "i", "PolicyDocument": ALLOW}]
    assert any(policy["Arn"] == arn for policy in details["Policies"])
    keys = iam.get_context_keys_for_custom_policy(PolicyInputList=[json.dumps(ALLOW)])
    assert keys["ContextKeyNames"] == []


def test_providers_and_devices(iam: Any, name: str) -> None:
    made = iam.create_open_id_connect_provider(
        Url=f"https://{name}.example", ClientIDList=["a"], ThumbprintList=["a" * 40], Tags=TAGS
    )  # fmt: skip
    arn = made["OpenIDConnectProviderArn"]
    iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID="b")
    shown = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    assert (shown["Url"], shown["ClientIDList"], shown["Tags"]) == (f"{name}.example", ["a", "b"], TAGS)
    assert {"Arn": arn} in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    metadata = (
        '<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="me">'
        + " " * 1000
        + "</EntityDescriptor>"
    )
    saml = iam.create_saml_provider(Name=name, SAMLMetadataDocument=metadata)["SAMLProviderArn"]
    assert iam.get_saml_provider(SAMLProviderArn=saml)["SAMLMetadataDocument"] == metadata
    iam.delete_saml_provider(SAMLProviderArn=saml)
    device = iam.create_virtual_mfa_device(VirtualMFADeviceName=name)["VirtualMFADevice"]
    assert len(device["Base32StringSeed"]) == 64
    iam.delete_virtual_mfa_device(SerialNumber=device["SerialNumber"])


def test_the_account(iam: Any, name: str) -> None:
    iam.create_account_alias(AccountAlias=name)
    assert iam.list_account_aliases()["AccountAliases"] == [name]
    iam.delete_account_alias(AccountAlias=name)
    iam.update_account_password_policy(MinimumPasswordLength=9, MaxPasswordAge=90)
    policy = iam.get_account_password_policy()["PasswordPolicy"]
    assert (policy["MinimumPasswordLength"], policy["ExpirePasswords"], policy["MaxPasswordAge"]) == (9, True, 90)
    iam.delete_account_password_policy()
    assert iam.generate_credential_report()["State"] in ("STARTED", "COMPLETE")
    assert iam.get_credential_report()["Content"].startswith(b"user,arn,")
    iam.create_user(UserName=name)
    job = iam.generate_service_last_accessed_details(Arn=f"arn:aws:iam::000000000000:user/{name}")["JobId"]
    assert iam.get_service_last_accessed_details(JobId=job)["JobStatus"] == "COMPLETED"


def test_sessions_of_a_user(server: Served, iam: Any, name: str) -> None:
    iam.create_user(UserName=name)
    allow = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:*", "Resource": "*"}}
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(allow))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    sts = server.client("sts", key["AccessKeyId"], key["SecretAccessKey"])
    for answer in (sts.get_session_token(), sts.get_federation_token(Name="bob", Policy=json.dumps(ALLOW))):
        given = answer["Credentials"]
        session = server.client("sts", given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
        assert session.get_caller_identity()["Arn"].endswith((f":user/{name}", ":federated-user/bob"))
        assert given["Expiration"].timestamp() == pytest.approx(time.time() + 43200, abs=60)
    assert sts.get_access_key_info(AccessKeyId=key["AccessKeyId"])["Account"] == "000000000000"
    with pytest.raises(sts.exceptions.InvalidAuthorizationMessageException):
        sts.decode_authorization_message(EncodedMessage="x")


def test_certificates_and_ssh_keys(iam: Any, name: str) -> None:
    ca = issue("ca")
    leaf = issue("leaf", ca)
    made = iam.upload_server_certificate(
        ServerCertificateName=name,
        CertificateBody=leaf.pem,
        PrivateKey=leaf.key_pem(),
        CertificateChain=ca.pem,
        Tags=TAGS,
    )["ServerCertificateMetadata"]
    shown = iam.get_server_certificate(ServerCertificateName=name)["ServerCertificate"]
    assert shown["ServerCertificateMetadata"] == made
    assert (shown["CertificateBody"], shown["CertificateChain"], shown["Tags"]) == (leaf.pem, ca.pem, TAGS)
    pages = iam.get_paginator("list_server_certificates").paginate(PaginationConfig={"PageSize": 1})
    assert made in [one for page in pages for one in page["ServerCertificateMetadataList"]]
    with pytest.raises(iam.exceptions.KeyPairMismatchException):
        iam.upload_server_certificate(ServerCertificateName="x", CertificateBody=ca.pem, PrivateKey=leaf.key_pem())
    with pytest.raises(iam.exceptions.MalformedCertificateException):
        iam.upload_server_certificate(ServerCertificateName="x", CertificateBody="x", PrivateKey=leaf.key_pem())
    iam.delete_server_certificate(ServerCertificateName=name)
    iam.create_user(UserName=name)
    signing = iam.upload_signing_certificate(UserName=name, CertificateBody=leaf.pem)["Certificate"]
    assert iam.list_signing_certificates(UserName=name)["Certificates"] == [signing]
    with pytest.raises(iam.exceptions.DuplicateCertificateException):
        iam.upload_signing_certificate(UserName=name, CertificateBody=leaf.pem)
    iam.delete_signing_certificate(UserName=name, CertificateId=signing["CertificateId"])
    with pytest.raises(iam.exceptions.UnrecognizedPublicKeyEncodingException):
        iam.upload_ssh_public_key(UserName=name, SSHPublicKeyBody="x")
    iam.delete_user(UserName=name)
