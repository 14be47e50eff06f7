"""Fixtures: a real server process on a free port with its own data directory, and real boto3 clients for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from served import Served

# How long an example takes says more about what else the machine does than about the code.
hypothesis.settings.register_profile("penstock", deadline=None)
hypothesis.settings.load_profile("penstock")
CASES = {
    "test_smithy_cases.py::test_requests": "smithy, requests",
    "test_smithy_cases.py::test_answers": "smithy, answers",
    "test_smithy_cases.py::test_malformed": "smithy, malformed requests",
    "test_botocore_cases.py::test_requests": "botocore, requests",
    "test_botocore_cases.py::test_answers": "botocore, answers",
    "test_c_auth_cases.py::test_": "aws-c-auth, signatures",
}
"""AWS's own cases, where they are on this machine: what is counted at the end of pytest's output."""


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


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many of AWS's own cases were applied, and how many of them passed."""
    reports = {how: terminalreporter.stats.get(how, ()) for how in ("passed", "failed")}
    for where, what in CASES.items():
        passed, failed = (sum(where in report.nodeid for report in reports[how]) for how in reports)
        if passed + failed:
            terminalreporter.write_line(f"AWS's cases, {what}: {passed + failed} applied, {passed} passed")
