"""GetWebIdentityToken: a signed token that says who the caller is, for services elsewhere that trust the account's issuer.

Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_GetWebIdentityToken.html and
https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound_token_claims.html
"""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from penstock.core.authz import require
from penstock.core.call import Call
from penstock.core.identity import Kind
from penstock.core.operation import Params, Result, operation
from penstock.services.sts import jwt
from penstock.services.sts.narrowing import session_tags
from penstock.wire.errors import AwsError

DEFAULT_S = 300
NAMESPACE = "https://sts.amazonaws.com/"


def _conditions(call: Call, params: Params) -> dict[str, Any]:
    return {
        "sts:IdentityTokenAudience": params["Audience"],
        "sts:DurationSeconds": str(params.get("DurationSeconds", DEFAULT_S)),
        "sts:SigningAlgorithm": params["SigningAlgorithm"],
    }


@operation("sts:GetWebIdentityToken", conditions=_conditions)
async def get_web_identity_token(call: Call, params: Params) -> Result:
    caller, tags, algorithm = call.principal, session_tags(params), params["SigningAlgorithm"]
    if algorithm not in jwt.SIGNING:
        raise AwsError("ValidationError", f"The signing algorithm {algorithm} is none of RS256 and ES384.", 400)
    if tags:
        await require(call, params, "sts:TagGetWebIdentityToken", "*", conditions=_conditions(call, params))
    issuer = await call.node.directory.issuer(caller.account)
    if issuer is None:
        text = "Outbound web identity federation is not enabled for this account."
        raise AwsError("OutboundWebIdentityFederationDisabledException", text, 403)
    # As long as others will read it by: the host's clock.
    now, session_ends = call.node.clock.host_now(), caller.expires_at
    expires_at = int(now) + int(params.get("DurationSeconds", DEFAULT_S))
    if session_ends and call.now + (expires_at - now) > session_ends:
        text = "The requested token duration would extend the session beyond its original expiration time."
        raise AwsError("SessionDurationEscalationException", text, 403)
    own: dict[str, Any] = {"aws_account": caller.account, "source_region": call.region}
    if caller.kind is not Kind.ROOT:
        held = await call.node.directory.identity(caller)
        if principal_tags := {**held.tags, **caller.tags}:
            own["principal_tags"] = principal_tags
    if session_ends:
        own["original_session_exp"] = _iso(session_ends)
    if tags:
        own["request_tags"] = tags
    audience = params["Audience"]
    claims = {
        "iss": issuer.url, "aud": audience[0] if len(audience) == 1 else audience, "sub": caller.role_arn or caller.arn,
        "iat": int(now), "exp": expires_at, "jti": str(uuid.uuid4()), NAMESPACE: own,
    }  # fmt: skip
    key_id, sealed = issuer.keys[algorithm]
    master = await call.node.master_keys.get()
    token = jwt.signed(claims, algorithm, key_id, master.unseal(sealed, issuer.bound_to(key_id)))
    return {"WebIdentityToken": token, "Expiration": expires_at}


def _iso(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
