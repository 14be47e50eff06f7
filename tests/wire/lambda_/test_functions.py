"""Functions over the wire: made, read, changed, listed, deleted; their packages, however hostile."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import stat
import sys
import uuid
import zipfile
from typing import Any

import pytest
from botocore.exceptions import ClientError

from served import Served

RUNTIME = f"python3.{sys.version_info.minor}"
ROLE = "arn:aws:iam::000000000000:role/none"
ECHO = "def handler(event, context):\n    return event\n"


def package(source: str = ECHO, name: str = "app.py") -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr(name, source)
    return body.getvalue()


def create(server: Served, source: str = ECHO, **parameters: Any) -> Any:
    name = parameters.pop("FunctionName", "f" + uuid.uuid4().hex[:12])
    parameters.setdefault("Code", {"ZipFile": package(source)})
    return server.client("lambda").create_function(
        **{"FunctionName": name, "Runtime": RUNTIME, "Role": ROLE, "Handler": "app.handler", **parameters}
    )


def code_of(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    return error.value.response["Error"]["Code"], error.value.response["ResponseMetadata"]["HTTPStatusCode"]


def test_what_is_created_reads_back(server: Served) -> None:
    body = package()
    made = create(
        server, Code={"ZipFile": body}, Description="d", Timeout=7, MemorySize=256,
        Environment={"Variables": {"AB": "b"}}, Tags={"k": "v"}, EphemeralStorage={"Size": 600},
    )  # fmt: skip
    name = made["FunctionName"]
    assert (made["State"], made["ResponseMetadata"]["HTTPStatusCode"]) == ("Pending", 201)
    client = server.client("lambda")
    client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    got = client.get_function(FunctionName=name)
    found = got["Configuration"]
    assert found["FunctionArn"] == f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    assert (found["Timeout"], found["MemorySize"], found["Description"]) == (7, 256, "d")
    assert found["Environment"] == {"Variables": {"AB": "b"}}
    assert found["EphemeralStorage"] == {"Size": 600}
    assert found["CodeSize"] == len(body)
    assert found["CodeSha256"] == base64.b64encode(hashlib.sha256(body).digest()).decode()
    assert (found["Version"], found["State"], found["LastUpdateStatus"]) == ("$LATEST", "Active", "Successful")
    assert got["Tags"] == {"k": "v"}
    assert client.get_function_configuration(FunctionName=found["FunctionArn"])["RevisionId"] == found["RevisionId"]


def test_a_name_is_taken_once(server: Served) -> None:
    name = create(server)["FunctionName"]
    with pytest.raises(ClientError) as error:
        create(server, FunctionName=name)
    assert code_of(error) == ("ResourceConflictException", 409)
    assert error.value.response["Error"]["Message"] == f"Function already exist: {name}"


def test_a_missing_function_is_named_by_arn(server: Served) -> None:
    with pytest.raises(ClientError) as error:
        server.client("lambda").get_function(FunctionName="nope")
    assert code_of(error) == ("ResourceNotFoundException", 404)
    assert error.value.response["Error"]["Message"] == (
        "Function not found: arn:aws:lambda:us-east-1:000000000000:function:nope"
    )


def test_lists_page_in_order_and_regions_are_apart(own_server: Served) -> None:
    names = [f"f{i:02}" for i in range(7)]
    for name in reversed(names):
        create(own_server, FunctionName=name)
    pages = own_server.client("lambda").get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 3})
    found = [[f["FunctionName"] for f in page["Functions"]] for page in pages]
    assert [len(page) for page in found] == [3, 3, 1]
    assert [name for page in found for name in page] == names
    assert own_server.client("lambda", region="eu-west-1").list_functions()["Functions"] == []
    assert own_server.client("lambda", access_key="111111111111").list_functions()["Functions"] == []


def test_new_code_runs_at_once(server: Served) -> None:
    client = server.client("lambda")
    name = create(server, "def handler(event, context):\n    return 1\n")["FunctionName"]
    assert json.load(client.invoke(FunctionName=name)["Payload"]) == 1
    client.update_function_code(FunctionName=name, ZipFile=package("def handler(event, context):\n    return 2\n"))
    assert json.load(client.invoke(FunctionName=name)["Payload"]) == 2
    client.update_function_configuration(FunctionName=name, Environment={"Variables": {"XY": "y"}})
    client.update_function_code(
        FunctionName=name, ZipFile=package("import os\ndef handler(event, context):\n    return os.environ['XY']\n")
    )
    assert json.load(client.invoke(FunctionName=name)["Payload"]) == "y"


def test_a_stale_revision_changes_nothing(server: Served) -> None:
    client = server.client("lambda")
    name = create(server)["FunctionName"]
    with pytest.raises(ClientError) as error:
        client.update_function_configuration(FunctionName=name, Timeout=9, RevisionId=str(uuid.uuid4()))
    assert code_of(error) == ("PreconditionFailedException", 412)
    assert client.get_function_configuration(FunctionName=name)["Timeout"] == 3


def test_code_comes_from_s3_too(server: Served) -> None:
    s3 = server.client("s3")
    bucket = "code-" + uuid.uuid4().hex[:8]
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="a/code.zip", Body=package())
    name = create(server, Code={"S3Bucket": bucket, "S3Key": "a/code.zip"})["FunctionName"]
    payload = server.client("lambda").invoke(FunctionName=name, Payload=b'{"a":1}')["Payload"]
    assert json.load(payload) == {"a": 1}
    with pytest.raises(ClientError) as error:
        create(server, Code={"S3Bucket": bucket, "S3Key": "none.zip"})
    assert code_of(error) == ("InvalidParameterValueException", 400)
    assert "NoSuchKey" in error.value.response["Error"]["Message"]


def test_deleting_gives_everything_back(server: Served) -> None:
    client = server.client("lambda")
    name = create(server)["FunctionName"]
    client.invoke(FunctionName=name)
    client.delete_function(FunctionName=name)
    with pytest.raises(ClientError) as error:
        client.invoke(FunctionName=name)
    assert code_of(error) == ("ResourceNotFoundException", 404)
    create(server, "def handler(event, context):\n    return 'another'\n", FunctionName=name)
    assert json.load(client.invoke(FunctionName=name)["Payload"]) == "another"


def _zip_with(name: str, body: bytes = b"x", mode: int = 0) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        archive.writestr(entry, body)
    return out.getvalue()


@pytest.mark.parametrize(
    "body",
    [
        b"no zip at all",
        package()[:-30],
        _zip_with("../../escape.py"),
        _zip_with("/etc/escape.py"),
        _zip_with("a\\..\\b.py"),
        _zip_with("link", b"/etc/passwd", stat.S_IFLNK | 0o777),
        _zip_with("a/link", b"../../outside", stat.S_IFLNK | 0o777),
    ],
)
def test_a_hostile_package_is_refused(server: Served, body: bytes) -> None:
    with pytest.raises(ClientError) as error:
        create(server, Code={"ZipFile": body})
    assert code_of(error) == ("InvalidParameterValueException", 400)
    assert error.value.response["Error"]["Message"].startswith("Could not unzip uploaded file")


def test_a_zip_bomb_is_refused(server: Served) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for i in range(3):
            archive.writestr(f"zeros{i}", b"\0" * 100_000_000)
    with pytest.raises(ClientError) as error:
        create(server, Code={"ZipFile": out.getvalue()})
    assert error.value.response["Error"]["Message"] == "Unzipped size must be smaller than 262144000 bytes"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"Environment": {"Variables": {"AWS_REGION": "x"}}}, "reserved keys"),
        ({"Environment": {"Variables": {"AB": "x" * 5000}}}, "exceeded the 4KB limit"),
    ],
)
def test_configurations_that_cannot_be(server: Served, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError) as error:
        create(server, **parameters)
    assert error.value.response["Error"]["Code"] == "InvalidParameterValueException"
    assert message in error.value.response["Error"]["Message"]


@pytest.mark.parametrize(
    ("parameters", "most"),
    [
        ({"MemorySize": 10_241}, 10_240),
        ({"EphemeralStorage": {"Size": 10_241}}, 10_240),
        ({"Timeout": 901}, 900),
    ],
)
def test_sizes_and_times_have_awss_bounds(server: Served, parameters: dict[str, Any], most: int) -> None:
    with pytest.raises(ClientError) as error:
        create(server, **parameters)
    assert error.value.response["Error"]["Code"] == "ValidationException"
    assert f"Member must have value less than or equal to {most}" in error.value.response["Error"]["Message"]


@pytest.mark.parametrize("missing", ["Runtime", "Handler"])
def test_a_zip_needs_runtime_and_handler(server: Served, missing: str) -> None:
    parameters = {"FunctionName": "f", "Runtime": RUNTIME, "Role": ROLE, "Handler": "app.handler"}
    del parameters[missing]
    with pytest.raises(ClientError) as error:
        server.client("lambda").create_function(**parameters, Code={"ZipFile": package()})
    assert code_of(error) == ("InvalidParameterValueException", 400)


def test_another_accounts_function_is_out_of_reach(server: Served) -> None:
    arn = create(server)["FunctionArn"]
    other = server.client("lambda", access_key="333333333333")
    for attempt in (
        lambda: other.get_function(FunctionName=arn),
        lambda: other.delete_function(FunctionName=arn),
        lambda: other.update_function_configuration(FunctionName=arn, Timeout=9),
        lambda: other.list_tags(Resource=arn),
        lambda: other.add_permission(
            FunctionName=arn, StatementId="s", Action="lambda:InvokeFunction", Principal="333333333333"
        ),
    ):
        with pytest.raises(ClientError) as error:
            attempt()
        assert code_of(error) == ("AccessDeniedException", 403)


@pytest.mark.parametrize(
    "parameters",
    [
        {"VpcConfig": {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}},
    ],
)
def test_what_is_not_carried_out_is_refused(server: Served, parameters: dict[str, Any]) -> None:
    with pytest.raises(ClientError) as error:
        create(server, **parameters)
    assert code_of(error) == ("NotImplemented", 501)


def test_tags(server: Served) -> None:
    client = server.client("lambda")
    arn = create(server, Tags={"a": "1"})["FunctionArn"]
    client.tag_resource(Resource=arn, Tags={"b": "2"})
    assert client.list_tags(Resource=arn)["Tags"] == {"a": "1", "b": "2"}
    client.untag_resource(Resource=arn, TagKeys=["a"])
    assert client.list_tags(Resource=arn)["Tags"] == {"b": "2"}
