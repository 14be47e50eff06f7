"""Users, groups, keys and managed policies: what may be done, what is refused, what is read back."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import pytest

from bare_node import ACCOUNT, ROOT, Ask, signed_in
from penstock.core.node import Node
from penstock.services.iam import managed
from penstock.services.iam.directory import StoreDirectory
from penstock.wire.errors import AwsError

READ_ONLY = "arn:aws:iam::aws:policy/IAMReadOnlyAccess"


def document(effect: str = "Allow", action: Any = "*", resource: Any = "*", **more: Any) -> str:
    statement = {"Effect": effect, "Action": action, "Resource": resource, **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


async def user_with_key(ask: Ask, node: Node, name: str = "u") -> Any:
    await ask("iam:CreateUser", UserName=name)
    key = (await ask("iam:CreateAccessKey", UserName=name))["AccessKey"]
    return await signed_in(node, key)


async def test_a_user_with_a_narrow_policy_can_do_just_that(node: Node, ask: Ask) -> None:
    user = await user_with_key(ask, node)
    assert user.arn == f"arn:aws:iam::{ACCOUNT}:user/u"
    with pytest.raises(AwsError, match="no identity-based policy allows the iam:GetUser action"):
        await ask("iam:GetUser", user)
    await ask(
        "iam:PutUserPolicy", UserName="u", PolicyName="self",
        PolicyDocument=document(action="iam:GetUser", resource="arn:aws:iam::*:user/${aws:username}"),
    )  # fmt: skip
    assert (await ask("iam:GetUser", user))["User"]["UserName"] == "u"
    assert (await ask("iam:GetUser", user, UserName="u"))["User"]["UserName"] == "u"
    await ask("iam:CreateUser", UserName="v")
    for operation, params in (("GetUser", {"UserName": "v"}), ("DeleteUser", {"UserName": "u"}), ("ListUsers", {})):
        with pytest.raises(AwsError, match="AccessDenied"):
            await ask(f"iam:{operation}", user, **params)


async def test_a_user_has_what_its_groups_have(node: Node, ask: Ask) -> None:
    user = await user_with_key(ask, node)
    await ask("iam:CreateGroup", GroupName="g")
    await ask("iam:AttachGroupPolicy", GroupName="g", PolicyArn=READ_ONLY)
    await ask("iam:AddUserToGroup", GroupName="g", UserName="u")
    await ask("iam:ListUsers", user)
    assert [u["UserName"] for u in (await ask("iam:GetGroup", GroupName="g"))["Users"]] == ["u"]
    with pytest.raises(AwsError, match="DeleteConflict"):
        await ask("iam:DeleteGroup", GroupName="g")
    await ask("iam:RemoveUserFromGroup", GroupName="g", UserName="u")
    with pytest.raises(AwsError, match="AccessDenied"):
        await ask("iam:ListUsers", user)


async def test_a_boundary_bounds(node: Node, ask: Ask) -> None:
    user = await user_with_key(ask, node)
    boundary = (await ask("iam:CreatePolicy", PolicyName="b", PolicyDocument=document(action="iam:List*")))["Policy"]
    await ask("iam:AttachUserPolicy", UserName="u", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
    await ask("iam:PutUserPermissionsBoundary", UserName="u", PermissionsBoundary=boundary["Arn"])
    await ask("iam:ListUsers", user)
    with pytest.raises(AwsError, match="because no permissions boundary allows the iam:GetUser action"):
        await ask("iam:GetUser", user)
    with pytest.raises(AwsError, match="DeleteConflict"):
        await ask("iam:DeletePolicy", PolicyArn=boundary["Arn"])
    found = await ask("iam:ListEntitiesForPolicy", PolicyArn=boundary["Arn"])
    assert [u["UserName"] for u in found["PolicyUsers"]] == ["u"]


async def test_policies_have_five_versions(ask: Ask) -> None:
    arn = (await ask("iam:CreatePolicy", PolicyName="p", Path="/x/", PolicyDocument=document()))["Policy"]["Arn"]
    assert arn == f"arn:aws:iam::{ACCOUNT}:policy/x/p"
    for n in range(2, 6):
        made = await ask("iam:CreatePolicyVersion", PolicyArn=arn, PolicyDocument=document(action=f"s3:{n}*"))
        assert made["PolicyVersion"]["VersionId"] == f"v{n}"
    with pytest.raises(AwsError, match="A managed policy can have up to 5 versions"):
        await ask("iam:CreatePolicyVersion", PolicyArn=arn, PolicyDocument=document())
    with pytest.raises(AwsError, match="Cannot delete the default version of a policy"):
        await ask("iam:DeletePolicyVersion", PolicyArn=arn, VersionId="v1")
    await ask("iam:SetDefaultPolicyVersion", PolicyArn=arn, VersionId="v3")
    assert (await ask("iam:GetPolicy", PolicyArn=arn))["Policy"]["DefaultVersionId"] == "v3"
    await ask("iam:DeletePolicyVersion", PolicyArn=arn, VersionId="v1")
    made = await ask("iam:CreatePolicyVersion", PolicyArn=arn, PolicyDocument=document())
    assert made["PolicyVersion"]["VersionId"] == "v6"
    got = (await ask("iam:GetPolicyVersion", PolicyArn=arn, VersionId="v3"))["PolicyVersion"]
    assert unquote(got["Document"]) == document(action="s3:3*")
    listed = (await ask("iam:ListPolicyVersions", PolicyArn=arn))["Versions"]
    assert [v["VersionId"] for v in listed] == ["v6", "v5", "v4", "v3", "v2"]


async def test_what_is_in_use_is_not_deleted(ask: Ask) -> None:
    await ask("iam:CreateUser", UserName="u")
    await ask("iam:AttachUserPolicy", UserName="u", PolicyArn=READ_ONLY)
    with pytest.raises(AwsError, match="Cannot delete entity, must detach all policies first"):
        await ask("iam:DeleteUser", UserName="u")
    await ask("iam:DetachUserPolicy", UserName="u", PolicyArn=READ_ONLY)
    await ask("iam:PutUserPolicy", UserName="u", PolicyName="p", PolicyDocument=document())
    with pytest.raises(AwsError, match="must delete policies first"):
        await ask("iam:DeleteUser", UserName="u")
    await ask("iam:DeleteUserPolicy", UserName="u", PolicyName="p")
    key = (await ask("iam:CreateAccessKey", UserName="u"))["AccessKey"]["AccessKeyId"]
    with pytest.raises(AwsError, match="must delete access keys first"):
        await ask("iam:DeleteUser", UserName="u")
    await ask("iam:DeleteAccessKey", UserName="u", AccessKeyId=key)
    await ask("iam:DeleteUser", UserName="u")
    with pytest.raises(AwsError, match="The user with name u cannot be found"):
        await ask("iam:GetUser", UserName="u")


async def test_keys_are_two_and_can_be_switched_off(node: Node, ask: Ask) -> None:
    user = await user_with_key(ask, node)
    assert (await ask("sts:GetAccessKeyInfo", AccessKeyId=user.access_key_id)) == {"Account": ACCOUNT}
    second = (await ask("iam:CreateAccessKey", UserName="u"))["AccessKey"]
    with pytest.raises(AwsError, match="Cannot exceed quota for AccessKeysPerUser: 2"):
        await ask("iam:CreateAccessKey", UserName="u")
    await ask("iam:UpdateAccessKey", UserName="u", AccessKeyId=second["AccessKeyId"], Status="Inactive")
    found = await node.directory.credential(second["AccessKeyId"])
    assert found is not None and not found.active
    await ask("iam:DeleteAccessKey", UserName="u", AccessKeyId=second["AccessKeyId"])
    assert await node.directory.credential(second["AccessKeyId"]) is None
    used = await ask("iam:GetAccessKeyLastUsed", AccessKeyId=user.access_key_id)
    assert used["AccessKeyLastUsed"] == {"ServiceName": "N/A", "Region": "N/A"}
    await ask("iam:AttachUserPolicy", UserName="u", PolicyArn=READ_ONLY)
    await ask("iam:ListUsers", user)
    used = await ask("iam:GetAccessKeyLastUsed", AccessKeyId=user.access_key_id)
    assert used["AccessKeyLastUsed"]["ServiceName"] == "iam"


async def test_a_renamed_user_keeps_what_it_has(node: Node, ask: Ask) -> None:
    user = await user_with_key(ask, node)
    await ask("iam:CreateGroup", GroupName="g")
    await ask("iam:AddUserToGroup", GroupName="g", UserName="u")
    await ask("iam:AttachUserPolicy", UserName="u", PolicyArn=READ_ONLY)
    await ask("iam:UpdateUser", UserName="u", NewUserName="w", NewPath="/n/")
    key = (await ask("iam:ListAccessKeys", UserName="w"))["AccessKeyMetadata"][0]
    found = await node.directory.credential(key["AccessKeyId"])
    assert found is not None and found.principal.arn == f"arn:aws:iam::{ACCOUNT}:user/n/w"
    assert found.principal.id == user.id
    await ask("iam:ListUsers", found.principal)
    assert [u["UserName"] for u in (await ask("iam:GetGroup", GroupName="g"))["Users"]] == ["w"]
    found_by = await ask("iam:ListEntitiesForPolicy", PolicyArn=READ_ONLY)
    assert [u["UserName"] for u in found_by["PolicyUsers"]] == ["w"]


async def test_another_node_sees_a_change_at_once(node: Node, ask: Ask) -> None:
    other = StoreDirectory(node.store, node.clock, node.settings)
    user = await user_with_key(ask, node)
    assert (await other.identity(user)).policies == ()
    await ask("iam:PutUserPolicy", UserName="u", PolicyName="p", PolicyDocument=document())
    assert len((await other.identity(user)).policies) == 1
    await ask("iam:TagUser", UserName="u", Tags=[{"Key": "k", "Value": "v"}])
    assert (await other.identity(user)).tags == {"k": "v"}
    await ask("iam:DeleteUserPolicy", UserName="u", PolicyName="p")
    assert (await other.identity(user)).policies == ()


async def test_lists_come_in_pages(ask: Ask) -> None:
    for i in range(7):
        await ask("iam:CreateUser", UserName=f"User{i}", Path="/a/" if i % 2 else "/b/")
    names: list[str] = []
    marker: dict[str, Any] = {}
    while True:
        page = await ask("iam:ListUsers", MaxItems=3, **marker)
        names += [u["UserName"] for u in page["Users"]]
        if not page["IsTruncated"]:
            break
        marker = {"Marker": page["Marker"]}
    assert names == [f"User{i}" for i in range(7)]
    assert len((await ask("iam:ListUsers", PathPrefix="/a/"))["Users"]) == 3
    with pytest.raises(AwsError, match="Invalid Marker"):
        await ask("iam:ListUsers", Marker="x" + marker["Marker"][1:])
    with pytest.raises(AwsError, match="Invalid Marker"):
        await ask("iam:ListRoles", Marker=marker["Marker"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Syntax errors in policy."),
        ('{"Version":"2012-10-17"}', "Syntax errors in policy."),
        ('{"Version":"2008-10-17","Statement":[]}', "Policy document must be version 2012-10-17 or greater."),
        (document(effect="allow"), "The policy failed legacy parsing"),
        (document(effect="permit"), "Syntax errors in policy."),
        (document(resource="arn:aws:s3::b"), "The policy failed legacy parsing"),
        (document(action="a b:C"), "Vendor a b is not valid"),
        (document(action=[]), "Policy statement must contain actions."),
        (document(action="GetObject"), "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."),
        (document(resource="bucket"), 'Resource bucket must be in ARN format or "*".'),
        (document(resource="arn:nope:s3:::b"), 'Partition "nope" is not valid for resource "arn:nope:s3:::b".'),
        (document(Principal="*"), "Policy document should not specify a principal."),
        (document(Condition={"Equals": {"a": "b"}}), "Syntax errors in policy."),
    ],
)
async def test_malformed_policies_are_refused(ask: Ask, text: str, message: str) -> None:
    with pytest.raises(AwsError) as caught:
        await ask("iam:CreatePolicy", PolicyName="p", PolicyDocument=text)
    assert (caught.value.code, caught.value.message) == ("MalformedPolicyDocument", message)


async def test_quotas_of_size_hold(ask: Ask) -> None:
    await ask("iam:CreateUser", UserName="u")
    big = document(resource=[f"arn:aws:s3:::bucket-{i}" for i in range(100)])
    with pytest.raises(AwsError, match="Maximum policy size of 2048 bytes exceeded for user u"):
        await ask("iam:PutUserPolicy", UserName="u", PolicyName="p", PolicyDocument=big)
    bigger = document(resource=[f"arn:aws:s3:::bucket-{i}" for i in range(300)])
    with pytest.raises(AwsError, match="Cannot exceed quota for PolicySize: 6144"):
        await ask("iam:CreatePolicy", PolicyName="p", PolicyDocument=bigger)
    spaced = json.dumps(json.loads(document()), indent=200)
    await ask("iam:PutUserPolicy", UserName="u", PolicyName="p", PolicyDocument=spaced)
    got = await ask("iam:GetUserPolicy", UserName="u", PolicyName="p")
    assert unquote(got["PolicyDocument"]) == spaced


async def test_managed_policies_of_aws(ask: Ask) -> None:
    arn = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
    got = (await ask("iam:GetPolicy", PolicyArn=arn))["Policy"]
    assert got["Path"] == "/service-role/" and got["AttachmentCount"] == 0
    version = await ask("iam:GetPolicyVersion", PolicyArn=arn, VersionId=got["DefaultVersionId"])
    statement = json.loads(unquote(version["PolicyVersion"]["Document"]))["Statement"][0]
    assert statement["Action"] == ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]
    with pytest.raises(AwsError, match="AccessDenied"):
        await ask("iam:DeletePolicy", PolicyArn=arn)
    listed = await ask("iam:ListPolicies", Scope="AWS", MaxItems=1000)
    assert len(listed["Policies"]) == len(managed.all_policies())
    with pytest.raises(AwsError, match="does not exist or is not attachable"):
        await ask("iam:CreateUser", UserName="u")
        await ask("iam:AttachUserPolicy", UserName="u", PolicyArn="arn:aws:iam::aws:policy/None")


async def test_instance_profiles_hold_one_role(ask: Ask) -> None:
    trust = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"},
        }
    )
    await ask("iam:CreateRole", RoleName="r", AssumeRolePolicyDocument=trust)
    await ask("iam:CreateInstanceProfile", InstanceProfileName="p")
    await ask("iam:AddRoleToInstanceProfile", InstanceProfileName="p", RoleName="r")
    with pytest.raises(AwsError, match="LimitExceeded"):
        await ask("iam:AddRoleToInstanceProfile", InstanceProfileName="p", RoleName="r")
    with pytest.raises(AwsError, match="must remove roles from instance profile first"):
        await ask("iam:DeleteRole", RoleName="r")
    found = (await ask("iam:ListInstanceProfilesForRole", RoleName="r"))["InstanceProfiles"]
    assert [(p["InstanceProfileName"], p["Roles"][0]["RoleName"]) for p in found] == [("p", "r")]
    await ask("iam:RemoveRoleFromInstanceProfile", InstanceProfileName="p", RoleName="r")
    await ask("iam:DeleteRole", RoleName="r")
    await ask("iam:DeleteInstanceProfile", InstanceProfileName="p")


async def test_passing_a_role_is_a_permission(node: Node, ask: Ask) -> None:
    user = await user_with_key(ask, node)
    trust = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"}}'
    await ask("iam:CreateRole", RoleName="r", AssumeRolePolicyDocument=trust)
    await ask("iam:CreateInstanceProfile", InstanceProfileName="p")
    await ask(
        "iam:PutUserPolicy", UserName="u", PolicyName="p", PolicyDocument=document(action="iam:AddRole*")
    )  # fmt: skip
    with pytest.raises(AwsError, match="is not authorized to perform: iam:PassRole"):
        await ask("iam:AddRoleToInstanceProfile", user, InstanceProfileName="p", RoleName="r")
    condition = {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}
    await ask(
        "iam:PutUserPolicy", UserName="u", PolicyName="pass",
        PolicyDocument=document(action="iam:PassRole", Condition=condition),
    )  # fmt: skip
    await ask("iam:AddRoleToInstanceProfile", user, InstanceProfileName="p", RoleName="r")


async def test_sessions_of_a_user(node: Node, ask: Ask) -> None:
    user = await user_with_key(ask, node)
    policy = document(action=["iam:ListUsers", "iam:ListRoles", "sts:GetFederationToken"])
    await ask("iam:PutUserPolicy", UserName="u", PolicyName="p", PolicyDocument=policy)
    own = await signed_in(node, (await ask("sts:GetSessionToken", user))["Credentials"])
    assert (await ask("sts:GetCallerIdentity", own))["Arn"] == user.arn
    await ask("iam:ListUsers", own)
    with pytest.raises(AwsError, match="Cannot call GetFederationToken with session credentials"):
        await ask("sts:GetFederationToken", own, Name="bob")
    answer = await ask("sts:GetFederationToken", user, Name="bob", Policy=document(action="iam:ListUsers"))
    bob = await signed_in(node, answer["Credentials"])
    assert bob.arn == f"arn:aws:sts::{ACCOUNT}:federated-user/bob"
    await ask("iam:ListUsers", bob)
    with pytest.raises(AwsError, match="because no session policy allows"):
        await ask("iam:ListRoles", bob)
    bare = await signed_in(node, (await ask("sts:GetFederationToken", user, Name="eve"))["Credentials"])
    with pytest.raises(AwsError, match="AccessDenied"):
        await ask("iam:ListUsers", bare)


async def test_account_alias_and_summary(ask: Ask) -> None:
    await ask("iam:CreateAccountAlias", AccountAlias="mine")
    assert (await ask("iam:ListAccountAliases"))["AccountAliases"] == ["mine"]
    await ask("iam:CreateUser", UserName="u")
    summary = (await ask("iam:GetAccountSummary"))["SummaryMap"]
    assert (summary["Users"], summary["Roles"], summary["AttachedPoliciesPerRoleQuota"]) == (1, 0, 10)
    await ask("iam:DeleteAccountAlias", AccountAlias="mine")
    with pytest.raises(AwsError, match="NoSuchEntity"):
        await ask("iam:DeleteAccountAlias", AccountAlias="mine")


async def test_service_linked_roles_are_not_touched(ask: Ask) -> None:
    made = (await ask("iam:CreateServiceLinkedRole", AWSServiceName="kafka.amazonaws.com"))["Role"]
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/kafka.amazonaws.com/AWSServiceRoleForKafka"
    with pytest.raises(AwsError, match="UnmodifiableEntity"):
        await ask("iam:PutRolePolicy", RoleName=made["RoleName"], PolicyName="p", PolicyDocument=document())
    linked = {
        "PolicyName": "KafkaServiceRolePolicy",
        "PolicyArn": "arn:aws:iam::aws:policy/aws-service-role/KafkaServiceRolePolicy",
    }
    assert (await ask("iam:ListAttachedRolePolicies", RoleName=made["RoleName"]))["AttachedPolicies"] == [linked]
    await ask("iam:CreateUser", UserName="u")
    with pytest.raises(AwsError, match="Cannot attach a Service Role Policy to a Customer Role"):
        await ask("iam:AttachUserPolicy", UserName="u", PolicyArn=linked["PolicyArn"])
    with pytest.raises(AwsError, match="Custom suffix is not allowed"):
        await ask("iam:CreateServiceLinkedRole", AWSServiceName="kafka.amazonaws.com", CustomSuffix="x")
    carriers = await ask("iam:ListEntitiesForPolicy", PolicyArn=linked["PolicyArn"])
    assert [role["RoleName"] for role in carriers["PolicyRoles"]] == [made["RoleName"]]
    task = (await ask("iam:DeleteServiceLinkedRole", RoleName=made["RoleName"]))["DeletionTaskId"]
    assert (await ask("iam:ListEntitiesForPolicy", PolicyArn=linked["PolicyArn"]))["PolicyRoles"] == []
    assert (await ask("iam:GetServiceLinkedRoleDeletionStatus", DeletionTaskId=task)) == {"Status": "SUCCEEDED"}


async def test_passwords_follow_the_policy(node: Node, ask: Ask) -> None:
    user = await user_with_key(ask, node)
    await ask(
        "iam:UpdateAccountPasswordPolicy", MinimumPasswordLength=12, RequireNumbers=True, PasswordReusePrevention=2
    )
    with pytest.raises(AwsError, match="PasswordPolicyViolation"):
        await ask("iam:CreateLoginProfile", UserName="u", Password="short")
    await ask("iam:CreateLoginProfile", UserName="u", Password="long enough 1")
    await ask(
        "iam:PutUserPolicy", UserName="u", PolicyName="p", PolicyDocument=document(action="iam:ChangePassword")
    )  # fmt: skip
    with pytest.raises(AwsError, match="AccessDenied"):
        await ask("iam:ChangePassword", user, OldPassword="wrong", NewPassword="long enough 2")
    await ask("iam:ChangePassword", user, OldPassword="long enough 1", NewPassword="long enough 2")
    with pytest.raises(AwsError, match="used too recently"):
        await ask("iam:ChangePassword", user, OldPassword="long enough 2", NewPassword="long enough 1")


async def test_root_may_have_access_keys_of_its_own(node: Node, ask: Ask) -> None:
    made = (await ask("iam:CreateAccessKey"))["AccessKey"]
    assert made["UserName"] is None
    principal = await signed_in(node, made)
    assert (principal.kind, principal.arn) == (ROOT.kind, ROOT.arn)
    key_id = {"AccessKeyId": made["AccessKeyId"]}
    await ask("iam:UpdateAccessKey", principal, **key_id, Status="Inactive")
    found = await node.directory.credential(made["AccessKeyId"])
    assert found is not None and not found.active
    assert [key["Status"] for key in (await ask("iam:ListAccessKeys"))["AccessKeyMetadata"]] == ["Inactive"]
    await ask("iam:CreateAccessKey")
    with pytest.raises(AwsError, match="LimitExceeded"):
        await ask("iam:CreateAccessKey")
    await ask("iam:DeleteAccessKey", **key_id)
    assert await node.directory.credential(made["AccessKeyId"]) is None
    assert len((await ask("iam:ListAccessKeys"))["AccessKeyMetadata"]) == 1
