"""A function's settings over the wire: variables sealed at rest, logs as JSON, runtime versions, tags, quotas."""

from __future__ import annotations

import base64
import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from served import Served
from wire.lambda_.test_functions import code_of, create

SHOW = "import os\ndef handler(event, context):\n    return os.environ.get('SECRET')\n"
SECRET = "correct-horse-battery-staple-" + uuid.uuid4().hex


def invoked(server: Served, name: str) -> Any:
    return json.load(server.client("lambda").invoke(FunctionName=name)["Payload"])


def on_disk(folder: Path, text: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_variables_are_nowhere_plain_on_the_disk(own_server: Served) -> None:
    client = own_server.client("lambda")
    key = own_server.client("kms").create_key()["KeyMetadata"]["Arn"]
    variables = {"Variables": {"SECRET": SECRET}}
    plain = create(own_server, SHOW, Environment=variables, Publish=True)["FunctionName"]
    keyed = create(own_server, SHOW, Environment=variables, KMSKeyArn=key)
    assert (keyed["KMSKeyArn"], keyed["Environment"]) == (key, variables)
    for name in (plain, f"{plain}:1", keyed["FunctionName"]):
        assert invoked(own_server, name) == SECRET
        assert client.get_function_configuration(FunctionName=name)["Environment"] == variables
    own_server.restart()
    client = own_server.client("lambda")
    assert invoked(own_server, keyed["FunctionName"]) == SECRET
    assert on_disk(own_server.data, SECRET) == []
    moved = client.update_function_configuration(FunctionName=plain, KMSKeyArn=key)
    assert (moved["KMSKeyArn"], moved["Environment"]) == (key, variables)
    back = client.update_function_configuration(FunctionName=plain, KMSKeyArn="")
    assert "KMSKeyArn" not in back
    assert invoked(own_server, plain) == SECRET


def test_a_disabled_key_hides_the_variables(server: Served) -> None:
    client, kms = server.client("lambda"), server.client("kms")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    name = create(server, SHOW, Environment={"Variables": {"SECRET": "s"}}, KMSKeyArn=key)["FunctionName"]
    kms.disable_key(KeyId=key)
    shown = client.get_function_configuration(FunctionName=name)["Environment"]
    assert (shown["Error"]["ErrorCode"], "Variables" in shown) == ("DisabledException", False)
    with pytest.raises(ClientError) as error:
        client.invoke(FunctionName=name)
    assert code_of(error) == ("KMSDisabledException", 502)
    kms.enable_key(KeyId=key)
    assert invoked(server, name) == "s"
    with pytest.raises(ClientError):
        create(server, Environment={"Variables": {"SECRET": "s"}}, KMSKeyArn=key[:-4] + "ffff")


def role(server: Served) -> str:
    """A role that functions may have and that has no permissions."""
    service = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    made = server.client("iam").create_role(
        RoleName=f"r{uuid.uuid4().hex[:12]}",
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": service}),
    )
    return str(made["Role"]["Arn"])


def test_a_role_needs_no_permission_to_open_its_functions_variables(server: Served) -> None:
    """It has a grant of whoever sets the key, which holds for this function's variables and for nothing else."""
    client, kms = server.client("lambda"), server.client("kms")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    made = create(
        server, SHOW, Environment={"Variables": {"SECRET": "one"}}, KMSKeyArn=key, Role=role(server)
    )  # fmt: skip
    name = made["FunctionName"]
    assert invoked(server, name) == "one"
    client.update_function_configuration(FunctionName=name, Environment={"Variables": {"SECRET": "two"}})
    assert invoked(server, name) == "two"
    other = role(server)
    client.update_function_configuration(FunctionName=name, Role=other)
    assert invoked(server, name) == "two"
    grants = kms.list_grants(KeyId=key)["Grants"]
    assert {grant["GranteePrincipal"] for grant in grants} == {made["Role"], other} and len(grants) == 2
    context = {"EncryptionContextEquals": {"aws:lambda:FunctionArn": made["FunctionArn"]}}
    assert all(grant["Constraints"] == context for grant in grants)
    for grant in grants:
        kms.revoke_grant(KeyId=key, GrantId=grant["GrantId"])
    version = client.publish_version(FunctionName=name, Description="new")["Version"]
    with pytest.raises(ClientError) as error:
        client.invoke(FunctionName=name, Qualifier=version)
    assert code_of(error) == ("KMSAccessDeniedException", 502)
    client.put_provisioned_concurrency_config(
        FunctionName=name, Qualifier=version, ProvisionedConcurrentExecutions=1
    )  # fmt: skip
    end = time.monotonic() + 20
    while (asked := client.get_provisioned_concurrency_config(FunctionName=name, Qualifier=version))[
        "Status"
    ] != "FAILED":
        assert time.monotonic() < end, asked
        time.sleep(0.1)
    assert "KMS access was denied" in asked["StatusReason"]


def test_logs_as_json_from_a_level_on(server: Served) -> None:
    client = server.client("lambda")
    source = (
        "import logging\n"
        "def handler(event, context):\n"
        "    logging.getLogger().info('quiet')\n"
        "    logging.getLogger().warning('loud')\n"
    )
    name = create(server, source, LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "WARN"})["FunctionName"]

    def lines() -> list[dict[str, Any]]:
        answer = client.invoke(FunctionName=name, LogType="Tail")
        text = base64.b64decode(answer["LogResult"]).decode()
        return [json.loads(line) for line in text.splitlines()]

    found = lines()
    kinds = [line["type"] for line in found if "type" in line]
    assert [kind for kind in kinds if kind != "platform.initStart"] == ["platform.start", "platform.report"]
    assert [line["message"] for line in found if "level" in line] == ["loud"]
    report = found[-1]["record"]
    assert (report["status"], report["metrics"]["memorySizeMB"]) == ("success", 128)
    client.update_function_configuration(
        FunctionName=name, LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "WARN"}
    )
    found = lines()
    assert [line.get("message") for line in found] == ["quiet", "loud"]
    back = client.update_function_configuration(FunctionName=name, LoggingConfig={"LogFormat": "Text"})
    assert back["LoggingConfig"] == {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{name}"}
    with pytest.raises(ClientError) as error:
        client.update_function_configuration(FunctionName=name, LoggingConfig={"ApplicationLogLevel": "WARN"})
    assert code_of(error) == ("InvalidParameterValueException", 400)


def test_a_runtime_has_one_version(server: Served) -> None:
    client = server.client("lambda")
    name = create(server)["FunctionName"]
    arn = client.get_function_configuration(FunctionName=name)["RuntimeVersionConfig"]["RuntimeVersionArn"]
    assert client.get_runtime_management_config(FunctionName=name)["UpdateRuntimeOn"] == "Auto"
    client.put_runtime_management_config(FunctionName=name, UpdateRuntimeOn="Manual", RuntimeVersionArn=arn)
    found = client.get_runtime_management_config(FunctionName=name)
    assert (found["UpdateRuntimeOn"], found["RuntimeVersionArn"]) == ("Manual", arn)
    for wrong in ({"UpdateRuntimeOn": "Manual"}, {"UpdateRuntimeOn": "Auto", "RuntimeVersionArn": arn}):
        with pytest.raises(ClientError) as error:
            client.put_runtime_management_config(FunctionName=name, **wrong)
        assert code_of(error) == ("InvalidParameterValueException", 400)


def test_tags_are_of_functions_and_fifty_at_most(server: Served) -> None:
    client = server.client("lambda")
    made = create(server, Publish=True)
    arn = made["FunctionArn"]
    many = {f"k{n}": "v" for n in range(51)}
    for resource, tags in ((f"{arn}:1", {"a": "b"}), (arn, {}), (arn, many)):
        with pytest.raises(ClientError) as error:
            client.tag_resource(Resource=resource, Tags=tags)
        assert code_of(error) == ("InvalidParameterValueException", 400)
    with pytest.raises(ClientError) as error:
        client.list_tags(
            Resource=arn.replace("function:", "event-source-mapping:").rpartition(":")[0] + f":{uuid.uuid4()}"
        )
    assert code_of(error) == ("ResourceNotFoundException", 404)


def test_names_and_runtimes_that_cannot_be(server: Served) -> None:
    for parameters in ({"FunctionName": "a" * 65}, {"Runtime": "python9"}, {"Runtime": "PYTHON3.12"}):
        with pytest.raises(ClientError) as error:
            create(server, **parameters)
        assert code_of(error) == ("InvalidParameterValueException", 400)
    with pytest.raises(ClientError) as error:
        server.client("lambda").get_function(FunctionName="a" * 65)
    assert code_of(error) == ("ResourceNotFoundException", 404)
