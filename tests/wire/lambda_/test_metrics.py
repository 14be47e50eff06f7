"""What /_penstock/metrics says of functions: AWS's metrics, by account, region and function."""

from __future__ import annotations

import contextlib
import re
import threading
import time
import urllib.request
from collections.abc import Callable

import pytest
from botocore.exceptions import ClientError

from served import Served
from wire.lambda_.test_async import FAIL, bucket, later, objects
from wire.lambda_.test_functions import create


def counted(server: Served, function: str, account: str = "000000000000") -> dict[str, float]:
    """The function's metrics, by their names after the prefix."""
    text = urllib.request.urlopen(server.endpoint + "/_penstock/metrics", timeout=10).read().decode()
    own = f'{{account="{account}",function="{function}",region="us-east-1"}}'
    found = re.findall(rf"^penstock_lambda_(\w+){re.escape(own)} (\S+)$", text, re.MULTILINE)
    return {name.removesuffix("_total"): float(value) for name, value in found}


def until(check: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 20
    while not check():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def test_invocations_errors_and_what_they_would_cost(server: Served) -> None:
    fine = create(server, "def handler(event, context):\n    return 1\n", MemorySize=256)["FunctionName"]
    bad = create(server, FAIL)["FunctionName"]
    client = server.client("lambda")
    for name in (fine, fine, fine, bad):
        client.invoke(FunctionName=name)
    seen = counted(server, fine)
    assert (seen["invocations"], seen["inits"], seen.get("errors", 0)) == (3, 1, 0)
    assert 0 < seen["duration_ms"] < seen["billed_ms"] and seen["init_duration_ms"] > 0
    assert seen["billed_gb_seconds"] == pytest.approx(seen["billed_ms"] / 1000 * 0.25)
    usd = 3 * 0.0000002 + seen["billed_gb_seconds"] * 0.0000166667
    assert seen["cost_usd"] == pytest.approx(usd, rel=0.25), "an arm64 host is cheaper"
    assert counted(server, bad)["errors"] == 1


def test_who_is_throttled_and_how_many_run(server: Served) -> None:
    name = create(server, "import time\ndef handler(event, context):\n    time.sleep(2)\n", Timeout=20)["FunctionName"]
    client = server.client("lambda")
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    first = threading.Thread(target=lambda: client.invoke(FunctionName=name))
    first.start()
    until(lambda: counted(server, name).get("concurrent_executions") == 1, "it runs")
    with pytest.raises(ClientError, match="TooManyRequestsException"):
        client.invoke(FunctionName=name)
    first.join()
    seen = counted(server, name)
    client.delete_function(FunctionName=name)
    assert (seen["throttles"], seen["invocations"], "concurrent_executions" in seen) == (1, 1, False)


def test_asynchronous_events_and_destinations_that_fail(own_server: Served) -> None:
    kept = bucket(own_server)
    client = own_server.client("lambda")
    name = create(own_server, FAIL)["FunctionName"]
    client.put_function_event_invoke_config(
        FunctionName=name,
        MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": f"arn:aws:s3:::{kept}"}},
    )
    later(own_server, name, {})
    objects(own_server, kept)
    seen = counted(own_server, name)
    assert (seen["async_events_received"], seen["async_events_dropped"]) == (1, 1)
    assert seen["async_event_age_ms"] >= 0 and "destination_delivery_failures" not in seen
    s3 = own_server.client("s3")
    for entry in s3.list_objects_v2(Bucket=kept)["Contents"]:
        s3.delete_object(Bucket=kept, Key=entry["Key"])
    s3.delete_bucket(Bucket=kept)
    later(own_server, name, {})
    with contextlib.suppress(ClientError):
        until(lambda: counted(own_server, name).get("destination_delivery_failures", 0) >= 1, "the bucket is gone")
    assert counted(own_server, name)["destination_delivery_failures"] >= 1


def test_accounts_are_counted_apart(server: Served) -> None:
    name = create(server, "def handler(event, context):\n    return 1\n")["FunctionName"]
    server.client("lambda").invoke(FunctionName=name)
    assert counted(server, name)["invocations"] == 1
    assert counted(server, name, "111122223333") == {}
