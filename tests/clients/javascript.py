"""The AWS SDK for JavaScript, installed once into a folder that later runs find again; tests skip where it cannot be."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent / "js"


def workplace(tmp_path: Path) -> Path:
    """A folder with the scripts, beside the packages that they import."""
    packages = _installed()
    for script in HERE.glob("*.mjs"):
        shutil.copy(script, tmp_path)
    (tmp_path / "node_modules").symlink_to(packages)
    return tmp_path


def environment() -> dict[str, str]:
    """Without the settings of whoever runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PENSTOCK_"))}
    return {**kept, "NODE_NO_WARNINGS": "1", "AWS_EC2_METADATA_DISABLED": "true"}


def _installed() -> Path:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("npm is not installed")
    lock = HERE / "package-lock.json"
    version = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"penstock-js-{os.getuid()}-{version}"
    packages = folder / "node_modules"
    if packages.exists():
        return packages
    fresh = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        for file in ("package.json", "package-lock.json"):
            shutil.copy(HERE / file, fresh)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        try:
            subprocess.run(command, cwd=fresh, check=True, capture_output=True, text=True, timeout=100)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"npm could not install the SDK: {str(error.stderr)[-300:]}")
        try:
            fresh.rename(folder)
        except OSError:  # another run was first
            assert packages.exists()
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return packages
