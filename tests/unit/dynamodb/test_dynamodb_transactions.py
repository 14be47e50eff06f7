"""TransactWriteItems and TransactGetItems: all or nothing, reasons, tokens, isolation."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dynamodb_calls import Calls
from penstock.services.dynamodb.tokens import forget_expired
from penstock.wire.errors import AwsError

V = "ValidationException: "


def key(pk: str) -> dict[str, Any]:
    return {"pk": {"S": pk}}


def put(pk: str, **more: Any) -> dict[str, Any]:
    return {"Put": {"TableName": "tab", "Item": {**key(pk), "v": {"S": "new"}}, **more}}


def add(pk: str, amount: int, condition: str = "") -> dict[str, Any]:
    update = {
        "TableName": "tab", "Key": key(pk), "UpdateExpression": "ADD n :a",
        "ExpressionAttributeValues": {":a": {"N": str(amount)}},
    }  # fmt: skip
    return {"Update": {**update, "ConditionExpression": condition} if condition else update}


@pytest.fixture
async def ddb() -> Calls:
    calls = Calls()
    await calls.table("tab")
    await calls("PutItem", TableName="tab", Item={**key("old"), "v": {"S": "x"}})
    return calls


async def everything(ddb: Calls) -> dict[str, Any]:
    return {item["pk"]["S"]: item for item in (await ddb("Scan", TableName="tab"))["Items"]}


async def test_all_actions_happen_together(ddb: Calls) -> None:
    check = {"TableName": "tab", "Key": key("guard"), "ConditionExpression": "attribute_not_exists(pk)"}
    result = await ddb(
        "TransactWriteItems",
        TransactItems=[
            put("a"),
            add("b", 3),
            {"Delete": {"TableName": "tab", "Key": key("old")}},
            {"ConditionCheck": check},
        ],
        ReturnConsumedCapacity="TOTAL",
    )
    assert result["ConsumedCapacity"] == [{"TableName": "tab", "CapacityUnits": 8.0, "WriteCapacityUnits": 8.0}]
    assert await everything(ddb) == {"a": {**key("a"), "v": {"S": "new"}}, "b": {**key("b"), "n": {"N": "3"}}}
    found = await ddb(
        "TransactGetItems",
        TransactItems=[
            {"Get": {"TableName": "tab", "Key": key("a"), "ProjectionExpression": "v"}},
            {"Get": {"TableName": "tab", "Key": key("none")}},
        ],
        ReturnConsumedCapacity="TOTAL",
    )
    assert found["Responses"] == [{"Item": {"v": {"S": "new"}}}, {}]
    assert found["ConsumedCapacity"] == [{"TableName": "tab", "CapacityUnits": 4.0, "ReadCapacityUnits": 4.0}]


async def test_one_failure_stops_all_and_every_reason_is_given(ddb: Calls) -> None:
    before = await everything(ddb)
    with pytest.raises(AwsError) as caught:
        await ddb(
            "TransactWriteItems",
            TransactItems=[
                put("a"),
                put(
                    "old", ConditionExpression="attribute_not_exists(pk)", ReturnValuesOnConditionCheckFailure="ALL_OLD"
                ),
                {"Put": {"TableName": "tab", "Item": {"no": {"S": "key"}}}},
            ],
        )
    assert str(caught.value) == (
        "TransactionCanceledException: Transaction cancelled, please refer cancellation reasons for specific reasons "
        "[None, ConditionalCheckFailed, ValidationError]"
    )
    assert caught.value.members["CancellationReasons"] == [
        {"Code": "None"},
        {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed", "Item": before["old"]},
        {
            "Code": "ValidationError",
            "Message": "One or more parameter values were invalid: Missing the key pk in the item",
        },
    ]
    assert await everything(ddb) == before


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([put("a"), add("a", 1)], V + "Transaction request cannot include multiple operations on one item"),
        ([{}], V + "TransactItems can only contain one of Check, Put, Update or Delete"),
        ([{**put("a"), **add("b", 1)}], V + "TransactItems can only contain one of Check, Put, Update or Delete"),
        ([{"Put": {"TableName": "nosuch", "Item": key("a")}}], "ResourceNotFoundException: Requested resource "
         "not found"),
        ([put("a", ConditionExpression="what(a)")], V + "Invalid ConditionExpression: Invalid function name; "
         "function: what"),
        ([put(f"big{i}", Item={**key(f"big{i}"), "d": {"S": "x" * 400_000}}) for i in range(11)],
         V + "Transaction request exceeds the maximum aggregate item size of 4 MB"),
    ],
)  # fmt: skip
async def test_refusals(ddb: Calls, items: list[Any], message: str) -> None:
    assert await ddb.error("TransactWriteItems", TransactItems=items) == message
    assert set(await everything(ddb)) == {"old"}


async def test_a_token_makes_a_transaction_happen_once(ddb: Calls) -> None:
    once = {"TransactItems": [add("n", 1)], "ClientRequestToken": "token"}
    await ddb("TransactWriteItems", **once)
    await ddb("TransactWriteItems", **once)
    assert (await everything(ddb))["n"]["n"] == {"N": "1"}
    other = {"TransactItems": [add("n", 2)], "ClientRequestToken": "token"}
    assert (await ddb.error("TransactWriteItems", **other)).startswith("IdempotentParameterMismatchException")
    ddb.node.clock.advance(601)
    await ddb("TransactWriteItems", **other)
    assert (await everything(ddb))["n"]["n"] == {"N": "3"}
    ddb.node.clock.advance(601)
    size = len(ddb.node.store.data)  # type: ignore[attr-defined]
    assert await ddb.node.store.transact(lambda txn: forget_expired(txn, ddb.node.clock.now())) == 2
    assert len(ddb.node.store.data) == size - 3  # type: ignore[attr-defined]


async def test_money_moves_and_none_is_lost(ddb: Calls) -> None:
    for account in "abcd":
        await ddb("TransactWriteItems", TransactItems=[add(account, 100)])

    async def move(source: str, target: str) -> None:
        debit = add(source, -7, "n >= :least")
        debit["Update"]["ExpressionAttributeValues"][":least"] = {"N": "7"}
        for _ in range(15):
            try:
                await ddb("TransactWriteItems", TransactItems=[debit, add(target, 7)])
            except AwsError as error:
                assert error.code == "TransactionCanceledException"
            gets = [{"Get": {"TableName": "tab", "Key": key(account)}} for account in "abcd"]
            seen = (await ddb("TransactGetItems", TransactItems=gets))["Responses"]
            amounts = [int(each["Item"]["n"]["N"]) for each in seen]
            assert sum(amounts) == 400
            assert min(amounts) >= 0

    await asyncio.gather(*(move(a, b) for a in "abcd" for b in "abcd" if a != b))
