"""Exports to S3 and imports from it, on a real server: the files as AWS lays them out, and back into a table."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import time
from typing import Any

import pytest
import zstandard
from botocore.exceptions import ClientError

from dynamodb_tables import advance, fill, item, items_of, make_table, now, wait, wait_active
from penstock.services.dynamodb import ion
from served import Served

KEYS: dict[str, Any] = {
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    "AttributeDefinitions": [
        {"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "sk", "AttributeType": "N"},
    ],
    "BillingMode": "PAY_PER_REQUEST",
}  # fmt: skip


def make_bucket(server: Served) -> str:
    name = f"transfers-{time.time_ns()}"
    server.client("s3").create_bucket(Bucket=name)
    return name


def recoverable(client: Any, **specification: Any) -> tuple[str, str]:
    """A table with recovery on: its name and ARN."""
    name = make_table(client)
    specification["PointInTimeRecoveryEnabled"] = True
    client.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=specification)
    return name, client.describe_table(TableName=name)["Table"]["TableArn"]


def export(client: Any, arn: str, bucket: str, **how: Any) -> dict[str, Any]:
    """Have an export done; its description."""
    begun = client.export_table_to_point_in_time(TableArn=arn, S3Bucket=bucket, **how)["ExportDescription"]
    assert begun["ExportStatus"] == "IN_PROGRESS"
    found: dict[str, Any] = {}

    def done() -> bool:
        found.update(client.describe_export(ExportArn=begun["ExportArn"])["ExportDescription"])
        return bool(found["ExportStatus"] != "IN_PROGRESS")

    wait(done)
    return found


def read(server: Served, bucket: str, key: str) -> bytes:
    body: bytes = server.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


def lines_of(server: Served, bucket: str, described: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The summary of an export and its lines; the checksums are checked on the way."""
    assert described["ExportStatus"] == "COMPLETED", described
    summary_key = described["ExportManifest"]
    texts = {}
    for name in ("manifest-summary", "manifest-files"):
        key = summary_key.replace("manifest-summary", name)
        texts[name] = read(server, bucket, key)
        checksum = read(server, bucket, key.replace(".json", ".md5"))
        assert checksum == base64.b64encode(hashlib.md5(texts[name]).digest())
    summary = json.loads(texts["manifest-summary"])
    assert summary["manifestFilesS3Key"] == summary_key.replace("manifest-summary", "manifest-files")
    found = []
    for each in map(json.loads, texts["manifest-files"].splitlines()):
        packed = read(server, bucket, each["dataFileS3Key"])
        assert each["md5Checksum"] == base64.b64encode(hashlib.md5(packed).digest()).decode()
        assert each["etag"]
        lines = gzip.decompress(packed).decode().splitlines()
        assert len(lines) == each["itemCount"]
        found += lines
    assert summary["itemCount"] == described["ItemCount"] == len(found)
    return summary, found


def import_table(client: Any, bucket: str, prefix: str, form: str, name: str, **how: Any) -> dict[str, Any]:
    """Have an import done; its description."""
    parameters = {"TableName": name, **KEYS, **how.pop("TableCreationParameters", {})}
    begun = client.import_table(
        S3BucketSource={"S3Bucket": bucket, "S3KeyPrefix": prefix},
        InputFormat=form,
        TableCreationParameters=parameters,
        **how,
    )["ImportTableDescription"]
    assert begun["ImportStatus"] == "IN_PROGRESS"
    found: dict[str, Any] = {}

    def done() -> bool:
        found.update(client.describe_import(ImportArn=begun["ImportArn"])["ImportTableDescription"])
        return bool(found["ImportStatus"] != "IN_PROGRESS")

    wait(done)
    return found


@pytest.mark.parametrize("form", ["DYNAMODB_JSON", "ION"])
def test_out_and_in_again(server: Served, form: str) -> None:
    client, bucket = server.client("dynamodb"), make_bucket(server)
    name, arn = recoverable(client)
    fill(client, name, 60)
    rich = {
        "set": {"SS": ["a", "b"]}, "numbers": {"NS": ["1", "2.5"]}, "raw": {"B": b"\x00\x01"}, "none": {"NULL": True},
        "list": {"L": [{"BOOL": True}, {"M": {"odd name": {"N": "1000"}}}]}, "big": {"S": "x" * 200_000},
    }  # fmt: skip
    client.put_item(TableName=name, Item=item(1000, **rich))
    before = items_of(client, name)
    described = export(
        client, arn, bucket, ExportFormat=form, S3Prefix="some/where", ClientToken=f"token{form}{bucket}"
    )
    assert described["ExportManifest"].startswith("some/where/AWSDynamoDB/")
    summary, lines = lines_of(server, bucket, described)
    assert summary["version"] == "2020-06-30"
    assert summary["outputFormat"] == form
    assert summary["tableArn"] == arn
    if form == "ION":
        assert {float(ion.parse_item(line)["sk"]["N"]) for line in lines} == {*range(60), 1000}
    else:
        assert all(set(json.loads(line)) == {"Item"} for line in lines)
    prefix = f"some/where/AWSDynamoDB/{described['ExportArn'].rpartition('/')[2]}/"
    listed = {each["Key"] for each in server.client("s3").list_objects_v2(Bucket=bucket)["Contents"]}
    assert f"{prefix}_started" in listed
    done = import_table(client, bucket, f"{prefix}data/", form, name + "-in", InputCompressionType="GZIP")
    assert done["ImportStatus"] == "COMPLETED", done
    assert (done["ImportedItemCount"], done["ProcessedItemCount"], done["ErrorCount"]) == (61, 61, 0)
    assert items_of(client, name + "-in") == before
    assert wait_active(client, name + "-in")["ItemCount"] == 61
    # The same token again is the same export; with other parameters it is a conflict.
    token = {"TableArn": arn, "S3Bucket": bucket, "ExportFormat": form, "ClientToken": f"token{form}{bucket}"}
    again = client.export_table_to_point_in_time(**token, S3Prefix="some/where")["ExportDescription"]
    assert again["ExportArn"] == described["ExportArn"]
    with pytest.raises(client.exceptions.ExportConflictException):
        client.export_table_to_point_in_time(**token, S3Prefix="else/where")
    arns = [each["ExportArn"] for each in client.list_exports(TableArn=arn)["ExportSummaries"]]
    assert arns == [described["ExportArn"]]


def test_incremental_and_earlier_exports(own_server: Served) -> None:
    server = own_server
    client, bucket = server.client("dynamodb"), make_bucket(server)
    name, arn = recoverable(client)
    fill(client, name, 10)
    advance(server, 60)
    begin = int(now(server))
    advance(server, 60)
    client.put_item(TableName=name, Item=item(3, text={"S": "changed"}))
    client.put_item(TableName=name, Item=item(100))
    client.delete_item(TableName=name, Key={name: item(5)[name] for name in ("pk", "sk")})
    advance(server, 3600)
    end = int(now(server))
    client.put_item(TableName=name, Item=item(4, text={"S": "later"}))
    for view in ("NEW_AND_OLD_IMAGES", "NEW_IMAGE"):
        window = {"ExportFromTime": begin, "ExportToTime": end, "ExportViewType": view}
        described = export(
            client,
            arn,
            bucket,
            ExportType="INCREMENTAL_EXPORT",
            IncrementalExportSpecification=window,
            ExportFormat="DYNAMODB_JSON",
        )
        summary, lines = lines_of(server, bucket, described)
        assert summary["exportType"] == "INCREMENTAL_EXPORT"
        assert summary["outputView"] == view
        found = {int(line["Keys"]["sk"]["N"]): line for line in map(json.loads, lines)}
        assert set(found) == {3, 5, 100}
        assert found[3]["NewImage"]["text"]["S"] == "changed"
        assert "NewImage" not in found[5]
        assert "OldImage" not in found[100]
        assert ("OldImage" in found[5]) == ("OldImage" in found[3]) == (view == "NEW_AND_OLD_IMAGES")
        written = int(found[100]["Metadata"]["WriteTimestampMicros"]["N"])
        assert begin * 1e6 < written < end * 1e6
    # A full export of an earlier time has what was there then.
    described = export(client, arn, bucket, ExportTime=begin)
    _, lines = lines_of(server, bucket, described)
    texts = {int(each["sk"]["N"]): each["text"]["S"] for each in (json.loads(line)["Item"] for line in lines)}
    assert texts == {n: f"text {n}" for n in range(10)}
    wrong = {"ExportFromTime": begin, "ExportToTime": begin + 60}
    with pytest.raises(client.exceptions.InvalidExportTimeException):
        client.export_table_to_point_in_time(
            TableArn=arn, S3Bucket=bucket, ExportType="INCREMENTAL_EXPORT", IncrementalExportSpecification=wrong
        )
    with pytest.raises(client.exceptions.InvalidExportTimeException):
        client.export_table_to_point_in_time(TableArn=arn, S3Bucket=bucket, ExportTime=end + 99999)
    assert len(client.list_exports(MaxResults=2)["ExportSummaries"]) == 2
    advance(server, 91 * 86400)
    assert not client.list_exports()["ExportSummaries"]
    with pytest.raises(client.exceptions.ExportNotFoundException):
        client.describe_export(ExportArn=described["ExportArn"])
    export(client, arn, bucket)
    assert len(client.list_exports()["ExportSummaries"]) == 1


def test_filtered_exports(server: Served) -> None:
    client, bucket = server.client("dynamodb"), make_bucket(server)
    name, arn = recoverable(client)
    fill(client, name, 60)
    wanted = {
        "KeyConditionExpression": "pk = :p AND sk > :s", "FilterExpression": "#k = :k", "ProjectionExpression": "sk, #k",
        "ExpressionAttributeNames": {"#k": "kind"},
        "ExpressionAttributeValues": {":p": {"S": "p3"}, ":s": {"N": "20"}, ":k": {"S": "k1"}},
    }  # fmt: skip
    described = export(client, arn, bucket, FilterSpecification=wanted)
    assert described["FilterSpecification"] == wanted
    found = [json.loads(line)["Item"] for line in lines_of(server, bucket, described)[1]]
    expected = [n for n in range(60) if n % 7 == 3 and n > 20 and n % 3 == 1]
    assert found == [{"sk": {"N": str(n)}, "kind": {"S": "k1"}} for n in expected]
    for wrong in (
        {"FilterExpression": "a ="},
        {"KeyConditionExpression": "sk = :s", "ExpressionAttributeValues": {":s": {"N": "1"}}},
    ):
        with pytest.raises(ClientError) as error:
            client.export_table_to_point_in_time(TableArn=arn, S3Bucket=bucket, FilterSpecification=wrong)
        assert error.value.response["Error"]["Code"] == "ValidationException"


def test_exports_are_refused(server: Served) -> None:
    client, bucket = server.client("dynamodb"), make_bucket(server)
    plain = make_table(client)
    arn = client.describe_table(TableName=plain)["Table"]["TableArn"]
    with pytest.raises(client.exceptions.PointInTimeRecoveryUnavailableException):
        client.export_table_to_point_in_time(TableArn=arn, S3Bucket=bucket)
    with pytest.raises(client.exceptions.TableNotFoundException):
        client.export_table_to_point_in_time(TableArn=arn + "x", S3Bucket=bucket)
    _, arn = recoverable(client)
    failed = export(client, arn, "no-such-bucket-at-all")
    assert (failed["ExportStatus"], failed["FailureCode"]) == ("FAILED", "S3NoSuchBucket")
    key = server.client("kms").create_key()["KeyMetadata"]["Arn"]
    sealed = export(client, arn, bucket, S3SseAlgorithm="KMS", S3SseKmsKeyId=key)
    head = server.client("s3").head_object(Bucket=bucket, Key=sealed["ExportManifest"])
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", key)
    empty = export(client, arn, bucket)
    assert lines_of(server, bucket, empty)[1] == []


def test_exports_have_their_callers_permissions(server: Served) -> None:
    client, iam, bucket = server.client("dynamodb"), server.client("iam"), make_bucket(server)
    _, arn = recoverable(client)
    user = f"exporter-{time.time_ns()}"
    iam.create_user(UserName=user)
    key = iam.create_access_key(UserName=user)["AccessKey"]
    statement = {"Effect": "Allow", "Action": "dynamodb:*", "Resource": "*"}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=json.dumps(policy))
    limited = server.client("dynamodb", key["AccessKeyId"], key["SecretAccessKey"])
    assert export(limited, arn, bucket)["FailureCode"] == "S3AccessDenied"
    statement["Action"] = ["dynamodb:*", "s3:PutObject"]  # type: ignore[assignment]
    iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=json.dumps(policy))
    assert export(limited, arn, bucket)["ExportStatus"] == "COMPLETED"


def test_csv(server: Served) -> None:
    client, s3, bucket = server.client("dynamodb"), server.client("s3"), make_bucket(server)
    s3.put_object(Bucket=bucket, Key="in/a.csv", Body=b'pk,sk,text\r\na,1,"one, ""quoted"""\r\nb,2,two\r\n')
    s3.put_object(Bucket=bucket, Key="in/b.csv", Body=b"pk,sk,more\nc,3,three\n\nd,x,four\ne,5\n,6,six\n")
    name = f"csv-{time.time_ns()}"
    done = import_table(client, bucket, "in/", "CSV", name)
    assert (done["ImportStatus"], done["FailureCode"]) == ("FAILED", "ItemValidationError")
    assert (done["ImportedItemCount"], done["ProcessedItemCount"], done["ErrorCount"]) == (3, 6, 3)
    found = items_of(client, name)
    assert found["a", 1] == {"pk": {"S": "a"}, "sk": {"N": "1"}, "text": {"S": 'one, "quoted"'}}
    assert found["c", 3]["more"] == {"S": "three"}
    events = server.client("logs").get_log_events(
        logGroupName="/aws-dynamodb/imports", logStreamName=f"{done['ImportArn'].rpartition('/')[2]}/error"
    )["events"]
    logged = [json.loads(each["message"]) for each in events]
    assert [each["itemS3Pointer"]["itemIndex"] for each in logged] == [1, 2, 3]
    assert logged[0]["itemS3Pointer"] == {"bucket": bucket, "key": "in/b.csv", "itemIndex": 1}
    assert logged[0]["importArn"] == done["ImportArn"]
    assert "numeric value" in logged[0]["errorMessages"][0]
    s3.put_object(Bucket=bucket, Key="bare", Body=b"a;1;x\nb;2;y")
    options = {"Csv": {"Delimiter": ";", "HeaderList": ["pk", "sk", "v"]}}
    done = import_table(client, bucket, "bare", "CSV", name + "2", InputFormatOptions=options)
    assert done["ImportStatus"] == "COMPLETED"
    assert items_of(client, name + "2")["b", 2]["v"] == {"S": "y"}


def test_zstd_many_items_and_broken_objects(server: Served) -> None:
    client, s3, bucket = server.client("dynamodb"), server.client("s3"), make_bucket(server)
    lines = b"".join(b'{"Item":{"pk":{"S":"p%d"},"sk":{"N":"%d"},"v":{"S":"x"}}}\n' % (n % 9, n) for n in range(3000))
    s3.put_object(Bucket=bucket, Key="z/1", Body=zstandard.compress(lines))
    s3.put_object(Bucket=bucket, Key="z/2", Body=zstandard.compress(b'{"Item":{"sk":{"N":"1"}}}\nnonsense\n{"Item":7}'))
    s3.put_object(Bucket=bucket, Key="z/3", Body=b"not compressed")
    together = b"".join(b'{"Item":{"pk":{"S":"together}{"},"sk":{"N":"%d"},"v":{"S":"y"}}}' % n for n in range(5))
    s3.put_object(Bucket=bucket, Key="z/4", Body=zstandard.compress(together))
    name = f"zstd-{time.time_ns()}"
    index = {
        "IndexName": "by-v", "KeySchema": [{"AttributeName": "v", "KeyType": "HASH"}],
        "Projection": {"ProjectionType": "ALL"},
    }  # fmt: skip
    parameters = {
        "GlobalSecondaryIndexes": [index],
        "AttributeDefinitions": [*KEYS["AttributeDefinitions"], {"AttributeName": "v", "AttributeType": "S"}],
    }
    how = {"InputCompressionType": "ZSTD", "TableCreationParameters": parameters}
    done = import_table(client, bucket, "z/", "DYNAMODB_JSON", name, **how)
    assert (done["ImportedItemCount"], done["ErrorCount"]) == (3005, 4)
    assert client.describe_table(TableName=name)["Table"]["ItemCount"] == 3005
    count = client.query(
        TableName=name,
        IndexName="by-v",
        Select="COUNT",
        KeyConditionExpression="v = :v",
        ExpressionAttributeValues={":v": {"S": "x"}},
    )
    assert count["Count"] == 3000
    empty = import_table(client, bucket, "nothing-of-that-name", "ION", name + "-empty")
    assert (empty["ImportStatus"], empty["ProcessedItemCount"]) == ("COMPLETED", 0)
    assert items_of(client, name + "-empty") == {}
    gone = import_table(client, "no-such-bucket-at-all", "", "ION", name + "-none")
    assert (gone["ImportStatus"], gone["FailureCode"]) == ("FAILED", "S3NoSuchBucket")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.describe_table(TableName=name + "-none")
    with pytest.raises(client.exceptions.ResourceInUseException, match=f"Table already exists: {name}"):
        import_table(client, bucket, "z/", "DYNAMODB_JSON", name)
    first = client.list_imports(PageSize=1)
    assert [each["ImportArn"] for each in first["ImportSummaryList"]] == [gone["ImportArn"]]
    second = client.list_imports(PageSize=1, NextToken=first["NextToken"])
    assert [each["ImportArn"] for each in second["ImportSummaryList"]] == [empty["ImportArn"]]
    with pytest.raises(ClientError, match="NextToken"):
        client.list_imports(PageSize=1, NextToken="0" * 112)


def test_transfers_go_on_after_a_crash(own_server: Served) -> None:
    client, bucket = own_server.client("dynamodb"), make_bucket(own_server)
    lines = b"".join(b'{"Item":{"pk":{"S":"p%d"},"sk":{"N":"%d"}}}\n' % (n % 9, n) for n in range(4000))
    own_server.client("s3").put_object(Bucket=bucket, Key="in", Body=gzip.compress(lines))
    begun = client.import_table(
        S3BucketSource={"S3Bucket": bucket, "S3KeyPrefix": "in"}, InputFormat="DYNAMODB_JSON", InputCompressionType="GZIP",
        TableCreationParameters={"TableName": "imported", **KEYS},
    )["ImportTableDescription"]  # fmt: skip
    own_server.restart()

    def done() -> bool:
        found = client.describe_import(ImportArn=begun["ImportArn"])["ImportTableDescription"]
        return bool(found["ImportStatus"] == "COMPLETED" and found["ImportedItemCount"] == 4000)

    wait(done)
    client.update_continuous_backups(
        TableName="imported", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    begun = client.export_table_to_point_in_time(TableArn=begun["TableArn"], S3Bucket=bucket)["ExportDescription"]
    own_server.restart()
    wait(
        lambda: client.describe_export(ExportArn=begun["ExportArn"])["ExportDescription"]["ExportStatus"] == "COMPLETED"
    )
    described = client.describe_export(ExportArn=begun["ExportArn"])["ExportDescription"]
    assert len(set(lines_of(own_server, bucket, described)[1])) == 4000
