"""SAML providers, as records; STS checks assertions against their metadata.

Source: https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateSAMLProvider.html
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.iam import errors, ids, quotas, tagging
from penstock.services.iam.records import SamlProvider
from penstock.services.iam.state import State, changing, reading

_VALID_S = 100 * 365 * 86400
_UNSUPPORTED: dict[str, tuple[object, ...]] = {
    "AssertionEncryptionMode": (), "AddPrivateKey": (), "RemovePrivateKey": (),
}  # fmt: skip


def _arn(call: Call, params: Params) -> str:
    return str(params["SAMLProviderArn"])


def _new_arn(call: Call, params: Params) -> str:
    return f"arn:aws:iam::{call.account}:saml-provider/{params['Name']}"


def _get(state: State, params: Params) -> SamlProvider:
    arn = params["SAMLProviderArn"]
    head = f"arn:aws:iam::{state.account}:saml-provider/"
    found = state.find(SamlProvider, arn.removeprefix(head)) if arn.startswith(head) else None
    if found is None:
        raise errors.no_such("saml", arn)
    return found


def _checked(metadata: str) -> str:
    """Metadata that is well formed and describes an entity. Raises AwsError InvalidInput; entities are not expanded."""
    try:
        if "<!DOCTYPE" in metadata or "<!ENTITY" in metadata:
            raise ET.ParseError
        root = ET.fromstring(metadata)  # noqa: S314 - document types, hence entities, are refused above
    except ET.ParseError:
        raise errors.invalid_input("Could not parse metadata") from None
    if root.tag.rpartition("}")[2] != "EntityDescriptor":
        raise errors.invalid_input("Could not parse metadata")
    return metadata


@operation("iam:CreateSAMLProvider", resource=_new_arn, unsupported=_UNSUPPORTED)
@changing
def create_saml_provider(state: State, call: Call, params: Params) -> Result:
    state.check_count(SamlProvider, quotas.SAML_PROVIDERS, "SAMLProvidersPerAccount", call)
    provider = SamlProvider(
        name=params["Name"], id=ids.unique("ASPR"), created=int(call.now),
        metadata=_checked(params["SAMLMetadataDocument"]), tags=tagging.given(params.get("Tags")),
    )  # fmt: skip
    state.add(provider)
    result: Result = {"SAMLProviderArn": _new_arn(call, params)}
    return result | {"Tags": tagging.to_list(provider.tags)} if provider.tags else result


@operation("iam:GetSAMLProvider", resource=_arn)
@reading
def get_saml_provider(state: State, call: Call, params: Params) -> Result:
    provider = _get(state, params)
    return {
        "SAMLProviderUUID": provider.id,
        "SAMLMetadataDocument": provider.metadata,
        "CreateDate": provider.created,
        "ValidUntil": provider.created + _VALID_S,
        "Tags": tagging.to_list(provider.tags),
    }


@operation("iam:ListSAMLProviders", resource="arn:aws:iam::{account}:saml-provider/*")
@reading
def list_saml_providers(state: State, call: Call, params: Params) -> Result:
    found = [
        {
            "Arn": f"arn:aws:iam::{call.account}:saml-provider/{provider.name}",
            "CreateDate": provider.created,
            "ValidUntil": provider.created + _VALID_S,
        }
        for provider in state.all(SamlProvider)
    ]
    return {"SAMLProviderList": found}


@operation("iam:UpdateSAMLProvider", resource=_arn, unsupported=_UNSUPPORTED)
@changing
def update_saml_provider(state: State, call: Call, params: Params) -> Result:
    provider = _get(state, params)
    if "SAMLMetadataDocument" in params:
        provider.metadata = _checked(params["SAMLMetadataDocument"])
    state.save(provider)
    return {"SAMLProviderArn": params["SAMLProviderArn"]}


@operation("iam:DeleteSAMLProvider", resource=_arn)
@changing
def delete_saml_provider(state: State, call: Call, params: Params) -> Result:
    state.remove(_get(state, params))
    return {}


@operation("iam:TagSAMLProvider", resource=_arn)
@changing
def tag_saml_provider(state: State, call: Call, params: Params) -> Result:
    provider = _get(state, params)
    provider.tags = tagging.merged(provider.tags, tagging.given(params["Tags"]))
    state.save(provider)
    return {}


@operation("iam:UntagSAMLProvider", resource=_arn)
@changing
def untag_saml_provider(state: State, call: Call, params: Params) -> Result:
    provider = _get(state, params)
    provider.tags = tagging.removed(provider.tags, params["TagKeys"])
    state.save(provider)
    return {}


@operation("iam:ListSAMLProviderTags", resource=_arn)
@reading
def list_saml_provider_tags(state: State, call: Call, params: Params) -> Result:
    return tagging.list_tags(_get(state, params).tags, params, "saml")
