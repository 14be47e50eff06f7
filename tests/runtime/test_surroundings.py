"""What a function finds around it: AWS's variables, paths, packages, layers; and executables instead of Python."""

from __future__ import annotations

import asyncio
import stat
import textwrap
from pathlib import Path

import msgspec
import pytest

from environments import PYTHON, Bench, isolated

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_environment_variables_are_awss(bench: Bench) -> None:
    isolated("files")
    f = bench.function("""
        import os, time
        def handler(event, context):
            return dict(os.environ) | {"tz": time.strftime("%Z"), "cwd": os.getcwd()}
    """, environment={"MINE": "1", "AWS_REGION": "no", "PATH": "/mine"}, layers=())  # fmt: skip
    env = await bench.answer(f)
    expected = {
        "AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST", "AWS_REGION": "eu-west-1",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128", "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/f", "MINE": "1",
        "AWS_DEFAULT_REGION": "eu-west-1", "AWS_EXECUTION_ENV": f"AWS_Lambda_{PYTHON}", "LAMBDA_TASK_ROOT": "/var/task",
        "LAMBDA_RUNTIME_DIR": "/var/runtime", "_HANDLER": "main.handler", "TZ": ":UTC", "tz": "UTC", "PATH": "/mine",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand", "AWS_ACCESS_KEY_ID": "ASIAKEY", "AWS_SESSION_TOKEN": "token",
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001", "cwd": "/var/task", "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
    }  # fmt: skip
    assert expected == {name: env.get(name) for name in expected}
    assert env["AWS_LAMBDA_LOG_STREAM_NAME"].partition("[")[2].startswith("$LATEST]")


async def test_randomness_differs_between_environments(bench: Bench) -> None:
    source = """
        import random, uuid, secrets
        def handler(event, context):
            return [random.random(), uuid.uuid4().hex, secrets.token_hex()]
    """
    seen = [await bench.answer(bench.function(source)) for _ in range(3)]
    assert all(len({str(values[i]) for values in seen}) == 3 for i in range(3))


async def test_a_functions_own_packages_come_first_and_then_layers(bench: Bench) -> None:
    isolated("files")
    layer_1 = bench.function(
        None, "l1", files={"python/boto3/__init__.py": "who = 'layer 1'", "both.txt": "1", "one.txt": "1"}
    )
    layer_2 = bench.function(None, "l2", files={"python/extra.py": "who = 'layer 2'", "both.txt": "2"})
    source = """
        import boto3, botocore
        try:
            import extra
        except ImportError:
            extra = None
        def handler(event, context):
            import os
            return [getattr(boto3, "who", boto3.__file__), getattr(botocore, "who", botocore.__file__),
                    extra and extra.who, {n: open("/opt/" + n).read() for n in os.listdir("/opt") if n.endswith(".txt")}]
    """
    hosts = ["/var/runtime/boto3/__init__.py", "/var/runtime/botocore/__init__.py"]
    assert await bench.answer(bench.function(source)) == [*hosts, None, {}]
    layered = bench.function(source, layers=(layer_1.code, layer_2.code))
    assert await bench.answer(layered) == ["layer 1", hosts[1], "layer 2", {"both.txt": "2", "one.txt": "1"}]
    own = bench.function(
        source, files={"botocore/__init__.py": "who = 'mine'", "boto3.py": "who = 'mine too'"}, layers=(layer_1.code,)
    )
    assert await bench.answer(own) == ["mine too", "mine", None, {"both.txt": "1", "one.txt": "1"}]


async def test_a_functions_module_may_have_the_name_of_a_preloaded_standard_one(bench: Bench) -> None:
    isolated("files")
    f = bench.function(
        None, files={"queue.py": "def handler(event, context):\n    return __file__"}, handler="queue.handler"
    )
    assert await bench.answer(f) == "/var/task/queue.py"


async def test_only_awss_packages_of_the_servers_are_there(bench: Bench) -> None:
    isolated("files")
    f = bench.function("""
        import importlib, sys
        def handler(event, context):
            found = {}
            for name in event:
                try:
                    importlib.import_module(name)
                    found[name] = True
                except ImportError:
                    found[name] = False
            return [found, sorted(m for m in sys.modules if "penstock" in m), sys.path[:4]]
    """)
    found, modules, path = await bench.answer(f, ["boto3", "dateutil", "urllib3", "msgspec", "penstock", "pytest"])
    assert found == {
        "boto3": True, "dateutil": True, "urllib3": True, "msgspec": False, "penstock": False, "pytest": False,
    }  # fmt: skip
    assert modules == []
    assert path == ["/var/task", f"/opt/python/lib/{PYTHON}/site-packages", "/opt/python", "/var/runtime"]


async def test_client_context_and_identity_reach_the_function(bench: Bench) -> None:
    f = bench.function("""
        def handler(event, context):
            import os
            return [context.client_context.custom, context.identity.cognito_identity_id, os.environ["_X_AMZN_TRACE_ID"]]
    """)
    outcome = await bench.invoke(
        f,
        client_context='{"custom":\n {"a": "b"}}',
        cognito_identity='{"cognitoIdentityId":"me"}',
        trace_id="Root=1-2-3",
    )
    assert msgspec.json.decode(outcome.payload) == [{"a": "b"}, "me", "Root=1-2-3"]


BOOTSTRAP = """
    #!/bin/sh
    set -eu
    api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime"
    while true; do
        curl -sS -D /tmp/head -o /tmp/event "$api/invocation/next"
        id=$(grep -i lambda-runtime-aws-request-id /tmp/head | tr -d '[:space:]' | cut -d: -f2)
        echo "handling $id with $_HANDLER"
        printf '{"got":%s,"pid":%s}' "$(cat /tmp/event)" $$ > /tmp/answer
        curl -sS -X POST "$api/invocation/$id/response" -d @/tmp/answer > /dev/null
    done
"""


async def test_any_bootstrap_runs(bench: Bench) -> None:
    if not Path("/usr/bin/curl").exists():
        pytest.skip("no curl for the shell bootstrap")
    f = bench.function(
        None, files={"bootstrap": textwrap.dedent(BOOTSTRAP).lstrip()}, runtime="provided.al2023", handler="x.y"
    )
    (f.code / "bootstrap").chmod(0o755)
    outcome = await bench.invoke(f, [1, 2], request_id="abc")
    assert msgspec.json.decode(outcome.payload)["got"] == [1, 2], outcome
    assert b"handling abc with x.y" in outcome.log
    big = await bench.invoke(f, "x" * 2_000_000)
    assert len(msgspec.json.decode(big.payload)["got"]) == 2_000_000


def _told(bench: Bench) -> str:
    return "".join(line for _, _, line in bench.lines)


async def test_a_bootstrap_that_is_missing_or_not_executable_is_awss_error(bench: Bench) -> None:
    isolated("files")
    missing = await bench.invoke(bench.function("", runtime="provided.al2023"))
    assert "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]" in _told(bench)
    assert msgspec.json.decode(missing.payload)["errorType"] == "Runtime.InvalidEntrypoint"
    f = bench.function(None, files={"bootstrap": "#!/bin/sh\n"}, runtime="provided.al2")
    assert not (f.code / "bootstrap").stat().st_mode & stat.S_IXUSR
    refused = await bench.invoke(f)
    assert "fork/exec /var/task/bootstrap: permission denied" in _told(bench)
    assert msgspec.json.decode(refused.payload)["errorType"] == "Runtime.InvalidEntrypoint"


async def test_the_servers_api_is_served_inside_and_ends_with_the_environment(bench: Bench) -> None:
    open_servers: list[asyncio.Server] = []

    def serve(sock: object) -> object:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
            await writer.drain()
            writer.close()

        task = asyncio.ensure_future(asyncio.start_server(answer, sock=sock))  # type: ignore[arg-type]
        task.add_done_callback(lambda done: open_servers.append(done.result()))

        def stop() -> None:
            for server in open_servers:
                server.close()
            open_servers.clear()

        return stop

    bench.runtime.serve = serve  # type: ignore[assignment]
    f = bench.function("""
        import os, urllib.request
        def handler(event, context):
            return urllib.request.urlopen(os.environ["AWS_ENDPOINT_URL"]).read().decode()
    """)
    assert await bench.answer(f) == "hello"
    await bench.runtime.retire("")
    assert open_servers == []


async def test_the_log_format_is_the_functions_choice(bench: Bench) -> None:
    source = """
        import logging
        def handler(event, context):
            logging.getLogger().warning("careful")
    """
    f = bench.function(source, environment={"AWS_LAMBDA_LOG_FORMAT": "JSON"})
    log = (await bench.invoke(f, request_id="r1")).log.decode()
    record = msgspec.json.decode(next(line for line in log.splitlines() if "careful" in line))
    assert (record["level"], record["message"], record["requestId"]) == ("WARNING", "careful", "r1")
    assert "\tcareful" in (await bench.invoke(bench.function(source))).log.decode()
