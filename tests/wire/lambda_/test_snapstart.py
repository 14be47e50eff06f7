"""SnapStart over the wire: which functions may have it, and what their versions' environments share."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from environments import isolated
from served import Served
from wire.lambda_.test_functions import create

SOURCE = """import os, uuid
MADE = uuid.uuid4().hex
def handler(event, context):
    return [MADE, os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], context.log_stream_name]
"""


def test_versions_run_in_forks_of_one_process_and_latest_does_not(tmp_path: Path) -> None:
    isolated("files")
    own = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    server = Served(tmp_path / "data", f"--function-runtimes=python3.12={own}", "--function-idle-s=0.1").start()
    try:
        client = server.client("lambda")
        made = create(server, SOURCE, Runtime="python3.12", SnapStart={"ApplyOn": "PublishedVersions"})
        assert made["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "Off"}
        name = made["FunctionName"]
        version = client.publish_version(FunctionName=name)
        assert version["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "On"}
        found = [json.load(client.invoke(FunctionName=name, Qualifier="1")["Payload"])]
        while len({stream for _, _, stream in found}) < 2:  # until the first environment has idled out
            found.append(json.load(client.invoke(FunctionName=name, Qualifier="1")["Payload"]))
            time.sleep(0.7)
        assert {(made_at, kind) for made_at, kind, _ in found} == {(found[0][0], "snap-start")}
        assert json.load(client.invoke(FunctionName=name)["Payload"])[1] == "on-demand"
        off = client.update_function_configuration(FunctionName=name, SnapStart={"ApplyOn": "None"})
        assert off["SnapStart"]["ApplyOn"] == "None"
    finally:
        server.stop()


def test_what_cannot_have_it_is_refused(server: Served) -> None:
    with pytest.raises(ClientError) as refused:
        create(server, Runtime="provided.al2023", SnapStart={"ApplyOn": "PublishedVersions"})
    error = refused.value.response["Error"]
    assert error["Code"] == "InvalidParameterValueException"
    assert error["Message"] == "provided.al2023 is not supported for SnapStart enabled functions."
