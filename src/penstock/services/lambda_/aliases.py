"""Aliases: names for versions, which can send a share of the invocations to a second version."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.core import paging
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.lambda_ import access, keys, records, rules
from penstock.services.lambda_.records import LATEST, Alias
from penstock.store import Transaction
from penstock.wire.errors import AwsError

PAGE = 50


def _weights(config: dict[str, Any] | None, version: str) -> dict[str, float]:
    """The weights of a RoutingConfig. Raises InvalidParameterValueException.

    https://docs.aws.amazon.com/lambda/latest/dg/configuring-alias-routing.html
    """
    weights: dict[str, float] = (config or {}).get("AdditionalVersionWeights") or {}
    if len(weights) > 1:
        raise rules.invalid("Number of items in AdditionalVersionWeights cannot be greater than 1")
    constraint = ""
    if not all(number.isdecimal() for number in weights):
        constraint = (
            "Map keys must satisfy constraint: [Member must have length less than or equal to 1024, Member must have "
            "length greater than or equal to 1, Member must satisfy regular expression pattern: [0-9]+]"
        )
    elif not all(0 <= weight <= 1 for weight in weights.values()):
        constraint = (
            "Map value must satisfy constraint: [Member must have value less than or equal to 1.0, Member must have "
            "value greater than or equal to 0.0, Member must not be null]"
        )
    if constraint:
        text = ", ".join(f"{number}={float(weight)}" for number, weight in weights.items())
        raise AwsError(
            "ValidationException",
            f"1 validation error detected: Value '{{{text}}}' at 'routingConfig.additionalVersionWeights' failed to "
            f"satisfy constraint: {constraint}",
            400,
        )
    if version in weights:
        raise rules.invalid(
            f"Invalid function version {version}. Function version {version} is already included in routing "
            "configuration."
        )
    if weights and version == LATEST:
        raise rules.untyped("$LATEST is not supported for an alias pointing to more than 1 version")
    return weights


def _document(account: str, region: str, name: str, alias: Alias) -> Result:
    result: Result = {
        "AliasArn": rules.arn_of(account, region, name, alias.name),
        "Name": alias.name,
        "FunctionVersion": alias.version,
        "Description": alias.description,
        "RevisionId": alias.revision,
    }
    if alias.weights:
        result["RoutingConfig"] = {"AdditionalVersionWeights": alias.weights}
    return result


def _check_versions(txn: Transaction, account: str, region: str, name: str, alias: Alias) -> None:
    for version in (alias.version, *alias.weights):
        records.read(txn, account, region, name, version)


@operation("lambda:CreateAlias", resource=rules.resource, policy=access.load_policy)
async def create_alias(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_CreateAlias.html"""
    where = rules.unqualified(call, params["FunctionName"])
    alias = Alias(
        name=params["Name"], version=params["FunctionVersion"], revision=records.new_revision(),
        description=params.get("Description", ""), weights=_weights(params.get("RoutingConfig"), params["FunctionVersion"]),
    )  # fmt: skip

    def body(txn: Transaction) -> None:
        _check_versions(txn, *where, alias)
        if records.read_alias(txn, *where, alias.name) is not None:
            raise rules.conflict(f"Alias already exists: {rules.arn_of(*where, alias.name)}")
        records.write_alias(txn, *where, alias)

    await call.store.transact(body)
    return _document(*where, alias)


@operation("lambda:UpdateAlias", resource=rules.resource, policy=access.load_policy)
async def update_alias(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_UpdateAlias.html"""
    where = rules.unqualified(call, params["FunctionName"])

    def body(txn: Transaction) -> Alias:
        records.read(txn, *where)
        old = records.read_alias(txn, *where, params["Name"])
        if old is None:
            raise rules.missing(f"Alias not found: {rules.arn_of(*where, params['Name'])}")
        records.check_revision(old.revision, params)
        version = params.get("FunctionVersion", old.version)
        routing = params.get("RoutingConfig", {"AdditionalVersionWeights": old.weights})
        new = msgspec.structs.replace(
            old, version=version, weights=_weights(routing, version), revision=records.new_revision(),
            description=params.get("Description", old.description),
        )  # fmt: skip
        _check_versions(txn, *where, new)
        records.write_alias(txn, *where, new)
        txn.add(keys.PROVISIONED_WAKE, 1)
        return new

    return _document(*where, await call.store.transact(body))


@operation("lambda:GetAlias", resource=rules.resource, policy=access.load_policy)
async def get_alias(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_GetAlias.html"""
    where = rules.unqualified(call, params["FunctionName"])
    alias = await call.store.transact(lambda txn: records.read_alias(txn, *where, params["Name"]), read_only=True)
    if alias is None:
        raise rules.missing(f"Cannot find alias arn: {rules.arn_of(*where, params['Name'])}")
    return _document(*where, alias)


@operation("lambda:ListAliases", resource=rules.resource, policy=access.load_policy)
async def list_aliases(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_ListAliases.html"""
    account, region, name = rules.unqualified(call, params["FunctionName"])
    limit = min(params.get("MaxItems", PAGE), PAGE)
    scope = f"lambda:aliases:{account}:{region}:{name}"
    after = rules.position(scope, params.get("Marker"))
    version = params.get("FunctionVersion")

    def body(txn: Transaction) -> list[Alias]:
        records.read(txn, account, region, name)
        found = records.aliases(txn, account, region, name)
        return [a for a in found if a.name > after and version in (None, a.version)]

    found = await call.store.transact(body, read_only=True)
    result: Result = {"Aliases": [_document(account, region, name, alias) for alias in found[:limit]]}
    if len(found) > limit:
        result["NextMarker"] = paging.encode(scope, found[limit - 1].name)
    return result


@operation("lambda:DeleteAlias", resource=rules.resource, policy=access.load_policy)
async def delete_alias(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_DeleteAlias.html: deleting what is not there succeeds."""
    where = rules.unqualified(call, params["FunctionName"])

    def body(txn: Transaction) -> None:
        records.read(txn, *where)
        txn.clear(keys.of(*where, "alias", params["Name"]))
        records.clear_qualifier(txn, *where, params["Name"])

    await call.store.transact(body)
    return {}
