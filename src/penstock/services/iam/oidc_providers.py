"""OpenID Connect providers: whose tokens AssumeRoleWithWebIdentity takes.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc.html
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.iam import errors, quotas, tagging
from penstock.services.iam.records import OidcProvider
from penstock.services.iam.state import State, changing, reading

_CLIENTS = 100
_THUMBPRINTS = 5


def _arn_of(call: Call, params: Params) -> str:
    return str(params["OpenIDConnectProviderArn"])


def _new_arn(call: Call, params: Params) -> str:
    return f"arn:aws:iam::{call.account}:oidc-provider/{params['Url'].partition('://')[2]}"


def _get(state: State, params: Params) -> OidcProvider:
    arn = params["OpenIDConnectProviderArn"]
    head = f"arn:aws:iam::{state.account}:oidc-provider/"
    found = state.find(OidcProvider, arn.removeprefix(head)) if arn.startswith(head) else None
    if found is None:
        raise errors.no_such("oidc", arn)
    return found


def _name(url: str) -> tuple[str, str]:
    """(scheme, the rest). Raises AwsError InvalidInput. http is taken for this very machine only."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise errors.invalid_input("Invalid Open ID Connect Provider URL") from None
    local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
    if not (parts.scheme == "https" or local) or not parts.hostname or parts.query or parts.fragment:
        raise errors.invalid_input("Invalid Open ID Connect Provider URL")
    return parts.scheme, parts.netloc + parts.path.rstrip("/")


def _checked_thumbprints(thumbprints: list[str]) -> list[str]:
    if len(thumbprints) > _THUMBPRINTS:
        raise errors.invalid_input("Thumbprint list must contain fewer than 5 entries.")
    for thumbprint in thumbprints:
        if not re.fullmatch(r"[0-9a-fA-F]{40}", thumbprint):
            raise errors.invalid_input("Invalid thumbprint: it must be the 40 hexadecimal digits of a SHA-1 digest.")
    return thumbprints


@operation("iam:CreateOpenIDConnectProvider", resource=_new_arn)
@changing
def create_open_id_connect_provider(state: State, call: Call, params: Params) -> Result:
    scheme, name = _name(params["Url"])
    clients = list(dict.fromkeys(params.get("ClientIDList", ())))
    if len(clients) > _CLIENTS:
        raise errors.limit(f"Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: {_CLIENTS}")
    state.check_count(OidcProvider, quotas.OIDC_PROVIDERS, "OpenIdConnectProvidersPerAccount", call)
    provider = OidcProvider(
        name=name, scheme=scheme, created=int(call.now), clients=clients,
        thumbprints=_checked_thumbprints(params.get("ThumbprintList", [])), tags=tagging.given(params.get("Tags")),
    )  # fmt: skip
    state.add(provider)
    result: Result = {"OpenIDConnectProviderArn": f"arn:aws:iam::{call.account}:oidc-provider/{name}"}
    return result | {"Tags": tagging.to_list(provider.tags)} if provider.tags else result


@operation("iam:GetOpenIDConnectProvider", resource=_arn_of)
@reading
def get_open_id_connect_provider(state: State, call: Call, params: Params) -> Result:
    provider = _get(state, params)
    return {
        "Url": provider.name if provider.scheme == "https" else f"{provider.scheme}://{provider.name}",
        "ClientIDList": provider.clients,
        "ThumbprintList": provider.thumbprints,
        "CreateDate": provider.created,
        "Tags": tagging.to_list(provider.tags),
    }


@operation("iam:ListOpenIDConnectProviders", resource="arn:aws:iam::{account}:oidc-provider/*")
@reading
def list_open_id_connect_providers(state: State, call: Call, params: Params) -> Result:
    found = [
        {"Arn": f"arn:aws:iam::{call.account}:oidc-provider/{provider.name}"} for provider in state.all(OidcProvider)
    ]
    return {"OpenIDConnectProviderList": found}


@operation("iam:DeleteOpenIDConnectProvider", resource=_arn_of)
@changing
def delete_open_id_connect_provider(state: State, call: Call, params: Params) -> Result:
    state.remove(_get(state, params))
    return {}


@operation("iam:AddClientIDToOpenIDConnectProvider", resource=_arn_of)
@changing
def add_client_id_to_open_id_connect_provider(state: State, call: Call, params: Params) -> Result:
    provider = _get(state, params)
    if params["ClientID"] not in provider.clients:
        if len(provider.clients) >= _CLIENTS:
            raise errors.limit(f"Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: {_CLIENTS}")
        provider.clients.append(params["ClientID"])
        state.save(provider)
    return {}


@operation("iam:RemoveClientIDFromOpenIDConnectProvider", resource=_arn_of)
@changing
def remove_client_id_from_open_id_connect_provider(state: State, call: Call, params: Params) -> Result:
    provider = _get(state, params)
    provider.clients = [client for client in provider.clients if client != params["ClientID"]]
    state.save(provider)
    return {}


@operation("iam:UpdateOpenIDConnectProviderThumbprint", resource=_arn_of)
@changing
def update_open_id_connect_provider_thumbprint(state: State, call: Call, params: Params) -> Result:
    provider = _get(state, params)
    provider.thumbprints = _checked_thumbprints(params["ThumbprintList"])
    state.save(provider)
    return {}


@operation("iam:TagOpenIDConnectProvider", resource=_arn_of)
@changing
def tag_open_id_connect_provider(state: State, call: Call, params: Params) -> Result:
    provider = _get(state, params)
    provider.tags = tagging.merged(provider.tags, tagging.given(params["Tags"]))
    state.save(provider)
    return {}


@operation("iam:UntagOpenIDConnectProvider", resource=_arn_of)
@changing
def untag_open_id_connect_provider(state: State, call: Call, params: Params) -> Result:
    provider = _get(state, params)
    provider.tags = tagging.removed(provider.tags, params["TagKeys"])
    state.save(provider)
    return {}


@operation("iam:ListOpenIDConnectProviderTags", resource=_arn_of)
@reading
def list_open_id_connect_provider_tags(state: State, call: Call, params: Params) -> Result:
    return tagging.list_tags(_get(state, params).tags, params, "oidc")
