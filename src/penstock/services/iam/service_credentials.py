"""Service-specific credentials for CodeCommit or Keyspaces, as records. No service here asks for the password, so it is
shown when made, as on AWS, and not kept.

Source: https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateServiceSpecificCredential.html
"""

from __future__ import annotations

from typing import Any

from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.iam import arns, errors, ids, statuses
from penstock.services.iam.records import ServiceCredential, User
from penstock.services.iam.state import State, changing, reading
from penstock.services.iam.users import name_of_caller

USER = arns.existing(User)
_SERVICES = frozenset({"codecommit.amazonaws.com", "cassandra.amazonaws.com"})
_PER_SERVICE = 2


def _view(user: User, credential: ServiceCredential) -> dict[str, Any]:
    return {
        "UserName": user.name,
        "Status": statuses.shown(credential.active),
        "ServiceUserName": credential.user_name,
        "CreateDate": credential.created,
        "ServiceSpecificCredentialId": credential.id,
        "ServiceName": credential.service,
    }


def _check_service(name: str) -> None:
    if name not in _SERVICES:
        raise errors.no_such_entity(f"No such service {name} is supported for Service Specific Credentials")


def _of(state: State, call: Call, params: Params) -> tuple[User, ServiceCredential]:
    credential_id = params["ServiceSpecificCredentialId"]
    user = state.get(User, name_of_caller(call, params))
    for credential in user.service_credentials:
        if credential.id == credential_id:
            return user, credential
    raise errors.no_such_entity(f"No such credential {credential_id} exists")


@operation("iam:CreateServiceSpecificCredential", resource=USER, unsupported={"CredentialAgeDays": ()})
@changing
def create_service_specific_credential(state: State, call: Call, params: Params) -> Result:
    user, service = state.get(User, params["UserName"]), params["ServiceName"]
    _check_service(service)
    same = [credential for credential in user.service_credentials if credential.service == service]
    if len(same) >= _PER_SERVICE:
        raise errors.limit(f"Cannot exceed quota for ServiceSpecificCredentialsPerUser: {_PER_SERVICE}")
    suffix = f"+{len(same)}" if same else ""
    credential = ServiceCredential(
        id=ids.unique("ACCA"),
        service=service,
        user_name=f"{user.name}{suffix}-at-{call.account}",
        created=int(call.now),
    )
    user.service_credentials.append(credential)
    state.save(user)
    return {"ServiceSpecificCredential": _view(user, credential) | {"ServicePassword": ids.secret()}}


@operation("iam:ListServiceSpecificCredentials", resource=USER, unsupported={"AllUsers": (False,)})
@reading
def list_service_specific_credentials(state: State, call: Call, params: Params) -> Result:
    user, service = state.get(User, name_of_caller(call, params)), params.get("ServiceName", "")
    if service:
        _check_service(service)
    shown = [_view(user, c) for c in user.service_credentials if service in ("", c.service)]
    return {"ServiceSpecificCredentials": shown}


@operation("iam:UpdateServiceSpecificCredential", resource=USER)
@changing
def update_service_specific_credential(state: State, call: Call, params: Params) -> Result:
    user, credential = _of(state, call, params)
    credential.active = statuses.wanted(params)
    state.save(user)
    return {}


@operation("iam:ResetServiceSpecificCredential", resource=USER)
@changing
def reset_service_specific_credential(state: State, call: Call, params: Params) -> Result:
    user, credential = _of(state, call, params)
    return {"ServiceSpecificCredential": _view(user, credential) | {"ServicePassword": ids.secret()}}


@operation("iam:DeleteServiceSpecificCredential", resource=USER)
@changing
def delete_service_specific_credential(state: State, call: Call, params: Params) -> Result:
    user, credential = _of(state, call, params)
    user.service_credentials.remove(credential)
    state.save(user)
    return {}
