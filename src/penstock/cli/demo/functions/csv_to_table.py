"""Second function of the demo: a CSV file arrived in S3; write its rows to DynamoDB in batches."""

import csv
import io
import os
import urllib.parse
from decimal import Decimal
from typing import Any

import boto3

TEXT = {"carrier", "tailnum", "origin", "dest", "time_hour"}
s3 = boto3.client("s3")
tables = boto3.resource("dynamodb")


def handler(event: dict[str, Any], context: Any) -> dict[str, int]:
    """event: an S3 notification. One item a row, and at the end one item in LOADS that counts them."""
    loaded = 0
    for record in event["Records"]:
        bucket = record["s3"]["bucket"]["name"]
        key = urllib.parse.unquote_plus(record["s3"]["object"]["key"])
        text = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
        rows = list(csv.DictReader(io.StringIO(text)))
        with tables.Table(os.environ["FLIGHTS"]).batch_writer() as batch:
            for row in rows:
                batch.put_item(Item=item_of(row))
        tables.Table(os.environ["LOADS"]).put_item(Item={"file": key, "rows": len(rows)})
        print(f"{key}: {len(rows)} rows")
        loaded += len(rows)
    return {"rows": loaded}


def item_of(row: dict[str, str]) -> dict[str, Any]:
    """One flight: its key is the airport and day, carrier and number; a field that is empty is left out."""
    item: dict[str, Any] = {k: v if k in TEXT else Decimal(v) for k, v in row.items() if v != ""}
    day = f"{int(row['year']):04}-{int(row['month']):02}-{int(row['day']):02}"
    item["flight_id"] = f"{day}#{row['carrier']}#{row['flight']}"
    return item
