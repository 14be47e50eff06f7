"""What many clients see of objects, while the server is killed and comes back: linearizable by key, as S3 is.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel
"""

from __future__ import annotations

import hashlib
import itertools
import random
import threading
import time
from collections import defaultdict
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from linearizable import NEVER, UNKNOWN, Step, is_linearizable
from served import Served

BUCKET = "histories"
CLIENTS = 5
APART = 100_000
"""A body's size is its number, or that much more: so listings and heads tell it, too. The larger ones are kept in files."""


def body_of(number: int) -> bytes:
    return (b"%d." % number).ljust(number + number % 2 * APART, b"x")


class Registers:
    """Objects, and what was seen of them."""

    def __init__(self, server: Served, keys: int) -> None:
        self.server = server
        self.keys = [f"registers/{n}" for n in range(keys)]
        self.history: dict[str, list[Step]] = defaultdict(list)
        self.numbers = itertools.count(1000)
        self.etags: dict[int, str] = {}
        self.lock = threading.Lock()
        self.stop = threading.Event()
        self.failures: list[BaseException] = []

    def work(self, seed: int) -> None:
        rng, client = random.Random(seed), self.server.client("s3")
        while not self.stop.is_set():
            try:
                self.turn(client, rng)
            except (BotoCoreError, ClientError):
                time.sleep(0.05)
                client = self.server.client("s3")
            except BaseException as error:
                self.failures.append(error)
                raise

    def turn(self, client: Any, rng: random.Random) -> None:
        """One operation on some object."""
        kind = rng.choice(["put", "put", "delete", "get", "get", "get", "get", "swap", "swap"])
        key = rng.choice(self.keys)
        argument: Any = next(self.numbers) if kind == "put" else None
        if kind == "swap":
            seen = [step.argument for step in self.history[key][-8:] if step.kind == "put"]
            argument = (rng.choice([None, *seen]), next(self.numbers))
        began, result, ended = time.monotonic(), UNKNOWN, NEVER
        try:
            result = self.do(client, rng, kind, key, argument)
            ended = time.monotonic()
        finally:
            if ended != NEVER or kind != "get":
                with self.lock:
                    self.history[key].append(Step(kind, argument, result, began, ended))

    def do(self, client: Any, rng: random.Random, kind: str, key: str, argument: Any) -> Any:
        at = {"Bucket": BUCKET, "Key": key}
        if kind == "get":
            return read(client, rng, key)
        if kind == "delete":
            return client.delete_object(**at) and None
        if kind == "put":
            return self.put(client, rng, at, argument)
        expected, new = argument
        condition = {"IfNoneMatch": "*"} if expected is None else {"IfMatch": self.etags[expected]}
        try:
            client.put_object(**at, Body=body_of(new), **condition)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("PreconditionFailed", "NoSuchKey"):
                return False
            raise
        return True

    def put(self, client: Any, rng: random.Random, at: dict[str, Any], number: int) -> None:
        """By one of the ways in which an object is written."""
        way, body = rng.choice(["put", "put", "upload", "copy"]), body_of(number)
        md5 = hashlib.md5(body)
        self.etags[number] = f"{hashlib.md5(md5.digest()).hexdigest()}-1" if way == "upload" else md5.hexdigest()
        if way == "put":
            client.put_object(**at, Body=body)
        elif way == "upload":
            upload = {**at, "UploadId": client.create_multipart_upload(**at)["UploadId"]}
            part = client.upload_part(**upload, PartNumber=1, Body=body)
            parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
            client.complete_multipart_upload(**upload, MultipartUpload=parts)
        else:
            source = f"sources/{number}"
            client.put_object(Bucket=BUCKET, Key=source, Body=body)
            client.copy_object(**at, CopySource=f"{BUCKET}/{source}")


def read(client: Any, rng: random.Random, key: str) -> int | None:
    """The object's number, by one of the ways in which it is told."""
    way = rng.choice(["get", "get", "head", "list"])
    if way == "list":
        found = client.list_objects_v2(Bucket=BUCKET, Prefix=key).get("Contents", [])
        return found[0]["Size"] % APART if found else None
    try:
        if way == "head":
            return int(client.head_object(Bucket=BUCKET, Key=key)["ContentLength"]) % APART
        body = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
            return None
        raise
    number = int(body.partition(b".")[0])
    assert body == body_of(number), "of two bodies"
    return number


@pytest.mark.parametrize(
    ("versioning", "kills"),
    [("", 1), ("Enabled", 1), pytest.param("", 6, marks=pytest.mark.slow)],
    ids=["plain", "versions", "long"],
)
def test_objects_are_linearizable(own_server: Served, versioning: str, kills: int) -> None:
    s3 = own_server.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    if versioning:
        s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": versioning})
    registers = Registers(own_server, keys=3)
    workers = [threading.Thread(target=registers.work, args=(seed,), daemon=True) for seed in range(CLIENTS)]
    for worker in workers:
        worker.start()
    for _ in range(kills):
        time.sleep(random.uniform(0.5, 1.0))
        own_server.restart()
    give_up = time.monotonic() + 60
    while sum(map(len, registers.history.values())) < 150 * (kills + 1) and time.monotonic() < give_up:
        time.sleep(0.05)
    registers.stop.set()
    for worker in workers:
        worker.join(30)
    assert not registers.failures
    for key, history in registers.history.items():
        assert len(history) > 20 and is_linearizable(history), (key, history)
