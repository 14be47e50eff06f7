"""Pending and InProgress, for as long as the settings say, and what is refused meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from served import Served
from wire.lambda_.test_functions import create, package
from wire.lambda_.test_invocations import advance

TAKES_S = 600


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Served]:
    server = Served(tmp_path / "data", "--function-transition-s", str(TAKES_S)).start()
    yield server
    server.kill()


def refused(call: Any, **parameters: Any) -> str:
    with pytest.raises(ClientError) as refusal:
        call(**parameters)
    assert refusal.value.response["Error"]["Code"] == "ResourceConflictException"
    assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409
    return str(refusal.value.response["Error"]["Message"])


def test_a_function_is_pending_and_then_active(slow: Served) -> None:
    client = slow.client("lambda")
    made = create(slow)
    name, arn = made["FunctionName"], made["FunctionArn"]
    shown = client.get_function_configuration(FunctionName=name)
    for document in (made, shown):
        assert (document["State"], document["StateReasonCode"]) == ("Pending", "Creating")
        assert "LastUpdateStatus" not in document
    assert made["RevisionId"] == shown["RevisionId"]
    for kind in ("RequestResponse", "Event"):
        assert "currently in the following state: Pending" in refused(
            client.invoke, FunctionName=name, InvocationType=kind
        )
    assert "Pending" in refused(client.publish_version, FunctionName=name)
    advance(slow, TAKES_S + 1)
    shown = client.get_function(FunctionName=name)["Configuration"]
    assert (shown["State"], shown["LastUpdateStatus"]) == ("Active", "Successful")
    assert shown["RevisionId"] != made["RevisionId"]
    assert client.invoke(FunctionName=name)["StatusCode"] == 200
    updated = client.update_function_configuration(FunctionName=name, Description="x", RevisionId=shown["RevisionId"])
    again = client.get_function_configuration(FunctionName=name)
    for document in (updated, again):
        assert (document["State"], document["LastUpdateStatus"]) == ("Active", "InProgress")
    message = f"An update is in progress for resource: {arn}"
    assert message in refused(client.update_function_configuration, FunctionName=name, Description="y")
    assert message in refused(client.update_function_code, FunctionName=name, ZipFile=package())
    assert client.invoke(FunctionName=name)["StatusCode"] == 200
    advance(slow, TAKES_S + 1)
    version = client.update_function_code(FunctionName=name, ZipFile=package(), Publish=True)
    assert version["State"] == "Pending"
    assert client.get_function_configuration(FunctionName=name, Qualifier="1")["State"] == "Pending"
    advance(slow, TAKES_S + 1)
    assert client.publish_version(FunctionName=name)["Version"] == "1"
    assert client.get_function_configuration(FunctionName=name, Qualifier="1")["State"] == "Active"
    client.delete_function(FunctionName=name)
