"""Access keys: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_access-keys.html"""

from __future__ import annotations

from typing import Any

from penstock.core import access_key
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.iam import arns, errors, ids, keys, last_used, listing, quotas
from penstock.services.iam.records import AccessKey, User
from penstock.services.iam.state import State, changing, encode, reading
from penstock.services.iam.users import name_of_caller

USER = arns.existing(User)


def _view(access_key_id: str, key: AccessKey) -> dict[str, Any]:
    return {
        "UserName": key.user,
        "AccessKeyId": access_key_id,
        "Status": "Active" if key.active else "Inactive",
        "CreateDate": key.created,
    }


def _of(state: State, call: Call, params: Params) -> tuple[User, AccessKey]:
    """The user and the key that a request is about. Raises AwsError NoSuchEntity."""
    access_key_id = params["AccessKeyId"]
    user = state.get(User, name_of_caller(call, params))
    if access_key_id not in user.keys:
        raise errors.no_such_entity(f"The Access Key with id {access_key_id} cannot be found.")
    return user, state.access_key(access_key_id)


@operation("iam:CreateAccessKey", resource=USER)
@changing
def create_access_key(state: State, call: Call, params: Params) -> Result:
    user = state.get(User, name_of_caller(call, params))
    if len(user.keys) >= quotas.ACCESS_KEYS_PER_USER:
        raise errors.limit(f"Cannot exceed quota for AccessKeysPerUser: {quotas.ACCESS_KEYS_PER_USER}")
    access_key_id = access_key.new("AKIA", call.account)
    while state.txn.get(keys.access_key(access_key_id)) is not None:
        access_key_id = access_key.new("AKIA", call.account)
    key = AccessKey(account=call.account, user=user.name, secret=ids.secret(), created=int(call.now))
    state.txn.set(keys.access_key(access_key_id), encode(key))
    user.keys.append(access_key_id)
    state.save(user)
    return {"AccessKey": _view(access_key_id, key) | {"SecretAccessKey": key.secret}}


@operation("iam:ListAccessKeys", resource=USER)
@reading
def list_access_keys(state: State, call: Call, params: Params) -> Result:
    user = state.get(User, name_of_caller(call, params))
    return listing.page_of_list(
        user.keys, params, f"AccessKeys:{user.name}", "AccessKeyMetadata", lambda key_id: key_id,
        lambda key_id: _view(key_id, state.access_key(key_id)),
    )  # fmt: skip


@operation("iam:UpdateAccessKey", resource=USER)
@changing
def update_access_key(state: State, call: Call, params: Params) -> Result:
    _, key = _of(state, call, params)
    key.active = params["Status"] == "Active"
    state.txn.set(keys.access_key(params["AccessKeyId"]), encode(key))
    state.changed()
    return {}


@operation("iam:DeleteAccessKey", resource=USER)
@changing
def delete_access_key(state: State, call: Call, params: Params) -> Result:
    user, _ = _of(state, call, params)
    user.keys.remove(params["AccessKeyId"])
    state.txn.clear(keys.access_key(params["AccessKeyId"]))
    state.txn.clear(keys.last_used(params["AccessKeyId"]))
    state.save(user)
    return {}


@operation("iam:GetAccessKeyLastUsed")
@reading
def get_access_key_last_used(state: State, call: Call, params: Params) -> Result:
    access_key_id = params["AccessKeyId"]
    raw = state.txn.get(keys.access_key(access_key_id))
    key = state.access_key(access_key_id) if raw is not None else None
    if key is None or key.account != call.account:
        raise errors.denied(f"User: {call.principal.arn} is not authorized to perform: iam:GetAccessKeyLastUsed on "
                            f"resource: access key {access_key_id}")  # fmt: skip
    return {"UserName": key.user, "AccessKeyLastUsed": last_used.of_key(state, call, access_key_id)}
