"""Many clients at once: what AWS does atomically is one transaction, and limits hold."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from served import Served
from wire.lambda_.test_functions import ECHO, ROLE, RUNTIME, create, package

CLIENTS = 8


def at_once(server: Served, work: Any, count: int = CLIENTS) -> list[Any]:
    """What `work(client, number)` gives for each of many clients that begin together; errors as their codes."""
    start = threading.Barrier(count)

    def run(number: int) -> Any:
        client = server.client("lambda")
        start.wait()
        try:
            return work(client, number)
        except ClientError as error:
            return error.response["Error"]["Code"]

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_one_of_many_creates_the_function(server: Served) -> None:
    name = "h" + uuid.uuid4().hex[:10]
    code = package()

    def make(client: Any, number: int) -> str:
        client.create_function(
            FunctionName=name, Runtime=RUNTIME, Role=ROLE,
            Handler="app.handler", Code={"ZipFile": code}, Description=str(number),
        )  # fmt: skip
        return "made"

    assert Counter(at_once(server, make)) == {"made": 1, "ResourceConflictException": CLIENTS - 1}


def test_versions_published_at_once_are_numbered_without_gaps(server: Served) -> None:
    name = create(server)["FunctionName"]

    def change_and_publish(client: Any, number: int) -> list[int]:
        made = []
        for turn in range(4):
            client.update_function_configuration(FunctionName=name, Description=f"{number}-{turn}")
            made.append(int(client.publish_version(FunctionName=name)["Version"]))
        return made

    made = [version for found in at_once(server, change_and_publish) for version in found]
    client = server.client("lambda")
    pages = client.get_paginator("list_versions_by_function").paginate(FunctionName=name)
    kept = [one for page in pages for one in page["Versions"]][1:]
    assert [int(one["Version"]) for one in kept] == list(range(1, len(kept) + 1))
    assert set(made) == set(range(1, len(kept) + 1)), "who published nothing new was told the newest"
    assert all(a["Description"] != b["Description"] for a, b in itertools.pairwise(kept))


def test_a_revision_lets_one_writer_through(server: Served) -> None:
    made = create(server)
    name = made["FunctionName"]
    revision = server.client("lambda").get_function_configuration(FunctionName=name)["RevisionId"]

    def change(client: Any, number: int) -> str:
        client.update_function_configuration(FunctionName=name, Description=str(number), RevisionId=revision)
        return "changed"

    assert Counter(at_once(server, change)) == {"changed": 1, "PreconditionFailedException": CLIENTS - 1}


def test_statements_and_tags_of_many_are_all_kept(server: Served) -> None:
    made = create(server)

    def add(client: Any, number: int) -> None:
        client.add_permission(
            FunctionName=made["FunctionName"], StatementId=f"s{number}", Action="lambda:InvokeFunction",
            Principal="s3.amazonaws.com",
        )  # fmt: skip
        client.tag_resource(Resource=made["FunctionArn"], Tags={f"t{number}": "x"})

    assert at_once(server, add) == [None] * CLIENTS
    client = server.client("lambda")
    policy = json.loads(client.get_policy(FunctionName=made["FunctionName"])["Policy"])
    assert {s["Sid"] for s in policy["Statement"]} == {f"s{n}" for n in range(CLIENTS)}
    assert set(client.list_tags(Resource=made["FunctionArn"])["Tags"]) == {f"t{n}" for n in range(CLIENTS)}


def test_reserved_concurrency_is_never_exceeded(server: Served) -> None:
    source = (
        "import time\ndef handler(event, context):\n    began = time.monotonic()\n    time.sleep(0.15)\n"
        "    return [began, time.monotonic()]\n"
    )
    name = create(server, source, Timeout=30)["FunctionName"]
    client = server.client("lambda")
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=3)
    spans: list[list[float]] = []

    def press(client: Any, number: int) -> Counter[str]:
        outcomes: Counter[str] = Counter()
        for _ in range(12):
            try:
                answer = client.invoke(FunctionName=name)
                spans.append(json.load(answer["Payload"]))
                outcomes["ran"] += 1
            except ClientError as error:
                assert error.response["Error"]["Code"] == "TooManyRequestsException"
                assert error.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
                outcomes["throttled"] += 1
        return outcomes

    total = sum(at_once(server, press), Counter())
    client.delete_function(FunctionName=name)
    assert total["ran"] + total["throttled"] == 12 * CLIENTS and total["throttled"] > 0
    events = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    running = most = 0
    for _, step in events:
        running += step
        most = max(most, running)
    assert most <= 3


def test_reservations_made_at_once_leave_a_hundred(own_server: Served) -> None:
    names = [create(own_server, FunctionName=f"r{n}")["FunctionName"] for n in range(6)]

    def reserve(client: Any, number: int) -> int:
        client.put_function_concurrency(FunctionName=names[number], ReservedConcurrentExecutions=200)
        return 200

    found = at_once(own_server, reserve, 6)
    assert Counter(found) == {200: 4, "InvalidParameterValueException": 2}
    left = own_server.client("lambda").get_account_settings()["AccountLimit"]
    assert left["UnreservedConcurrentExecutions"] == 200
    with contextlib.suppress(ClientError):
        own_server.client("lambda").put_function_concurrency(FunctionName=names[0], ReservedConcurrentExecutions=0)


def test_a_deleted_functions_invocations_end_and_its_name_is_free(server: Served) -> None:
    name = create(server, ECHO)["FunctionName"]
    stop = threading.Event()
    codes: Counter[str] = Counter()

    def invoke() -> None:
        client = server.client("lambda")
        while not stop.is_set():
            try:
                client.invoke(FunctionName=name, Payload=b"1")
                codes["answered"] += 1
            except ClientError as error:
                codes[error.response["Error"]["Code"]] += 1

    threads = [threading.Thread(target=invoke) for _ in range(4)]
    for thread in threads:
        thread.start()
    client = server.client("lambda")
    for _ in range(4):
        client.delete_function(FunctionName=name)
        create(server, ECHO, FunctionName=name)
    stop.set()
    for thread in threads:
        thread.join()
    assert set(codes) <= {"answered", "ResourceNotFoundException"}, codes
    assert codes["answered"] > 0


def test_an_accounts_concurrency_is_shared_by_its_functions(tmp_path: Path) -> None:
    source = "import time\ndef handler(event, context):\n    time.sleep(2)\n"
    server = Served(tmp_path / "data", "--function-concurrency", "2").start()
    try:
        names = [create(server, source, Timeout=30)["FunctionName"] for _ in range(2)]
        reasons: Counter[str] = Counter()

        def invoke(client: Any, number: int) -> None:
            try:
                client.invoke(FunctionName=names[number % 2])
                reasons["ran"] += 1
            except ClientError as error:
                assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 429
                reasons[error.response["Reason"]] += 1

        at_once(server, invoke, 6)
        assert reasons == {"ran": 2, "ConcurrentInvocationLimitExceeded": 4}
    finally:
        server.kill()
