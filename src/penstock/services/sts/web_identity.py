"""AssumeRoleWithWebIdentity: a token of an OpenID Connect provider in place of a signature.

Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html and
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html#condition-keys-wif
"""

from __future__ import annotations

import datetime
from typing import Any, TypeGuard

from penstock.core.authz import require
from penstock.core.call import Call
from penstock.core.identity import Kind, Principal, RequiredPolicy, root
from penstock.core.operation import Params, Result, operation
from penstock.core.tags import TagProblem, check
from penstock.services.sts import jwt, providers
from penstock.services.sts.assume import NOBODY, TRANSITIVE, assumed, duration_s, find_role, refused
from penstock.services.sts.narrowing import narrowed
from penstock.services.sts.sessions import UNSUPPORTED
from penstock.wire.errors import AwsError

_TAGS = "https://aws.amazon.com/tags"
_SOURCE_IDENTITY = "https://aws.amazon.com/source_identity"
_SKEW_S = 300
_TIMES_END = 253_402_300_800
"""The year 10000."""


def _invalid(text: str) -> AwsError:
    return AwsError("InvalidIdentityToken", text, 400)


async def trust_policy(call: Call, params: Params) -> RequiredPolicy:
    """Check the token, make the call one of its subject's, and load the role's trust policy.

    Raises AwsError InvalidIdentityToken, ExpiredTokenException, IDPCommunicationError.
    """
    role = await find_role(call, params["RoleArn"])
    if role is None:
        raise AwsError("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", 403)
    call.account = role.account
    claims = await _verified_claims(call, params["WebIdentityToken"])
    issuer = str(claims["iss"]).partition("://")[2].rstrip("/")
    session = {f"{issuer}:sub": str(claims["sub"]), f"{issuer}:aud": _audience(claims)}
    for name in ("amr", "email", "oaud"):
        if isinstance(claims.get(name), str):
            session[f"{issuer}:{name}"] = claims[name]
    arn = f"arn:aws:iam::{role.account}:oidc-provider/{issuer}"
    call.principal = Principal(Kind.WEB, "", arn, f"{issuer}:{claims['sub']}", tags=_tags(claims), session=session)
    return RequiredPolicy(role.trust)


def _conditions(call: Call, params: Params) -> dict[str, Any]:
    return {"sts:RoleSessionName": params["RoleSessionName"]}


@operation(
    "sts:AssumeRoleWithWebIdentity", resource=lambda call, params: str(params["RoleArn"]), policy=trust_policy,
    conditions=_conditions, unsupported={"ProviderId": (), **UNSUPPORTED},
)  # fmt: skip
async def assume_role_with_web_identity(call: Call, params: Params) -> Result:
    role = await find_role(call, params["RoleArn"])
    if role is None or call.principal.kind is not Kind.WEB:
        raise refused(call, params["RoleArn"])
    claims = jwt.read(params["WebIdentityToken"]).claims
    source_identity = str(claims.get(_SOURCE_IDENTITY, ""))
    actions = ["sts:AssumeRoleWithWebIdentity"]
    actions += ["sts:TagSession"] if call.principal.tags else []
    actions += ["sts:SetSourceIdentity"] if source_identity else []
    for action in actions:
        await require(
            call, params, action, role.arn, policy=role.trust or NOBODY, must_be_named=True,
            conditions=_conditions(call, params),
        )  # fmt: skip
    narrowing = await narrowed(call, params, role.account)
    session = dict(call.principal.session) | {"aws:FederatedProvider": call.principal.arn}
    if source_identity:
        session["aws:SourceIdentity"] = source_identity
    passed_on = _claim(claims, _TAGS).get("transitive_tag_keys", [])
    if passed_on and isinstance(passed_on, list):
        session[TRANSITIVE] = ",".join(str(key) for key in passed_on)
    seconds = duration_s(params, role)
    result = await assumed(call, role, params["RoleSessionName"], seconds, narrowing, call.principal.tags, session)
    result |= {"SubjectFromWebIdentityToken": claims["sub"], "Provider": claims["iss"], "Audience": _audience(claims)}
    return result


async def _verified_claims(call: Call, text: str) -> dict[str, Any]:
    try:
        token = jwt.read(text)
    except jwt.BadToken:
        raise _invalid(
            "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"
        ) from None
    claims = token.claims
    issuer = claims.get("iss")
    if not isinstance(issuer, str) or not isinstance(claims.get("sub"), str):
        raise _invalid("Missing a required claim: iss or sub")
    provider = await _provider(call, issuer)
    now = call.node.clock.host_now()
    expires = claims.get("exp")
    if not _is_time(expires) or not _is_time(claims.get("iat")):
        raise _invalid("Missing a required claim: exp or iat")
    if now >= expires:
        text = f"Token expired: current date/time {_date(now)} must be before the expiration date/time {_date(expires)}"
        raise AwsError("ExpiredTokenException", text, 400)
    not_before = claims.get("nbf", 0)
    if not _is_time(not_before) or max(claims["iat"], not_before) > now + _SKEW_S:
        raise _invalid("The token is not valid yet.")
    audiences = claims.get("azp", claims.get("aud", []))
    if not any(one in provider["ClientIDList"] for one in (audiences if isinstance(audiences, list) else [audiences])):
        raise _invalid("Incorrect token audience")
    await _check_signature(call, token, issuer)
    return claims


def _is_time(claim: Any) -> TypeGuard[float]:
    """Whether a claim is a time that a calendar has: seconds since the epoch."""
    return isinstance(claim, (int, float)) and not isinstance(claim, bool) and 0 <= claim < _TIMES_END


async def _provider(call: Call, issuer: str) -> dict[str, Any]:
    """IAM's record of the issuer. Raises AwsError InvalidIdentityToken."""
    scheme, _, name = issuer.partition("://")
    arn = f"arn:aws:iam::{call.account}:oidc-provider/{name.rstrip('/')}"
    try:
        found: dict[str, Any] = await call.node.call(
            "iam", "GetOpenIDConnectProvider", {"OpenIDConnectProviderArn": arn}, principal=root(call.account),
            account=call.account, region=call.region,
        )  # fmt: skip
    except AwsError as error:
        if error.code != "NoSuchEntity":
            raise
        raise _invalid(f"No OpenIDConnect provider found in your account for {issuer}") from None
    known = found["Url"].partition("://")[0] if "://" in found["Url"] else "https"
    if scheme != known:
        raise _invalid(f"No OpenIDConnect provider found in your account for {issuer}")
    return found


async def _check_signature(call: Call, token: jwt.Token, issuer: str) -> None:
    ring = providers.of_node(call.node)
    try:
        try:
            jwt.verify(token, await ring.keys(issuer))
        except jwt.BadToken:
            jwt.verify(token, await ring.keys(issuer, fresh=True))
    except providers.Unreachable:
        raise _invalid(
            "Couldn't retrieve verification key from your identity provider,  please reference "
            "AssumeRoleWithWebIdentity documentation for requirements"
        ) from None
    except jwt.BadToken:
        raise _invalid("The ID Token's signature is not valid.") from None


def _claim(claims: dict[str, Any], name: str) -> dict[str, Any]:
    found = claims.get(name)
    return found if isinstance(found, dict) else {}


def _tags(claims: dict[str, Any]) -> dict[str, str]:
    """The session tags in a token: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html"""
    tags = _claim(claims, _TAGS).get("principal_tags", {})
    if not isinstance(tags, dict):
        raise _invalid("The session tags in the token cannot be read.")
    found = {
        str(key): str(values[0] if isinstance(values, list) and values else values) for key, values in tags.items()
    }
    try:
        return check(found)
    except TagProblem as problem:
        raise _invalid(f"The session tags in the token are not valid: {problem}") from None


def _audience(claims: dict[str, Any]) -> str:
    """aud as policies see it: azp where the token has one."""
    audiences = claims.get("azp", claims.get("aud", ""))
    return str(audiences[0]) if isinstance(audiences, list) and audiences else str(audiences)


def _date(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
