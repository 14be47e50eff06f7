"""Throttling as boto3 sees it: the exceptions of the model with their reasons, after a real server's limits."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest

from served import Served


def make(client: Any, **mode: Any) -> str:
    name = f"limited-{uuid.uuid4().hex}"
    client.create_table(
        TableName=name, KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}], **mode,
    )  # fmt: skip
    return name


def test_both_exceptions(server: Served) -> None:
    client = server.client("dynamodb")
    big = {"pk": {"S": "a"}, "x": {"S": "x" * 399 * 1024}}
    provisioned = make(client, ProvisionedThroughput={"ReadCapacityUnits": 1, "WriteCapacityUnits": 1})
    client.put_item(TableName=provisioned, Item=big)
    arn = client.describe_table(TableName=provisioned)["Table"]["TableArn"]
    with pytest.raises(client.exceptions.ProvisionedThroughputExceededException) as caught:
        client.put_item(TableName=provisioned, Item={"pk": {"S": "b"}})
    assert caught.value.response["ThrottlingReasons"] == [
        {"reason": "TableWriteProvisionedThroughputExceeded", "resource": arn}
    ]
    on_demand = make(client, BillingMode="PAY_PER_REQUEST", OnDemandThroughput={"MaxWriteRequestUnits": 1})
    client.put_item(TableName=on_demand, Item=big)
    with pytest.raises(client.exceptions.ThrottlingException) as throttled:
        client.put_item(TableName=on_demand, Item={"pk": {"S": "b"}})
    assert throttled.value.response["throttlingReasons"][0]["reason"] == "TableWriteMaxOnDemandThroughputExceeded"
    with pytest.raises(client.exceptions.ProvisionedThroughputExceededException):
        client.batch_write_item(RequestItems={provisioned: [{"PutRequest": {"Item": {"pk": {"S": "b"}}}}]})
    both = {
        name: [{"PutRequest": {"Item": {"pk": {"S": "b"}}}}]
        for name in (provisioned, make(client, BillingMode="PAY_PER_REQUEST"))
    }
    assert client.batch_write_item(RequestItems=both)["UnprocessedItems"].keys() == {provisioned}
    assert client.get_item(TableName=provisioned, Key={"pk": {"S": "a"}})["Item"] == big


def test_what_was_owed_is_paid_back_with_time(server: Served) -> None:
    client = server.client("dynamodb")
    name = make(client, ProvisionedThroughput={"ReadCapacityUnits": 1, "WriteCapacityUnits": 30})
    big = {"pk": {"S": "a"}, "x": {"S": "x" * 399 * 1024}}
    with pytest.raises(client.exceptions.ProvisionedThroughputExceededException):
        for _ in range(30):  # 400 units of a burst of 9,000, and 1,000 of its partition
            client.put_item(TableName=name, Item=big)
    time.sleep(1.5)
    client.put_item(TableName=name, Item={"pk": {"S": "a"}})
