"""First function of the demo: a JSON file arrived in S3; write its rows back as CSV."""

import csv
import io
import json
import os
import urllib.parse
from typing import Any

import boto3

s3 = boto3.client("s3")


def handler(event: dict[str, Any], context: Any) -> dict[str, int]:
    """event: an S3 notification. Writes <name>.csv to the bucket named by CSV_BUCKET; returns how many rows."""
    converted = 0
    for record in event["Records"]:
        bucket = record["s3"]["bucket"]["name"]
        key = urllib.parse.unquote_plus(record["s3"]["object"]["key"])
        rows = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        s3.put_object(
            Bucket=os.environ["CSV_BUCKET"],
            Key=key.removesuffix(".json") + ".csv",
            Body=text.getvalue().encode(),
            ContentType="text/csv",
        )
        print(f"{key}: {len(rows)} rows")
        converted += len(rows)
    return {"rows": converted}
