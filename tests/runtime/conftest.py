"""Fixtures: a runtime of the test's own."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from environments import Bench, make_bench

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]  # AWS's runtime client is made for Linux only


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = make_bench(tmp_path)
    tmp_path.chmod(0o755)
    yield made
    await made.runtime.close()
