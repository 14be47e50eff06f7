"""How asynchronous invocations of a function, version or alias are retried, and where their outcome is sent."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.core import paging
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.lambda_ import access, destinations, keys, records, rules
from penstock.services.lambda_.records import LATEST
from penstock.store import Transaction
from penstock.wire.errors import AwsError

PAGE = 50


class EventInvokeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one qualifier ("$LATEST" for the function itself). None: AWS's default."""

    qualifier: str
    modified_at: float
    retries_max: int | None = None
    age_max_s: int | None = None
    on_success: str = ""
    on_failure: str = ""


_encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(EventInvokeConfig).decode


def read(txn: Transaction, account: str, region: str, name: str, qualifier: str) -> EventInvokeConfig | None:
    """The settings, None where there are none."""
    raw = txn.get(keys.of(account, region, name, "invoke", qualifier or LATEST))
    return None if raw is None else decode(raw)


def _document(account: str, region: str, name: str, config: EventInvokeConfig) -> Result:
    sent: dict[str, dict[str, str]] = {"OnSuccess": {}, "OnFailure": {}}
    if config.on_success:
        sent["OnSuccess"]["Destination"] = config.on_success
    if config.on_failure:
        sent["OnFailure"]["Destination"] = config.on_failure
    result: Result = {
        "FunctionArn": rules.arn_of(account, region, name, config.qualifier),
        "LastModified": config.modified_at,
        "DestinationConfig": sent,
    }
    if config.retries_max is not None:
        result["MaximumRetryAttempts"] = config.retries_max
    if config.age_max_s is not None:
        result["MaximumEventAgeInSeconds"] = config.age_max_s
    return result


def _absent(account: str, region: str, name: str, qualifier: str) -> AwsError:
    arn = rules.arn_of(account, region, name, qualifier or LATEST)
    return rules.missing(f"The function {arn} doesn't have an EventInvokeConfig")


def _changes(params: Params) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if "MaximumRetryAttempts" in params:
        changes["retries_max"] = params["MaximumRetryAttempts"]
    if "MaximumEventAgeInSeconds" in params:
        changes["age_max_s"] = params["MaximumEventAgeInSeconds"]
    sent = params.get("DestinationConfig", {})
    if "OnSuccess" in sent:
        changes["on_success"] = sent["OnSuccess"].get("Destination", "")
    if "OnFailure" in sent:
        changes["on_failure"] = sent["OnFailure"].get("Destination", "")
    if not changes and "DestinationConfig" not in params:
        raise rules.invalid("You must specify at least one of error handling or destination setting.")
    return changes


async def _put(call: Call, params: Params, *, keep: bool) -> Result:
    where = rules.reference(call, params["FunctionName"], params.get("Qualifier"))
    changes = _changes(params)
    function = await call.store.transact(lambda txn: _function(txn, *where), read_only=True)
    await destinations.check(call, function, params.get("DestinationConfig", {}))

    def body(txn: Transaction) -> EventInvokeConfig:
        _function(txn, *where)
        old = read(txn, *where) if keep else EventInvokeConfig(qualifier=where[3] or LATEST, modified_at=call.now)
        if old is None:
            raise _absent(*where)
        new = msgspec.structs.replace(old, modified_at=call.now, **changes)
        txn.set(keys.of(*where[:3], "invoke", new.qualifier), _encode(new))
        return new

    return _document(*where[:3], await call.store.transact(body))


def _function(txn: Transaction, account: str, region: str, name: str, qualifier: str) -> records.Function:
    try:
        return records.read(txn, account, region, name, qualifier)
    except AwsError:
        raise rules.missing("The function doesn't exist.") from None


@operation("lambda:PutFunctionEventInvokeConfig", resource=rules.resource, policy=access.load_policy)
async def put_function_event_invoke_config(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionEventInvokeConfig.html: what is not given, goes."""
    return await _put(call, params, keep=False)


@operation("lambda:UpdateFunctionEventInvokeConfig", resource=rules.resource, policy=access.load_policy)
async def update_function_event_invoke_config(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionEventInvokeConfig.html"""
    return await _put(call, params, keep=True)


@operation("lambda:GetFunctionEventInvokeConfig", resource=rules.resource, policy=access.load_policy)
async def get_function_event_invoke_config(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionEventInvokeConfig.html"""
    where = rules.reference(call, params["FunctionName"], params.get("Qualifier"))
    config = await call.store.transact(lambda txn: read(txn, *where), read_only=True)
    if config is None:
        raise _absent(*where)
    return _document(*where[:3], config)


@operation("lambda:DeleteFunctionEventInvokeConfig", resource=rules.resource, policy=access.load_policy)
async def delete_function_event_invoke_config(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_DeleteFunctionEventInvokeConfig.html"""
    where = rules.reference(call, params["FunctionName"], params.get("Qualifier"))

    def body(txn: Transaction) -> None:
        if read(txn, *where) is None:
            raise _absent(*where)
        txn.clear(keys.of(*where[:3], "invoke", where[3] or LATEST))

    await call.store.transact(body)
    return {}


@operation("lambda:ListFunctionEventInvokeConfigs", resource=rules.resource, policy=access.load_policy)
async def list_function_event_invoke_configs(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_ListFunctionEventInvokeConfigs.html"""
    where = rules.unqualified(call, params["FunctionName"])
    limit = min(params.get("MaxItems", PAGE), PAGE)
    scope = f"lambda:invoke:{':'.join(where)}"
    begin, end = keys.every_of(*where, "invoke")
    if params.get("Marker"):
        begin = keys.of(*where, "invoke", rules.position(scope, params["Marker"])) + b"\0"

    def body(txn: Transaction) -> list[EventInvokeConfig]:
        _function(txn, *where, "")
        return [decode(raw) for _, raw in txn.scan(begin, end, limit + 1)]

    found = await call.store.transact(body, read_only=True)
    result: Result = {"FunctionEventInvokeConfigs": [_document(*where, config) for config in found[:limit]]}
    if len(found) > limit:
        result["NextMarker"] = paging.encode(scope, found[limit - 1].qualifier)
    return result
