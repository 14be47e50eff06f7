"""Sessions of a user's own: GetSessionToken, and GetFederationToken for somebody the user vouches for."""

from __future__ import annotations

from typing import Any

from penstock.core.call import Call
from penstock.core.identity import FEDERATED_BY, Credential, Kind, Principal
from penstock.core.operation import Params, Result, operation
from penstock.services.sts import mfa
from penstock.services.sts.narrowing import narrowed
from penstock.wire.errors import AwsError

ROOT_MAX_S = 3600
DEFAULT_S = 43200
UNSUPPORTED: dict[str, tuple[Any, ...]] = {"MinimumSessionTokenSize": (0,)}
"""A token here is as long as it is; it is not padded."""


def credentials_view(credential: Credential) -> dict[str, Any]:
    """The Credentials member."""
    return {
        "AccessKeyId": credential.access_key_id,
        "SecretAccessKey": credential.secret,
        "SessionToken": credential.session_token,
        "Expiration": int(credential.expires_at),
    }


def _refuse_sessions(call: Call) -> None:
    if call.principal.kind not in (Kind.ROOT, Kind.USER) or call.principal.issued_at:
        raise AwsError("AccessDenied", f"Cannot call {call.operation.name} with session credentials", 403)


def _duration_s(call: Call, params: Params) -> int:
    asked_s = int(params.get("DurationSeconds", DEFAULT_S))
    return min(asked_s, ROOT_MAX_S) if call.principal.kind is Kind.ROOT else asked_s


@operation("sts:GetSessionToken", action="", unsupported=UNSUPPORTED)
async def get_session_token(call: Call, params: Params) -> Result:
    """No permission is needed: https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html"""
    _refuse_sessions(call)
    caller = call.principal
    session = mfa.session(call, await mfa.given(call, params))
    principal = Principal(caller.kind, caller.account, caller.arn, caller.id, tags=caller.tags, session=session)
    credential = await call.node.directory.issue(principal, _duration_s(call, params))
    return {"Credentials": credentials_view(credential)}


@operation("sts:GetFederationToken", resource="arn:aws:sts::{account}:federated-user/{Name}", unsupported=UNSUPPORTED)
async def get_federation_token(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/STS/latest/APIReference/API_GetFederationToken.html

    Without a session policy the session has no permissions but what resources' policies give it.
    """
    _refuse_sessions(call)
    caller, name = call.principal, params["Name"]
    narrowing = await narrowed(call, params, caller.account)
    principal = Principal(
        Kind.FEDERATED, caller.account, f"arn:aws:sts::{caller.account}:federated-user/{name}",
        f"{caller.account}:{name}", session_policies=narrowing.policies or ('{"Statement":[]}',), tags=narrowing.tags,
        session={FEDERATED_BY: caller.arn.rpartition("/")[2] if caller.kind is Kind.USER else ""},
    )  # fmt: skip
    credential = await call.node.directory.issue(principal, _duration_s(call, params))
    result: Result = {
        "Credentials": credentials_view(credential),
        "FederatedUser": {"FederatedUserId": principal.id, "Arn": principal.arn},
        "PackedPolicySize": narrowing.packed_percent,
    }
    return result
