"""The command line as a person meets it: help, versions, exports, doctor, and servers that start and stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import penstock
from served import SRC, Served


def run(
    *arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PENSTOCK_"))}
    return subprocess.run(
        [sys.executable, "-m", "penstock", *arguments], env={**clean, **(env or {}), "PYTHONPATH": str(SRC)},
        capture_output=True, text=True, timeout=180, check=False, cwd=cwd,
    )  # fmt: skip


@pytest.mark.parametrize("command", [[], ["up"], ["demo"], ["doctor"], ["scrub"], ["env"], ["version"]])
def test_help_is_worth_reading(command: list[str]) -> None:
    answer = run(*command, "--help")
    assert answer.returncode == 0
    assert "usage: penstock" in answer.stdout
    if command in (["up"], ["env"]):
        assert "default 4566" in answer.stdout and "--store" in answer.stdout


def test_version() -> None:
    assert run("version").stdout == f"penstock {penstock.__version__}\n"


def test_env_prints_what_a_shell_can_evaluate() -> None:
    answer = run("env", "--port", "4999", env={"PENSTOCK_REGION": "eu-west-1"})
    shell = subprocess.run(
        ["sh", "-c", answer.stdout + "\necho $AWS_ENDPOINT_URL $AWS_ACCESS_KEY_ID $AWS_DEFAULT_REGION"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shell.stdout == "http://127.0.0.1:4999 test eu-west-1\n"


def test_doctor_examines_this_machine(tmp_path: Path) -> None:
    answer = run("doctor", "--port", "0", "--data", str(tmp_path / "new"))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    lines = {line.split()[1] + " " + line.split()[2]: line.split()[0] for line in answer.stdout.splitlines()}
    assert lines["disk sync"] in ("ok", "note")
    assert any(line.startswith(f"ok    python3.{sys.version_info.minor}") for line in answer.stdout.splitlines())
    assert not (tmp_path / "new").exists(), "the doctor leaves nothing behind"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["up", "--port", "many"], "--port: 'many' is not int"),
        (["up", "--limits", "perhaps"], "neither on nor off"),
        (["up", "--store", "oracle://x"], "unknown store"),
        (["up", "--config", "/nowhere.toml"], "/nowhere.toml"),
    ],
)
def test_a_wrong_setting_is_named(arguments: list[str], words: str, tmp_path: Path) -> None:
    answer = run(*arguments, cwd=tmp_path)
    assert answer.returncode in (1, 2)
    assert words in answer.stderr
    assert "Traceback" not in answer.stderr


def test_servers_stand_side_by_side_and_share_no_directory(tmp_path: Path) -> None:
    one = Served(tmp_path / "one").start()
    two = Served(tmp_path / "two").start()
    try:
        one.client("s3").create_bucket(Bucket="only-in-one")
        assert two.client("s3").list_buckets()["Buckets"] == []
        again = run("up", "--port", "0", "--data", str(tmp_path / "one"))
        assert again.returncode == 1
        assert f"in use by process {one.pid}" in again.stderr
        taken = run("up", "--port", str(one.port), "--data", str(tmp_path / "three"))
        assert taken.returncode == 1
        assert "Is another server on it?" in taken.stderr
    finally:
        one.kill()
        two.kill()


def test_sigterm_stops_cleanly_and_nothing_is_lost(own_server: Served) -> None:
    own_server.client("s3").create_bucket(Bucket="kept")
    assert own_server.stop() == 0
    own_server.restart()
    assert [b["Name"] for b in own_server.client("s3").list_buckets()["Buckets"]] == ["kept"]
    assert own_server.process
    own_server.process.send_signal(signal.SIGINT)
    assert own_server.process.wait(20) == 0


def test_reset_empties_a_server(own_server: Served) -> None:
    s3, dynamodb = own_server.client("s3"), own_server.client("dynamodb")
    s3.create_bucket(Bucket="gone")
    s3.put_object(Bucket="gone", Key="large", Body=bytes(3_000_000))
    dynamodb.create_table(
        TableName="gone", KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}], BillingMode="PAY_PER_REQUEST",
    )  # fmt: skip
    request = urllib.request.Request(own_server.endpoint + "/_penstock/reset", method="POST")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
    assert s3.list_buckets()["Buckets"] == []
    assert dynamodb.list_tables()["TableNames"] == []
    s3.create_bucket(Bucket="gone")
    s3.put_object(Bucket="gone", Key="k", Body=b"v")
    own_server.restart()
    assert own_server.client("s3").get_object(Bucket="gone", Key="k")["Body"].read() == b"v"


def test_scrub_finds_rot(tmp_path: Path) -> None:
    data = tmp_path / "data"
    server = Served(data)
    server.start()
    try:
        s3 = server.client("s3")
        s3.create_bucket(Bucket="bucket")
        for i in range(3):
            s3.put_object(Bucket="bucket", Key=str(i), Body=bytes([i]) * 300_000)
        answer = run("scrub", "--endpoint", server.endpoint)
        assert (answer.returncode, answer.stdout.split()[0]) == (0, "ok"), answer.stdout + answer.stderr
        answer = run("scrub", "--data", str(data))
        assert answer.returncode == 1
        assert "penstock:" in answer.stderr, "a directory in use is said to be"
    finally:
        server.stop()
    files = sorted(path for path in (data / "blobs" / "data").rglob("*") if path.is_file())
    assert len(files) == 3
    raw = bytearray(files[0].read_bytes())
    raw[1000] ^= 1
    files[0].write_bytes(raw)
    files[1].unlink()
    answer = run("scrub", "--data", str(data))
    assert answer.returncode == 1
    bad = [line for line in answer.stdout.splitlines() if line.startswith("bad ")]
    assert len(bad) == 3, "two blobs, and the sum"
    assert any("is not there" in line for line in bad), bad


def test_a_servers_clock(own_server: Served) -> None:
    def clock(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run("clock", *arguments, "--endpoint", own_server.endpoint)

    assert "ahead" not in clock().stdout
    assert clock("advance", "1d12h").stdout.endswith("UTC, 1 day, 12:00:00 ahead of the host\n")
    for wrong in (["advance"], ["advance", "-1d"], ["advance", "30"], ["back", "1d"]):
        assert clock(*wrong).returncode == 2
    for far in ("36600d", "5300w"):
        answer = clock("advance", far)
        assert (answer.returncode, "a hundred years at most" in answer.stderr) == (1, True)
    assert clock().stdout.endswith("1 day, 12:00:00 ahead of the host\n")
    nobody = run("clock", "--endpoint", "http://127.0.0.1:1")
    assert (nobody.returncode, "Is the server up?" in nobody.stderr) == (1, True)
