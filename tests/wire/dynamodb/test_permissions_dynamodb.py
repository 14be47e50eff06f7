"""Policies hold in DynamoDB: actions, tables, indexes, leading keys, attributes, each part of a transaction."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from served import Served


def user(server: Served, *statements: dict[str, Any]) -> Any:
    """A DynamoDB client of a new user who may do what the statements say."""
    iam, name = server.client("iam"), f"u{uuid.uuid4().hex}"
    iam.create_user(UserName=name)
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **each} for each in statements]}
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return server.client("dynamodb", key["AccessKeyId"], key["SecretAccessKey"])


@pytest.fixture(scope="module")
def table(server: Served) -> str:
    client, name = server.client("dynamodb"), f"t{uuid.uuid4().hex}"
    client.create_table(
        TableName=name, BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in ("pk", "sk", "g")],
        GlobalSecondaryIndexes=[{
            "IndexName": "by-g", "KeySchema": [{"AttributeName": "g", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"},
        }],
    )  # fmt: skip
    for pk in ("me", "you"):
        client.put_item(TableName=name, Item=item(pk))
    return name


def item(pk: str) -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": "1"}, "g": {"S": "G"}, "secret": {"S": "x"}}


def key(pk: str) -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": "1"}}


def denied(call: Any, **params: Any) -> None:
    with pytest.raises(ClientError) as caught:
        call(**params)
    assert caught.value.response["Error"]["Code"] == "AccessDeniedException"


def arn(table: str, more: str = "") -> str:
    return f"arn:aws:dynamodb:us-east-1:000000000000:table/{table}{more}"


def test_actions_tables_and_indexes(server: Served, table: str) -> None:
    reader = user(server, {"Action": ["dynamodb:GetItem", "dynamodb:Query"], "Resource": arn(table)})
    assert reader.get_item(TableName=table, Key=key("me"))["Item"] == item("me")
    denied(reader.put_item, TableName=table, Item=item("me"))
    denied(reader.get_item, TableName="another", Key=key("me"))
    values = {":g": {"S": "G"}}
    query = {
        "TableName": table,
        "IndexName": "by-g",
        "KeyConditionExpression": "g = :g",
        "ExpressionAttributeValues": values,
    }
    denied(reader.query, **query)
    indexed = user(server, {"Action": "dynamodb:Query", "Resource": arn(table, "/index/by-g")})
    assert indexed.query(**query)["Count"] == 2


def test_leading_keys(server: Served, table: str) -> None:
    own = user(
        server,
        {
            "Action": ["dynamodb:*Item", "dynamodb:Query", "dynamodb:BatchWriteItem", "dynamodb:BatchGetItem"],
            "Resource": arn(table),
            "Condition": {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["me"]}},
        },
    )
    assert "Item" in own.get_item(TableName=table, Key=key("me"))
    denied(own.get_item, TableName=table, Key=key("you"))
    own.put_item(TableName=table, Item=item("me"))
    denied(own.put_item, TableName=table, Item=item("you"))
    query = {"TableName": table, "KeyConditionExpression": "#p = :p", "ExpressionAttributeNames": {"#p": "pk"}}
    assert own.query(**query, ExpressionAttributeValues={":p": {"S": "me"}})["Count"] == 1
    denied(own.query, **query, ExpressionAttributeValues={":p": {"S": "you"}})
    own.batch_get_item(RequestItems={table: {"Keys": [key("me")]}})
    denied(own.batch_get_item, RequestItems={table: {"Keys": [key("me"), key("you")]}})
    denied(own.batch_write_item, RequestItems={table: [{"DeleteRequest": {"Key": key("you")}}]})
    put = {"Put": {"TableName": table, "Item": item("me")}}
    own.transact_write_items(TransactItems=[put])
    denied(own.transact_write_items, TransactItems=[put, {"Delete": {"TableName": table, "Key": key("you")}}])
    denied(own.transact_get_items, TransactItems=[{"Get": {"TableName": table, "Key": key("you")}}])


def test_attributes(server: Served, table: str) -> None:
    some = user(
        server,
        {
            "Action": ["dynamodb:GetItem", "dynamodb:UpdateItem"],
            "Resource": arn(table),
            "Condition": {"ForAllValues:StringEquals": {"dynamodb:Attributes": ["pk", "sk", "g"]}},
        },
    )
    assert some.get_item(TableName=table, Key=key("me"), ProjectionExpression="g")["Item"] == {"g": {"S": "G"}}
    denied(some.get_item, TableName=table, Key=key("me"), ProjectionExpression="secret")
    denied(some.update_item, TableName=table, Key=key("me"), UpdateExpression="REMOVE secret")
    denied(some.update_item, TableName=table, Key=key("me"), UpdateExpression="SET g = if_not_exists(secret, g)")


def test_a_transaction_needs_the_permission_of_each_action(server: Served, table: str) -> None:
    puts = user(server, {"Action": "dynamodb:PutItem", "Resource": arn(table)})
    put = {"Put": {"TableName": table, "Item": item("new")}}
    puts.transact_write_items(TransactItems=[put])
    check = {"TableName": table, "Key": key("me"), "ConditionExpression": "attribute_exists(pk)"}
    denied(puts.transact_write_items, TransactItems=[put, {"ConditionCheck": check}])
