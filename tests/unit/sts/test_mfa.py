"""Codes of MFA devices: who gives a good one may do what a policy keeps for those who do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bare_node import ACCOUNT, Ask, signed_in
from penstock.core.identity import Principal
from penstock.core.node import Node
from penstock.services.iam.mfa_devices import STEP_S, code_at
from penstock.services.iam.records import VirtualMfa
from penstock.services.iam.state import State
from penstock.wire.errors import AwsError

ROLE = f"arn:aws:iam::{ACCOUNT}:role/careful"
SERIAL = f"arn:aws:iam::{ACCOUNT}:mfa/phone"


def with_mfa(action: str, **element: Any) -> str:
    condition = {"Bool": {"aws:MultiFactorAuthPresent": "true"}, "NumericLessThan": {"aws:MultiFactorAuthAge": "900"}}
    statement = {"Effect": "Allow", "Action": action, "Condition": condition, **element}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


async def code(node: Node, off: int = 0) -> str:
    """What the device shows, or will show `off` time steps from now."""
    device = await node.store.transact(lambda txn: State(txn, ACCOUNT).get(VirtualMfa, "phone"))
    return code_at(device.seed, int(node.clock.host_now()) // STEP_S + off)


@pytest.fixture
async def user(node: Node, ask: Ask) -> Principal:
    """A user with a device, who may list roles where a code was given."""
    await ask("iam:CreateUser", UserName="u")
    await ask("iam:CreateVirtualMFADevice", VirtualMFADeviceName="phone")
    codes = {"AuthenticationCode1": await code(node, -3), "AuthenticationCode2": await code(node, -2)}
    await ask("iam:EnableMFADevice", UserName="u", SerialNumber=SERIAL, **codes)
    document = with_mfa("iam:ListRoles", Resource="*")
    await ask("iam:PutUserPolicy", UserName="u", PolicyName="p", PolicyDocument=document)
    trust = with_mfa("sts:AssumeRole", Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:user/u"})
    await ask("iam:CreateRole", RoleName="careful", AssumeRolePolicyDocument=trust)
    await ask("iam:PutRolePolicy", RoleName="careful", PolicyName="p", PolicyDocument=document)
    return await signed_in(node, (await ask("iam:CreateAccessKey", UserName="u"))["AccessKey"])


async def test_a_session_with_a_code_may_more_for_a_while(node: Node, ask: Ask, user: Principal) -> None:
    with pytest.raises(AwsError, match="AccessDenied"):
        await ask("iam:ListRoles", user)
    plain = await signed_in(node, (await ask("sts:GetSessionToken", user))["Credentials"])
    with pytest.raises(AwsError, match="AccessDenied"):
        await ask("iam:ListRoles", plain)
    made = await ask("sts:GetSessionToken", user, SerialNumber=SERIAL, TokenCode=await code(node))
    session = await signed_in(node, made["Credentials"])
    await ask("iam:ListRoles", session)
    node.clock.advance(901)
    with pytest.raises(AwsError, match="AccessDenied"):
        await ask("iam:ListRoles", session)


async def test_a_role_may_be_taken_with_a_code_only(node: Node, ask: Ask, user: Principal) -> None:
    with pytest.raises(AwsError, match="AccessDenied"):
        await ask("sts:AssumeRole", user, RoleArn=ROLE, RoleSessionName="s")
    made = await ask(
        "sts:AssumeRole", user, RoleArn=ROLE, RoleSessionName="s", SerialNumber=SERIAL, TokenCode=await code(node)
    )
    await ask("iam:ListRoles", await signed_in(node, made["Credentials"]))


async def test_a_code_is_good_once(node: Node, ask: Ask, user: Principal) -> None:
    now = await code(node)
    await ask("sts:GetSessionToken", user, SerialNumber=SERIAL, TokenCode=now)
    with pytest.raises(AwsError, match="with invalid MFA one time pass code"):
        await ask("sts:GetSessionToken", user, SerialNumber=SERIAL, TokenCode=now)
    await ask("sts:GetSessionToken", user, SerialNumber=SERIAL, TokenCode=await code(node, 1))


async def test_what_is_refused(node: Node, ask: Ask, user: Principal) -> None:
    good = await code(node)
    wrong = f"{(int(good) + 1) % 1_000_000:06d}"
    for given, text in (
        ({"SerialNumber": SERIAL, "TokenCode": wrong}, "invalid MFA one time pass code"),
        ({"SerialNumber": SERIAL, "TokenCode": await code(node, -9)}, "invalid MFA one time pass code"),
        ({"SerialNumber": SERIAL + "x", "TokenCode": good}, "unable to validate MFA code"),
        ({"TokenCode": good}, "must provide both"),
        ({"SerialNumber": SERIAL}, "must provide both"),
    ):
        for operation in ("sts:GetSessionToken", "sts:AssumeRole"):
            role = {"RoleArn": ROLE, "RoleSessionName": "s"} if operation == "sts:AssumeRole" else {}
            with pytest.raises(AwsError, match=text) as caught:
                await ask(operation, user, **role, **given)
            assert (caught.value.code, caught.value.status) == ("AccessDenied", 403)
    await ask("iam:CreateUser", UserName="other")
    other = await signed_in(node, (await ask("iam:CreateAccessKey", UserName="other"))["AccessKey"])
    with pytest.raises(AwsError, match="unable to validate MFA code"):
        await ask("sts:GetSessionToken", other, SerialNumber=SERIAL, TokenCode=good)
    session = await signed_in(node, (await ask("sts:GetSessionToken", user))["Credentials"])
    with pytest.raises(AwsError, match="own access key"):
        await ask("sts:AssumeRole", session, RoleArn=ROLE, RoleSessionName="s", SerialNumber=SERIAL, TokenCode=good)
