"""Provisioned concurrency: environments of a version or alias, initialised before anybody invokes it.

https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html. The settings are the store's; the worker here
has this node's runtime keep to them. Each node keeps as many.
"""

from __future__ import annotations

import asyncio
import logging
import math
from functools import partial
from typing import NamedTuple

import msgspec

from penstock.core import paging
from penstock.core.call import Call
from penstock.core.node import Node
from penstock.core.operation import Params, Result, operation
from penstock.core.worker import worker
from penstock.runtime.api import Credentials, FunctionSpec
from penstock.services.lambda_ import access, concurrency, keys, records, rules
from penstock.services.lambda_.invocations import Ready
from penstock.services.lambda_.records import LATEST, Function
from penstock.store import Transaction
from penstock.store.tuples import unpack
from penstock.wire.errors import AwsError

log = logging.getLogger(__name__)

PAGE = 50
LOOK_AGAIN_S = 60.0


class Provision(msgspec.Struct, frozen=True, array_like=True):
    """What is asked for."""

    count: int
    modified_at: float


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Provision).decode


class Share(NamedTuple):
    """Environments of one version. An alias with weights has them of two."""

    function: Function
    wanted: int


def _check(txn: Transaction, account: str, region: str, name: str, qualifier: str) -> None:
    """Raises AwsError where there is no such version or alias."""
    if qualifier.isdecimal():
        records.read(txn, account, region, name, qualifier)
    elif records.read_alias(txn, account, region, name, qualifier) is None:
        raise rules.missing(f"Cannot find alias arn: {rules.arn_of(account, region, name, qualifier)}")


def _shares(txn: Transaction, account: str, region: str, name: str, qualifier: str, count: int) -> list[Share]:
    """Which versions' environments these are."""
    weights = {qualifier: 1.0}
    if not qualifier.isdecimal():
        alias = records.read_alias(txn, account, region, name, qualifier)
        if alias is None:
            return []
        weights = {alias.version: 1.0 - sum(alias.weights.values()), **alias.weights}
    try:
        return [
            Share(records.read(txn, account, region, name, version), math.ceil(count * weight))
            for version, weight in weights.items()
            if version != LATEST
        ]
    except AwsError:
        return []


class Refused:
    """Versions that environments are wanted of and that this node cannot run: by key, why not."""

    def __init__(self, node: Node) -> None:
        self.reasons: dict[str, str] = {}


async def _document(call: Call, shares: list[Share], provision: Provision) -> Result:
    """How it stands on this node."""
    refused = call.node.own(Refused).reasons
    states = [call.node.runtime.provisioned(share.function.key) for share in shares]
    ready = min(provision.count, sum(min(s.ready, share.wanted) for s, share in zip(states, shares, strict=True)))
    result: Result = {
        "RequestedProvisionedConcurrentExecutions": provision.count,
        "AllocatedProvisionedConcurrentExecutions": ready,
        "AvailableProvisionedConcurrentExecutions": ready,
        "Status": "READY" if ready >= provision.count else "IN_PROGRESS",
        "LastModified": records.timestamp(provision.modified_at),
    }
    reasons = (refused.get(share.function.key, state.reason) for share, state in zip(shares, states, strict=True))
    reason = next(filter(None, reasons), "")
    if reason and ready < provision.count:
        # An error document of the function's own: AWS gives a code in its place.
        told = "FUNCTION_ERROR_INIT_FAILURE" if reason.startswith("{") else reason
        result |= {"Status": "FAILED", "StatusReason": told}
    return result


@operation("lambda:PutProvisionedConcurrencyConfig", resource=rules.resource, policy=access.load_policy)
async def put_provisioned_concurrency_config(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_PutProvisionedConcurrencyConfig.html"""
    account, region, name, qualifier = where = rules.reference(call, params["FunctionName"], params["Qualifier"])
    if qualifier == LATEST:
        raise rules.invalid("Provisioned Concurrency Configs cannot be applied to unpublished function versions.")
    wanted = Provision(params["ProvisionedConcurrentExecutions"], call.now)
    limit = call.node.settings.function_concurrency

    def body(txn: Transaction) -> None:
        _check(txn, *where)
        _check_conflict(txn, *where)
        function = records.read(txn, account, region, name)
        if function.reserved is not None:
            others = sum(provision.count for other, provision in _of(txn, account, region, name) if other != qualifier)
            if others + wanted.count > function.reserved:
                raise rules.invalid(
                    "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for "
                    "function"
                )
        else:
            left = limit - concurrency.reserved_in(txn, account, region)
            if wanted.count > left:
                raise rules.untyped(
                    f"Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [{left}]."
                )
            if left - wanted.count < concurrency.UNRESERVED_MIN:
                raise rules.untyped(
                    "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below "
                    f"its minimum value of [{concurrency.UNRESERVED_MIN}]."
                )
        txn.set(keys.provisioned(*where), _encode(wanted))
        txn.add(keys.PROVISIONED_WAKE, 1)

    await call.store.transact(body)
    return {
        "RequestedProvisionedConcurrentExecutions": wanted.count, "AllocatedProvisionedConcurrentExecutions": 0,
        "AvailableProvisionedConcurrentExecutions": 0, "Status": "IN_PROGRESS",
        "LastModified": records.timestamp(call.now),
    }  # fmt: skip


def _check_conflict(txn: Transaction, account: str, region: str, name: str, qualifier: str) -> None:
    others = {other for other, _ in _of(txn, account, region, name)} - {qualifier}
    if qualifier.isdecimal():
        for alias in records.aliases(txn, account, region, name):
            if alias.name in others and qualifier in (alias.version, *alias.weights):
                raise rules.conflict("Version is pointed by a Provisioned Concurrency alias")
        return
    alias_ = records.read_alias(txn, account, region, name, qualifier)
    if alias_ is not None and not others.isdisjoint((alias_.version, *alias_.weights)):
        raise rules.conflict(
            "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
        )


def _of(txn: Transaction, account: str, region: str, name: str) -> list[tuple[str, Provision]]:
    """(qualifier, what is asked for) of a function."""
    begin, end = keys.provisioned_of(account, region, name)
    return [(str(unpack(key)[-1]), _decode(raw)) for key, raw in txn.scan(begin, end)]


@operation("lambda:GetProvisionedConcurrencyConfig", resource=rules.resource, policy=access.load_policy)
async def get_provisioned_concurrency_config(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_GetProvisionedConcurrencyConfig.html"""
    where = rules.reference(call, params["FunctionName"], params["Qualifier"])
    _check_published(where[3])

    def body(txn: Transaction) -> tuple[list[Share], Provision]:
        _check(txn, *where)
        raw = txn.get(keys.provisioned(*where))
        if raw is None:
            raise AwsError(
                "ProvisionedConcurrencyConfigNotFoundException",
                "No Provisioned Concurrency Config found for this function", 404, members={"Type": "User"},
            )  # fmt: skip
        provision = _decode(raw)
        return _shares(txn, *where, provision.count), provision

    shares, provision = await call.store.transact(body, read_only=True)
    return await _document(call, shares, provision)


def _check_published(qualifier: str) -> None:
    if qualifier == LATEST:
        raise rules.invalid("The function resource provided must be an alias or a published version.")


@operation("lambda:DeleteProvisionedConcurrencyConfig", resource=rules.resource, policy=access.load_policy)
async def delete_provisioned_concurrency_config(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_DeleteProvisionedConcurrencyConfig.html"""
    where = rules.reference(call, params["FunctionName"], params["Qualifier"])
    _check_published(where[3])

    def body(txn: Transaction) -> None:
        _check(txn, *where)
        txn.clear(keys.provisioned(*where))
        txn.add(keys.PROVISIONED_WAKE, 1)

    await call.store.transact(body)
    return {}


@operation("lambda:ListProvisionedConcurrencyConfigs", resource=rules.resource, policy=access.load_policy)
async def list_provisioned_concurrency_configs(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_ListProvisionedConcurrencyConfigs.html"""
    where = rules.unqualified(call, params["FunctionName"])
    limit = min(params.get("MaxItems", PAGE), PAGE)
    scope = f"lambda:provisioned:{':'.join(where)}"
    after = rules.position(scope, params.get("Marker"))

    def body(txn: Transaction) -> list[tuple[str, Provision, list[Share]]]:
        records.read(txn, *where)
        return [
            (qualifier, provision, _shares(txn, *where, qualifier, provision.count))
            for qualifier, provision in _of(txn, *where)
            if qualifier > after
        ]

    found = await call.store.transact(body, read_only=True)
    listed = [
        {"FunctionArn": rules.arn_of(*where, qualifier), **await _document(call, shares, provision)}
        for qualifier, provision, shares in found[:limit]
    ]
    result: Result = {"ProvisionedConcurrencyConfigs": listed}
    if len(found) > limit:
        result["NextMarker"] = paging.encode(scope, found[limit - 1][0])
    return result


@worker("lambda:provisioned")
async def keep_provisioned(node: Node) -> None:
    """Have this node's runtime keep what is asked for, through every change of it."""
    kept: dict[str, tuple[FunctionSpec, int]] = {}
    while True:
        refused = node.own(Refused).reasons
        watch = asyncio.ensure_future(node.store.watch(keys.PROVISIONED_WAKE, LOOK_AGAIN_S))
        await asyncio.sleep(0)
        shares = await node.store.transact(_every, read_only=True)
        wanted: dict[str, tuple[Function, int]] = {}
        for share in shares:
            before = wanted.get(share.function.key, (share.function, 0))[1]
            wanted[share.function.key] = (share.function, max(before, share.wanted))
        for key in kept.keys() - wanted.keys():
            node.runtime.provision(kept.pop(key)[0], 0, _nobody)
        for key in refused.keys() - wanted.keys():
            del refused[key]
        for key, (function, count) in wanted.items():
            if key in kept and kept[key][1] == count:
                continue
            try:
                ready = node.own(Ready)
                spec = await ready.spec(function)
                node.runtime.provision(spec, count, partial(ready.credentials, function))
                kept[key] = (spec, count)
                refused.pop(key, None)
            except AwsError as error:
                refused[key] = error.message or error.code
                log.warning("no environments of %s were initialised ahead: %s", function.qualified_arn, error)
        await watch


def _every(txn: Transaction) -> list[Share]:
    shares: list[Share] = []
    for key, raw in txn.scan(*keys.every_provisioned()):
        account, region, name, qualifier = (str(part) for part in unpack(key)[2:6])
        shares += _shares(txn, account, region, name, qualifier, _decode(raw).count)
    return shares


async def _nobody() -> Credentials:  # a provision of none asks for no credentials
    raise AssertionError("nothing is provisioned")
