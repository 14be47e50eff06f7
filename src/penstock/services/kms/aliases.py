"""Aliases: names for keys, which can be moved from key to key.

https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html
"""

from __future__ import annotations

import re
from typing import Any

from penstock.core.arn import build
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.kms import access, deletion, errors, finding, keys, listing, rules
from penstock.services.kms.records import Alias, Key, decode_alias, encode
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError

PAGE = 50
ALIASES_MAX = 50
"""Aliases of a key."""
_NAME = re.compile(r"alias/[a-zA-Z0-9/_-]+")
_HELP = "Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html"
_ALIAS_ARN = "arn:{partition}:kms:{region}:{account}:{AliasName}"


def _checked_name(params: Params) -> str:
    name: str = params["AliasName"]
    if not name.startswith(finding.ALIAS):
        raise errors.invalid(f'Alias must start with the prefix "alias/". {_HELP}')
    if name.startswith(finding.AWS_ALIAS):
        raise AwsError("NotAuthorizedException", "")
    if not _NAME.fullmatch(name):
        raise AwsError("InvalidAliasNameException", f"Alias contains invalid characters for an alias. {_HELP}")
    return name


async def _target(call: Call, params: Params) -> Key:
    """The key that an alias is to have. Raises AwsError where the caller may not give it one."""
    text: str = params["TargetKeyId"]
    if finding.ALIAS in text:
        raise errors.invalid("Aliases must refer to keys. Not aliases")
    key, policy = await access.look(call, params, text, call.operation.name)
    if key.account != call.account:
        raise errors.denied(call.principal.arn, call.operation.action, key.arn)
    await access.require(call, params, key, policy, call.operation.action)
    return key


async def _pointed(call: Call, params: Params, name: str) -> Key:
    """The key that an alias has, for a caller who may take it away. Raises AwsError NotFoundException."""
    key, policy = await access.look(call, params, name, call.operation.name)
    await access.require(call, params, key, policy, call.operation.action)
    return key


def _add(key: Key, name: str) -> None:
    if len(key.aliases) >= ALIASES_MAX:
        raise errors.limit(f"Alias limit of {ALIASES_MAX} exceeded for {key.arn}")
    key.aliases.append(name)


@operation("kms:CreateAlias", resource=_ALIAS_ARN, conditions=access.conditions)
async def create_alias(call: Call, params: Params) -> Result:
    name = _checked_name(params)
    target = await _target(call, params)
    where = keys.alias(call.account, call.region, name)

    def body(txn: Transaction, key: Key) -> Result:
        rules.check_state(key, call.now, disabled=True, pending_import=True)
        taken = txn.get(where)
        if taken is not None and not deletion.bury(txn, key.account, key.region, decode_alias(taken).target, call.now):
            arn = build("kms", call.region, call.account, name)
            raise AwsError("AlreadyExistsException", f"An alias with the name {arn} already exists")
        _add(key, name)
        txn.set(where, encode(Alias(key.id, call.now, call.now)))
        return {}

    return await finding.change(call, target, body)


@operation("kms:UpdateAlias", resource=_ALIAS_ARN, conditions=access.conditions)
async def update_alias(call: Call, params: Params) -> Result:
    name = _checked_name(params)
    before = await _pointed(call, params, name)
    target = await _target(call, params)
    where = keys.alias(call.account, call.region, name)

    def body(txn: Transaction, key: Key) -> Result:
        rules.check_state(key, call.now, disabled=True, pending_import=True)
        stored = txn.get(where)
        if stored is None:
            raise errors.no_alias(build("kms", call.region, call.account, name))
        alias = decode_alias(stored)
        if alias.target != before.id:
            raise AwsError("ConflictException", "The alias was changed by another request.")
        if alias.target == key.id:
            return {}
        old = finding.get(txn, call.account, call.region, alias.target, call.now)
        if (old.usage, _symmetric(old)) != (key.usage, _symmetric(key)):
            raise errors.invalid(
                f"Alias {name} cannot be changed from key {old.arn} to key {key.arn}: not of one type."
            )
        _add(key, name)
        old.aliases.remove(name)
        finding.save(txn, old, old.due_at())
        txn.set(where, encode(Alias(key.id, alias.created_at, call.now)))
        return {}

    return await finding.change(call, target, body)


def _symmetric(key: Key) -> bool:
    return key.spec == "SYMMETRIC_DEFAULT"


@operation("kms:DeleteAlias", resource=_ALIAS_ARN, conditions=access.conditions)
async def delete_alias(call: Call, params: Params) -> Result:
    name = _checked_name(params)

    def body(txn: Transaction, key: Key) -> Result:
        if name in key.aliases:
            key.aliases.remove(name)
            txn.clear(keys.alias(call.account, call.region, name))
        return {}

    return await finding.change(call, await _pointed(call, params, name), body)


@operation("kms:ListAliases")
async def list_aliases(call: Call, params: Params) -> Result:
    begin, end = keys.range_under(keys.aliases(call.account, call.region))
    limit = params.get("Limit", PAGE)
    only = params.get("KeyId")
    named = None if only is None else finding.reference(call, only, call.account)
    scope = listing.scope(call, only or "")

    def body(txn: Transaction) -> Result:
        key_id = None if named is None else finding.follow(txn, call, named).id
        found: list[dict[str, Any]] = []
        last = b""
        for stored, value in txn.scan(listing.after(params, scope, begin), end):
            alias = decode_alias(value)
            if key_id is not None and alias.target != key_id:
                continue
            if finding.find(txn, call.account, call.region, alias.target, call.now) is None:
                continue  # the key's waiting period is over, and the worker has yet to come by
            if len(found) == limit:
                return listing.page("Aliases", found, scope, last)
            found.append(_view(call, str(keys.parts(stored)[-1]), alias))
            last = stored
        return listing.page("Aliases", found)

    return await call.store.transact(body, read_only=True)


def _view(call: Call, name: str, alias: Alias) -> dict[str, Any]:
    return {
        "AliasName": name, "AliasArn": build("kms", call.region, call.account, name), "TargetKeyId": alias.target,
        "CreationDate": alias.created_at, "LastUpdatedDate": alias.updated_at,
    }  # fmt: skip
