"""AssumeRoleWithSAML: a provider's signed assertion in place of a signature.

Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithSAML.html and, for the condition keys,
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html#condition-keys-saml
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

from penstock.core.arn import parse
from penstock.core.authz import require
from penstock.core.call import Call
from penstock.core.identity import Kind, Principal, RequiredPolicy, root
from penstock.core.operation import Params, Result, operation
from penstock.services.sts import saml
from penstock.services.sts.assume import TRANSITIVE, assumed, duration_s, find_role, refused
from penstock.services.sts.narrowing import narrowed
from penstock.services.sts.sessions import UNSUPPORTED
from penstock.wire.errors import AwsError

_ATTRIBUTES = "https://aws.amazon.com/SAML/Attributes/"
_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII).fullmatch
_EDU = "urn:oid:1.3.6.1.4.1.5923.1."
_KEYS = {
    **dict(zip(
        (f"{_EDU}1.1.{n}" for n in range(1, 12)),
        ("eduPersonAffiliation", "eduPersonNickname", "eduPersonOrgDN", "eduPersonOrgUnitDN", "eduPersonPrimaryAffiliation",
         "eduPersonPrincipalName", "eduPersonEntitlement", "eduPersonPrimaryOrgUnitDN", "eduPersonScopedAffiliation",
         "eduPersonTargetedID", "eduPersonAssurance"), strict=True,
    )),
    "urn:oid:2.5.4.3": "cn", "urn:oid:2.5.4.4": "surname", "urn:oid:2.5.4.42": "givenName",
    "urn:oid:0.9.2342.19200300.100.1.1": "uid", "urn:oid:0.9.2342.19200300.100.1.3": "mail",
}  # fmt: skip
"""Attributes that trust policies see as saml: keys."""


async def trust_policy(call: Call, params: Params) -> RequiredPolicy:
    """Check the assertion, make the call one of its subject's, and load the role's trust policy.

    Raises AwsError InvalidIdentityToken, ExpiredTokenException, AccessDenied.
    """
    role = await find_role(call, params["RoleArn"])
    provider = params["PrincipalArn"]
    metadata = await _metadata(call, provider)
    assertion = saml.verified(params["SAMLAssertion"], metadata, call.node.clock.host_now())
    named = [
        {part.strip() for part in value.split(",")} for value in assertion.attributes.get(f"{_ATTRIBUTES}Role", ())
    ]
    if role is None or {role.arn, provider} not in named or parse(provider).account != role.account:
        raise AwsError("AccessDenied", "Not authorized to perform sts:AssumeRoleWithSAML", 403)
    call.account, call.seen = role.account, assertion
    session = {
        "saml:namequalifier": _name_qualifier(assertion.issuer, provider), "saml:sub": assertion.subject,
        "saml:sub_type": assertion.subject_type,
    }  # fmt: skip
    call.principal = Principal(
        Kind.WEB,
        "",
        provider,
        f"{session['saml:namequalifier']}:{assertion.subject}",
        tags=_tags(assertion),
        session=session,
    )
    return RequiredPolicy(role.trust)


def _conditions(call: Call, params: Params) -> dict[str, Any]:
    """The keys that a trust policy sees beside the session's own."""
    assertion: saml.Assertion = call.seen
    arn = parse(params["PrincipalArn"])
    found: dict[str, Any] = {
        "saml:aud": assertion.recipient, "saml:iss": assertion.issuer,
        "saml:doc": f"{arn.account}/{arn.resource.rpartition('/')[2]}",
        "sts:RoleSessionName": _one(assertion, "RoleSessionName"), "sts:SourceIdentity": _one(assertion, "SourceIdentity"),
        "sts:TransitiveTagKeys": assertion.attributes.get(f"{_ATTRIBUTES}TransitiveTagKeys"),
    }  # fmt: skip
    found |= {f"saml:{_KEYS[name]}": values for name, values in assertion.attributes.items() if name in _KEYS}
    return found


@operation(
    "sts:AssumeRoleWithSAML", resource=lambda call, params: str(params["RoleArn"]), policy=trust_policy,
    conditions=_conditions, unsupported=UNSUPPORTED,
)  # fmt: skip
async def assume_role_with_saml(call: Call, params: Params) -> Result:
    role = await find_role(call, params["RoleArn"])
    assertion = call.seen
    if role is None or not isinstance(assertion, saml.Assertion):
        raise refused(call, params["RoleArn"])
    name, source_identity = _one(assertion, "RoleSessionName"), _one(assertion, "SourceIdentity")
    if not name:
        raise saml.invalid("RoleSessionName is required in AuthnResponse")
    for what, text in (("RoleSessionName", name), ("SourceIdentity", source_identity or name)):
        if not _NAME(text):
            raise saml.invalid(f"{what} in AuthnResponse must match [a-zA-Z_0-9+=,.@-]{{2,64}}")
    actions = ["sts:AssumeRoleWithSAML"]
    actions += ["sts:TagSession"] if call.principal.tags else []
    actions += ["sts:SetSourceIdentity"] if source_identity else []
    for action in actions:
        await require(
            call, params, action, role.arn, policy=role.trust, must_be_named=True, conditions=_conditions(call, params)
        )
    narrowing = await narrowed(call, params, role.account)
    session = dict(call.principal.session) | {"aws:FederatedProvider": call.principal.arn}
    if source_identity:
        session["aws:SourceIdentity"] = source_identity
    if passed_on := assertion.attributes.get(f"{_ATTRIBUTES}TransitiveTagKeys"):
        session[TRANSITIVE] = ",".join(passed_on)
    seconds = duration_s(_with_duration(params, assertion), role)
    result = await assumed(call, role, name, seconds, narrowing, call.principal.tags, session)
    return result | {
        "Subject": assertion.subject, "SubjectType": assertion.subject_type, "Issuer": assertion.issuer,
        "Audience": assertion.recipient, "NameQualifier": call.principal.session["saml:namequalifier"],
    }  # fmt: skip


async def _metadata(call: Call, provider: str) -> str:
    """The provider's document as IAM has it. Raises AwsError InvalidIdentityToken."""
    try:
        account = parse(provider).account
        found = await call.node.call(
            "iam", "GetSAMLProvider", {"SAMLProviderArn": provider}, principal=root(account), account=account,
            region=call.region,
        )  # fmt: skip
    except ValueError:
        raise AwsError("ValidationError", f"{provider} is invalid", 400) from None
    except AwsError as error:
        if error.code != "NoSuchEntity":
            raise
        raise saml.invalid("Specified provider doesn't exist") from None
    return str(found["SAMLMetadataDocument"])


def _with_duration(params: Params, assertion: saml.Assertion) -> Params:
    """DurationSeconds, or the assertion's SessionDuration, whichever is shorter."""
    said = _one(assertion, "SessionDuration")
    if not said:
        return params
    if not said.isdigit() or not 900 <= int(said) <= 43200:
        raise saml.invalid("SessionDuration in AuthnResponse must be between 900 and 43200")
    return {**params, "DurationSeconds": min(int(said), int(params.get("DurationSeconds", 43200)))}


def _one(assertion: saml.Assertion, name: str) -> str:
    values = assertion.attributes.get(_ATTRIBUTES + name)
    return values[0] if values else ""


def _tags(assertion: saml.Assertion) -> dict[str, str]:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html#id_session-tags_adding-assume-role-saml"""
    head = f"{_ATTRIBUTES}PrincipalTag:"
    return {
        name.removeprefix(head): values[0]
        for name, values in assertion.attributes.items()
        if name.startswith(head) and values
    }


def _name_qualifier(issuer: str, provider: str) -> str:
    arn = parse(provider)
    told = f"{issuer}{arn.account}/{arn.resource.rpartition('/')[2]}"
    return base64.b64encode(hashlib.sha1(told.encode()).digest()).decode()
