"""Kinesis: decodes records, and hands back which of them are to be tried again."""

import base64
import json


def reading_of(record):
    """The JSON object inside a record. Raises ValueError."""
    document = json.loads(base64.b64decode(record["kinesis"]["data"]))
    if not isinstance(document, dict):
        raise ValueError("a reading is an object")
    return document


def handler(event, context):
    """event: a batch of a Kinesis stream. With ReportBatchItemFailures, what fails and what follows it comes again."""
    for record in event["Records"]:
        number = record["kinesis"]["sequenceNumber"]
        try:
            reading = reading_of(record)
        except ValueError as error:
            print(f"{number}: {error}")
            return {"batchItemFailures": [{"itemIdentifier": number}]}
        print(f"{record['kinesis']['partitionKey']}: {json.dumps(reading)}")
    return {"batchItemFailures": []}
