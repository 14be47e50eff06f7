"""CloudWatch Logs as boto3 sees it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from served import Served


def unique(name: str = "g") -> str:
    return f"/{name}/{uuid.uuid4().hex[:10]}"


def now_ms() -> int:
    return int(time.time() * 1000)


@pytest.fixture
def logs(server: Served) -> Any:
    return server.client("logs")


@pytest.fixture
def where(logs: Any) -> dict[str, str]:
    """A stream in a group of its own."""
    group = unique()
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    return {"logGroupName": group, "logStreamName": "s"}


def refused(call: Callable[..., Any], **params: Any) -> tuple[str, str]:
    """The code and message with which a call fails."""
    with pytest.raises(ClientError) as caught:
        call(**params)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_a_groups_life(logs: Any) -> None:
    name = unique()
    arn = f"arn:aws:logs:us-east-1:000000000000:log-group:{name}"
    before = now_ms()
    logs.create_log_group(logGroupName=name, tags={"team": "blue"})
    assert refused(logs.create_log_group, logGroupName=name) == (
        "ResourceAlreadyExistsException", "The specified log group already exists",
    )  # fmt: skip
    [group] = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    assert before - 1 <= group.pop("creationTime") <= now_ms()
    assert group == {
        "logGroupName": name, "arn": arn + ":*", "logGroupArn": arn, "metricFilterCount": 0, "storedBytes": 0,
        "logGroupClass": "STANDARD", "deletionProtectionEnabled": False,
    }  # fmt: skip
    logs.put_retention_policy(logGroupName=name, retentionInDays=7)
    assert logs.describe_log_groups(logGroupIdentifiers=[arn])["logGroups"][0]["retentionInDays"] == 7
    code, message = refused(logs.put_retention_policy, logGroupName=name, retentionInDays=8)
    assert (code, "retentionInDays" in message) == ("InvalidParameterException", True)
    logs.delete_retention_policy(logGroupName=name)
    assert "retentionInDays" not in logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"][0]
    logs.put_log_group_deletion_protection(logGroupIdentifier=name, deletionProtectionEnabled=True)
    assert refused(logs.delete_log_group, logGroupName=name)[0] == "ValidationException"
    logs.put_log_group_deletion_protection(logGroupIdentifier=arn, deletionProtectionEnabled=False)
    logs.delete_log_group(logGroupName=name)
    gone = ("ResourceNotFoundException", "The specified log group does not exist.")
    assert refused(logs.delete_log_group, logGroupName=name) == gone
    assert refused(logs.put_retention_policy, logGroupName=name, retentionInDays=7) == gone
    assert refused(logs.create_log_stream, logGroupName=name, logStreamName="s") == gone
    assert refused(logs.describe_log_streams, logGroupName=name) == gone
    assert refused(logs.filter_log_events, logGroupName=name) == gone


def test_what_is_not_carried_out_is_refused(logs: Any, where: dict[str, str]) -> None:
    event = {"timestamp": now_ms(), "message": "x"}
    for call, params in (
        (logs.create_log_group, {"logGroupName": unique(), "kmsKeyId": "arn:aws:kms:us-east-1:000000000000:key/x"}),
        (logs.create_log_group, {"logGroupName": unique(), "logGroupClass": "INFREQUENT_ACCESS"}),
        (logs.describe_log_groups, {"includeLinkedAccounts": True}),
        (logs.put_log_events, {**where, "logEvents": [event], "entity": {"attributes": {"a": "b"}}}),
        (logs.filter_log_events, {"logGroupName": where["logGroupName"], "filterPattern": "%x+%"}),
        (logs.put_metric_filter, {
            "logGroupName": where["logGroupName"], "filterName": "f", "filterPattern": "", "metricTransformations":
            [{"metricName": "m", "metricNamespace": "n", "metricValue": "1"}],
        }),
    ):  # fmt: skip
        assert refused(call, **params)[0] == "NotImplemented"


def test_tags_by_both_names(logs: Any) -> None:
    name = unique()
    arn = f"arn:aws:logs:us-east-1:000000000000:log-group:{name}"
    logs.create_log_group(logGroupName=name, tags={"a": "1"})
    logs.tag_resource(resourceArn=arn, tags={"b": "2", "c": ""})
    logs.tag_log_group(logGroupName=name, tags={"d": "4"})
    assert logs.list_tags_for_resource(resourceArn=arn)["tags"] == {"a": "1", "b": "2", "c": "", "d": "4"}
    logs.untag_resource(resourceArn=arn, tagKeys=["a", "none"])
    logs.untag_log_group(logGroupName=name, tags=["b"])
    assert logs.list_tags_log_group(logGroupName=name)["tags"] == {"c": "", "d": "4"}
    more = {f"k{n}": "" for n in range(49)}
    assert refused(logs.tag_resource, resourceArn=arn, tags=more)[0] == "TooManyTagsException"
    assert refused(logs.tag_resource, resourceArn=arn, tags={"aws:x": "1"})[0] == "InvalidParameterException"
    assert refused(logs.tag_resource, resourceArn=arn + "x", tags={"a": "1"})[0] == "ResourceNotFoundException"


def test_groups_are_listed_in_order_by_prefix_and_by_pattern(logs: Any) -> None:
    base = unique("list")
    names = sorted(f"{base}/{kind}{n}" for kind in ("a", "b", "Z") for n in range(5))
    for name in names:
        logs.create_log_group(logGroupName=name)
    pages = logs.get_paginator("describe_log_groups").paginate(
        logGroupNamePrefix=base, PaginationConfig={"PageSize": 4}
    )
    listed = [[g["logGroupName"] for g in page["logGroups"]] for page in pages]
    assert [len(page) for page in listed] == [4, 4, 4, 3]
    assert [name for page in listed for name in page] == names
    found = logs.describe_log_groups(logGroupNamePattern=base[2:] + "/b")["logGroups"]
    assert [g["logGroupName"] for g in found] == [n for n in names if n.startswith(f"{base}/b")]
    assert set(found[0]) == {"logGroupName", "arn", "creationTime"}
    assert refused(logs.describe_log_groups, nextToken="nonsense") == (
        "InvalidParameterException", "The specified nextToken is invalid.",
    )  # fmt: skip
    assert refused(logs.describe_log_groups, limit=51)[0] == "InvalidParameterException"
    assert refused(logs.create_log_group, logGroupName="a b")[0] == "InvalidParameterException"


def test_streams_by_name_and_by_time(logs: Any) -> None:
    group = unique()
    logs.create_log_group(logGroupName=group)
    at = now_ms()
    names = [f"s{n:02}" for n in range(12)]
    order = names[::2] + names[1::2]
    for name in names:
        logs.create_log_stream(logGroupName=group, logStreamName=name)
        if name != "s11":
            logs.put_log_events(
                logGroupName=group, logStreamName=name,
                logEvents=[{"timestamp": at + order.index(name), "message": "m"}],
            )  # fmt: skip

    def listed(**params: Any) -> list[str]:
        pages = logs.get_paginator("describe_log_streams").paginate(
            logGroupName=group, PaginationConfig={"PageSize": 5}, **params
        )
        return [s["logStreamName"] for page in pages for s in page["logStreams"]]

    assert listed() == names
    assert listed(descending=True) == names[::-1]
    assert listed(logStreamNamePrefix="s0") == names[:10]
    by_time = ["s11", *[n for n in order if n != "s11"]]
    assert listed(orderBy="LastEventTime") == by_time
    assert listed(orderBy="LastEventTime", descending=True) == by_time[::-1]
    assert refused(logs.describe_log_streams, logGroupName=group, orderBy="LastEventTime", logStreamNamePrefix="s") == (
        "InvalidParameterException",
        "Cannot order by LastEventTime with a logStreamNamePrefix.",
    )
    [stream] = logs.describe_log_streams(logGroupIdentifier=group, logStreamNamePrefix="s00")["logStreams"]
    assert stream["arn"] == f"arn:aws:logs:us-east-1:000000000000:log-group:{group}:log-stream:s00"
    assert (stream["firstEventTimestamp"], stream["lastEventTimestamp"]) == (at, at)
    assert refused(logs.create_log_stream, logGroupName=group, logStreamName="s00") == (
        "ResourceAlreadyExistsException", "The specified log stream already exists",
    )  # fmt: skip
    assert refused(logs.create_log_stream, logGroupName=group, logStreamName="a:b")[0] == "InvalidParameterException"
    logs.delete_log_stream(logGroupName=group, logStreamName="s00")
    assert refused(logs.delete_log_stream, logGroupName=group, logStreamName="s00") == (
        "ResourceNotFoundException", "The specified log stream does not exist.",
    )  # fmt: skip


def test_events_there_and_back(logs: Any, where: dict[str, str]) -> None:
    at = now_ms()
    messages = [
        "plain",
        "ünïcode \u2028 \U0001f600",
        'tab\tand \\ "quotes"',
        '{"level": "error", "n": 3}',
        "x" * 200_000,
    ]
    answer = logs.put_log_events(
        **where, logEvents=[{"timestamp": at + n, "message": m} for n, m in enumerate(messages)], sequenceToken="any"
    )
    assert answer["nextSequenceToken"]
    assert "rejectedLogEventsInfo" not in answer
    events = logs.get_log_events(**where, startFromHead=True)["events"]
    assert [e["message"] for e in events] == messages
    assert [e["timestamp"] for e in events] == [at + n for n in range(5)]
    assert all(at - 1 <= e["ingestionTime"] <= now_ms() for e in events)
    [found] = logs.filter_log_events(
        logGroupName=where["logGroupName"], filterPattern='{ $.level = "error" && $.n > 2 }'
    )["events"]
    assert (found["message"], found["logStreamName"]) == (messages[3], "s")
    assert len(found["eventId"]) == 56
    group = where["logGroupName"]
    assert len(logs.filter_log_events(logGroupName=group, startTime=at + 1, endTime=at + 3)["events"]) == 3
    assert len(logs.get_log_events(**where, startTime=at + 1, endTime=at + 3)["events"]) == 2
    assert refused(logs.filter_log_events, logGroupName=group, filterPattern="{ $.a = }") == (
        "InvalidParameterException", "Invalid filter pattern",
    )  # fmt: skip
    assert refused(logs.get_log_events, **where, nextToken="f/nonsense") == (
        "InvalidParameterException", "The specified nextToken is invalid.",
    )  # fmt: skip
    assert refused(logs.filter_log_events, logGroupName=group, logStreamNames=["s"], logStreamNamePrefix="s")[0] == (
        "InvalidParameterException"
    )
    too_many = [{"timestamp": at, "message": "m"}] * 10_001
    assert refused(logs.put_log_events, **where, logEvents=too_many)[0] == "InvalidParameterException"
    most = logs.put_log_events(**where, logEvents=[{"timestamp": at, "message": "m"}] * 10_000)
    assert "rejectedLogEventsInfo" not in most


def test_filter_pages_over_streams(logs: Any) -> None:
    group = unique()
    logs.create_log_group(logGroupName=group)
    at = now_ms() - 60_000
    for stream in ("a", "b", "c"):
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        for batch in range(4):
            events = [{"timestamp": at + 100 * batch + n, "message": f"{stream} {batch} {n}"} for n in range(10)]
            logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=group, filterPattern="-1 ", PaginationConfig={"PageSize": 7}
    )
    events = [e for page in pages for e in page["events"]]
    keys = [(e["timestamp"], e["logStreamName"]) for e in events]
    assert keys == sorted(keys)
    assert {e["message"] for e in events} == {
        f"{s} {b} {n}" for s in "abc" for b in range(4) for n in range(10) if "1" not in f"{b} {n}"
    }


def test_a_crash_loses_nothing_and_tokens_go_on(own_server: Served) -> None:
    logs = own_server.client("logs")
    logs.create_log_group(logGroupName="g")
    at = now_ms()
    for n in range(30):
        logs.create_log_stream(logGroupName="g", logStreamName=f"s{n:02}")
    events = [{"timestamp": at + n, "message": str(n)} for n in range(100)]
    logs.put_log_events(logGroupName="g", logStreamName="s00", logEvents=events)
    first = logs.get_log_events(logGroupName="g", logStreamName="s00", limit=40, startFromHead=True)
    found = logs.filter_log_events(logGroupName="g", limit=40)
    streams = logs.describe_log_streams(logGroupName="g", limit=20)
    own_server.kill()
    own_server.restart()
    logs = own_server.client("logs")
    second = logs.get_log_events(logGroupName="g", logStreamName="s00", nextToken=first["nextForwardToken"])
    assert [e["message"] for e in first["events"] + second["events"]] == [e["message"] for e in events]
    more = logs.filter_log_events(logGroupName="g", nextToken=found["nextToken"])
    assert len(found["events"] + more["events"]) == 100
    assert len(logs.describe_log_streams(logGroupName="g", nextToken=streams["nextToken"])["logStreams"]) == 10
    [group] = logs.describe_log_groups()["logGroups"]
    assert group["storedBytes"] == sum(len(e["message"]) + 26 for e in events)


def test_permissions_hold(server: Served, logs: Any, where: dict[str, str]) -> None:
    iam = server.client("iam")
    user = "logger-" + uuid.uuid4().hex[:8]
    iam.create_user(UserName=user)
    key = iam.create_access_key(UserName=user)["AccessKey"]
    group = where["logGroupName"]
    policy = {
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow", "Action": ["logs:PutLogEvents", "logs:CreateLogStream", "logs:FilterLogEvents"],
            "Resource": f"arn:aws:logs:us-east-1:000000000000:log-group:{group}:*",
        }],
    }  # fmt: skip
    iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=json.dumps(policy))
    own = server.client("logs", key["AccessKeyId"], key["SecretAccessKey"])
    event = {"timestamp": now_ms(), "message": "mine"}
    own.create_log_stream(logGroupName=group, logStreamName="t")
    own.put_log_events(logGroupName=group, logStreamName="t", logEvents=[event])
    assert len(own.filter_log_events(logGroupName=group)["events"]) == 1
    code, message = refused(own.get_log_events, **where)
    assert code == "AccessDeniedException"
    assert (
        f"logs:GetLogEvents on resource: arn:aws:logs:us-east-1:000000000000:log-group:{group}:log-stream:s" in message
    )
    assert refused(own.describe_log_groups)[0] == "AccessDeniedException"
    assert refused(own.put_log_events, logGroupName=unique(), logStreamName="t", logEvents=[event])[0] == (
        "AccessDeniedException"
    )
