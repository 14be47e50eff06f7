"""Functions of container images, on whichever engine this host has."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

import container_images
from served import Served

ROLE = "arn:aws:iam::000000000000:role/r"


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    if not container_images.engine():
        pytest.skip("no podman or docker answers on this host")
    if not shutil.which("curl"):
        pytest.skip("no curl to build an image with")
    name = container_images.build(
        'ENTRYPOINT ["sh", "/bootstrap"]', 'CMD ["first"]', "ENV OF_IMAGE=a", "ENV SHARED=image", "WORKDIR /work"
    )
    yield name
    container_images.remove(name)


def create(server: Served, image: str, **parameters: Any) -> str:
    name = "i" + uuid.uuid4().hex[:12]
    server.client("lambda").create_function(
        FunctionName=name, PackageType="Image", Code={"ImageUri": image}, Role=ROLE, **{"Timeout": 20, **parameters}
    )
    return name


def run(server: Served, name: str, command: str) -> str:
    found = server.client("lambda").invoke(FunctionName=name, Payload=json.dumps(command))
    answer = found["Payload"].read().decode()
    assert "FunctionError" not in found, answer
    return str(answer)


def test_an_image_runs_as_it_says_and_as_the_function_says(server: Served, image: str) -> None:
    client = server.client("lambda")
    name = create(server, image, Environment={"Variables": {"SHARED": "function"}}, MemorySize=256)
    found = client.get_function(FunctionName=name)
    configuration, code = found["Configuration"], found["Code"]
    assert (configuration["PackageType"], configuration["State"], configuration["CodeSize"]) == ("Image", "Active", 0)
    assert not {"Runtime", "Handler", "Layers"} & set(configuration)
    assert (code["RepositoryType"], code["ImageUri"]) == ("ECR", image)
    assert code["ResolvedImageUri"].startswith(image.removesuffix(":latest") + "@sha256:")
    assert code["ResolvedImageUri"].endswith(configuration["CodeSha256"])
    answer = client.invoke(FunctionName=name, Payload=json.dumps("pwd; cat own.txt; echo; env"), LogType="Tail")
    lines = answer["Payload"].read().decode().splitlines()
    assert lines[:2] == ["/work", "from the image"]
    variables = dict(line.partition("=")[::2] for line in lines[2:])
    assert (variables["OF_IMAGE"], variables["SHARED"]) == ("a", "function")
    assert variables["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert variables["AWS_SESSION_TOKEN"] and variables["AWS_LAMBDA_RUNTIME_API"]
    assert "_HANDLER" not in variables and "AWS_EXECUTION_ENV" not in variables
    client.update_function_configuration(
        FunctionName=name, ImageConfig={"Command": ["second", "third"], "WorkingDirectory": "/bin"}
    )
    configuration = client.get_function_configuration(FunctionName=name)
    assert configuration["ImageConfigResponse"] == {
        "ImageConfig": {"Command": ["second", "third"], "WorkingDirectory": "/bin"}
    }
    assert run(server, name, "pwd").strip() == "/bin"
    client.update_function_configuration(FunctionName=name, ImageConfig={})
    assert "ImageConfigResponse" not in client.get_function_configuration(FunctionName=name)
    assert run(server, name, "pwd").strip() == "/work"


def test_an_image_is_kept_whatever_becomes_of_it(own_server: Served) -> None:
    server = own_server
    if not container_images.engine() or not shutil.which("curl"):
        pytest.skip("no podman or docker answers on this host")
    mine = container_images.build('ENTRYPOINT ["sh", "/bootstrap"]')
    name = create(server, mine)
    container_images.remove(mine)
    server.kill()
    server.restart()
    assert run(server, name, "echo still here") == "still here\n"
    version = server.client("lambda").publish_version(FunctionName=name)["Version"]
    assert version == "1"
    with pytest.raises(ClientError, match=r"does not exist\. Provide a valid source image"):
        create(server, mine)


def test_an_image_is_isolated_like_any_function(server: Served, image: str) -> None:
    name = create(server, image, EphemeralStorage={"Size": 512}, MemorySize=128)
    seen = run(server, name, "ls /; id -u; ls /proc | grep -c ^[0-9]; touch /work/x; touch /bin/x; touch /etc/x")
    assert ".host" not in seen and seen.count("Read-only file system") == 3
    lines = seen.splitlines()
    assert {"bin", "bootstrap", "dev", "proc", "tmp", "work"} <= set(lines)
    uid = next(int(line) for line in lines if line.isdecimal())
    assert uid != 0
    assert "No space left" in run(
        server, name, "m=$(dd if=/dev/zero of=/tmp/big bs=1M count=600 2>&1); : > /tmp/big; echo $m"
    )
    network = run(server, name, "curl -sS -m 2 http://169.254.169.254/ 2>&1; curl -sS -m 2 http://1.1.1.1/ 2>&1")
    assert network.count("curl: (7)") == 2
    assert "penstock" not in run(server, name, "ls -a / /proc/1/root 2>&1; cat /proc/mounts").replace("penstock-", "")


def test_an_images_time_out_and_memory_kill(server: Served, image: str) -> None:
    client = server.client("lambda")
    name = create(server, image, Timeout=1)
    found = client.invoke(FunctionName=name, Payload=json.dumps("sleep 30"))
    assert b"Task timed out after 1.00 seconds" in found["Payload"].read()
    name = create(server, image, MemorySize=128)
    found = client.invoke(FunctionName=name, Payload=json.dumps("dd if=/dev/zero of=/dev/null bs=700M count=1"))
    assert found["FunctionError"] == "Unhandled" and b"signal: killed" in found["Payload"].read()
    assert run(server, name, "echo alive") == "alive\n"


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"EntryPoint": ["/not/there"]}, "Runtime.InvalidEntrypoint"),
        ({"WorkingDirectory": "/not/there"}, "Runtime.InvalidWorkingDir"),
    ],
)
def test_an_image_that_cannot_begin_says_why(server: Served, image: str, changes: dict[str, Any], kind: str) -> None:
    name = create(server, image, ImageConfig=changes)
    found = server.client("lambda").invoke(FunctionName=name)
    assert (found["FunctionError"], json.loads(found["Payload"].read())["errorType"]) == ("Unhandled", kind)


def test_images_and_zip_packages_do_not_mix(server: Served, image: str) -> None:
    client = server.client("lambda")
    for parameters in ({"Runtime": "python3.11"}, {"Handler": "a.b"}, {"SnapStart": {"ApplyOn": "PublishedVersions"}}):
        with pytest.raises(ClientError, match="InvalidParameterValueException"):
            create(server, image, **parameters)
    name = create(server, image)
    with pytest.raises(client.exceptions.InvalidParameterValueException, match="Please provide ImageUri"):
        client.update_function_code(FunctionName=name, ZipFile=b"x")
    other = container_images.build('ENTRYPOINT ["sh", "/bootstrap"]', "ENV OTHER=yes")
    try:
        before = client.get_function_configuration(FunctionName=name)["CodeSha256"]
        assert client.update_function_code(FunctionName=name, ImageUri=other)["CodeSha256"] != before
        assert run(server, name, "echo $OTHER") == "yes\n"
    finally:
        container_images.remove(other)


def test_without_an_engine_images_are_refused_with_what_to_do(tmp_path: Path) -> None:
    server = Served(tmp_path / "data", "--function-images", "off").start()
    try:
        with pytest.raises(ClientError, match="switched off"):
            create(server, "any:latest")
    finally:
        server.stop()
