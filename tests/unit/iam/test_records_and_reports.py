"""MFA devices, SAML providers, and what the reports say of keys and calls."""

from __future__ import annotations

import base64
import csv
import datetime
import json
from typing import Any

import pytest

from bare_node import ACCOUNT, Ask, signed_in
from penstock.core.identity import Asked, Principal
from penstock.core.node import Node
from penstock.services.iam.last_used import write_now
from penstock.services.iam.mfa_devices import STEP_S, code_at
from penstock.wire.errors import AwsError

ALLOW = json.dumps(
    {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": ["iam:Get*", "s3:*"], "Resource": "*"}}
)

TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"},
    }
)


async def user(ask: Ask, node: Node) -> Principal:
    await ask("iam:CreateUser", UserName="u")
    await ask("iam:PutUserPolicy", UserName="u", PolicyName="p", PolicyDocument=ALLOW)
    return await signed_in(node, (await ask("iam:CreateAccessKey", UserName="u"))["AccessKey"])


def test_codes_are_those_of_rfc_6238() -> None:
    seed = b"12345678901234567890"
    assert [code_at(seed, at // STEP_S) for at in (59, 1111111109, 20000000000)] == ["287082", "081804", "353130"]


async def test_an_mfa_device_is_enabled_by_its_codes(node: Node, ask: Ask) -> None:
    await user(ask, node)
    made = (await ask("iam:CreateVirtualMFADevice", VirtualMFADeviceName="m"))["VirtualMFADevice"]
    serial, seed = made["SerialNumber"], base64.b32decode(made["Base32StringSeed"])
    assert serial == f"arn:aws:iam::{ACCOUNT}:mfa/m"
    step = int(node.clock.now()) // STEP_S
    codes = {"AuthenticationCode1": code_at(seed, step - 1), "AuthenticationCode2": code_at(seed, step)}
    wrong = {"AuthenticationCode1": codes["AuthenticationCode2"], "AuthenticationCode2": codes["AuthenticationCode1"]}
    with pytest.raises(AwsError, match="InvalidAuthenticationCode"):
        await ask("iam:EnableMFADevice", UserName="u", SerialNumber=serial, **wrong)
    await ask("iam:EnableMFADevice", UserName="u", SerialNumber=serial, **codes)
    assert [d["SerialNumber"] for d in (await ask("iam:ListMFADevices", UserName="u"))["MFADevices"]] == [serial]
    listed = (await ask("iam:ListVirtualMFADevices", AssignmentStatus="Assigned"))["VirtualMFADevices"]
    assert listed[0]["User"]["UserName"] == "u"
    with pytest.raises(AwsError, match="DeleteConflict"):
        await ask("iam:DeleteVirtualMFADevice", SerialNumber=serial)
    await ask("iam:DeactivateMFADevice", UserName="u", SerialNumber=serial)
    await ask("iam:DeleteVirtualMFADevice", SerialNumber=serial)


async def test_saml_metadata_is_xml_without_entities(ask: Ask) -> None:
    good = '<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="me"/>'
    arn = (await ask("iam:CreateSAMLProvider", Name="s", SAMLMetadataDocument=good))["SAMLProviderArn"]
    assert (await ask("iam:GetSAMLProvider", SAMLProviderArn=arn))["SAMLMetadataDocument"] == good
    bomb = '<!DOCTYPE x [<!ENTITY a "aaa">]><EntityDescriptor>&a;</EntityDescriptor>'
    for bad in ("<a", "<Other/>", bomb):
        with pytest.raises(AwsError, match="Could not parse metadata"):
            await ask("iam:UpdateSAMLProvider", SAMLProviderArn=arn, SAMLMetadataDocument=bad)
    await ask("iam:DeleteSAMLProvider", SAMLProviderArn=arn)
    assert (await ask("iam:ListSAMLProviders"))["SAMLProviderList"] == []


async def test_the_reports_know_what_was_called(node: Node, ask: Ask) -> None:
    caller = await user(ask, node)
    await ask("iam:GetUser", caller)
    for _ in range(2):
        job = (await ask("iam:GenerateServiceLastAccessedDetails", Arn=caller.arn, Granularity="ACTION_LEVEL"))["JobId"]
        assert len(job) == 36
        answer = await ask("iam:GetServiceLastAccessedDetails", JobId=job)
        rows = {row["ServiceNamespace"]: row for row in answer["ServicesLastAccessed"]}
        assert {"iam", "s3"} <= rows.keys() and "dynamodb" not in rows
        assert rows["iam"]["LastAuthenticatedEntity"] == caller.arn
        assert rows["s3"]["TotalAuthenticatedEntities"] == 0
        tracked = {row["ActionName"]: row for row in rows["iam"]["TrackedActionsLastAccessed"]}
        assert "LastAccessedTime" in tracked["GetUser"] and "LastAccessedTime" not in tracked["GetRole"]
        await write_now(node)
        assert node.directory.last_uses() == ({}, {})
    granting = await ask("iam:ListPoliciesGrantingServiceAccess", Arn=caller.arn, ServiceNamespaces=["s3", "sqs"])
    assert [len(row["Policies"]) for row in granting["PoliciesGrantingServiceAccess"]] == [1, 0]


async def test_what_was_called_is_kept_and_goes_with_its_caller(node: Node, ask: Ask) -> None:
    caller = await user(ask, node)
    await ask("iam:GetUser", caller)
    with pytest.raises(AwsError, match="AccessDenied"):
        await ask("iam:DeleteUser", caller, UserName="u")
    me = [f"arn:aws:iam::{ACCOUNT}:user/u"]
    expected = [
        {"action": "iam:DeleteUser", "allowed": False, "resources": me},
        {"action": "iam:GetUser", "allowed": True, "resources": me},
    ]
    assert await node.directory.calls(caller.arn) == expected
    await write_now(node)
    assert not node.directory.reaches()
    assert await node.directory.calls(caller.arn) == expected
    await ask("iam:CreateRole", RoleName="r", AssumeRolePolicyDocument=TRUST)
    await ask("iam:GetUser", caller)
    await ask("iam:GetRole", caller, RoleName="r")
    await write_now(node)
    expected.insert(1, {"action": "iam:GetRole", "allowed": True, "resources": [f"arn:aws:iam::{ACCOUNT}:role/r"]})
    assert await node.directory.calls(caller.arn) == expected
    await ask("iam:GetUser", caller)
    await ask("iam:DeleteUserPolicy", UserName="u", PolicyName="p")
    await ask("iam:DeleteAccessKey", UserName="u", AccessKeyId=caller.access_key_id)
    await ask("iam:DeleteUser", UserName="u")
    assert await node.directory.calls(caller.arn) == []
    await write_now(node)
    assert await node.directory.calls(caller.arn) == []


async def test_who_has_used_what_a_group_or_a_policy_allows(node: Node, ask: Ask) -> None:
    """A report on a group tells of its members, one on a policy of whoever carries it, the latest caller first."""
    arn = (await ask("iam:CreatePolicy", PolicyName="p", PolicyDocument=ALLOW))["Policy"]["Arn"]
    group = (await ask("iam:CreateGroup", GroupName="g"))["Group"]["Arn"]
    await ask("iam:AttachGroupPolicy", GroupName="g", PolicyArn=arn)
    callers = []
    for name in ("ann", "Bob", "eve"):
        await ask("iam:CreateUser", UserName=name)
        if name == "eve":
            await ask("iam:AttachUserPolicy", UserName=name, PolicyArn=arn)
        else:
            await ask("iam:AddUserToGroup", GroupName="g", UserName=name)
        callers.append(await signed_in(node, (await ask("iam:CreateAccessKey", UserName=name))["AccessKey"]))
    await ask("iam:CreateRole", RoleName="r", AssumeRolePolicyDocument=TRUST)
    await ask("iam:AttachRolePolicy", RoleName="r", PolicyArn=arn)
    for caller in callers[:2]:
        await ask("iam:GetUser", caller)
        node.clock.advance(60)

    async def entities(of: str, service: str, **more: Any) -> list[tuple[str, str, bool]]:
        job = (await ask("iam:GenerateServiceLastAccessedDetails", Arn=of))["JobId"]
        asked = {"JobId": job, "ServiceNamespace": service, **more}
        found = await ask("iam:GetServiceLastAccessedDetailsWithEntities", **asked)
        while "Marker" in found:
            asked["Marker"] = found["Marker"]
            more = await ask("iam:GetServiceLastAccessedDetailsWithEntities", **asked)
            found = more | {"EntityDetailsList": found["EntityDetailsList"] + more["EntityDetailsList"]}
        rows = found["EntityDetailsList"]
        return [(row["EntityInfo"]["Name"], row["EntityInfo"]["Type"], "LastAuthenticated" in row) for row in rows]

    members = [("Bob", "USER", True), ("ann", "USER", True)]
    assert await entities(group, "iam") == members
    assert await entities(group, "iam", MaxItems=1) == members
    assert await entities(arn, "iam", MaxItems=3) == [*members, ("r", "ROLE", False), ("eve", "USER", False)]
    assert await entities(callers[0].arn, "iam") == members[1:]
    assert await entities(group, "lambda") == []
    job = (await ask("iam:GenerateServiceLastAccessedDetails", Arn=arn, Granularity="ACTION_LEVEL"))["JobId"]
    rows = (await ask("iam:GetServiceLastAccessedDetails", JobId=job))["ServicesLastAccessed"]
    iam = next(row for row in rows if row["ServiceNamespace"] == "iam")
    assert (iam["TotalAuthenticatedEntities"], iam["LastAuthenticatedEntity"]) == (2, callers[1].arn)
    used = [row for row in iam["TrackedActionsLastAccessed"] if "LastAccessedTime" in row]
    assert [(row["ActionName"], row["LastAccessedEntity"]) for row in used] == [("GetUser", callers[1].arn)]
    with pytest.raises(AwsError, match="NoSuchEntity"):
        await ask("iam:GenerateServiceLastAccessedDetails", Arn=arn + "x")


async def test_many_objects_are_kept_as_what_they_begin_with(node: Node, ask: Ask) -> None:
    caller = await user(ask, node)
    for round_ in range(3):
        for i in range(40):
            key = f"arn:aws:s3:::b/in/{round_}-{i}"
            node.directory.reached(caller, "s3:GetObject", key, allowed=True)
        await write_now(node)
    assert await node.directory.calls(caller.arn) == [
        {"action": "s3:GetObject", "allowed": True, "resources": ["arn:aws:s3:::b/in/*"]}
    ]


async def test_why_knows_roots_services_and_trust(node: Node, ask: Ask) -> None:
    caller = await user(ask, node)
    await ask("iam:CreateRole", RoleName="r", AssumeRolePolicyDocument=TRUST)
    role = f"arn:aws:iam::{ACCOUNT}:role/r"

    async def why(principal: str, action: str, resource: str, **more: Any) -> tuple[bool, str, list[str]]:
        told = await node.directory.why(Asked(principal=principal, action=action, resource=resource, **more))
        return told["allowed"], told["kind"], [row["outcome"] for row in told["statements"]]

    assert await why(f"arn:aws:iam::{ACCOUNT}:root", "s3:GetObject", "arn:aws:s3:::b/k") == (True, "", [])
    assert await why(caller.arn, "s3:GetObject", "arn:aws:s3:::b/k") == (True, "", ["allows"])
    assert await why("lambda.amazonaws.com", "sts:AssumeRole", role) == (True, "", ["allows"])
    assert await why("s3.amazonaws.com", "sts:AssumeRole", role) == (False, "role trust policy", ["other principal"])
    session = f"arn:aws:sts::{ACCOUNT}:assumed-role/r/s"
    assert await why(session, "s3:GetObject", "arn:aws:s3:::b/k") == (False, "identity-based policy", [])
    named = {"Effect": "Allow", "Principal": {"AWS": role}, "Action": "s3:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": named})
    assert await why(session, "s3:GetObject", "arn:aws:s3:::b/k", resource_policy=policy) == (True, "", ["allows"])
    for nobody in (f"arn:aws:iam::{ACCOUNT}:user/x", "nobody", f"arn:aws:sts::{ACCOUNT}:federated-user/f"):
        with pytest.raises(AwsError):
            await why(nobody, "s3:GetObject", "*")


async def test_the_credential_report(node: Node, ask: Ask) -> None:
    caller = await user(ask, node)
    with pytest.raises(AwsError, match="ReportNotPresent"):
        await ask("iam:GetCredentialReport")
    assert (await ask("iam:GenerateCredentialReport"))["State"] == "STARTED"
    assert (await ask("iam:GenerateCredentialReport"))["State"] == "COMPLETE"
    await ask("iam:GetUser", caller)
    report = (await ask("iam:GetCredentialReport"))["Content"].decode()
    rows: list[dict[str, Any]] = list(csv.DictReader(report.splitlines()))
    assert [row["user"] for row in rows] == ["<root_account>", "u"]
    assert (rows[1]["access_key_1_active"], rows[1]["access_key_1_last_used_service"]) == ("true", "iam")
    assert rows[1]["access_key_2_active"] == "false"
    node.clock.advance(5 * 3600)
    with pytest.raises(AwsError, match="ReportExpired"):
        await ask("iam:GetCredentialReport")


async def test_the_credential_report_tells_passwords_ages(node: Node, ask: Ask) -> None:
    async def columns() -> dict[str, str]:
        await ask("iam:GenerateCredentialReport")
        text = (await ask("iam:GetCredentialReport"))["Content"].decode()
        row = {row["user"]: row for row in csv.DictReader(text.splitlines())}["u"]
        return {name: row["password_" + name] for name in ("enabled", "last_changed", "next_rotation")}

    await ask("iam:CreateUser", UserName="u")
    assert await columns() == {"enabled": "false", "last_changed": "N/A", "next_rotation": "N/A"}
    await ask("iam:CreateLoginProfile", UserName="u", Password="Long enough 1!")
    first = await columns()
    assert (first["enabled"], first["next_rotation"]) == ("true", "N/A")
    node.clock.advance(3600)
    await ask("iam:UpdateLoginProfile", UserName="u", PasswordResetRequired=True)
    assert await columns() == first
    await ask("iam:UpdateLoginProfile", UserName="u", Password="Another one 2?")
    await ask("iam:UpdateAccountPasswordPolicy", MaxPasswordAge=90)
    then = await columns()
    changed, due = (datetime.datetime.fromisoformat(then[name]) for name in ("last_changed", "next_rotation"))
    assert (due - changed).days == 90 and then["last_changed"] > first["last_changed"]


async def test_a_user_that_moves_to_another_path_is_known_by_its_new_arn(node: Node, ask: Ask) -> None:
    caller = await user(ask, node)
    await ask("iam:UpdateUser", UserName="u", NewPath="/new/")
    found = await node.directory.credential(caller.access_key_id)
    assert found is not None and found.principal.arn == f"arn:aws:iam::{ACCOUNT}:user/new/u"
