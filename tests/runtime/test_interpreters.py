"""Other Pythons of this host as runtimes: each that is found runs functions, with AWS's packages of its own or lent."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
import pytest

from environments import PYTHON, Bench, make_bench
from penstock.runtime.api import RuntimeUnsupported
from penstock.runtime.interpreters import Interpreters

pytestmark = pytest.mark.asyncio(loop_scope="module")
SOURCE = """
    import logging, os, sys
    import boto3
    client = boto3.client("dynamodb")
    def handler(event, context):
        if event == "fail":
            raise KeyError("why")
        if event == "large":
            return "x" * 6_400_000
        logging.getLogger().warning("heard %s", event)
        return {
            "version": "python%d.%d" % sys.version_info[:2], "event": event, "id": context.aws_request_id,
            "left": context.get_remaining_time_in_millis(), "arn": context.invoked_function_arn,
            "boto3": boto3.__file__, "endpoint": client.meta.endpoint_url, "env": os.environ["AWS_EXECUTION_ENV"],
        }
"""


def others() -> list[str]:
    """AWS's runtimes that another Python than this one would run."""
    if sys.platform != "linux":
        return []
    found, interpreters = [], Interpreters()
    for runtime in ("python3.10", "python3.11", "python3.12", "python3.13", "python3.14"):
        if runtime == PYTHON:
            continue
        try:
            interpreters.find(runtime)
        except RuntimeUnsupported:
            continue
        found.append(runtime)
    return found


async def runs(bench: Bench, runtime: str) -> None:
    f = bench.function(SOURCE, runtime=runtime, timeout_s=20.0)
    outcome = await bench.invoke(f, "\u2713", request_id="00000000-0000-4000-8000-0000000000ab")
    assert outcome.error == "", outcome
    said = msgspec.json.decode(outcome.payload)
    assert (said["version"], said["event"], said["id"]) == (runtime, "\u2713", "00000000-0000-4000-8000-0000000000ab")
    assert 0 < said["left"] <= 20_000 and said["arn"] == f.arn and said["env"] == f"AWS_Lambda_{runtime}"
    assert said["endpoint"].startswith("http://127.0.0.1:")
    assert "heard \u2713" in outcome.log.decode()
    assert (await bench.error(f, "fail"))["errorType"] == "KeyError"
    assert (await bench.error(f, "large"))["errorType"] == "Function.ResponseSizeTooLarge"
    assert (await bench.answer(f, 2))["event"] == 2
    assert bench.runtime.environments == 1


@pytest.mark.parametrize("runtime", others() or [pytest.param("", marks=pytest.mark.skip(reason="there is no other"))])
async def test_another_python_of_this_host_runs_functions(tmp_path: Path, runtime: str) -> None:
    tmp_path.chmod(0o755)
    bench = make_bench(tmp_path)
    try:
        await runs(bench, runtime)
    finally:
        await bench.runtime.close()


async def test_packages_may_be_lent_to_an_interpreter_that_has_none(tmp_path: Path) -> None:
    """The same Python as the server's, without its packages: what lending takes is then to be had everywhere."""
    tmp_path.chmod(0o755)
    bare = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
    bench = make_bench(tmp_path, function_runtimes=f"{PYTHON}={bare}")
    interpreter = bench.runtime._interpreters.find(PYTHON)
    if not interpreter.borrows:
        pytest.skip(f"{bare} has packages of its own")
    try:
        await runs(bench, PYTHON)
    finally:
        await bench.runtime.close()
