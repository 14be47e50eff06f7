"""S3: turns every JSON file that is put into a bucket into CSV, with awswrangler (a layer must carry it)."""

import os
from urllib.parse import unquote_plus

import awswrangler as wr


def target_of(key):
    """The key of the CSV file that is made of a JSON file."""
    stem, _, suffix = key.rpartition(".")
    return f"{stem if suffix == 'json' else key}.csv"


def handler(event, context):
    """event: an S3 notification. CSV_BUCKET names the bucket that is written to. Returns the rows of each file."""
    rows = {}
    for record in event["Records"]:
        bucket, key = record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"])
        frame = wr.s3.read_json(f"s3://{bucket}/{key}", orient="records")
        wr.s3.to_csv(frame, f"s3://{os.environ['CSV_BUCKET']}/{target_of(key)}", index=False)
        rows[key] = len(frame)
        print(f"{key}: {len(frame)} rows")
    return rows
