"""The services that can be spoken, as data: how each is named on the wire and which of AWS's dialects it answers in.

It saves loading every model to learn whose request this is; a test holds it against the models.
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """One service.

    name: botocore's service name. version: the model's folder. signing: the name in the credential scope.
    target: the part of X-Amz-Target before the dot. protocols: what it accepts, old and new, the usual one first.
    namespace: what precedes "#" in `__type`. validation: the code of a broken constraint. fraction: how many digits of
    a second XML's timestamps have; None: as many as there are. crc32: every reply carries the CRC-32 of its body in
    x-amz-crc32. terse: a broken constraint is told without the value (IAM since 2024).
    """

    name: str
    version: str
    signing: str
    protocols: tuple[str, ...]
    target: str = ""
    namespace: str = ""
    validation: str = "ValidationException"
    fraction: int | None = None
    crc32: bool = False
    terse: bool = False


_JSON = ("json",)
_QUERY = ("query",)
_REST = ("rest-json",)

ENTRIES: tuple[Entry, ...] = (
    Entry("s3", "2006-03-01", "s3", ("rest-xml",), validation="InvalidArgument", fraction=3),
    Entry(
        "dynamodb", "2012-08-10", "dynamodb", _JSON, "DynamoDB_20120810", "com.amazonaws.dynamodb.v20120810#", crc32=True,
    ),
    Entry(
        "dynamodbstreams", "2012-08-10", "dynamodb", _JSON, "DynamoDBStreams_20120810",
        "com.amazonaws.dynamodb.v20120810#", crc32=True,
    ),
    Entry("lambda", "2015-03-31", "lambda", _REST),
    Entry("iam", "2010-05-08", "iam", _QUERY, validation="ValidationError", fraction=0, terse=True),
    Entry("sts", "2011-06-15", "sts", _QUERY, validation="ValidationError", fraction=0),
    Entry("logs", "2014-03-28", "logs", _JSON, "Logs_20140328", validation="InvalidParameterException"),
    Entry("kinesis", "2013-12-02", "kinesis", ("json", "cbor"), "Kinesis_20131202"),
    Entry("firehose", "2015-08-04", "firehose", _JSON, "Firehose_20150804"),
    Entry("sqs", "2012-11-05", "sqs", ("json", "query"), "AmazonSQS", "com.amazonaws.sqs#"),
    Entry("sns", "2010-03-31", "sns", _QUERY, validation="InvalidParameter", fraction=3),
    Entry("events", "2015-10-07", "events", _JSON, "AWSEvents"),
    Entry("scheduler", "2021-06-30", "scheduler", _REST),
    Entry("pipes", "2015-10-07", "pipes", _REST),
    Entry("stepfunctions", "2016-11-23", "states", _JSON, "AWSStepFunctions"),
    Entry(
        "cloudwatch", "2010-08-01", "monitoring", ("smithy-rpc-v2-cbor", "json", "query"),
        "GraniteServiceVersion20100801", validation="ValidationError", fraction=3,
    ),
    Entry("kms", "2014-11-01", "kms", _JSON, "TrentService"),
    Entry("secretsmanager", "2017-10-17", "secretsmanager", _JSON, "secretsmanager"),
    Entry("ssm", "2014-11-06", "ssm", _JSON, "AmazonSSM"),
    Entry("glue", "2017-03-31", "glue", _JSON, "AWSGlue"),
    Entry("athena", "2017-05-18", "athena", _JSON, "AmazonAthena", validation="InvalidRequestException"),
    Entry(
        "cloudformation", "2010-05-15", "cloudformation", _QUERY, validation="ValidationError", fraction=3
    ),
    Entry(
        "application-autoscaling", "2016-02-06", "application-autoscaling", _JSON, "AnyScaleFrontendService",
    ),
    Entry("resourcegroupstaggingapi", "2017-01-26", "tagging", _JSON, "ResourceGroupsTaggingAPI_20170126"),
)  # fmt: skip

BY_NAME: dict[str, Entry] = {entry.name: entry for entry in ENTRIES}
BY_TARGET: dict[str, str] = {entry.target: entry.name for entry in ENTRIES if entry.target}
BY_SIGNING: dict[str, str] = {entry.signing: entry.name for entry in reversed(ENTRIES)}
BY_SIGNING["s3express"] = "s3"
