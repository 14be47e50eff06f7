"""Log groups: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/logs/Working-with-log-groups-and-streams.html"""

from __future__ import annotations

from typing import Any

from penstock.core import paging
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.logs import errors, keys, names
from penstock.services.logs.records import Group, decode_group, encode
from penstock.services.logs.tags import checked_tags
from penstock.store.api import Transaction
from penstock.store.chunked import clear_large_range
from penstock.wire.errors import AwsError

PAGE = 50
RETENTION_DAYS = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip


def get_group(txn: Transaction, call: Call, name: str) -> Group:
    """The group's record. Raises AwsError ResourceNotFoundException."""
    stored = txn.get(keys.group(call.account, call.region, name))
    if stored is None:
        raise errors.no_group()
    return decode_group(stored)


def set_group(txn: Transaction, call: Call, name: str, group: Group) -> None:
    """Write a group's record."""
    txn.set(keys.group(call.account, call.region, name), encode(group))


@operation(
    "logs:CreateLogGroup", resource=names.group_resource, unsupported={"kmsKeyId": (), "logGroupClass": ("STANDARD",)}
)
async def create_log_group(call: Call, params: Params) -> Result:
    name = params["logGroupName"]
    if name.lower().startswith("aws/"):
        raise errors.invalid("Log groups starting with AWS/ are reserved for AWS.")
    group = Group(
        round(call.now * 1000),
        protected=params.get("deletionProtectionEnabled", False),
        tags=checked_tags(params.get("tags", {})),
    )

    def body(txn: Transaction) -> Result:
        if txn.get(keys.group(call.account, call.region, name)) is not None:
            raise errors.exists("log group")
        set_group(txn, call, name, group)
        return {}

    return await call.store.transact(body)


@operation("logs:DeleteLogGroup", resource=names.group_resource)
async def delete_log_group(call: Call, params: Params) -> Result:
    name = params["logGroupName"]
    where = call.account, call.region, name

    def body(txn: Transaction) -> Result:
        if get_group(txn, call, name).protected:
            raise AwsError("ValidationException", "The log group has deletion protection enabled.")
        txn.clear(keys.group(*where))
        txn.clear(keys.stored_bytes(*where))
        txn.clear(keys.retention(*where))
        txn.clear(*keys.range_under(keys.streams(*where)))
        clear_large_range(txn, *keys.range_under(keys.chunks_of_group(*where)))
        return {}

    return await call.store.transact(body)


@operation("logs:PutLogGroupDeletionProtection", resource=names.group_resource)
async def put_log_group_deletion_protection(call: Call, params: Params) -> Result:
    name = names.group_of(call, params)

    def body(txn: Transaction) -> Result:
        group = get_group(txn, call, name)
        group.protected = params["deletionProtectionEnabled"]
        set_group(txn, call, name, group)
        return {}

    return await call.store.transact(body)


@operation("logs:PutRetentionPolicy", resource=names.group_resource)
async def put_retention_policy(call: Call, params: Params) -> Result:
    days = params["retentionInDays"]
    if days not in RETENTION_DAYS:
        raise errors.invalid(
            f"1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint: "
            f"Member must satisfy enum value set: {list(RETENTION_DAYS)}"
        )
    return await _set_retention(call, params["logGroupName"], days)


@operation("logs:DeleteRetentionPolicy", resource=names.group_resource)
async def delete_retention_policy(call: Call, params: Params) -> Result:
    return await _set_retention(call, params["logGroupName"], 0)


async def _set_retention(call: Call, name: str, days: int) -> Result:
    def body(txn: Transaction) -> Result:
        group = get_group(txn, call, name)
        group.retention_days = days
        set_group(txn, call, name, group)
        key = keys.retention(call.account, call.region, name)
        if days:
            txn.set(key, b"")
        else:
            txn.clear(key)
        return {}

    return await call.store.transact(body)


@operation(
    "logs:DescribeLogGroups",
    resource="arn:{partition}:logs:{region}:{account}:log-group::log-stream:",
    unsupported={"accountIdentifiers": ([],), "includeLinkedAccounts": (False,)},
)
async def describe_log_groups(call: Call, params: Params) -> Result:
    prefix, pattern = params.get("logGroupNamePrefix", ""), params.get("logGroupNamePattern", "")
    if prefix and pattern:
        raise errors.invalid("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
    identifiers = params.get("logGroupIdentifiers")
    if identifiers is not None and (prefix or pattern or params.get("logGroupClass") or params.get("nextToken")):
        raise errors.invalid("logGroupIdentifiers cannot be combined with another filter.")
    limit = params.get("limit", PAGE)
    scope = f"logs:DescribeLogGroups:{call.account}:{call.region}:{prefix}:{pattern}"
    after = _position(scope, params)
    if params.get("logGroupClass", "STANDARD") != "STANDARD":
        return {"logGroups": []}  # there are no groups of another class

    def body(txn: Transaction) -> Result:
        if identifiers is not None:
            named = sorted({names.group_of_identifier(call, i) for i in identifiers})
            known = [(name, txn.get(keys.group(call.account, call.region, name))) for name in named]
            return {"logGroups": [_view(txn, call, n, decode_group(s), "") for n, s in known if s is not None]}
        _, end = keys.range_under(keys.groups(call.account, call.region))
        found: list[dict[str, Any]] = []
        # Not beyond the zero byte that ends a packed string: a longer name has another byte there.
        begin = keys.group(call.account, call.region, prefix)[:-1]
        if after:
            begin = keys.group(call.account, call.region, after) + b"\0"
        for key, value in txn.scan(begin, end):
            name = keys.last_name(key)
            if not name.startswith(prefix):
                break
            if pattern not in name:
                continue
            if len(found) == limit:
                return {"logGroups": found, "nextToken": paging.encode(scope, found[-1]["logGroupName"])}
            found.append(_view(txn, call, name, decode_group(value), pattern))
        return {"logGroups": found}

    return await call.store.transact(body, read_only=True)


def _position(scope: str, params: Params) -> str:
    token = params.get("nextToken")
    if token is None:
        return ""
    try:
        return paging.decode(scope, token).decode()
    except paging.BadToken:
        raise errors.bad_token() from None


def _view(txn: Transaction, call: Call, name: str, group: Group, pattern: str) -> dict[str, Any]:
    arn = names.group_arn(call, name)
    shown: dict[str, Any] = {"logGroupName": name, "creationTime": group.created_ms, "arn": arn + ":*"}
    if pattern:
        return shown  # so AWS does: "only arn, creationTime, and logGroupName are included"
    stored = txn.get(keys.stored_bytes(call.account, call.region, name)) or b""
    shown |= {
        "logGroupArn": arn,
        "metricFilterCount": 0,
        "storedBytes": int.from_bytes(stored, "little", signed=True),
        "logGroupClass": "STANDARD",
        "deletionProtectionEnabled": group.protected,
    }
    if group.retention_days:
        shown["retentionInDays"] = group.retention_days
    return shown
