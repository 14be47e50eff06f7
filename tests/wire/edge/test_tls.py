"""TLS as `penstock up` offers it: a certificate of our own or a given one, SecureTransport, HTTP/2 by ALPN."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import httpx
import pytest
from botocore.config import Config

from served import SRC, Served


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    running = Served(tmp_path_factory.mktemp("tls"), "--tls-port", "0").start()
    yield running
    running.stop()


def port(server: Served) -> int:
    line = next(line for line in server.log if " and https://" in line)
    return int(line.split(" and https://127.0.0.1:")[1].split()[0])


def client(server: Served, service: str, *, tls: bool, key: str = "test", secret: str = "test") -> Any:
    endpoint = f"https://localhost:{port(server)}" if tls else f"http://localhost:{server.port}"
    return boto3.client(
        service, endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=key, aws_secret_access_key=secret,
        verify=str(server.data / "tls" / "certificate.pem"),
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )  # fmt: skip


def test_secure_transport(encrypted: Served) -> None:
    iam = client(encrypted, "iam", tls=True)
    iam.create_user(UserName="careful")
    statement = {
        "Effect": "Allow", "Action": "s3:*", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "true"}},
    }  # fmt: skip
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="careful", PolicyName="p", PolicyDocument=document)
    made = iam.create_access_key(UserName="careful")["AccessKey"]
    keys = {"key": made["AccessKeyId"], "secret": made["SecretAccessKey"]}
    secure = client(encrypted, "s3", tls=True, **keys)
    secure.create_bucket(Bucket="over-tls")
    secure.put_object(Bucket="over-tls", Key="k", Body=b"x" * 300_000)
    assert len(secure.get_object(Bucket="over-tls", Key="k")["Body"].read()) == 300_000
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        client(encrypted, "s3", tls=False, **keys).get_object(Bucket="over-tls", Key="k")
    assert caught.value.response["Error"]["Code"] == "AccessDenied"


def test_virtual_hosts_are_in_the_certificate(encrypted: Served) -> None:
    client(encrypted, "s3", tls=True).create_bucket(Bucket="by-name")
    trusting = ssl.create_default_context(cafile=str(encrypted.data / "tls" / "certificate.pem"))
    url, host = f"https://localhost:{port(encrypted)}/nothing", "by-name.s3.localhost"
    with httpx.Client(verify=trusting) as http:
        answer = http.get(url, headers={"Host": host}, extensions={"sni_hostname": host})
    assert (answer.status_code, "<Code>AccessDenied</Code>" in answer.text) == (403, True)


def test_http2_by_alpn(encrypted: Served) -> None:
    trusting = ssl.create_default_context(cafile=str(encrypted.data / "tls" / "certificate.pem"))
    with httpx.Client(http2=True, verify=trusting) as http:
        answer = http.get(f"https://localhost:{port(encrypted)}/_penstock/health")
    assert (answer.http_version, answer.status_code) == ("HTTP/2", 200)


def test_strangers_do_not_trust_it(encrypted: Served) -> None:
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"https://localhost:{port(encrypted)}/_penstock/health")


def test_the_certificate_stays_and_its_key_is_ours_alone(tmp_path: Path) -> None:
    server = Served(tmp_path / "data", "--tls-port", "0").start()
    certificate = server.data / "tls" / "certificate.pem"
    first = certificate.read_bytes()
    assert (server.data / "tls" / "key.pem").stat().st_mode & 0o777 == 0o600
    server.restart()
    assert certificate.read_bytes() == first
    server.stop()
    given = Served(
        tmp_path / "other", "--tls-port", "0", "--tls-certificate", str(certificate), "--tls-key",
        str(server.data / "tls" / "key.pem"),
    ).start()  # fmt: skip
    trusting = ssl.create_default_context(cafile=str(certificate))
    assert httpx.get(f"https://localhost:{port(given)}/_penstock/health", verify=trusting).status_code == 200
    assert not (given.data / "tls").exists()
    given.stop()


def test_a_bad_certificate_is_said(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    command = [sys.executable, "-m", "penstock", "up", "--port", "0", "--tls-port", "0", "--tls-certificate", str(bad)]
    found = subprocess.run(
        [*command, "--data", str(tmp_path / "d")], env={"PYTHONPATH": str(SRC)}, capture_output=True, text=True
    )
    assert found.returncode == 1
    assert f"TLS certificate and key in {bad} cannot be used" in found.stderr
