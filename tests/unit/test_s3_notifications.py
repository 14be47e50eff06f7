"""Bucket notifications, up to the outbox; and bucket policies' effect on who may do what."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.core.identity import Kind, Principal
from penstock.core.operation import REGISTRY, Operation
from penstock.events import outbox
from penstock.services.s3.events import Rule
from penstock.store.faulty import Faults, FaultyStore
from penstock.store.memory import MemoryStore
from penstock.wire.errors import AwsError
from s3_node import ACCOUNT, S3

FUNCTION = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:f"
BIG = bytes(100_000)


@pytest.fixture
async def s3(tmp_path: Path) -> S3:
    node = S3(tmp_path)
    await node("CreateBucket", Bucket="bucket")
    return node


async def refused(awaitable: Any, code: str) -> AwsError:
    with pytest.raises(AwsError) as caught:
        await awaitable
    assert caught.value.code == code, caught.value
    return caught.value


def rule(events: list[str], prefix: str = "", suffix: str = "", **more: Any) -> dict[str, Any]:
    filters = [{"Name": "prefix", "Value": prefix}, {"Name": "Suffix", "Value": suffix}]
    return {
        "LambdaFunctionArn": FUNCTION, "Events": events, "Filter": {"Key": {"FilterRules": filters}}, **more
    }  # fmt: skip


async def configure(s3: S3, *rules: dict[str, Any], **more: Any) -> None:
    await s3(
        "PutBucketNotificationConfiguration", Bucket="bucket", SkipDestinationValidation=True,
        NotificationConfiguration={"LambdaFunctionConfigurations": list(rules), **more},
    )  # fmt: skip


async def told(s3: S3) -> list[dict[str, Any]]:
    """The deliveries in the outbox, oldest first."""
    found = []
    while leased := await s3.store.transact(
        lambda txn: outbox.QUEUE.lease(txn, now=s3.clock.now() + 60, lease_s=60, holder="test", limit=100)
    ):
        for one in leased:
            found.append(msgspec.to_builtins(outbox.decode(one.body)))
            await s3.store.transact(lambda txn, one=one: outbox.QUEUE.done(txn, one))
    return found


def record(delivery: dict[str, Any]) -> dict[str, Any]:
    payload = delivery["params"]["Payload"]
    document = json.loads(payload if isinstance(payload, bytes) else __import__("base64").b64decode(payload))
    [one] = document["Records"]
    return dict(one)


async def test_the_event_document(s3: S3) -> None:
    await configure(s3, rule(["s3:ObjectCreated:*"], "in/", ".json", Id="rule-1"))
    put = await s3("PutObject", Bucket="bucket", Key="in/a b+é.json", Body=b"12345")
    await s3("PutObject", Bucket="bucket", Key="out/a.json", Body=b"")
    await s3("PutObject", Bucket="bucket", Key="in/a.csv", Body=b"")
    [delivery] = await told(s3)
    assert (delivery["service"], delivery["operation"], delivery["principal"]) == (
        "lambda",
        "Invoke",
        "s3.amazonaws.com",
    )
    assert (delivery["account"], delivery["region"]) == (ACCOUNT, "us-east-1")
    assert (delivery["source_arn"], delivery["source_account"]) == ("arn:aws:s3:::bucket", ACCOUNT)
    assert delivery["params"]["FunctionName"] == FUNCTION
    assert delivery["params"]["InvocationType"] == "Event"
    event = record(delivery)
    assert event["eventVersion"] == "2.1"
    assert event["eventSource"] == "aws:s3"
    assert event["eventName"] == "ObjectCreated:Put"
    assert event["awsRegion"] == "us-east-1"
    assert len(event["eventTime"]) == 24 and event["eventTime"].endswith("Z")
    assert set(event) == {
        "eventVersion", "eventSource", "awsRegion", "eventTime", "eventName", "userIdentity", "requestParameters",
        "responseElements", "s3",
    }  # fmt: skip
    assert set(event["responseElements"]) == {"x-amz-request-id", "x-amz-id-2"}
    assert event["s3"]["s3SchemaVersion"] == "1.0"
    assert event["s3"]["configurationId"] == "rule-1"
    assert event["s3"]["bucket"]["arn"] == "arn:aws:s3:::bucket"
    what = event["s3"]["object"]
    assert what["key"] == "in/a+b%2B%C3%A9.json"
    assert (what["size"], f'"{what["eTag"]}"') == (5, put["ETag"])


async def test_every_way_of_writing_tells(s3: S3) -> None:
    await configure(
        s3, rule(["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:ObjectTagging:*"]),
    )  # fmt: skip
    await s3("PutObject", Bucket="bucket", Key="k", Body=BIG)
    await s3("CopyObject", Bucket="bucket", Key="k", CopySource="bucket/k", MetadataDirective="REPLACE")
    upload = (await s3("CreateMultipartUpload", Bucket="bucket", Key="k"))["UploadId"]
    part = await s3("UploadPart", Bucket="bucket", Key="k", UploadId=upload, PartNumber=1, Body=b"x")
    parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
    await s3(
        "CompleteMultipartUpload", Bucket="bucket", Key="k", UploadId=upload, MultipartUpload={"Parts": parts}
    )  # fmt: skip
    await s3("PutObjectTagging", Bucket="bucket", Key="k", Tagging={"TagSet": []})
    await s3("DeleteObjects", Bucket="bucket", Delete={"Objects": [{"Key": "k"}, {"Key": "absent"}]})
    await s3("DeleteObject", Bucket="bucket", Key="k")
    events = [record(delivery) for delivery in await told(s3)]
    tagged = [event for event in events if event["eventName"] == "ObjectTagging:Put"]
    events = [event for event in events if event not in tagged]
    events.sort(key=lambda event: event["s3"]["object"]["sequencer"])
    assert [event["eventName"] for event in events] == [
        "ObjectCreated:Put", "ObjectCreated:Copy", "ObjectCreated:CompleteMultipartUpload", "ObjectRemoved:Delete",
    ]  # fmt: skip
    assert "size" not in events[-1]["s3"]["object"]
    assert [set(event["s3"]["object"]) for event in tagged] == [{"key", "eTag"}], "as AWS tells of tags"
    assert len({event["s3"]["object"]["sequencer"] for event in events}) == 4


async def test_what_fails_tells_nothing(s3: S3) -> None:
    await configure(s3, rule(["s3:ObjectCreated:*"]))
    await s3("PutObject", Bucket="bucket", Key="k", Body=b"1")
    await refused(s3("PutObject", Bucket="bucket", Key="k", Body=b"1", IfNoneMatch="*"), "PreconditionFailed")
    await refused(s3("PutObject", Bucket="bucket", Key="k", Body=b"1", ContentMD5="AAAA"), "InvalidDigest")
    assert len(await told(s3)) == 1
    await configure(s3)
    await s3("PutObject", Bucket="bucket", Key="k", Body=b"1")
    assert await told(s3) == []
    assert await s3("GetBucketNotificationConfiguration", Bucket="bucket") == {}


async def test_configurations_come_back_and_bad_ones_are_refused(s3: S3) -> None:
    await configure(s3, rule(["s3:ObjectCreated:Put"], "a", ".x", Id="i"), rule(["s3:ObjectCreated:Put"], "b", Id="j"))
    [one, _] = (await s3("GetBucketNotificationConfiguration", Bucket="bucket"))["LambdaFunctionConfigurations"]
    assert (one["Id"], one["Events"], one["LambdaFunctionArn"]) == ("i", ["s3:ObjectCreated:Put"], FUNCTION)
    assert one["Filter"]["Key"]["FilterRules"] == [{"Name": "Prefix", "Value": "a"}, {"Name": "Suffix", "Value": ".x"}]
    for bad in (
        [rule(["s3:ObjectCreated:*"], "a"), rule(["s3:ObjectCreated:Put"], "ab")],
        [rule(["s3:ObjectCreated:Put"], "a", "x"), rule(["s3:ObjectCreated:Put"], "a", "yx")],
        [rule(["s3:ObjectCreated:Put"], "a", Id="i"), rule(["s3:ObjectRemoved:*"], "b", Id="i")],
        [{**rule(["s3:ObjectCreated:Put"]), "LambdaFunctionArn": "arn:aws:sqs:us-east-1:1:q"}],
        [{**rule(["s3:ObjectCreated:Put"]), "LambdaFunctionArn": FUNCTION.replace("us-east-1", "eu-west-1")}],
        [{**rule(["s3:ObjectCreated:Put"]), "Filter": {"Key": {"FilterRules": [{"Name": "middle", "Value": "x"}]}}}],
    ):
        await refused(configure(s3, *bad), "InvalidArgument")
    await refused(configure(s3, rule(["s3:ObjectRestore:Post"])), "NotImplemented")
    for arn in ("q", FUNCTION, "arn:aws:sqs:us-east-1:1:q:more", "arn:aws:sqs:us-east-1:1:"):
        queue = {"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}
        error = await refused(configure(s3, QueueConfigurations=[queue]), "InvalidArgument")
        assert error.members == {"ArgumentName": "Queue", "ArgumentValue": arn}
    assert len((await s3("GetBucketNotificationConfiguration", Bucket="bucket"))["LambdaFunctionConfigurations"]) == 2


QUEUE, TOPIC = f"arn:aws:sqs:us-east-1:{ACCOUNT}:q", f"arn:aws:sns:us-east-1:{ACCOUNT}:t"


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Stands in for SQS, SNS and EventBridge: what they are called with. A queue called "absent" is not there."""
    calls: list[tuple[str, dict[str, Any]]] = []

    async def handler(call: Any, params: dict[str, Any]) -> dict[str, Any]:
        assert call.context["aws:SourceArn"] == "arn:aws:s3:::bucket"
        if "absent" in str(params):
            raise AwsError("QueueDoesNotExist", "The specified queue does not exist.", 400)
        if "shut" in str(params):
            raise AwsError("AuthorizationError", "Not authorized", 403)
        calls.append((call.operation.service, params))
        return {}

    for service, name in (("sqs", "SendMessage"), ("sns", "Publish"), ("events", "PutEvents")):
        stand_in = Operation(service, name, handler, "", "*", None, None, {})
        monkeypatch.setitem(REGISTRY, (service, name), stand_in)
    return calls


async def settle(s3: S3, **configuration: Any) -> None:
    await s3("PutBucketNotificationConfiguration", Bucket="bucket", NotificationConfiguration=configuration)


async def test_queues_topics_and_the_event_bus(s3: S3, heard: list[tuple[str, dict[str, Any]]]) -> None:
    created, removed = ["s3:ObjectCreated:*"], ["s3:ObjectRemoved:*"]
    configuration = {
        "QueueConfigurations": [{"Id": "to-q", "QueueArn": QUEUE, "Events": created}],
        "TopicConfigurations": [{"Id": "to-t", "TopicArn": TOPIC, "Events": removed}],
        "EventBridgeConfiguration": {},
    }
    await settle(s3, **configuration)
    assert await s3("GetBucketNotificationConfiguration", Bucket="bucket") == configuration
    tests = {service: json.loads(params.get("MessageBody") or params["Message"]) for service, params in heard}
    assert set(tests) == {"sqs", "sns"}
    for told_first in tests.values():
        assert (told_first["Service"], told_first["Event"]) == ("Amazon S3", "s3:TestEvent")
        assert set(told_first) == {"Service", "Event", "Time", "Bucket", "RequestId", "HostId"}
    put = await s3("PutObject", Bucket="bucket", Key="a b", Body=b"123")
    await s3("DeleteObject", Bucket="bucket", Key="a b")
    deliveries = await told(s3)
    by_service: dict[str, list[dict[str, Any]]] = {}
    for delivery in deliveries:
        by_service.setdefault(delivery["service"], []).append(delivery["params"])
    [to_queue], [to_topic], to_bus = by_service["sqs"], by_service["sns"], by_service["events"]
    assert to_queue["QueueUrl"].endswith(f"/{ACCOUNT}/q")
    assert json.loads(to_queue["MessageBody"])["Records"][0]["s3"]["object"]["key"] == "a+b"
    assert (to_topic["TopicArn"], to_topic["Subject"]) == (TOPIC, "Amazon S3 Notification")
    assert json.loads(to_topic["Message"])["Records"][0]["eventName"] == "ObjectRemoved:Delete"
    first, second = (params["Entries"][0] for params in to_bus)
    assert (first["Source"], first["DetailType"], first["Resources"]) == (
        "aws.s3", "Object Created", ["arn:aws:s3:::bucket"]
    )  # fmt: skip
    detail = json.loads(first["Detail"])
    assert detail["object"].pop("sequencer")
    assert detail.pop("request-id")
    assert detail == {
        "version": "0", "bucket": {"name": "bucket"}, "requester": ACCOUNT, "source-ip-address": "", "reason": "PutObject",
        "object": {"key": "a b", "size": 3, "etag": put["ETag"].strip('"')},
    }  # fmt: skip
    gone = json.loads(second["Detail"])
    assert (second["DetailType"], gone["deletion-type"]) == ("Object Deleted", "Permanently Deleted")


async def test_each_target_that_cannot_be_told_is_named(s3: S3, heard: list[tuple[str, dict[str, Any]]]) -> None:
    rules = [
        {"QueueArn": QUEUE.replace(":q", f":{name}"), "Events": [event]}
        for name, event in (
            ("absent", "s3:ObjectCreated:Put"),
            ("fine", "s3:ObjectCreated:Copy"),
            ("shut", "s3:ObjectAcl:Put"),
        )
    ]
    error = await refused(settle(s3, QueueConfigurations=rules), "InvalidArgument")
    assert error.message == "Unable to validate the following destination configurations"
    assert error.members["ArgumentValue1"] == "The destination queue does not exist"
    assert error.members["ArgumentValue3"].startswith("Permissions on the destination queue do not allow S3")
    assert "ArgumentName2" not in error.members
    assert await s3("GetBucketNotificationConfiguration", Bucket="bucket") == {}


@pytest.mark.parametrize("configuration", [
    {"QueueConfigurations": [{"QueueArn": QUEUE, "Events": ["s3:ObjectCreated:*"]}]}, {"EventBridgeConfiguration": {}},
])  # fmt: skip
async def test_services_that_are_not_there_are_no_targets(
    s3: S3, configuration: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in (("sqs", "SendMessage"), ("events", "PutEvents")):
        monkeypatch.delitem(REGISTRY, key, raising=False)
    await refused(configure(s3, **configuration), "NotImplemented")


async def test_sequencers_order_what_many_writers_did(tmp_path: Path) -> None:
    """On a store that runs bodies again and answers late: the largest sequencer of a key is that of its last state."""
    s3 = S3(tmp_path, FaultyStore(MemoryStore(), 5, Faults(retry=0.2, delay_turns=4)))
    await s3("CreateBucket", Bucket="bucket")
    await configure(s3, rule(["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]))

    async def write(n: int) -> None:
        if n % 5 == 4:
            await s3("DeleteObject", Bucket="bucket", Key=f"k{n % 3}")
        else:
            await s3("PutObject", Bucket="bucket", Key=f"k{n % 3}", Body=str(n).encode())

    await asyncio.gather(*(write(n) for n in range(60)))
    events = [record(delivery) for delivery in await told(s3)]
    for key in ("k0", "k1", "k2"):
        mine = [event for event in events if event["s3"]["object"]["key"] == key]
        sequencers = [event["s3"]["object"]["sequencer"] for event in mine]
        assert len(set(sequencers)) == len(sequencers)
        last = max(mine, key=lambda event: event["s3"]["object"]["sequencer"])
        try:
            now = (await s3("HeadObject", Bucket="bucket", Key=key))["ETag"]
        except AwsError:
            now = None
        etag = last["s3"]["object"].get("eTag")
        assert now == (f'"{etag}"' if last["eventName"].startswith("ObjectCreated") else None)


async def test_lists_of_objects_tell(s3: S3) -> None:
    await s3(
        "PutBucketOwnershipControls",
        Bucket="bucket",
        OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]},
    )
    await s3("PutObject", Bucket="bucket", Key="k", Body=b"1")
    await configure(s3, rule(["s3:ObjectAcl:Put"]))
    await s3("PutObjectAcl", Bucket="bucket", Key="k", ACL="bucket-owner-read")
    [delivery] = await told(s3)
    event = record(delivery)
    assert (event["eventVersion"], event["eventName"]) == ("2.3", "ObjectAcl:Put")
    assert set(event["s3"]["object"]) == {"key", "eTag"}


def test_rules_cover() -> None:
    one = Rule("i", FUNCTION, ("s3:ObjectCreated:Put", "s3:ObjectRemoved:*"), "a/", ".csv")
    assert one.covers("ObjectCreated:Put", "a/b.csv")
    assert one.covers("ObjectRemoved:Delete", "a/.csv")
    assert not one.covers("ObjectCreated:Copy", "a/b.csv")
    assert not one.covers("ObjectCreated:Put", "b/b.csv")
    assert not one.covers("ObjectCreated:Put", "a/b.csv.gz")


# policies

OTHER = "222222222222"
BOTH = ["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*"]


def policy(**statement: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]})


async def test_a_policy_opens_a_bucket_to_another_account(s3: S3) -> None:
    await s3("PutObject", Bucket="bucket", Key="open/k", Body=b"1")
    await s3("PutObject", Bucket="bucket", Key="shut/k", Body=b"1")
    text = policy(Principal={"AWS": OTHER}, Action="s3:GetObject", Resource="arn:aws:s3:::bucket/open/*")
    await s3("PutBucketPolicy", Bucket="bucket", Policy=text)
    assert (await s3("GetBucketPolicy", Bucket="bucket"))["Policy"] == text
    assert await s3.get("bucket", "open/k", account=OTHER) == b"1"
    await refused(s3("GetObject", account=OTHER, Bucket="bucket", Key="shut/k"), "AccessDenied")
    await refused(s3("PutObject", account=OTHER, Bucket="bucket", Key="open/k", Body=b""), "AccessDenied")
    await refused(s3("GetObject", account=OTHER, Bucket="bucket", Key="open/absent"), "AccessDenied")
    await refused(
        s3("CopyObject", Bucket="bucket", Key="x", CopySource="theirs/k"), "NoSuchBucket"
    )  # fmt: skip
    await s3("CreateBucket", account=OTHER, Bucket="theirs")
    await s3("CopyObject", account=OTHER, Bucket="theirs", Key="k", CopySource="bucket/open/k")
    assert await s3.get("theirs", "k", account=OTHER) == b"1"
    await refused(s3("CopyObject", account=OTHER, Bucket="theirs", Key="k", CopySource="bucket/shut/k"), "AccessDenied")
    await refused(s3("CopyObject", Bucket="bucket", Key="x", CopySource="theirs/k"), "AccessDenied")
    await s3("DeleteBucketPolicy", Bucket="bucket")
    await refused(s3("GetBucketPolicy", Bucket="bucket"), "NoSuchBucketPolicy")
    await refused(s3("GetObject", account=OTHER, Bucket="bucket", Key="open/k"), "AccessDenied")


async def test_an_explicit_denial_holds_for_the_owner_too(s3: S3) -> None:
    await s3("PutObject", Bucket="bucket", Key="k", Body=b"1")
    text = json.dumps(
        {
            "Statement": [
                {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*"}
            ]
        }
    )
    await s3("PutBucketPolicy", Bucket="bucket", Policy=text)
    await refused(s3("GetObject", Bucket="bucket", Key="k"), "AccessDenied")
    shut = json.dumps({"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": BOTH}]})
    await s3("PutBucketPolicy", Bucket="bucket", Policy=shut)
    await refused(s3("ListObjectsV2", Bucket="bucket"), "AccessDenied")
    await s3("DeleteBucketPolicy", Bucket="bucket")  # nobody can lock himself out
    await s3("GetObject", Bucket="bucket", Key="k")


async def test_policies_see_the_tags_of_objects(s3: S3) -> None:
    for key, tag in (("red", "colour=red"), ("blue", "colour=blue"), ("bare", "")):
        await s3("PutObject", Bucket="bucket", Key=key, Body=b"1", Tagging=tag)
    text = policy(
        Principal={"AWS": OTHER}, Action=["s3:GetObject", "s3:GetObjectTagging"], Resource="arn:aws:s3:::bucket/*",
        Condition={"StringEquals": {"s3:ExistingObjectTag/colour": "red"}},
    )  # fmt: skip
    await s3("PutBucketPolicy", Bucket="bucket", Policy=text)
    for operation in ("GetObject", "HeadObject", "GetObjectTagging"):
        await s3(operation, account=OTHER, Bucket="bucket", Key="red")
        for key in ("blue", "bare"):
            await refused(s3(operation, account=OTHER, Bucket="bucket", Key=key), "AccessDenied")
    await s3("CreateBucket", account=OTHER, Bucket="theirs")
    await s3("CopyObject", account=OTHER, Bucket="theirs", Key="k", CopySource="bucket/red")
    await refused(s3("CopyObject", account=OTHER, Bucket="theirs", Key="k", CopySource="bucket/blue"), "AccessDenied")


async def test_public_policies_are_blocked_until_that_is_lifted(s3: S3) -> None:
    anonymous = Principal(Kind.ANONYMOUS, "", "*", "ANONYMOUS_PRINCIPAL")
    await s3("PutObject", Bucket="bucket", Key="k", Body=b"1")
    text = policy(Principal="*", Action="s3:GetObject", Resource="arn:aws:s3:::bucket/*")
    await refused(s3("PutBucketPolicy", Bucket="bucket", Policy=text), "AccessDenied")
    narrowed = policy(
        Principal="*", Action="s3:GetObject", Resource="arn:aws:s3:::bucket/*",
        Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}},
    )  # fmt: skip
    await s3("PutBucketPolicy", Bucket="bucket", Policy=narrowed)
    assert (await s3("GetBucketPolicyStatus", Bucket="bucket")) == {"PolicyStatus": {"IsPublic": False}}
    await s3("DeletePublicAccessBlock", Bucket="bucket")
    await refused(s3("GetPublicAccessBlock", Bucket="bucket"), "NoSuchPublicAccessBlockConfiguration")
    await s3("PutBucketPolicy", Bucket="bucket", Policy=text)
    assert (await s3("GetBucketPolicyStatus", Bucket="bucket")) == {"PolicyStatus": {"IsPublic": True}}
    assert await s3.get("bucket", "k", principal=anonymous) == b"1"
    restrict = {"RestrictPublicBuckets": True}
    await s3("PutPublicAccessBlock", Bucket="bucket", PublicAccessBlockConfiguration=restrict)
    await refused(s3("GetObject", principal=anonymous, Bucket="bucket", Key="k"), "AccessDenied")
    await s3("GetObject", Bucket="bucket", Key="k")


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", '{"Statement":[]}',
        policy(Principal="*", Action="s3:GetObject", Resource="arn:aws:s3:::other/*"),
        policy(Principal="*", Action="sqs:SendMessage", Resource="arn:aws:s3:::bucket/*"),
        policy(Action="s3:GetObject", Resource="arn:aws:s3:::bucket/*"),
        policy(NotPrincipal={"AWS": OTHER}, Action="s3:GetObject", Resource="arn:aws:s3:::bucket/*"),
        policy(Principal={"AWS": OTHER}, Action="s3:GetObject", Resource="arn:aws:s3:::bucket/*", Sid="x" * 21_000),
    ],
)  # fmt: skip
async def test_malformed_policies(s3: S3, text: str) -> None:
    await refused(s3("PutBucketPolicy", Bucket="bucket", Policy=text), "MalformedPolicy")


def operations() -> list[Operation]:
    return [found for (service, _), found in sorted(REGISTRY.items()) if service == "s3"]


@pytest.mark.parametrize("found", operations(), ids=lambda found: found.name)
def test_every_operation_declares_who_may(found: Operation) -> None:
    assert found.action or found.name == "DeleteObjects"
    if found.name not in ("ListBuckets", "ListDirectoryBuckets", "CreateBucket", "DeleteObjects"):
        assert found.policy is not None
    if found.name in ("CreateBucket", "CreateSession"):  # a directory bucket's ARN has a Region and an account
        assert callable(found.resource)
    elif found.name not in ("ListBuckets", "ListDirectoryBuckets"):
        assert str(found.resource).startswith("arn:aws:s3:::{Bucket}")
