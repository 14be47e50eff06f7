"""SQS: works off messages, and gives back only those that failed."""

import json


def work(message):
    """Do what a message asks for. Raises ValueError or KeyError if it makes no sense."""
    task = message["task"]
    print(f"{task} {message['id']}")
    return task


def handler(event, context):
    """event: a batch of a queue. With ReportBatchItemFailures, only the messages named here are delivered again."""
    failed = []
    for record in event["Records"]:
        try:
            work(json.loads(record["body"]))
        except (ValueError, KeyError) as error:
            print(f"{record['messageId']}: {error!r}")
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}
