"""Access keys: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_access-keys.html"""

from __future__ import annotations

from typing import Any

from penstock.core import access_key
from penstock.core.call import Call
from penstock.core.identity import Kind
from penstock.core.operation import Params, Result, operation
from penstock.services.iam import arns, errors, ids, keys, last_used, listing, quotas, statuses
from penstock.services.iam.records import AccessKey, AccountSettings, User
from penstock.services.iam.state import State, changing, encode, reading
from penstock.services.iam.users import name_of_caller

USER = arns.existing(User)


class _Holder:
    """Whose keys a request is about: a user's, or root's own where root names nobody. Raises AwsError NoSuchEntity."""

    def __init__(self, state: State, call: Call, params: Params) -> None:
        self._state = state
        if "UserName" not in params and call.principal.kind is Kind.ROOT:
            self._of: User | AccountSettings = state.settings()
            self.name, self.keys = "", self._of.root_keys
        else:
            self._of = user = state.get(User, name_of_caller(call, params))
            self.name, self.keys = user.name, user.keys

    def key(self, access_key_id: str) -> AccessKey:
        """One of them."""
        if access_key_id not in self.keys:
            raise errors.no_such_entity(f"The Access Key with id {access_key_id} cannot be found.")
        return self._state.access_key(access_key_id)

    def save(self) -> None:
        if isinstance(self._of, User):
            self._state.save(self._of)
        else:
            self._state.save_settings(self._of)


def _view(access_key_id: str, key: AccessKey) -> dict[str, Any]:
    return {
        "UserName": key.user or None,
        "AccessKeyId": access_key_id,
        "Status": statuses.shown(key.active),
        "CreateDate": key.created,
    }


@operation("iam:CreateAccessKey", resource=USER)
@changing
def create_access_key(state: State, call: Call, params: Params) -> Result:
    holder = _Holder(state, call, params)
    if len(holder.keys) >= quotas.ACCESS_KEYS_PER_USER:
        raise errors.limit(f"Cannot exceed quota for AccessKeysPerUser: {quotas.ACCESS_KEYS_PER_USER}")
    access_key_id = access_key.new("AKIA", call.account)
    while state.txn.get(keys.access_key(access_key_id)) is not None:
        access_key_id = access_key.new("AKIA", call.account)
    key = AccessKey(account=call.account, user=holder.name, secret=ids.secret(), created=int(call.now))
    state.txn.set(keys.access_key(access_key_id), encode(key))
    holder.keys.append(access_key_id)
    holder.save()
    return {"AccessKey": _view(access_key_id, key) | {"SecretAccessKey": key.secret}}


@operation("iam:ListAccessKeys", resource=USER)
@reading
def list_access_keys(state: State, call: Call, params: Params) -> Result:
    holder = _Holder(state, call, params)
    return listing.page_of_list(
        holder.keys, params, f"AccessKeys:{holder.name}", "AccessKeyMetadata", lambda key_id: key_id,
        lambda key_id: _view(key_id, state.access_key(key_id)),
    )  # fmt: skip


@operation("iam:UpdateAccessKey", resource=USER)
@changing
def update_access_key(state: State, call: Call, params: Params) -> Result:
    key = _Holder(state, call, params).key(params["AccessKeyId"])
    key.active = statuses.wanted(params)
    state.txn.set(keys.access_key(params["AccessKeyId"]), encode(key))
    state.changed()
    return {}


@operation("iam:DeleteAccessKey", resource=USER)
@changing
def delete_access_key(state: State, call: Call, params: Params) -> Result:
    holder = _Holder(state, call, params)
    holder.key(params["AccessKeyId"])
    holder.keys.remove(params["AccessKeyId"])
    state.txn.clear(keys.access_key(params["AccessKeyId"]))
    state.txn.clear(keys.last_used(params["AccessKeyId"]))
    holder.save()
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
    return {"UserName": key.user or "<root_account>", "AccessKeyLastUsed": last_used.of_key(state, call, access_key_id)}
