"""Time to live: items go when their time has come by the server's clock, and streams tell who took them."""

from __future__ import annotations

import json
import threading
import time
import uuid
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from served import Served

YEAR_S = 365 * 86400


def make(client: Any, **more: Any) -> str:
    table = f"t{uuid.uuid4().hex}"
    client.create_table(
        TableName=table, BillingMode="PAY_PER_REQUEST",
        **{
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        } | more,
    )  # fmt: skip
    return table


def switch(client: Any, table: str, on: bool, attribute: str = "ttl") -> Any:
    return client.update_time_to_live(
        TableName=table, TimeToLiveSpecification={"Enabled": on, "AttributeName": attribute}
    )["TimeToLiveSpecification"]  # fmt: skip


def put(client: Any, table: str, key: str, ttl: Any, **more: Any) -> None:
    value = ttl if isinstance(ttl, dict) else {"N": str(ttl)}
    client.put_item(TableName=table, Item={"pk": {"S": key}, "ttl": value, **more})


def keys(client: Any, table: str, **more: Any) -> set[str]:
    return {each["pk"]["S"] for each in client.scan(TableName=table, **more)["Items"]}


def now(server: Served) -> int:
    return int(httpx.get(f"{server.endpoint}/_penstock/state").json()["now"])


def advance(server: Served, seconds: float) -> None:
    httpx.post(f"{server.endpoint}/_penstock/clock", content=json.dumps({"advance_s": seconds})).raise_for_status()


def until(look: Any, wanted: Any) -> None:
    for _ in range(200):
        if (found := look()) == wanted:
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"still {found}, not {wanted}")


def test_switching(server: Served) -> None:
    client = server.client("dynamodb")
    table = make(client)

    def described() -> Any:
        return client.describe_time_to_live(TableName=table)["TimeToLiveDescription"]

    assert described() == {"TimeToLiveStatus": "DISABLED"}
    with pytest.raises(ClientError, match="TimeToLive is already disabled"):
        switch(client, table, False)
    assert switch(client, table, True) == {"Enabled": True, "AttributeName": "ttl"}
    assert described() == {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}
    with pytest.raises(ClientError, match="TimeToLive is already enabled"):
        switch(client, table, True)
    with pytest.raises(
        ClientError, match="TimeToLive is active on a different AttributeName: current AttributeName is ttl"
    ):
        switch(client, table, True, "other")
    switch(client, table, False)
    assert described() == {"TimeToLiveStatus": "DISABLED"}
    with pytest.raises(ClientError, match="Requested resource not found: Table: nope not found"):
        client.describe_time_to_live(TableName="nope")


def test_items_go_when_their_time_has_come(own_server: Served) -> None:
    client, streams = own_server.client("dynamodb"), own_server.client("dynamodbstreams")
    index = {
        "IndexName": "byttl", "KeySchema": [{"AttributeName": "ttl", "KeyType": "HASH"}],
        "Projection": {"ProjectionType": "ALL"},
    }  # fmt: skip
    definitions = [{"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "ttl", "AttributeType": "N"}]
    view = {"StreamEnabled": True, "StreamViewType": "OLD_IMAGE"}
    table = make(client, GlobalSecondaryIndexes=[index], AttributeDefinitions=definitions, StreamSpecification=view)
    at = now(own_server)
    for number in range(450):
        put(client, table, f"before{number:03}", at + 1000, pad={"S": "x" * 100})
    switch(client, table, True)
    put(client, table, "after", f"{at + 1000}.7", large={"S": "x" * 200_000})
    put(client, table, "later", at + 9000)
    put(client, table, "more time", at + 1000)
    put(client, table, "more time", at + 9000)
    put(client, table, "none", at + 1000)
    client.update_item(
        TableName=table, Key={"pk": {"S": "none"}}, UpdateExpression="SET #t = :t", ExpressionAttributeNames={"#t": "ttl"},
        ExpressionAttributeValues={":t": {"N": str(at + 500)}},
    )  # fmt: skip
    client.delete_item(TableName=table, Key={"pk": {"S": "none"}})
    put(client, table, "too old", at - 5 * YEAR_S - 60)
    put(client, table, "past", at - 60)
    until(lambda: "past" in keys(client, table, Select="ALL_ATTRIBUTES"), False)
    own_server.kill()
    own_server.restart()
    advance(own_server, 1002)
    until(lambda: keys(client, table), {"later", "more time", "too old"})
    assert keys(client, table, IndexName="byttl") == {"later", "more time", "too old"}
    assert client.describe_table(TableName=table)["Table"]["ItemCount"] == 3
    arn = client.describe_table(TableName=table)["Table"]["LatestStreamArn"]
    shard = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]
    place: str = streams.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON")[
        "ShardIterator"
    ]
    removed = []
    while (page := streams.get_records(ShardIterator=place))["Records"]:
        removed += [each for each in page["Records"] if each["eventName"] == "REMOVE"]
        place = page["NextShardIterator"]
    by_service = [each for each in removed if each.get("userIdentity")]
    assert len(removed) == 453 and len(by_service) == 452
    assert by_service[0]["userIdentity"] == {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}


def test_only_numbers_expire_and_only_while_it_is_on(server: Served) -> None:
    client = server.client("dynamodb")
    table, witness = make(client), make(client)
    switch(client, table, True)
    switch(client, witness, True)
    put(client, table, "text", {"S": str(int(time.time()) - 10)})
    put(client, table, "negative", -5)
    put(client, table, "huge", "1e30")
    put(client, table, "stays", now(server) + 2)
    switch(client, table, False)
    put(client, witness, "goes", now(server) + 2)
    advance(server, 60)
    until(lambda: keys(client, witness), set())
    assert keys(client, table) == {"text", "negative", "huge", "stays"}
    switch(client, table, True)
    until(lambda: keys(client, table), {"text", "negative", "huge"})


def test_an_update_and_the_end_of_its_time_never_mix(server: Served) -> None:
    """Items are given more time while they expire: each is either gone, or has the time that was acknowledged."""
    client = server.client("dynamodb")
    table = make(client)
    switch(client, table, True)
    at = now(server)
    for number in range(120):
        put(client, table, f"k{number}", at + 60)
    kept: set[str] = set()

    def extend(client: Any, numbers: range) -> None:
        for number in numbers:
            try:
                client.update_item(
                    TableName=table, Key={"pk": {"S": f"k{number}"}}, UpdateExpression="SET #t = :t",
                    ConditionExpression="attribute_exists(pk)", ExpressionAttributeNames={"#t": "ttl"},
                    ExpressionAttributeValues={":t": {"N": str(at + 10**6)}},
                )  # fmt: skip
                kept.add(f"k{number}")
            except client.exceptions.ConditionalCheckFailedException:
                pass

    threads = [
        threading.Thread(target=extend, args=(server.client("dynamodb"), range(part, 120, 4))) for part in range(4)
    ]
    advance(server, 61)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: keys(client, table), kept)
