"""Resource policies of tables and streams: kept with revisions, and enforced inside an account and across accounts."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from served import Served

OTHER = "111122223333"


def user(server: Served, access_key: str = "test", *statements: dict[str, Any]) -> tuple[str, Any]:
    """The ARN and a client of a new user, in the account of the access key, who may do what the statements say."""
    iam, name = server.client("iam", access_key), f"u{uuid.uuid4().hex}"
    arn = iam.create_user(UserName=name)["User"]["Arn"]
    if statements:
        document = {"Version": "2012-10-17", "Statement": list(statements)}
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return arn, server.client("dynamodb", key["AccessKeyId"], key["SecretAccessKey"])


def make(client: Any, **more: Any) -> tuple[str, str]:
    name = f"guarded-{uuid.uuid4().hex}"
    made = client.create_table(
        TableName=name, BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}], **more,
    )  # fmt: skip
    client.put_item(TableName=name, Item={"pk": {"S": "a"}})
    return name, made["TableDescription"]["TableArn"]


def policy(arn: str, *statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Resource": arn, **each} for each in statements]})


def allow(principal: str, *actions: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": [f"dynamodb:{each}" for each in actions]}


def denied(call: Any, **params: Any) -> None:
    with pytest.raises(ClientError) as caught:
        call(**params)
    assert caught.value.response["Error"]["Code"] == "AccessDeniedException", caught.value


KEY = {"pk": {"S": "a"}}


def test_policies_are_kept_with_revisions(server: Served) -> None:
    client = server.client("dynamodb")
    _, arn = make(client)
    with pytest.raises(client.exceptions.PolicyNotFoundException):
        client.get_resource_policy(ResourceArn=arn)
    assert "RevisionId" not in client.delete_resource_policy(ResourceArn=arn)
    text = policy(arn, allow("arn:aws:iam::000000000000:root", "GetItem"))
    first = client.put_resource_policy(ResourceArn=arn, Policy=text, ExpectedRevisionId="NO_POLICY")["RevisionId"]
    found = client.get_resource_policy(ResourceArn=arn)
    assert (found["Policy"], found["RevisionId"]) == (text, first)
    for expected in ("NO_POLICY", "123"):
        with pytest.raises(client.exceptions.PolicyNotFoundException):
            client.put_resource_policy(ResourceArn=arn, Policy=text, ExpectedRevisionId=expected)
        with pytest.raises(client.exceptions.PolicyNotFoundException):
            client.delete_resource_policy(ResourceArn=arn, ExpectedRevisionId=expected)
    assert client.put_resource_policy(ResourceArn=arn, Policy=text)["RevisionId"] == first
    other = policy(arn, allow("arn:aws:iam::000000000000:root", "Query"))
    second = client.put_resource_policy(ResourceArn=arn, Policy=other, ExpectedRevisionId=first)["RevisionId"]
    assert second != first
    server.restart()
    client = server.client("dynamodb")
    assert client.get_resource_policy(ResourceArn=arn)["RevisionId"] == second
    assert client.delete_resource_policy(ResourceArn=arn, ExpectedRevisionId=second)["RevisionId"] == second
    with pytest.raises(client.exceptions.PolicyNotFoundException):
        client.get_resource_policy(ResourceArn=arn)
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_resource_policy(ResourceArn=arn + "x")


@pytest.mark.parametrize(
    "statement",
    [
        {"Effect": "Allow", "Principal": "*", "Action": "dynamodb:GetItem"},
        {"Effect": "Allow", "Principal": {"AWS": "000000000000"}, "Action": "s3:GetObject"},
        {"Effect": "Allow", "Action": "dynamodb:GetItem"},
        {"Effect": "Deny", "Principal": "*", "Action": "dynamodb:*"},
    ],
    ids=["public", "action", "nobody", "locked out"],
)
def test_refused_policies(server: Served, statement: dict[str, Any]) -> None:
    client = server.client("dynamodb")
    _, arn = make(client)
    with pytest.raises(ClientError) as caught:
        client.put_resource_policy(ResourceArn=arn, Policy=policy(arn, statement))
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_inside_an_account(server: Served) -> None:
    root = server.client("dynamodb")
    name, arn = make(root)
    who, client = user(server)
    denied(client.get_item, TableName=name, Key=KEY)
    root.put_resource_policy(
        ResourceArn=arn, Policy=policy(arn, allow(who, "GetItem", "PartiQLSelect", "ConditionCheckItem"))
    )
    assert client.get_item(TableName=name, Key=KEY)["Item"] == KEY
    assert client.execute_statement(Statement=f"SELECT * FROM \"{name}\" WHERE pk = 'a'")["Items"] == [KEY]
    check = {"TableName": name, "Key": KEY, "ConditionExpression": "attribute_exists(pk)"}
    client.transact_write_items(TransactItems=[{"ConditionCheck": check}])
    denied(client.put_item, TableName=name, Item=KEY)
    denied(client.batch_write_item, RequestItems={name: [{"PutRequest": {"Item": KEY}}]})
    deny = {"Effect": "Deny", "Principal": "*", "Action": "dynamodb:DeleteItem"}
    root.put_resource_policy(ResourceArn=arn, Policy=policy(arn, deny))
    denied(client.get_item, TableName=name, Key=KEY)
    denied(root.delete_item, TableName=name, Key=KEY)
    denied(root.transact_write_items, TransactItems=[{"Delete": {"TableName": name, "Key": KEY}}])
    everything = {"Effect": "Deny", "Principal": "*", "Action": "dynamodb:*"}
    root.put_resource_policy(ResourceArn=arn, Policy=policy(arn, everything), ConfirmRemoveSelfResourceAccess=True)
    denied(root.describe_table, TableName=name)
    denied(root.delete_resource_policy, ResourceArn=arn)


def test_across_accounts(server: Served) -> None:
    root = server.client("dynamodb")
    name, arn = make(root)
    _, second_arn = make(root)
    may = {"Effect": "Allow", "Action": "dynamodb:*", "Resource": "*"}
    who, client = user(server, OTHER, may)
    _, without = user(server, OTHER)
    foreign_root = server.client("dynamodb", OTHER)
    for other in (client, foreign_root):
        for call, params in (
            (other.get_item, {"TableName": arn, "Key": KEY}),
            (other.batch_get_item, {"RequestItems": {arn: {"Keys": [KEY]}}}),
            (other.transact_get_items, {"TransactItems": [{"Get": {"TableName": arn, "Key": KEY}}]}),
            (other.transact_write_items, {"TransactItems": [{"Put": {"TableName": arn, "Item": KEY}}]}),
            (other.execute_statement, {"Statement": f'SELECT * FROM "{arn}"'}),
            (other.describe_table, {"TableName": arn}),
            (other.delete_table, {"TableName": arn}),
            (other.create_backup, {"TableName": arn, "BackupName": "backup"}),
            (other.put_resource_policy, {"ResourceArn": arn, "Policy": policy(arn, allow(who, "GetItem"))}),
        ):
            denied(call, **params)
    actions = ("GetItem", "PutItem", "Query", "BatchGetItem", "PartiQLSelect", "DescribeTable")
    root.put_resource_policy(ResourceArn=arn, Policy=policy(arn, allow(f"arn:aws:iam::{OTHER}:root", *actions)))
    for other in (client, foreign_root):
        assert other.get_item(TableName=arn, Key=KEY)["Item"] == KEY
        other.put_item(TableName=arn, Item={"pk": {"S": "b"}})
        other.transact_write_items(TransactItems=[{"Put": {"TableName": arn, "Item": {"pk": {"S": "c"}}}}])
        assert other.batch_get_item(RequestItems={arn: {"Keys": [KEY]}})["Responses"][arn] == [KEY]
        assert len(other.execute_statement(Statement=f'SELECT * FROM "{arn}"')["Items"]) == 3
        assert other.describe_table(TableName=arn)["Table"]["TableArn"] == arn
        denied(other.delete_item, TableName=arn, Key=KEY)
        denied(other.batch_get_item, RequestItems={arn: {"Keys": [KEY]}, second_arn: {"Keys": [KEY]}})
        with pytest.raises(ClientError):
            other.get_item(TableName=name, Key=KEY)
    denied(without.get_item, TableName=arn, Key=KEY)
    root.put_resource_policy(ResourceArn=second_arn, Policy=policy(second_arn, allow(who, "BatchGetItem")))
    both = {each: {"Keys": [KEY]} for each in (arn, second_arn)}
    assert client.batch_get_item(RequestItems=both)["Responses"].keys() == both.keys()
    denied(foreign_root.batch_get_item, RequestItems=both)
    # A table of that name made anew has no policy.
    root.delete_table(TableName=name)
    root.create_table(
        TableName=name, BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
    )  # fmt: skip
    denied(client.get_item, TableName=arn, Key=KEY)


def test_a_table_is_created_with_its_policy_and_streams_have_their_own(server: Served) -> None:
    root = server.client("dynamodb")
    name = f"guarded-{uuid.uuid4().hex}"
    arn = f"arn:aws:dynamodb:us-east-1:000000000000:table/{name}"
    who, client = user(server)
    made = root.create_table(
        TableName=name, BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"},
        ResourcePolicy=policy(arn, allow(who, "PutItem")),
    )  # fmt: skip
    client.put_item(TableName=name, Item=KEY)
    stream = made["TableDescription"]["LatestStreamArn"]
    foreign = server.client("dynamodbstreams", OTHER)
    denied(foreign.describe_stream, StreamArn=stream)
    reading = ("DescribeStream", "GetShardIterator", "GetRecords")
    root.put_resource_policy(ResourceArn=stream, Policy=policy(stream, allow(f"arn:aws:iam::{OTHER}:root", *reading)))
    shard = foreign.describe_stream(StreamArn=stream)["StreamDescription"]["Shards"][0]["ShardId"]
    iterator = foreign.get_shard_iterator(StreamArn=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    records = foreign.get_records(ShardIterator=iterator["ShardIterator"])["Records"]
    assert [record["dynamodb"]["Keys"] for record in records] == [KEY]


def test_a_star_means_the_own_table(server: Served) -> None:
    root = server.client("dynamodb")
    (first, _), (second, arn) = make(root), make(root)
    who, client = user(server)
    root.put_resource_policy(ResourceArn=arn, Policy=policy("*", allow(who, "BatchGetItem")))
    assert client.batch_get_item(RequestItems={second: {"Keys": [KEY]}})["Responses"] == {second: [KEY]}
    denied(client.batch_get_item, RequestItems={name: {"Keys": [KEY]} for name in (first, second)})
