"""Fixtures: a real server process on a free port with its own data directory, and real boto3 clients for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from served import Served


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all tests of a worker process: use unique resource names. Do not kill it."""
    running = Served(tmp_path_factory.mktemp("penstock")).start()
    yield running
    running.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Served]:
    """A server of the test's own, to be killed and restarted at will."""
    running = Served(tmp_path / "data").start()
    yield running
    if running.process and running.process.poll() is None:
        running.kill()
