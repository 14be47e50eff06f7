"""S3: loads every CSV file that is put into a bucket into a DynamoDB table, a row an item."""

import csv
import io
import os
from decimal import Decimal, InvalidOperation
from urllib.parse import unquote_plus

import boto3

s3 = boto3.client("s3")
table = boto3.resource("dynamodb").Table(os.environ.get("TABLE", "orders"))


def item_of(row):
    """A row as an item: numbers where the text is one, empty cells left out."""
    item = {}
    for name, text in row.items():
        if text:
            try:
                item[name] = Decimal(text)
            except InvalidOperation:
                item[name] = text
    return item


def handler(event, context):
    """event: an S3 notification. TABLE names the table; the first column must be its key. Returns how many items."""
    items = 0
    for record in event["Records"]:
        bucket, key = record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"])
        body = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
        with table.batch_writer() as batch:
            for row in csv.DictReader(io.StringIO(body)):
                batch.put_item(Item=item_of(row))
                items += 1
    return {"items": items}
