"""The AWS SDK for Go v2 against a real server, where Go is installed and its modules can be had."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

import pytest

from served import Served

HERE = Path(__file__).resolve().parent / "go"
BUILD_S = 900


def program() -> Path:
    """The test program, built once for its sources and kept for later runs: the SDK compiles for minutes."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed")
    sources = [HERE / name for name in ("go.mod", "go.sum", "main.go")]
    version = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    built = Path(tempfile.gettempdir()) / f"penstock-go-{os.getuid()}-{version}"
    if built.exists():
        return built
    with tempfile.TemporaryDirectory(dir=built.parent) as folder:
        for path in sources:
            shutil.copy(path, folder)
        fresh = Path(folder) / "program"
        try:
            subprocess.run(
                [go, "build", "-o", str(fresh), "."],
                cwd=folder,
                check=True,
                capture_output=True,
                text=True,
                timeout=BUILD_S,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"Go could not build the SDK: {str(error.stderr)[-300:]}")
        fresh.rename(built)
    return built


@pytest.mark.slow
@pytest.mark.timeout(BUILD_S + 100)
def test_services(server: Served) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PENSTOCK_"))}
    done = subprocess.run(
        [str(program()), server.endpoint, "go-" + uuid.uuid4().hex[:10]], text=True, capture_output=True, timeout=180,
        env={**environment, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull},
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("all\n", 0), done.stderr
