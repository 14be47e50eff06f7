"""DynamoDB stream: keeps a second table, of totals, in step with what changes in the first."""

import os
from decimal import Decimal

import boto3
from boto3.dynamodb.types import TypeDeserializer

totals = boto3.resource("dynamodb").Table(os.environ.get("TABLE", "totals"))
_read = TypeDeserializer().deserialize


def change_of(record):
    """How much a record adds to the count of items, and to the length of their messages."""
    stream = record["dynamodb"]
    new, old = ({k: _read(v) for k, v in stream.get(name, {}).items()} for name in ("NewImage", "OldImage"))
    count = {"INSERT": 1, "MODIFY": 0, "REMOVE": -1}[record["eventName"]]
    return count, len(new.get("Message", "")) - len(old.get("Message", ""))


def handler(event, context):
    """event: a batch of a DynamoDB stream (NEW_AND_OLD_IMAGES). TABLE names the table of totals, keyed by `id`."""
    changes = [change_of(record) for record in event["Records"]]
    count, length = sum(c for c, _ in changes), sum(n for _, n in changes)
    totals.update_item(
        Key={"id": "all"},
        UpdateExpression="ADD #items :count, letters :length",
        ExpressionAttributeNames={"#items": "items"},  # a reserved word
        ExpressionAttributeValues={":count": Decimal(count), ":length": Decimal(length)},
    )
    return {"count": count, "length": length}
