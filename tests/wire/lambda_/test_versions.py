"""Versions and aliases over the wire: published once, never changed, named in every operation, weighted."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from botocore.exceptions import ClientError

from served import Served
from wire.lambda_.test_functions import code_of, create, package

VERSION = "import os\ndef handler(event, context):\n    return [os.environ['AWS_LAMBDA_FUNCTION_VERSION'], %r]\n"


def invoked(server: Served, name: str, **parameters: Any) -> tuple[str, Any]:
    answer = server.client("lambda").invoke(FunctionName=name, **parameters)
    return answer["ExecutedVersion"], json.load(answer["Payload"])


def test_a_version_stays_what_it_was(server: Served) -> None:
    client = server.client("lambda")
    made = create(server, VERSION % "one")
    name, arn = made["FunctionName"], made["FunctionArn"]
    first = client.publish_version(FunctionName=name, Description="first")
    assert (first["Version"], first["FunctionArn"], first["Description"]) == ("1", f"{arn}:1", "first")
    assert client.publish_version(FunctionName=name)["Version"] == "1", "nothing changed, so nothing is published"
    client.update_function_code(FunctionName=name, ZipFile=package(VERSION % "two"))
    second = client.update_function_configuration(FunctionName=name, Timeout=9)
    assert second["Version"] == "$LATEST"
    assert client.publish_version(FunctionName=name)["Version"] == "2"
    assert invoked(server, name) == ("$LATEST", ["$LATEST", "two"])
    assert invoked(server, name, Qualifier="1") == ("1", ["1", "one"])
    assert invoked(server, f"{arn}:2") == ("2", ["2", "two"])
    assert client.get_function_configuration(FunctionName=name, Qualifier="1")["Timeout"] == 3
    listed = client.list_versions_by_function(FunctionName=name)["Versions"]
    assert [(v["Version"], v["FunctionArn"]) for v in listed] == [(v, f"{arn}:{v}") for v in ("$LATEST", "1", "2")]
    with pytest.raises(ClientError) as error:
        client.update_function_configuration(FunctionName=f"{name}:1", Timeout=4)
    assert code_of(error) == ("InvalidParameterValueException", 400)
    pages = client.get_paginator("list_versions_by_function").paginate(
        FunctionName=name, PaginationConfig={"PageSize": 1}
    )
    assert [v["Version"] for page in pages for v in page["Versions"]] == ["$LATEST", "1", "2"]
    everything = client.get_paginator("list_functions").paginate(FunctionVersion="ALL")
    found = [f["Version"] for page in everything for f in page["Functions"] if f["FunctionName"] == name]
    assert found == ["$LATEST", "1", "2"]


def test_publishing_checks_what_is_published(server: Served) -> None:
    client = server.client("lambda")
    name = create(server, Publish=True)["FunctionName"]
    latest = client.get_function_configuration(FunctionName=name)
    with pytest.raises(ClientError) as error:
        client.publish_version(FunctionName=name, CodeSha256="no")
    assert code_of(error) == ("InvalidParameterValueException", 400)
    with pytest.raises(ClientError) as error:
        client.publish_version(FunctionName=name, RevisionId="no")
    assert code_of(error) == ("PreconditionFailedException", 412)
    same = client.publish_version(FunctionName=name, CodeSha256=latest["CodeSha256"], RevisionId=latest["RevisionId"])
    assert same["Version"] == "1"
    new = client.update_function_code(FunctionName=name, ZipFile=package("def handler(e, c): return 2\n"), Publish=True)
    assert new["Version"] == "2"


def test_version_numbers_are_not_used_again(server: Served) -> None:
    client = server.client("lambda")
    name = create(server, Publish=True)["FunctionName"]
    client.delete_function(FunctionName=name, Qualifier="1")
    client.delete_function(FunctionName=name, Qualifier="1")
    with pytest.raises(ClientError) as error:
        client.invoke(FunctionName=name, Qualifier="1")
    assert code_of(error) == ("ResourceNotFoundException", 404)
    assert client.publish_version(FunctionName=name)["Version"] == "2"
    client.delete_function(FunctionName=name)
    assert create(server, FunctionName=name, Publish=True)["Version"] == "3"


def test_an_alias_is_a_name_for_a_version(server: Served) -> None:
    client = server.client("lambda")
    made = create(server, VERSION % "one", Publish=True)
    name, arn = made["FunctionName"], made["FunctionArn"]
    client.update_function_code(FunctionName=name, ZipFile=package(VERSION % "two"), Publish=True)
    alias = client.create_alias(FunctionName=name, Name="live", FunctionVersion="1", Description="d")
    assert (alias["AliasArn"], alias["FunctionVersion"], alias["Description"]) == (f"{arn}:live", "1", "d")
    assert invoked(server, f"{name}:live") == ("1", ["1", "one"])
    found = client.get_function(FunctionName=name, Qualifier="live")["Configuration"]
    assert (found["FunctionArn"], found["Version"]) == (f"{arn}:live", "1")
    with pytest.raises(ClientError) as error:
        client.delete_function(FunctionName=name, Qualifier="1")
    assert code_of(error) == ("ResourceConflictException", 409)
    with pytest.raises(ClientError) as error:
        client.update_alias(FunctionName=name, Name="live", FunctionVersion="2", RevisionId="stale")
    assert code_of(error) == ("PreconditionFailedException", 412)
    moved = client.update_alias(FunctionName=name, Name="live", FunctionVersion="2", RevisionId=alias["RevisionId"])
    assert (moved["FunctionVersion"], moved["Description"]) == ("2", "d")
    assert invoked(server, name, Qualifier="live") == ("2", ["2", "two"])
    client.create_alias(FunctionName=name, Name="old", FunctionVersion="1")
    assert [a["Name"] for a in client.list_aliases(FunctionName=name)["Aliases"]] == ["live", "old"]
    assert [a["Name"] for a in client.list_aliases(FunctionName=name, FunctionVersion="1")["Aliases"]] == ["old"]
    client.delete_alias(FunctionName=name, Name="live")
    with pytest.raises(ClientError) as error:
        client.invoke(FunctionName=name, Qualifier="live")
    assert error.value.response["Error"]["Message"] == f"Function not found: {arn}:live"


def test_weights_share_invocations_out(server: Served) -> None:
    client = server.client("lambda")
    name = create(server, VERSION % "one", Publish=True)["FunctionName"]
    client.update_function_code(FunctionName=name, ZipFile=package(VERSION % "two"), Publish=True)
    client.create_alias(
        FunctionName=name, Name="live", FunctionVersion="1", RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}}
    )
    counts = Counter(invoked(server, name, Qualifier="live")[0] for _ in range(60))
    assert counts.keys() == {"1", "2"}
    assert min(counts.values()) > 8
    client.update_alias(FunctionName=name, Name="live", RoutingConfig={})
    assert {invoked(server, name, Qualifier="live")[0] for _ in range(10)} == {"1"}


def test_versions_and_aliases_have_policies_of_their_own(server: Served) -> None:
    client = server.client("lambda")
    made = create(server, Publish=True)
    name, arn = made["FunctionName"], made["FunctionArn"]
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    client.add_permission(
        FunctionName=name, Qualifier="live", StatementId="s", Action="lambda:InvokeFunction", Principal="333333333333"
    )
    other = server.client("lambda", access_key="333333333333")
    assert other.invoke(FunctionName=f"{arn}:live")["StatusCode"] == 200
    for wrong in (arn, f"{arn}:1", f"{arn}:$LATEST"):
        with pytest.raises(ClientError) as error:
            other.invoke(FunctionName=wrong)
        assert code_of(error) == ("AccessDeniedException", 403)
    policy = json.loads(client.get_policy(FunctionName=name, Qualifier="live")["Policy"])
    assert policy["Statement"][0]["Resource"] == f"{arn}:live"
    client.delete_alias(FunctionName=name, Name="live")
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    with pytest.raises(ClientError) as error:
        other.invoke(FunctionName=f"{arn}:live")
    assert code_of(error) == ("AccessDeniedException", 403)
