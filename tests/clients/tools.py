"""Python programs that are clients of ours and no dependency: each set in a virtual environment of its own, which is made once
and found again by later runs; tests skip where pip cannot install it."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent / "python"


def environment() -> dict[str, str]:
    """Without the settings of whoever runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PENSTOCK_", "PYTHON"))}
    return {**kept, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull}


@functools.cache
def interpreter(name: str) -> Path:
    """A Python that has what `requirements-NAME.txt` lists. Workers of one run wait for the one that installs it."""
    wanted = HERE / f"requirements-{name}.txt"
    version = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"penstock-{name}-{os.getuid()}-{version}"
    made = folder / "made"
    with Path(f"{folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _install(folder, wanted)
            made.touch()
    return folder / "bin" / "python"


def _install(folder: Path, wanted: Path) -> None:
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    try:
        for command in (
            [sys.executable, "-m", "venv", "--without-pip", str(folder)],
            [*pip, "install", "--only-binary=:all:", "--no-compile", "-q", "-r", str(wanted)],
        ):
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=200)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"pip could not install {wanted.name}: {str(error.stderr)[-300:]}")
