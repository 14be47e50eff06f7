"""Provisioned concurrency over the wire: environments that are there before anybody asks."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from served import Served
from wire.lambda_.test_functions import code_of, create

KIND = (
    "import os, time\ntime.sleep(0.4)\nKIND = os.environ['AWS_LAMBDA_INITIALIZATION_TYPE']\n"
    "def handler(event, context):\n    return KIND\n"
)


def ready(server: Served, name: str, qualifier: str) -> Any:
    client = server.client("lambda")
    end = time.monotonic() + 40
    while True:
        found = client.get_provisioned_concurrency_config(FunctionName=name, Qualifier=qualifier)
        if found["Status"] == "READY":
            return found
        assert found["Status"] == "IN_PROGRESS", found
        assert time.monotonic() < end, found
        time.sleep(0.2)


def test_environments_are_there_ahead_and_after_a_restart(own_server: Served) -> None:
    client = own_server.client("lambda")
    made = create(own_server, KIND, Publish=True)
    name = made["FunctionName"]
    asked = client.put_provisioned_concurrency_config(
        FunctionName=name, Qualifier="1", ProvisionedConcurrentExecutions=2
    )
    assert (asked["Status"], asked["ResponseMetadata"]["HTTPStatusCode"]) == ("IN_PROGRESS", 202)
    assert ready(own_server, name, "1")["AllocatedProvisionedConcurrentExecutions"] == 2
    began = time.monotonic()
    answer = client.invoke(FunctionName=name, Qualifier="1")
    assert json.load(answer["Payload"]) == "provisioned-concurrency"
    assert time.monotonic() - began < 0.35
    own_server.restart()
    ready(own_server, name, "1")
    client = own_server.client("lambda")
    [listed] = client.list_provisioned_concurrency_configs(FunctionName=name)["ProvisionedConcurrencyConfigs"]
    assert listed["FunctionArn"] == made["FunctionArn"] + ":1"
    client.delete_provisioned_concurrency_config(FunctionName=name, Qualifier="1")
    with pytest.raises(ClientError) as error:
        client.get_provisioned_concurrency_config(FunctionName=name, Qualifier="1")
    assert code_of(error) == ("ProvisionedConcurrencyConfigNotFoundException", 404)


def test_an_alias_provisions_the_version_it_points_to(server: Served) -> None:
    client = server.client("lambda")
    name = create(server, KIND, Publish=True)["FunctionName"]
    client.update_function_configuration(FunctionName=name, Timeout=5)
    client.publish_version(FunctionName=name)
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    client.put_provisioned_concurrency_config(FunctionName=name, Qualifier="live", ProvisionedConcurrentExecutions=1)
    ready(server, name, "live")
    client.update_alias(FunctionName=name, Name="live", FunctionVersion="2")
    ready(server, name, "live")
    answer = client.invoke(FunctionName=name, Qualifier="live")
    assert (answer["ExecutedVersion"], json.load(answer["Payload"])) == ("2", "provisioned-concurrency")
    for qualifier, code in (("2", "ResourceConflictException"), ("$LATEST", "InvalidParameterValueException")):
        with pytest.raises(ClientError) as error:
            client.put_provisioned_concurrency_config(
                FunctionName=name, Qualifier=qualifier, ProvisionedConcurrentExecutions=1
            )
        assert code_of(error)[0] == code
    with pytest.raises(ClientError) as error:
        client.put_provisioned_concurrency_config(
            FunctionName=name, Qualifier="live", ProvisionedConcurrentExecutions=901
        )
    assert code_of(error) == ("InvalidParameterValueException", 400)
    client.delete_alias(FunctionName=name, Name="live")
    assert client.list_provisioned_concurrency_configs(FunctionName=name)["ProvisionedConcurrencyConfigs"] == []
