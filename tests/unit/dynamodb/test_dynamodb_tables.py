"""Tables: their life, their description, their tags, and what AWS refuses."""

from __future__ import annotations

from typing import Any

import pytest

from dynamodb_calls import Calls

V = "ValidationException: "
BAD = V + "One or more parameter values were invalid: "


def key(name: str, kind: str = "HASH") -> dict[str, str]:
    return {"AttributeName": name, "KeyType": kind}


def attribute(name: str, kind: str = "S") -> dict[str, str]:
    return {"AttributeName": name, "AttributeType": kind}


GOOD: dict[str, Any] = {
    "TableName": "tab",
    "KeySchema": [key("pk")],
    "AttributeDefinitions": [attribute("pk")],
    "BillingMode": "PAY_PER_REQUEST",
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"TableName": "ab"}, V + "1 validation error detected: Value 'ab' at 'tableName' failed to satisfy "
         "constraint: "
         "Member must have length greater than or equal to 3"),
        ({"TableName": "a;b!"}, V + "1 validation error detected: Value 'a;b!' at 'tableName' failed to satisfy "
         "constraint: "
         "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"),
        ({"KeySchema": [key("x")]}, BAD + "Some index key attributes are not defined in AttributeDefinitions. "
         "Keys: [x], "
         "AttributeDefinitions: [pk]"),
        ({"KeySchema": [key("pk"), key("pk", "RANGE")]}, V + "Invalid KeySchema: Some index key attribute have "
         "no definition"),
        ({"KeySchema": [key("pk", "RANGE")]}, V + "Invalid KeySchema: The first KeySchemaElement is not a HASH "
         "key type"),
        ({"AttributeDefinitions": [attribute("pk"), attribute("x")]}, BAD + "Number of attributes in KeySchema "
         "does not "
         "exactly match number of attributes defined in AttributeDefinitions"),
        ({"BillingMode": "PROVISIONED"}, BAD + "ReadCapacityUnits and WriteCapacityUnits must both be specified when "
         "BillingMode is PROVISIONED"),
        ({"ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}}, BAD + "Neither "
         "ReadCapacityUnits nor "
         "WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST"),
    ],
)  # fmt: skip
async def test_tables_that_are_refused(changes: dict[str, Any], message: str) -> None:
    assert await Calls().error("CreateTable", **{**GOOD, **changes}) == message


async def test_what_is_not_carried_out_is_refused() -> None:
    ddb = Calls()
    error = await ddb.error(
        "CreateTable", **GOOD, GlobalTableSourceArn="arn:aws:dynamodb:us-east-1:000000000000:table/x"
    )
    assert error.startswith("NotImplemented")
    await ddb("CreateTable", **GOOD, StreamSpecification={"StreamEnabled": False}, SSESpecification={"Enabled": False})


async def test_the_life_of_a_table() -> None:
    ddb = Calls()
    made = (await ddb("CreateTable", **GOOD, DeletionProtectionEnabled=True))["TableDescription"]
    assert made["TableStatus"] == "CREATING"
    assert made["TableArn"] == "arn:aws:dynamodb:us-east-1:000000000000:table/tab"
    assert await ddb.error("CreateTable", **GOOD) == "ResourceInUseException: Table already exists: tab"
    table = (await ddb("DescribeTable", TableName="tab"))["Table"]
    assert table["TableStatus"] == "ACTIVE"
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert (await ddb.error("DeleteTable", TableName="tab")).startswith(V + "Resource cannot be deleted")
    changed = await ddb(
        "UpdateTable", TableName="tab", DeletionProtectionEnabled=False, BillingMode="PROVISIONED",
        ProvisionedThroughput={"ReadCapacityUnits": 5, "WriteCapacityUnits": 6},
        TableClass="STANDARD_INFREQUENT_ACCESS",
    )  # fmt: skip
    assert changed["TableDescription"]["TableStatus"] == "UPDATING"
    table = (await ddb("DescribeTable", TableName="tab"))["Table"]
    assert table["ProvisionedThroughput"]["WriteCapacityUnits"] == 6
    assert table["TableClassSummary"] == {"TableClass": "STANDARD_INFREQUENT_ACCESS"}
    await ddb("PutItem", TableName="tab", Item={"pk": {"S": "old"}})
    assert (await ddb("DeleteTable", TableName="tab"))["TableDescription"]["TableStatus"] == "DELETING"
    assert len(ddb.node.store.data) == 0  # type: ignore[attr-defined]
    again = (await ddb("CreateTable", **GOOD))["TableDescription"]
    assert again["TableId"] != made["TableId"]
    assert (await ddb("Scan", TableName="tab"))["Items"] == []


async def test_throughput_changes() -> None:
    ddb = Calls()
    units = {"ReadCapacityUnits": 5, "WriteCapacityUnits": 5}
    await ddb("CreateTable", **{**GOOD, "BillingMode": "PROVISIONED"}, ProvisionedThroughput=units)
    said = await ddb.error("UpdateTable", TableName="tab", ProvisionedThroughput=units)
    assert "will not change. The requested value equals the current value" in said
    lower = {"ReadCapacityUnits": 4, "WriteCapacityUnits": 9}
    found = (await ddb("UpdateTable", TableName="tab", ProvisionedThroughput=lower))["TableDescription"]
    throughput = found["ProvisionedThroughput"]
    assert throughput["NumberOfDecreasesToday"] == 1
    assert throughput["LastDecreaseDateTime"]
    assert throughput["LastIncreaseDateTime"]
    await ddb("UpdateTable", TableName="tab", BillingMode="PAY_PER_REQUEST")
    assert "Neither" in await ddb.error("UpdateTable", TableName="tab", ProvisionedThroughput=units)
    assert "At least one of" in await ddb.error("UpdateTable", TableName="tab")


async def test_lists_of_tables_come_in_pages() -> None:
    ddb = Calls()
    names = sorted(f"table{i}" for i in range(25))
    for name in names:
        await ddb.table(name)
    seen, start = [], {}
    while True:
        page = await ddb("ListTables", Limit=10, **start)
        seen += page["TableNames"]
        if "LastEvaluatedTableName" not in page:
            break
        start = {"ExclusiveStartTableName": page["LastEvaluatedTableName"]}
    assert seen == names


async def test_tags() -> None:
    ddb = Calls()
    arn = (await ddb("CreateTable", **GOOD, Tags=[{"Key": "a", "Value": "1"}]))["TableDescription"]["TableArn"]
    await ddb("TagResource", ResourceArn=arn, Tags=[{"Key": f"k{i:02}", "Value": str(i)} for i in range(12)])
    await ddb("UntagResource", ResourceArn=arn, TagKeys=["k00", "none"])
    first = await ddb("ListTagsOfResource", ResourceArn=arn)
    second = await ddb("ListTagsOfResource", ResourceArn=arn, NextToken=first["NextToken"])
    found = {tag["Key"]: tag["Value"] for tag in first["Tags"] + second["Tags"]}
    assert found == {"a": "1", **{f"k{i:02}": str(i) for i in range(1, 12)}}
    assert "maximum of tags" in await ddb.error(
        "TagResource", ResourceArn=arn, Tags=[{"Key": f"x{i}", "Value": ""} for i in range(49)]
    )
    missing = arn + "x"
    assert (await ddb.error("ListTagsOfResource", ResourceArn=missing)).startswith("ResourceNotFoundException")
