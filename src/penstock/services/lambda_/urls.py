"""Function URLs: an HTTPS address of a function's or an alias's own. What answers there is in `url_requests`."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.core import paging
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.lambda_ import access, keys, records, rules
from penstock.store import Transaction
from penstock.wire.errors import AwsError

PAGE = 50
_ID_CHARACTERS = "abcdefghijklmnopqrstuvwxyz234567"


class Url(msgspec.Struct, frozen=True, kw_only=True):
    """A function's URL. qualifier: the alias, "" for the function itself. domain: what follows the id and region."""

    id: str
    account: str
    region: str
    name: str
    qualifier: str
    domain: str
    auth_type: str
    invoke_mode: str
    created_at: float
    modified_at: float
    cors: dict[str, Any] | None = None

    @property
    def arn(self) -> str:
        return rules.arn_of(self.account, self.region, self.name, self.qualifier)


_encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Url).decode


def read(txn: Transaction, account: str, region: str, name: str, qualifier: str) -> Url | None:
    """The URL of a function or alias, None where it has none."""
    raw = txn.get(keys.of(account, region, name, "url", qualifier))
    return None if raw is None else decode(raw)


def find(txn: Transaction, id: str) -> Url | None:
    """The URL with that id."""
    where = txn.get(keys.url(id))
    raw = None if where is None else txn.get(where)
    return None if raw is None else decode(raw)


def _write(txn: Transaction, url: Url) -> None:
    key = keys.of(url.account, url.region, url.name, "url", url.qualifier)
    txn.set(key, _encode(url))
    txn.set(keys.url(url.id), key)


def _iso(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _document(url: Url) -> Result:
    scheme, _, domain = url.domain.partition("://")
    result: Result = {
        "FunctionUrl": f"{scheme}://{url.id}.lambda-url.{url.region}.{domain}/",
        "FunctionArn": url.arn,
        "AuthType": url.auth_type,
        "CreationTime": _iso(url.created_at),
        "LastModifiedTime": _iso(url.modified_at),
        "InvokeMode": url.invoke_mode,
    }
    if url.cors is not None:
        result["Cors"] = url.cors
    return result


def _domain(call: Call) -> str:
    """Scheme, domain and port that URLs made by this call are under: the client's own, on a name that can have more in
    front of it."""
    settings = call.node.settings
    endpoint = call.endpoint or f"http://{settings.host}:{settings.port}"
    scheme, _, host = endpoint.partition("://")
    name, colon, port = host.rpartition(":")
    if not port.isdigit():
        name, colon, port = host, "", ""
    domain = "localhost.localstack.cloud" if name.endswith("localhost.localstack.cloud") else "localhost"
    return f"{scheme}://{domain}{colon}{port}"


def _no_function() -> AwsError:
    return rules.missing("Function does not exist")


def _check_cors(cors: dict[str, Any] | None) -> dict[str, Any] | None:
    """https://docs.aws.amazon.com/lambda/latest/api/API_Cors.html. An empty one takes the rules away."""
    if cors and "*" in cors.get("AllowOrigins", ()) and len(cors["AllowOrigins"]) > 1:
        raise rules.invalid("AllowOrigins cannot have more entries when it has the wildcard *.")
    return cors or None


async def _load_policy(call: Call, params: Params) -> Mapping[str, Any] | None:
    """The function's policy; leaves the function's ARN and its URL's AuthType, as it is or is to be, in `call.seen`."""
    policy = await access.load_policy(call, params)
    where = rules.reference(call, params["FunctionName"], params.get("Qualifier"))
    auth_type = params.get("AuthType")
    if auth_type is None:
        url = await call.store.transact(lambda txn: read(txn, *where), read_only=True)
        auth_type = None if url is None else url.auth_type
    call.seen = rules.arn_of(*where), auth_type
    return policy


def _conditions(call: Call, params: Params) -> dict[str, Any]:
    arn, auth_type = call.seen
    return {"lambda:FunctionArn": arn, "lambda:FunctionUrlAuthType": auth_type}


@operation("lambda:CreateFunctionUrlConfig", resource=rules.resource, policy=_load_policy, conditions=_conditions)
async def create_function_url_config(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunctionUrlConfig.html"""
    where = rules.reference(call, params["FunctionName"], params.get("Qualifier"))
    id = "".join(secrets.choice(_ID_CHARACTERS) for _ in range(32))
    url = Url(
        id=id, account=where[0], region=where[1], name=where[2], qualifier=where[3], domain=_domain(call),
        auth_type=params["AuthType"], invoke_mode=params.get("InvokeMode", "BUFFERED"), created_at=call.now,
        modified_at=call.now, cors=_check_cors(params.get("Cors")),
    )  # fmt: skip

    def body(txn: Transaction) -> None:
        try:
            records.read(txn, *where)
        except AwsError:
            raise _no_function() from None
        if read(txn, *where) is not None:
            raise rules.conflict(
                f"Failed to create function url config for [functionArn = {url.arn}]. Error message:  FunctionUrlConfig "
                "exists for this Lambda function"
            )
        _write(txn, url)

    await call.store.transact(body)
    result = _document(url)
    del result["LastModifiedTime"]
    if "InvokeMode" not in params:
        del result["InvokeMode"]
    return result


@operation("lambda:UpdateFunctionUrlConfig", resource=rules.resource, policy=_load_policy, conditions=_conditions)
async def update_function_url_config(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionUrlConfig.html"""
    where = rules.reference(call, params["FunctionName"], params.get("Qualifier"))

    def body(txn: Transaction) -> Url:
        try:
            records.read(txn, *where)
        except AwsError:
            raise _no_function() from None
        old = _existing(txn, *where)
        new = msgspec.structs.replace(
            old, auth_type=params.get("AuthType", old.auth_type), modified_at=call.now,
            invoke_mode=params.get("InvokeMode", old.invoke_mode),
            cors=_check_cors(params["Cors"]) if "Cors" in params else old.cors,
        )  # fmt: skip
        _write(txn, new)
        return new

    return _document(await call.store.transact(body))


def _existing(txn: Transaction, account: str, region: str, name: str, qualifier: str) -> Url:
    url = read(txn, account, region, name, qualifier)
    if url is None:
        raise rules.missing("The resource you requested does not exist.")
    return url


@operation("lambda:GetFunctionUrlConfig", resource=rules.resource, policy=_load_policy, conditions=_conditions)
async def get_function_url_config(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionUrlConfig.html"""
    where = rules.reference(call, params["FunctionName"], params.get("Qualifier"))
    return _document(await call.store.transact(lambda txn: _existing(txn, *where), read_only=True))


@operation("lambda:DeleteFunctionUrlConfig", resource=rules.resource, policy=_load_policy, conditions=_conditions)
async def delete_function_url_config(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_DeleteFunctionUrlConfig.html"""
    where = rules.reference(call, params["FunctionName"], params.get("Qualifier"))

    def body(txn: Transaction) -> None:
        url = _existing(txn, *where)
        txn.clear(keys.url(url.id))
        txn.clear(keys.of(*where[:3], "url", where[3]))

    await call.store.transact(body)
    return {}


@operation("lambda:ListFunctionUrlConfigs", resource=rules.resource, policy=_load_policy, conditions=_conditions)
async def list_function_url_configs(call: Call, params: Params) -> Result:
    """https://docs.aws.amazon.com/lambda/latest/api/API_ListFunctionUrlConfigs.html"""
    account, region, name = rules.unqualified(call, params["FunctionName"])
    limit = min(params.get("MaxItems", PAGE), PAGE)
    scope = f"lambda:urls:{account}:{region}:{name}"
    begin, end = keys.every_of(account, region, name, "url")
    if params.get("Marker"):
        begin = keys.of(account, region, name, "url", rules.position(scope, params["Marker"])) + b"\0"

    def body(txn: Transaction) -> list[Url]:
        if txn.get(keys.function(account, region, name)) is None:
            raise _no_function()
        return [decode(raw) for _, raw in txn.scan(begin, end, limit + 1)]

    found = await call.store.transact(body, read_only=True)
    result: Result = {"FunctionUrlConfigs": [_document(url) for url in found[:limit]]}
    if len(found) > limit:
        result["NextMarker"] = paging.encode(scope, found[limit - 1].qualifier)
    return result
