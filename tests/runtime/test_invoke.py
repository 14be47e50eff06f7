"""What a function gets and gives: the Runtime API with AWS's own client at the other end."""

from __future__ import annotations

import asyncio
import re

import msgspec
import pytest

from environments import Bench, isolated

pytestmark = pytest.mark.asyncio(loop_scope="module")

ECHO = """
    import os
    def handler(event, context):
        print("got", event)
        return {"event": event, "pid": os.getpid(), "id": context.aws_request_id, "arn": context.invoked_function_arn,
                "left": context.get_remaining_time_in_millis()}
"""


async def test_a_function_answers_and_its_environment_is_used_again(bench: Bench) -> None:
    f = bench.function("""
        n = 0
        def handler(event, context):
            global n
            n += 1
            return n
    """)
    first = await bench.invoke(f)
    assert (first.payload, first.cold, first.error) == (b"1", True, "")
    assert first.init_ms is not None
    second = await bench.invoke(f)
    assert (second.payload, second.cold, second.init_ms) == (b"2", False, None)


async def test_the_context_is_the_invocations(bench: Bench) -> None:
    f = bench.function(ECHO, timeout_s=30.0)
    outcome = await bench.invoke(f, {"a": [1, "ü"]}, request_id="8f6e2b9a-0000-4000-8000-000000000000")
    answer = msgspec.json.decode(outcome.payload)
    assert answer["event"] == {"a": [1, "ü"]}
    assert answer["id"] == "8f6e2b9a-0000-4000-8000-000000000000"
    assert answer["arn"] == f.arn
    assert 25_000 < answer["left"] <= 30_000


async def test_the_deadline_is_in_the_functions_own_time_when_the_clock_has_been_moved(bench: Bench) -> None:
    bench.clock.advance(30 * 86400)
    answer = await bench.answer(bench.function(ECHO, timeout_s=30.0))
    assert 25_000 < answer["left"] <= 30_000


async def test_many_at_once_run_in_as_many_environments(bench: Bench) -> None:
    f = bench.function("""
        import time, uuid
        me = uuid.uuid4().hex
        def handler(event, context):
            time.sleep(0.3)
            return me
    """)
    answers = await asyncio.gather(*(bench.answer(f) for _ in range(8)))
    assert len(set(answers)) == 8
    assert await bench.answer(f) in answers


async def test_an_exception_is_awss_error_document_and_the_environment_goes_on(bench: Bench) -> None:
    isolated("files")
    f = bench.function("""
        n = 0
        def handler(event, context):
            global n
            n += 1
            if n == 1:
                raise ValueError("no good")
            return n
    """)
    error = await bench.error(f)
    assert error["errorMessage"] == "no good"
    assert error["errorType"] == "ValueError"
    assert "/var/task/main.py" in error["stackTrace"][0]
    assert await bench.answer(f) == 2


async def test_a_time_out_ends_the_environment_with_awss_words(bench: Bench) -> None:
    f = bench.function("""
        import time
        def handler(event, context):
            print("before")
            time.sleep(60 if event else 0)
            return "awake"
    """, timeout_s=1.0)  # fmt: skip
    outcome = await bench.invoke(f, True, request_id="r1")
    assert msgspec.json.decode(outcome.payload) == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": "RequestId: r1 Error: Task timed out after 1.00 seconds",
    }
    log = outcome.log.decode()
    assert re.search(r"before\n\d{4}-\d\d-\d\dT[\d:.]{12}Z r1 Task timed out after 1.00 seconds\nEND", log), log
    assert "Duration: 1000.00 ms" in log
    assert log.endswith("Status: timeout\t\n")
    assert await bench.answer(f, False) == "awake"


async def test_what_init_fails_with_is_the_answer(bench: Bench) -> None:
    missing = await bench.error(bench.function("import nowhere\n"))
    assert missing["errorType"] == "Runtime.ImportModuleError"
    assert missing["errorMessage"] == "Unable to import module 'main': No module named 'nowhere'"
    unnamed = await bench.error(bench.function("x = 1\n"))
    assert unnamed["errorType"] == "Runtime.HandlerNotFound"
    broken = await bench.error(bench.function("raise KeyError('x')\n"))
    assert broken["errorType"] == "KeyError"


async def test_an_exit_is_reported_as_aws_does(bench: Bench) -> None:
    f = bench.function("""
        import os, signal, sys
        def handler(event, context):
            if event == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            sys.exit(event)
    """)
    for event, reason in (
        (7, "Runtime exited with error: exit status 7"),
        (0, "Runtime exited without providing a reason"),
        ("kill", "Runtime exited with error: signal: killed"),
    ):
        error = await bench.error(f, event)
        assert error["errorType"] == "Runtime.ExitError"
        assert error["errorMessage"].endswith("Error: " + reason)


async def test_a_response_over_six_megabytes_is_refused(bench: Bench) -> None:
    f = bench.function("""
        def handler(event, context):
            return "x" * event
    """)
    error = await bench.error(f, 6_400_000)
    assert error["errorType"] == "Function.ResponseSizeTooLarge"
    assert len(await bench.answer(f, 6_000_000)) == 6_000_000


async def test_the_log_has_awss_lines(bench: Bench) -> None:
    f = bench.function("""
        import logging
        def handler(event, context):
            print("one\\ntwo")
            logging.getLogger().warning("three\\nfour")
            print("no newline", end="")
    """)
    outcome = await bench.invoke(f, request_id="r1")
    lines = outcome.log.decode().splitlines(keepends=True)
    assert lines[:3] == ["START RequestId: r1 Version: $LATEST\n", "one\n", "two\n"]
    assert re.fullmatch(r"\[WARNING\]\t[\dT:.-]{23}Z\tr1\tthree\n", lines[3])
    assert lines[4:7] == ["four\n", "no newline\n", "END RequestId: r1\n"]
    assert re.fullmatch(
        r"REPORT RequestId: r1\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\tMemory Size: 128 MB\t"
        r"Max Memory Used: \d+ MB\tInit Duration: [\d.]+ ms\t\n",
        lines[7],
    )
    await asyncio.sleep(0.3)
    name, stream, first = bench.lines[0]
    assert name == "f"
    assert first.startswith("INIT_START Runtime Version: python:3.")  # in the stream, not in the invocation's tail
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", stream)
    assert any(line.endswith("\tr1\tthree\nfour\n") for _, _, line in bench.lines)  # one record, however many lines
