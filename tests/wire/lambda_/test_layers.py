"""Layers over the wire: published, merged at /opt, shared across accounts, deleted under functions that use them."""

from __future__ import annotations

import io
import json
import urllib.request
import uuid
import zipfile
from typing import Any

import pytest
from botocore.exceptions import ClientError

from environments import isolated
from served import Served
from wire.lambda_.test_functions import code_of, create

READ = (
    "import os\n"
    "def handler(event, context):\n"
    "    found = {}\n"
    "    for root, _, names in os.walk('/opt'):\n"
    "        for name in names:\n"
    "            path = os.path.join(root, name)\n"
    "            found[path[5:]] = open(path).read()\n"
    "    return found\n"
)


def zipped(**files: str) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/"), text)
    return body.getvalue()


def publish(server: Served, name: str = "", key: str = "test", **files: str) -> Any:
    return server.client("lambda", access_key=key).publish_layer_version(
        LayerName=name or "l" + uuid.uuid4().hex[:12], Content={"ZipFile": zipped(**files)}
    )


def invoked(server: Served, name: str) -> Any:
    return json.load(server.client("lambda").invoke(FunctionName=name)["Payload"])


def test_five_layers_lie_over_each_other_in_order(server: Served) -> None:
    isolated("files")
    arns = [publish(server, a=str(n), **{f"only{n}": "x"})["LayerVersionArn"] for n in range(5)]
    made = create(server, READ, Layers=arns)
    assert [layer["Arn"] for layer in made["Layers"]] == arns
    name = made["FunctionName"]
    assert invoked(server, name) == {"a": "4", **{f"only{n}": "x" for n in range(5)}}
    client = server.client("lambda")
    client.update_function_configuration(FunctionName=name, Layers=[arns[1], arns[0]])
    assert invoked(server, name) == {"a": "0", "only0": "x", "only1": "x"}
    client.update_function_configuration(FunctionName=name, Layers=[])
    assert invoked(server, name) == {}
    with pytest.raises(ClientError) as error:
        client.update_function_configuration(
            FunctionName=name, Layers=[*arns, publish(server, a="6")["LayerVersionArn"]]
        )
    assert error.value.response["Error"]["Message"] == "Cannot reference more than 5 layers."


def test_python_of_a_layer_can_be_imported(server: Served) -> None:
    arn = publish(server, python__told__init="", **{"python/told.py": "WORD = 'hello'\n"})["LayerVersionArn"]
    name = create(server, "import told\ndef handler(e, c):\n    return told.WORD\n", Layers=[arn])["FunctionName"]
    assert invoked(server, name) == "hello"


def test_a_function_keeps_a_layer_that_is_deleted(own_server: Served) -> None:
    isolated("files")
    layer = publish(own_server, a="kept")
    client = own_server.client("lambda")
    made = create(own_server, READ, Layers=[layer["LayerVersionArn"]], Publish=True)
    name = layer["LayerArn"].rpartition(":")[2]
    client.delete_layer_version(LayerName=name, VersionNumber=1)
    client.delete_layer_version(LayerName=name, VersionNumber=1)
    own_server.restart()
    client = own_server.client("lambda")
    assert invoked(own_server, made["FunctionName"]) == {"a": "kept"}
    assert invoked(own_server, made["FunctionName"] + ":1") == {"a": "kept"}
    with pytest.raises(ClientError) as error:
        client.get_layer_version(LayerName=name, VersionNumber=1)
    assert code_of(error) == ("ResourceNotFoundException", 404)
    with pytest.raises(ClientError) as error:
        create(own_server, Layers=[layer["LayerVersionArn"]])
    assert code_of(error) == ("InvalidParameterValueException", 400)
    assert publish(own_server, name, a="new")["Version"] == 2, "numbers are not used again"


def test_what_is_published_reads_back_and_lists(own_server: Served) -> None:
    client = own_server.client("lambda")
    said = {"Description": "d", "LicenseInfo": "MIT", "CompatibleRuntimes": ["python3.12"]}
    for _ in range(3):
        made = client.publish_layer_version(LayerName="b", Content={"ZipFile": zipped(a="1")}, **said)
    client.publish_layer_version(LayerName="a", Content={"ZipFile": zipped(a="1")}, CompatibleArchitectures=["x86_64"])
    got = client.get_layer_version_by_arn(Arn=made["LayerVersionArn"])
    for answer in (made, got):
        assert {name: answer[name] for name in said} == said
        assert urllib.request.urlopen(answer["Content"]["Location"]).read() == zipped(a="1")
    assert [layer["LayerName"] for layer in client.list_layers()["Layers"]] == ["a", "b"]
    [found] = client.list_layers(CompatibleRuntime="python3.12")["Layers"]
    assert (found["LayerName"], found["LatestMatchingVersion"]["Version"]) == ("b", 3)
    assert [one["LayerName"] for one in client.list_layers(CompatibleArchitecture="x86_64")["Layers"]] == ["a"]
    pages = client.get_paginator("list_layer_versions").paginate(LayerName="b", PaginationConfig={"PageSize": 1})
    assert [v["Version"] for page in pages for v in page["LayerVersions"]] == [3, 2, 1]
    assert client.get_account_settings()["AccountUsage"]["TotalCodeSize"] == 4 * len(zipped(a="1"))
    client.delete_layer_version(LayerName="b", VersionNumber=2)
    assert client.get_account_settings()["AccountUsage"]["TotalCodeSize"] == 3 * len(zipped(a="1"))


def test_another_account_gets_what_the_policy_gives(server: Served) -> None:
    isolated("files")
    client = server.client("lambda")
    layer = publish(server, a="shared")
    name, arn = layer["LayerArn"].rpartition(":")[2], layer["LayerVersionArn"]
    other = server.client("lambda", access_key="333333333333")
    parameters = {
        "FunctionName": "uses" + uuid.uuid4().hex[:8], "Runtime": create(server)["Runtime"], "Handler": "app.handler",
        "Role": "arn:aws:iam::333333333333:role/none", "Code": {"ZipFile": zipped(**{"app.py": READ})}, "Layers": [arn],
    }  # fmt: skip
    for attempt in (
        lambda: other.get_layer_version_by_arn(Arn=arn),
        lambda: other.create_function(**parameters),
        lambda: other.delete_layer_version(LayerName=layer["LayerArn"], VersionNumber=1),
    ):
        with pytest.raises(ClientError) as error:
            attempt()
        assert code_of(error) == ("AccessDeniedException", 403)
    said = client.add_layer_version_permission(
        LayerName=name, VersionNumber=1, StatementId="s", Action="lambda:GetLayerVersion", Principal="333333333333"
    )
    assert json.loads(said["Statement"])["Principal"] == {"AWS": "arn:aws:iam::333333333333:root"}
    assert other.get_layer_version_by_arn(Arn=arn)["LayerVersionArn"] == arn
    other.create_function(**parameters)
    assert json.load(other.invoke(FunctionName=parameters["FunctionName"])["Payload"]) == {"a": "shared"}
    with pytest.raises(ClientError) as error:
        client.remove_layer_version_permission(LayerName=name, VersionNumber=1, StatementId="s", RevisionId="no")
    assert code_of(error) == ("PreconditionFailedException", 412)
    client.remove_layer_version_permission(LayerName=name, VersionNumber=1, StatementId="s")
    with pytest.raises(ClientError) as error:
        client.get_layer_version_policy(LayerName=name, VersionNumber=1)
    assert code_of(error) == ("ResourceNotFoundException", 404)
    assert json.load(other.invoke(FunctionName=parameters["FunctionName"])["Payload"]) == {"a": "shared"}


def test_code_and_layers_together_are_bounded(server: Served) -> None:
    def zeros(size_mb: int) -> bytes:
        body = io.BytesIO()
        with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            archive.writestr("zeros" + uuid.uuid4().hex, b"\0" * (size_mb * 1024 * 1024))
        return body.getvalue()

    client = server.client("lambda")
    arns = [
        client.publish_layer_version(LayerName="z" + uuid.uuid4().hex[:8], Content={"ZipFile": zeros(130)})[
            "LayerVersionArn"
        ]
        for _ in range(2)
    ]
    with pytest.raises(ClientError) as error:
        create(server, Layers=arns)
    assert code_of(error) == ("InvalidParameterValueException", 400)
    assert "Function code combined with layers exceeds the maximum allowed size" in str(error.value)
