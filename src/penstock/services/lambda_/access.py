"""Whose function a call is about, and what that function's own policy says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from penstock.core.arn import account_of
from penstock.core.call import Call
from penstock.core.operation import Params
from penstock.services.lambda_ import keys, records, rules
from penstock.services.lambda_.records import Function
from penstock.store import Transaction
from penstock.store.tuples import unpack
from penstock.wire.errors import AwsError


class Target(NamedTuple):
    """What an invocation is for. qualifier: how the caller named the version, "" where it did not."""

    function: Function
    qualifier: str
    latest: Function
    reserved_elsewhere: int
    """Concurrency of the account and region that is reserved for functions."""
    unprovisioned: int | None = None
    """Of what is reserved for the function, what is left for versions that nothing is provisioned for; None: all."""

    @property
    def arn(self) -> str:
        """As the caller named it."""
        function = self.function
        return rules.arn_of(function.account, function.region, function.name, self.qualifier)


def target(txn: Transaction, account: str, region: str, name: str, qualifier: str) -> Target:
    """What to invoke. Raises ResourceNotFoundException."""
    function = records.read(txn, account, region, name, qualifier, to_run=True)
    latest = records.read(txn, account, region, name) if qualifier else function
    reserved = int.from_bytes(txn.get(keys.reserved(account, region)) or b"", "little", signed=True)
    left = None if latest.reserved is None else _unprovisioned(txn, latest, function)
    return Target(function, qualifier, latest, reserved, left)


def _unprovisioned(txn: Transaction, latest: Function, function: Function) -> int | None:
    total = 0
    for key, raw in txn.scan(*keys.provisioned_of(latest.account, latest.region, latest.name)):
        total += msgspec.msgpack.decode(raw)[0]
        where = str(unpack(key)[-1])
        if not where.isdecimal():
            alias = records.read_alias(txn, latest.account, latest.region, latest.name, where)
            where = "" if alias is None else alias.version
        if where == function.version:
            return None
    return max(0, (latest.reserved or 0) - total)


async def load_policy(call: Call, params: Params) -> Mapping[str, Any] | None:
    """The function's resource policy, for `@operation(policy=...)`. Makes the call one about the function's account.

    A version and an alias have policies of their own. A function may be named by an ARN of another account: then both
    that account's policy and the caller's must allow.
    """
    text = params.get("FunctionName") or params["Resource"]
    if "Resource" in params and ":function:" not in text:
        call.account = account_of(text) or call.account
        return None
    account, region, name, qualifier = rules.reference(call, text, params.get("Qualifier"))
    call.account = account
    raw = await call.store.transact(lambda txn: txn.get(keys.policy(account, region, name, qualifier)), read_only=True)
    return None if raw is None else json.loads(raw)["policy"]


async def load_target(call: Call, params: Params) -> Mapping[str, Any] | None:
    """As `load_policy`, for an invocation. Leaves the version to invoke, or why there is none, in `call.seen`."""
    account, region, name, qualifier = rules.reference(call, params["FunctionName"], params.get("Qualifier"))
    call.account = account

    def body(txn: Transaction) -> tuple[bytes | None, Target | AwsError]:
        raw = txn.get(keys.policy(account, region, name, qualifier))
        try:
            return raw, target(txn, account, region, name, qualifier)
        except AwsError as missing:
            latest = rules.not_found(rules.arn_of(account, region, name, records.LATEST))
            return raw, missing if qualifier else latest

    raw, call.seen = await call.store.transact(body, read_only=True)
    return None if raw is None else json.loads(raw)["policy"]
