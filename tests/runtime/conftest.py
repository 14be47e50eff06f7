"""Fixtures: a runtime for each file of tests."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from environments import Bench, make_bench

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]  # AWS's runtime client is made for Linux only


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """One runtime for a file's tests: starting the zygote takes longer than most of them."""
    folder = tmp_path_factory.mktemp("runtime")
    folder.chmod(0o755)
    made = make_bench(folder)
    yield made
    await made.runtime.close()
