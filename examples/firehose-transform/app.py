"""Firehose: transforms records on their way to their destination, drops some and marks what is broken."""

import base64
import json


def transformed(record):
    """The record as Firehose wants it back: Ok with new data, Dropped, or ProcessingFailed with the old."""
    try:
        document = json.loads(base64.b64decode(record["data"]))
        if document["price"] < 5:
            return {"recordId": record["recordId"], "result": "Dropped", "data": record["data"]}
        document["ticker"] = document["ticker"].lower()
    except (ValueError, KeyError, TypeError):
        return {"recordId": record["recordId"], "result": "ProcessingFailed", "data": record["data"]}
    line = json.dumps(document) + "\n"  # a line each: what reads the files back wants them apart
    return {"recordId": record["recordId"], "result": "Ok", "data": base64.b64encode(line.encode()).decode()}


def handler(event, context):
    """event: a batch of a Firehose stream. Every record must come back, by its recordId."""
    return {"records": [transformed(record) for record in event["records"]]}
