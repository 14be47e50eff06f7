"""Tags of log groups, by today's operations and by the old ones:
https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/logs/Working-with-log-groups-and-streams.html#log-group-tagging
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from penstock.core import tags
from penstock.core.arn import Arn
from penstock.core.authz import resource_tags
from penstock.core.call import Call
from penstock.core.operation import Params, Result, operation
from penstock.services.logs import errors, keys, names
from penstock.services.logs.records import decode_group, encode
from penstock.store.api import Store, Transaction
from penstock.wire.errors import AwsError


def checked_tags(given: dict[str, str]) -> dict[str, str]:
    """The tags, as AWS lets them be. Raises AwsError InvalidParameterException or TooManyTagsException."""
    try:
        return tags.check(dict(given))
    except tags.TagProblem as problem:
        raise _refusal(problem) from None


def _refusal(problem: tags.TagProblem) -> AwsError:
    if problem.kind == "count":
        return AwsError("TooManyTagsException", "A resource can have no more than 50 tags.")
    return errors.invalid(str(problem))


async def _tags(
    call: Call, group: str | None, change: Callable[[dict[str, str]], dict[str, str]] | None, missing: AwsError
) -> dict[str, str]:
    """Read a group's tags, changed first if `change` is given."""
    if group is None:
        raise missing
    key = keys.group(call.account, call.region, group)

    def body(txn: Transaction) -> dict[str, str]:
        stored = txn.get(key)
        if stored is None:
            raise missing
        record = decode_group(stored)
        if change is not None:
            record.tags = change(record.tags)
            txn.set(key, encode(record))
        return record.tags

    return await call.store.transact(body, read_only=change is None)


def _added(more: dict[str, str]) -> Callable[[dict[str, str]], dict[str, str]]:
    checked_tags(more)
    return lambda old: checked_tags(old | more)


def _without(gone: list[str]) -> Callable[[dict[str, str]], dict[str, str]]:
    return lambda old: {k: v for k, v in old.items() if k not in gone}


@resource_tags("logs")
async def tags_of(store: Store, arn: Arn) -> Mapping[str, str]:
    """A log group's tags, for itself and for its streams: what policies see as aws:ResourceTag."""
    kind, _, name = arn.resource.partition(":")
    key = keys.group(arn.account, arn.region, name.partition(":")[0])
    stored = await store.transact(lambda txn: txn.get(key), read_only=True) if kind == "log-group" else None
    return {} if stored is None else decode_group(stored).tags


@operation("logs:TagResource", resource=names.tagged_resource)
async def tag_resource(call: Call, params: Params) -> Result:
    await _tags(call, names.group_of_arn(call, params["resourceArn"]), _added(params["tags"]), errors.no_resource())
    return {}


@operation("logs:UntagResource", resource=names.tagged_resource)
async def untag_resource(call: Call, params: Params) -> Result:
    group = names.group_of_arn(call, params["resourceArn"])
    await _tags(call, group, _without(params["tagKeys"]), errors.no_resource())
    return {}


@operation("logs:ListTagsForResource", resource=names.tagged_resource)
async def list_tags_for_resource(call: Call, params: Params) -> Result:
    return {"tags": await _tags(call, names.group_of_arn(call, params["resourceArn"]), None, errors.no_resource())}


@operation("logs:TagLogGroup", resource=names.group_resource)
async def tag_log_group(call: Call, params: Params) -> Result:
    await _tags(call, params["logGroupName"], _added(params["tags"]), errors.no_group())
    return {}


@operation("logs:UntagLogGroup", resource=names.group_resource)
async def untag_log_group(call: Call, params: Params) -> Result:
    await _tags(call, params["logGroupName"], _without(params["tags"]), errors.no_group())
    return {}


@operation("logs:ListTagsLogGroup", resource=names.group_resource)
async def list_tags_log_group(call: Call, params: Params) -> Result:
    return {"tags": await _tags(call, params["logGroupName"], None, errors.no_group())}
