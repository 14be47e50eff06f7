"""Contributor Insights: which keys of a table or index are asked for most, and which are throttled.

Its rules' reports are CloudWatch's GetInsightRuleReport on AWS. There is no CloudWatch here yet, so they are at
GET /_dynamodb/contributors, for who may DescribeContributorInsights.
"""

from __future__ import annotations

import urllib.parse
from typing import Any

import msgspec

from penstock.core import paging
from penstock.core.authz import authorize
from penstock.core.call import Call
from penstock.core.operation import Params, Result, find, operation
from penstock.core.web import Visit, site
from penstock.services.dynamodb import contributors, keys, names, resource_policies, table
from penstock.services.dynamodb.errors import invalid, table_missing, table_missing_by_name
from penstock.services.dynamodb.key_space import KeySpace
from penstock.services.dynamodb.table import Table
from penstock.services.dynamodb.table_records import Insight, TableRecord
from penstock.store.api import Transaction
from penstock.wire.errors import AwsError
from penstock.wire.message import Response

_DEFAULT_MODE = "ACCESSED_AND_THROTTLED_KEYS"
_PAGE = 100
_MINUTES_MAX = 1440
_DEFAULT_MINUTES = 60
_DEFAULT_CONTRIBUTORS = 10
_MOST_CONTRIBUTORS = 100


def _resource(call: Call, params: Params) -> str:
    arn, index = names.resource(call, params), params.get("IndexName")
    return arn if index is None else f"{arn}/index/{index}"


def _load(txn: Transaction, key: bytes, params: Params) -> Table:
    """The table. Raises ResourceNotFoundException where it or the index that is asked for is not there."""
    stored = txn.get(key)
    if stored is None:
        raise table_missing_by_name(params["TableName"])
    found = table.decode(stored)
    name = params.get("IndexName")
    if name is not None and not any(each.record.name == name and each.record.is_global for each in found.indexes):
        raise AwsError(
            "ResourceNotFoundException",
            f"Requested resource not found: Table: {found.record.name}, Index: {name} not found",
        )
    return found


@operation("dynamodb:UpdateContributorInsights", resource=_resource, policy=resource_policies.load)
async def update_contributor_insights(call: Call, params: Params) -> Result:
    """Begin or end to count a table's or a global index's keys."""
    key, name = names.record_key(call, params["TableName"]), params.get("IndexName", "")
    enable = params["ContributorInsightsAction"] == "ENABLE"
    mode = params.get("ContributorInsightsMode", _DEFAULT_MODE)
    if not enable and "ContributorInsightsMode" in params:
        raise invalid("ContributorInsightsMode can only be specified when ContributorInsightsAction is ENABLE")

    def body(txn: Transaction) -> str:
        record = _load(txn, key, params).record
        insights = dict(record.insights)
        if enable:
            insights[name] = Insight(mode, call.now)
        else:
            insights.pop(name, None)
        txn.set(key, table.encode(table.changed(record, insights=insights)))
        return record.name

    result: Result = {
        "TableName": await call.store.transact(body),
        "ContributorInsightsStatus": "ENABLING" if enable else "DISABLING",
    }
    if name:
        result["IndexName"] = name
    if enable:
        result["ContributorInsightsMode"] = mode
    return result


def rules(found: Table, index_name: str) -> list[str]:
    """The names of the rules that report on a table or index."""
    insight = found.record.insights[index_name]
    space: KeySpace = found if not index_name else found.index(index_name)
    owner = f"{found.record.name}-{index_name}" if index_name else found.record.name
    kinds = [kind for kind in ("PKC", "SKC", "PKT", "SKT") if kind[2] == "T" or insight.counts_access]
    return [
        f"DynamoDBContributorInsights-{kind}-{owner}-{int(insight.enabled_at * 1000)}"
        for kind in kinds
        if kind[0] == "P" or space.range_name
    ]


@operation("dynamodb:DescribeContributorInsights", resource=_resource, policy=resource_policies.load)
async def describe_contributor_insights(call: Call, params: Params) -> Result:
    """Whether keys are counted, and by which rules."""
    key, name = names.record_key(call, params["TableName"]), params.get("IndexName", "")
    found = await call.store.transact(lambda txn: _load(txn, key, params), read_only=True)
    insight = found.record.insights.get(name)
    result: Result = {
        "TableName": found.record.name,
        "ContributorInsightsStatus": "DISABLED" if insight is None else "ENABLED",
    }
    if name:
        result["IndexName"] = name
    if insight is not None:
        result["ContributorInsightsRuleList"] = rules(found, name)
        result["LastUpdateDateTime"] = insight.enabled_at
        result["ContributorInsightsMode"] = insight.mode
    return result


@operation("dynamodb:ListContributorInsights", resource=_resource)
async def list_contributor_insights(call: Call, params: Params) -> Result:
    """The tables and indexes whose keys are counted, in order of name: of the region, or of one table."""
    limit = min(params.get("MaxResults") or _PAGE, _PAGE)
    only = params.get("TableName")
    scope = f"dynamodb:ListContributorInsights {call.account} {call.region} {only}"
    after = _position(scope, params.get("NextToken"))
    begin, end = keys.tables(call.account, call.region)
    if only is not None:
        begin = names.record_key(call, only)
        end = begin + b"\0"
    elif after:
        begin = keys.table(call.account, call.region, after[0])

    def body(txn: Transaction) -> list[tuple[str, str, TableRecord]]:
        if only is not None:
            _load(txn, begin, {"TableName": only})
        found: list[tuple[str, str, TableRecord]] = []
        for _, stored in txn.scan(begin, end):
            record = table.decode(stored).record
            found += [(record.name, index, record) for index in sorted(record.insights)]
            found = [each for each in found if [each[0], each[1]] > after]
            if len(found) > limit:
                break
        return found

    found = await call.store.transact(body, read_only=True)
    shown = []
    for table_name, index_name, record in found[:limit]:
        each = {"TableName": table_name, "ContributorInsightsStatus": "ENABLED"}
        if index_name:
            each["IndexName"] = index_name
        shown.append({**each, "ContributorInsightsMode": record.insights[index_name].mode})
    result: Result = {"ContributorInsightsSummaries": shown}
    if len(found) > limit:
        result["NextToken"] = paging.encode(scope, msgspec.json.encode(list(found[limit - 1][:2])))
    return result


def _position(scope: str, token: str | None) -> list[str]:
    if token is None:
        return []
    try:
        return msgspec.json.decode(paging.decode(scope, token), type=list[str])
    except (paging.BadToken, msgspec.DecodeError):
        raise invalid("The provided NextToken is invalid") from None


@site("dynamodb:ContributorReport", path="/_dynamodb/contributors")
async def answer(visit: Visit) -> Response:
    """A rule's report: ?TableName=T[&IndexName=I][&Rule=PKC][&Minutes=60][&MaxContributorCount=10], signed for dynamodb."""
    try:
        await visit.collect(0)
        asked = dict(urllib.parse.parse_qsl(visit.request.query))
        principal, region = await visit.authenticate("dynamodb")
        account = principal.account
        call = Call(
            visit.node, find("dynamodb", "DescribeContributorInsights"), principal, account, region, visit.request_id
        )
        params: Params = {name: asked[name] for name in ("TableName", "IndexName") if name in asked}
        await authorize(call, params)
        return _json(200, await _report(call, params, asked))
    except AwsError as error:
        return _json(error.status or 400, {"__type": error.code, "message": error.message})


async def _report(call: Call, params: Params, asked: dict[str, str]) -> dict[str, Any]:
    rule = asked.get("Rule", "PKC")
    minutes = _number(asked, "Minutes", _DEFAULT_MINUTES, _MINUTES_MAX)
    most = _number(asked, "MaxContributorCount", _DEFAULT_CONTRIBUTORS, _MOST_CONTRIBUTORS)
    if rule not in ("PKC", "SKC", "PKT", "SKT"):
        raise invalid(f"There is no rule {rule}: it is one of PKC, SKC, PKT, SKT")
    if "TableName" not in params:
        raise invalid("The parameter 'TableName' is required but was not present in the request")
    key, name = names.record_key(call, params["TableName"]), params.get("IndexName", "")
    await contributors.flush(call.node)

    def body(txn: Transaction) -> tuple[KeySpace, contributors.Minute]:
        found = _load(txn, key, params)
        if name not in found.record.insights:
            raise table_missing()
        index = found.index(name) if name else None
        slot = (found.id, 0 if index is None else index.record.id, rule[2] == "T")
        return index or found, contributors.read(txn, slot, call.now - (minutes - 1) * contributors.MINUTE_S, call.now)

    space, counted = await call.store.transact(body, read_only=True)
    whole = rule[0] == "S"
    found, different = contributors.top(space, counted, whole_keys=whole, most=most)
    return {
        "KeyLabels": list(space.own_key_names if whole else space.own_key_names[: len(space.hash_types)]),
        "AggregationStatistic": "Sum",
        "AggregateValue": counted.total,
        "ApproximateUniqueCount": different,
        "Contributors": found,
    }


def _number(asked: dict[str, str], name: str, default: int, most: int) -> int:
    given = asked.get(name, str(default))
    if not (given.isascii() and given.isdigit()) or not 1 <= int(given) <= most:
        raise invalid(f"{name} must be a number from 1 to {most}")
    return int(given)


def _json(status: int, body: dict[str, Any]) -> Response:
    return Response(status, [("Content-Type", "application/json")], msgspec.json.encode(body))
