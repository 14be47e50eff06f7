"""The AWS SDK for Java v2 against a real server, and its stream of Kinesis' events over HTTP/2, where Maven is at hand."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

import pytest

from penstock.wire.errors import AwsError
from protocol.conftest import Edge, edge
from protocol.test_event_streams import Shard, shard
from served import Served

__all__ = ["edge", "shard"]

HERE = Path(__file__).resolve().parent / "java"
BUILD_S = 600
pytestmark = [pytest.mark.slow, pytest.mark.timeout(BUILD_S + 100)]


def command() -> list[str]:
    """What runs the test program, built once for its sources and kept for later runs."""
    maven, java = shutil.which("mvn"), shutil.which("java")
    if maven is None or java is None:
        pytest.skip("Maven is not installed")
    sources = [HERE / "pom.xml", HERE / "src" / "main" / "java" / "Services.java"]
    version = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    built = Path(tempfile.gettempdir()) / f"penstock-java-{os.getuid()}-{version}"
    if not built.exists():
        with tempfile.TemporaryDirectory(dir=built.parent) as folder:
            shutil.copytree(HERE, folder, dirs_exist_ok=True)
            build = [
                maven,
                "-q",
                "-B",
                "-ntp",
                "package",
                "dependency:copy-dependencies",
                "-DoutputDirectory=target/lib",
            ]
            try:
                subprocess.run(build, cwd=folder, check=True, capture_output=True, text=True, timeout=BUILD_S)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                pytest.skip(f"Maven could not build it: {str(error.stdout)[-300:]}")
            (Path(folder) / "target").rename(built)
    return [java, "-cp", f"{built}/clients-1.jar:{built}/lib/*", "Services"]


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PENSTOCK_"))}
    return {**kept, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull}


def test_services(server: Served) -> None:
    asked = [*command(), server.endpoint, "services", "java-" + uuid.uuid4().hex[:10]]
    done = subprocess.run(asked, text=True, capture_output=True, timeout=90, env=environment())
    assert (done.stdout, done.returncode) == ("all\n", 0), done.stderr


async def test_a_shard_over_http2(edge: Edge, shard: Shard) -> None:
    asked = [*await asyncio.to_thread(command), edge.endpoint, "shard"]
    shard.put(b"one")
    process = await asyncio.create_subprocess_exec(
        *asked, env=environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    assert await asyncio.wait_for(process.stdout.readline(), 60) == b"one\n", (await process.stderr.read()).decode()
    shard.put(b"two")
    assert await asyncio.wait_for(process.stdout.readline(), 10) == b"two\n"
    shard.queue.put_nowait(AwsError("ResourceInUseException", "another one reads"))
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert (out, process.returncode) == (b"all\n", 0), err.decode()
