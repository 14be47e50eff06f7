"""DynamoDB over the wire, as boto3 speaks it: clients, the resource layer, waiters, paginators, errors."""

from __future__ import annotations

import threading
import time
import uuid
import zlib
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.conditions import Attr, Key
from boto3.dynamodb.types import Binary
from botocore.exceptions import ClientError

from served import Served


def name() -> str:
    return f"t{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def client(server: Served) -> Any:
    return server.client("dynamodb")


def make(client: Any, table: str, range_type: str = "") -> str:
    keys = [("pk", "HASH", "S")] + ([("sk", "RANGE", range_type)] if range_type else [])
    client.create_table(
        TableName=table, BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": n, "KeyType": k} for n, k, _ in keys],
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": t} for n, _, t in keys],
    )  # fmt: skip
    client.get_waiter("table_exists").wait(TableName=table, WaiterConfig={"Delay": 1, "MaxAttempts": 5})
    return table


def test_waiters_see_tables_come_and_go(client: Any) -> None:
    table = make(client, name())
    found = client.describe_table(TableName=table)["Table"]
    assert found["CreationDateTime"].year >= 2024
    client.delete_table(TableName=table)
    client.get_waiter("table_not_exists").wait(TableName=table, WaiterConfig={"Delay": 1, "MaxAttempts": 5})
    assert table not in client.list_tables()["TableNames"]


def test_the_resource_layer(server: Served, client: Any) -> None:
    table = server.resource("dynamodb").Table(make(client, name(), "N"))
    item = {
        "pk": "a", "sk": 1, "d": Decimal("1.25"), "set": {1, 2}, "bin": Binary(b"\0\xff"), "m": {"l": [None, True]},
        "text": "\u00e9",
    }  # fmt: skip
    table.put_item(Item=item)
    assert table.get_item(Key={"pk": "a", "sk": 1})["Item"] == item
    with table.batch_writer(overwrite_by_pkeys=["pk", "sk"]) as batch:
        for number in range(60):
            batch.put_item(Item={"pk": "b", "sk": number, "odd": bool(number % 2)})
        batch.delete_item(Key={"pk": "b", "sk": 0})
    found = table.query(
        KeyConditionExpression=Key("pk").eq("b") & Key("sk").between(10, 20), FilterExpression=Attr("odd").eq(True)
    )
    assert [int(each["sk"]) for each in found["Items"]] == [11, 13, 15, 17, 19]
    updated = table.update_item(
        Key={"pk": "a", "sk": 1}, UpdateExpression="SET d = d + :x REMOVE "
         "m.l[0]", ExpressionAttributeValues={":x": 1},
        ConditionExpression=Attr("bin").exists() & ~Attr("d").lt(1), ReturnValues="ALL_NEW",
    )["Attributes"]  # fmt: skip
    assert (updated["d"], updated["m"]) == (Decimal("2.25"), {"l": [True]})
    assert table.item_count == 60


def test_paginators(client: Any) -> None:
    table = make(client, name(), "S")
    for number in range(25):
        client.put_item(TableName=table, Item={"pk": {"S": "p"}, "sk": {"S": f"{number:03}"}})
    pages = client.get_paginator("query").paginate(
        TableName=table, KeyConditionExpression="pk = :p", ExpressionAttributeValues={":p": {"S": "p"}},
        PaginationConfig={"PageSize": 10},
    )  # fmt: skip
    assert [len(page["Items"]) for page in pages] == [10, 10, 5]
    assert len(list(client.get_paginator("scan").paginate(TableName=table).search("Items[]"))) == 25


@pytest.mark.parametrize(
    ("operation", "params", "code", "message"),
    [
        ("get_item", {"TableName": "nosuchtable", "Key": {"pk": {"S": "a"}}}, "ResourceNotFoundException",
         "Requested resource not found"),
        ("put_item", {"TableName": "", "Item": {}}, "ValidationException",
         "1 validation error detected: Value '' at 'tableName' failed to satisfy constraint: "
         "Member must have length greater than or equal to 1"),
        ("scan", {"TableName": "nosuchtable", "Limit": 0}, "ValidationException",
         "1 validation error detected: Value '0' at 'limit' failed to satisfy constraint: "
         "Member must have value greater than or equal to 1"),
        ("put_item", {"TableName": "nosuchtable", "Item": {"a": {"N": "x"}}}, "ValidationException",
         "The parameter cannot be converted to a numeric value: x"),
        ("query", {"TableName": "nosuchtable", "Select": "WHAT"}, "ValidationException",
         "1 validation error detected: Value 'WHAT' at 'select' failed to satisfy constraint: Member must "
          "satisfy enum "
         "value set: [SPECIFIC_ATTRIBUTES, COUNT, ALL_ATTRIBUTES, ALL_PROJECTED_ATTRIBUTES]"),
    ],
)  # fmt: skip
def test_errors(server: Served, operation: str, params: dict[str, Any], code: str, message: str) -> None:
    with pytest.raises(ClientError) as caught:
        getattr(server.client("dynamodb", parameter_validation=False), operation)(**params)
    assert caught.value.response["Error"] == {"Code": code, "Message": message}
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_a_failed_condition_shows_the_item(client: Any) -> None:
    table = make(client, name())
    item = {"pk": {"S": "a"}, "b": {"B": b"\1"}}
    client.put_item(TableName=table, Item=item)
    with pytest.raises(client.exceptions.ConditionalCheckFailedException) as caught:
        client.put_item(
            TableName=table, Item=item, ConditionExpression="attribute_not_exists(pk)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )  # fmt: skip
    assert caught.value.response["Item"] == item


def test_counters_and_put_if_absent_hold_under_many_clients(server: Served, client: Any) -> None:
    table = make(client, name())
    wins: list[int] = []

    def run(number: int) -> None:
        mine = server.client("dynamodb")
        for turn in range(25):
            mine.update_item(
                TableName=table, Key={"pk": {"S": "counter"}},
                UpdateExpression="ADD a :one SET b = if_not_exists(b, :z) + :one",
                ExpressionAttributeValues={":one": {"N": "1"}, ":z": {"N": "0"}},
            )  # fmt: skip
            try:
                mine.put_item(
                    TableName=table, Item={"pk": {"S": f"{turn}"}}, ConditionExpression="attribute_not_exists(pk)"
                )
                wins.append(turn)
            except mine.exceptions.ConditionalCheckFailedException:
                pass

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = client.get_item(TableName=table, Key={"pk": {"S": "counter"}}, ConsistentRead=True)["Item"]
    assert (found["a"], found["b"]) == ({"N": "200"}, {"N": "200"})
    assert sorted(wins) == list(range(25))


def test_a_token_counts_once_under_many_clients(server: Served, client: Any) -> None:
    """The same transaction from many clients at once, as clients that try again send it, is carried out once."""
    table = make(client, name())
    rounds, clients = 15, 8
    update = {
        "TableName": table, "Key": {"pk": {"S": "counter"}}, "UpdateExpression": "ADD n :one",
        "ExpressionAttributeValues": {":one": {"N": "1"}},
    }  # fmt: skip

    def send(number: int) -> None:
        own = server.client("dynamodb", retries={"mode": "standard", "total_max_attempts": 5})
        for turn in range(rounds):
            put = {"TableName": table, "Item": {"pk": {"S": f"turn {turn}"}}}
            own.transact_write_items(
                TransactItems=[{"Update": update}, {"Put": put}], ClientRequestToken=f"{table[:30]}{turn}"
            )

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(send, range(clients)))
    assert client.get_item(TableName=table, Key={"pk": {"S": "counter"}})["Item"]["n"] == {"N": str(rounds)}


def test_replies_carry_their_checksum(client: Any) -> None:
    seen: list[Any] = []
    client.meta.events.register("needs-retry.dynamodb.*", lambda response, **_: seen.append(response[0]))
    client.list_tables()
    with pytest.raises(ClientError):
        client.describe_table(TableName="nosuchtable")
    for reply in seen:
        assert reply.headers["x-amz-crc32"] == str(zlib.crc32(reply.content))
    assert len(seen) == 2


def test_an_index_is_added_to_a_table_with_data(client: Any) -> None:
    table = make(client, name())
    for number in range(450):
        client.put_item(TableName=table, Item={"pk": {"S": f"{number}"}, "g": {"N": f"{number % 3}"}})
    client.update_table(
        TableName=table, AttributeDefinitions=[{"AttributeName": n, "AttributeType": t} for n, t in (("pk", "S"), ("g", "N"))],
        GlobalSecondaryIndexUpdates=[
            {"Create": {
                "IndexName": "by-g", "KeySchema": [{"AttributeName": "g", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }}
        ],
    )  # fmt: skip
    deadline = time.monotonic() + 20
    while True:
        index = client.describe_table(TableName=table)["Table"]["GlobalSecondaryIndexes"][0]
        if index["IndexStatus"] == "ACTIVE":
            break
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert index["ItemCount"] == 450
    found = client.query(
        TableName=table, IndexName="by-g", KeyConditionExpression="g = :g", ExpressionAttributeValues={":g": {"N": "1"}}
    )
    assert found["Count"] == 150
    assert found["Items"][0].keys() == {"pk", "g"}
