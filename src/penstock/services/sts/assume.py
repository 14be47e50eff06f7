"""AssumeRole: a role's trust policy decides who, the session's length and policies how far.

Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from penstock.core.arn import parse
from penstock.core.authz import require
from penstock.core.call import Call
from penstock.core.identity import Kind, Principal, RequiredPolicy, root
from penstock.core.operation import Params, Result, operation
from penstock.services.sts import mfa
from penstock.services.sts.narrowing import Narrowing, narrowed
from penstock.services.sts.sessions import UNSUPPORTED, credentials_view
from penstock.wire.errors import AwsError

DEFAULT_S = 3600
CHAINED_MAX_S = 3600
TRANSITIVE = "penstock:transitive-tags"
NOBODY = '{"Version":"2012-10-17","Statement":[]}'


@dataclass(frozen=True, slots=True)
class TrustedRole:
    """What STS needs to know of a role."""

    arn: str
    account: str
    name: str
    id: str
    trust: str
    max_session_s: int


async def find_role(call: Call, role_arn: str) -> TrustedRole | None:
    """The role, or None where there is none. Raises AwsError ValidationError for what is no role's ARN."""
    try:
        arn = parse(role_arn)
    except ValueError:
        raise AwsError("ValidationError", f"{role_arn} is invalid", 400) from None
    if arn.service != "iam" or not arn.resource.startswith("role/"):
        raise AwsError("ValidationError", f"{role_arn} is invalid", 400)
    name = arn.resource.rpartition("/")[2]
    try:
        found = await call.node.call(
            "iam", "GetRole", {"RoleName": name}, principal=root(arn.account), account=arn.account, region=call.region
        )
    except AwsError as error:
        if error.code != "NoSuchEntity":
            raise
        return None
    role = found["Role"]
    if role["Arn"] != role_arn:
        return None
    return TrustedRole(
        role_arn, arn.account, name, role["RoleId"], unquote(role["AssumeRolePolicyDocument"]),
        role["MaxSessionDuration"],
    )  # fmt: skip


async def trust_policy(call: Call, params: Params) -> RequiredPolicy:
    """The trust policy of the role that the call is about; one that trusts nobody where there is no such role.

    A code of an MFA device is checked before: the trust policy may ask for one. Raises AwsError for a bad one.
    """
    call.seen = await mfa.given(call, params)
    role = await find_role(call, params["RoleArn"])
    return RequiredPolicy(role.trust if role else NOBODY)


def session_conditions(call: Call, params: Params) -> dict[str, Any]:
    """The condition keys that trust policies ask for."""
    return {
        **({mfa.PRESENT: "true", "aws:MultiFactorAuthAge": "0"} if call.seen else {}),
        "sts:ExternalId": params.get("ExternalId"),
        "sts:RoleSessionName": params.get("RoleSessionName"),
        "sts:SourceIdentity": params.get("SourceIdentity"),
        "sts:TransitiveTagKeys": params.get("TransitiveTagKeys"),
    }


@operation(
    "sts:AssumeRole", resource=lambda call, params: str(params["RoleArn"]), policy=trust_policy,
    conditions=session_conditions, unsupported={"ProvidedContexts": ([],), **UNSUPPORTED},
)  # fmt: skip
async def assume_role(call: Call, params: Params) -> Result:
    role = await find_role(call, params["RoleArn"])
    await _check_trust(call, params, role)
    if role is None:
        raise refused(call, params["RoleArn"])
    narrowing = await narrowed(call, params, role.account)
    inherited = _inherited(call.principal)
    if {key.lower() for key in inherited} & {key.lower() for key in narrowing.tags}:
        text = (
            "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from "
            "the calling session."
        )
        raise AwsError("InvalidParameterValue", text, 400)
    tags = inherited | narrowing.tags
    session = mfa.session(call, bool(call.seen))
    source_identity = _source_identity(call, params)
    if source_identity:
        session["aws:SourceIdentity"] = source_identity
    passed_on = {key.lower() for key in params.get("TransitiveTagKeys", ())}
    transitive = set(inherited) | {key for key in narrowing.tags if key.lower() in passed_on}
    if transitive:
        session[TRANSITIVE] = ",".join(sorted(transitive))
    seconds = duration_s(params, role, chained=call.principal.kind is Kind.ROLE)
    return await assumed(call, role, params["RoleSessionName"], seconds, narrowing, tags, session)


async def assumed(
    call: Call,
    role: TrustedRole,
    name: str,
    seconds: int,
    narrowing: Narrowing,
    tags: Mapping[str, str],
    session: Mapping[str, str],
) -> Result:
    """Credentials of a role's session called `name`, as the AssumeRole operations answer."""
    principal = Principal(
        Kind.ROLE, role.account, f"arn:aws:sts::{role.account}:assumed-role/{role.name}/{name}", f"{role.id}:{name}",
        role_arn=role.arn, session_policies=narrowing.policies, tags=tags, session=session,
    )  # fmt: skip
    credential = await call.node.directory.issue(principal, seconds)
    result: Result = {
        "Credentials": credentials_view(credential),
        "AssumedRoleUser": {"AssumedRoleId": principal.id, "Arn": principal.arn},
    }
    if narrowing.packed_percent:
        result["PackedPolicySize"] = narrowing.packed_percent
    if "aws:SourceIdentity" in session:
        result["SourceIdentity"] = session["aws:SourceIdentity"]
    return result


def refused(call: Call, role_arn: str) -> AwsError:
    """The denial where there is no such role, which AWS does not tell from one that may not be assumed."""
    text = f"User: {call.principal.arn} is not authorized to perform: {call.operation.action} on resource: {role_arn}"
    return AwsError("AccessDenied", text, 403)


async def _check_trust(call: Call, params: Params, role: TrustedRole | None) -> None:
    """What the declaration leaves: root is not asked there, and tags and a source identity are permissions apart."""
    conditions = session_conditions(call, params)
    trust = role.trust if role else NOBODY
    actions = ["sts:AssumeRole"] if call.principal.kind is Kind.ROOT else []
    if params.get("Tags"):
        actions.append("sts:TagSession")
    if params.get("SourceIdentity"):
        actions.append("sts:SetSourceIdentity")
    for action in actions:
        await require(
            call, params, action, params["RoleArn"], policy=trust, must_be_named=True, conditions=conditions
        )  # fmt: skip


def duration_s(params: Params, role: TrustedRole, *, chained: bool = False) -> int:
    """How long the session lasts. Raises AwsError ValidationError for longer than the role, or a chain, allows."""
    seconds = int(params.get("DurationSeconds", DEFAULT_S))
    if chained and seconds > CHAINED_MAX_S:
        text = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
        raise AwsError("ValidationError", text, 400)
    if seconds > role.max_session_s:
        text = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        raise AwsError("ValidationError", text, 400)
    return seconds


def _inherited(principal: Principal) -> dict[str, str]:
    """The transitive tags of the session that assumes the role."""
    keys = principal.session.get(TRANSITIVE, "").split(",")
    return {key: value for key, value in principal.tags.items() if key in keys}


def _source_identity(call: Call, params: Params) -> str:
    """A source identity, once set, stays through a chain. Raises AwsError ValidationError for another one."""
    kept = call.principal.session.get("aws:SourceIdentity", "")
    asked = str(params.get("SourceIdentity", ""))
    if kept and asked and kept != asked:
        raise AwsError("ValidationError", "The source identity of a role session cannot be changed.", 400)
    return kept or asked
