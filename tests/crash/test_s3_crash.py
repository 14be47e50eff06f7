"""SIGKILL under load: what S3 acknowledged is there with its bytes, and nothing is left over on the disk."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from penstock.blobs.files import FileBlobs
from penstock.clock import Clock
from penstock.store.open import open_store
from served import Served

SIZES = [0, 100, 4096, 65_536, 65_537, 300_000, 2_000_000]
MIB = 1024 * 1024


class Writer(threading.Thread):
    """Puts objects until it is told to stop; `acknowledged` is what got a 2xx. A key is never written twice at once."""

    def __init__(self, client: Any, name: str, seed: int) -> None:
        super().__init__(daemon=True)
        self.client = client
        self.name_of = name
        self.random = random.Random(seed)
        self.acknowledged: dict[str, str] = {}
        self.unsure: set[str] = set()
        self.stopped = threading.Event()
        self.n = 0

    def run(self) -> None:
        while not self.stopped.is_set():
            self.n += 1
            key = f"{self.name_of}/{self.n if self.random.random() < 0.7 else self.n % 5}"
            body = self.random.randbytes(self.random.choice(SIZES))
            self.unsure.add(key)
            try:
                if len(body) > MIB:
                    self.upload(key, body)
                else:
                    self.client.put_object(Bucket="crash", Key=key, Body=body)
            except (ClientError, BotoCoreError, HTTPClientError):
                time.sleep(0.02)
                continue
            self.acknowledged[key] = hashlib.md5(body).hexdigest()
            self.unsure.discard(key)

    def upload(self, key: str, body: bytes) -> None:
        given = {"Bucket": "crash", "Key": key}
        given["UploadId"] = self.client.create_multipart_upload(**given)["UploadId"]
        part = self.client.upload_part(**given, PartNumber=1, Body=body)
        parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
        self.client.complete_multipart_upload(**given, MultipartUpload={"Parts": parts})


def check(client: Any, writers: list[Writer]) -> int:
    """Every acknowledged object reads back. One whose overwriting was cut short is the old one or the new one, whole."""
    seen = 0
    for writer in writers:
        for key, md5 in writer.acknowledged.items():
            got = client.get_object(Bucket="crash", Key=key)
            data = got["Body"].read()
            assert len(data) == got["ContentLength"]
            if key not in writer.unsure:
                assert hashlib.md5(data).hexdigest() == md5, key
            seen += 1
    return seen


async def leftovers(data: Path) -> tuple[list[str], int, int]:
    """(what scrubbing finds, files on the disk, blobs that records name) after a sweep, with the server gone."""
    store = await open_store("", data)
    clock = Clock()
    clock.advance(86400)
    blobs = FileBlobs(data / "blobs", store, clock)
    await blobs.sweep()
    found = await blobs.scrub()
    files = sum(path.is_file() for path in (data / "blobs" / "data").rglob("*"))
    live = await store.transact(
        lambda txn: sum(1 for _ in txn.scan(b"\x02blobs\0\x02live\0", b"\x02blobs\0\x02live\0\xff")), read_only=True
    )
    await blobs.close()
    await store.close()
    return found, files, live


@pytest.mark.timeout(900)
@pytest.mark.parametrize("rounds", [3, pytest.param(25, marks=pytest.mark.slow)])
def test_kill_under_load(own_server: Served, rounds: int) -> None:
    own_server.client("s3").create_bucket(Bucket="crash")
    chance = random.Random(rounds)
    everything: list[Writer] = []
    for number in range(rounds):
        writers = [Writer(own_server.client("s3"), f"{number}-{i}", number * 10 + i) for i in range(4)]
        everything += writers
        for writer in writers:
            writer.start()
        time.sleep(chance.uniform(0.3, 1.2))
        own_server.kill()
        for writer in writers:
            writer.stopped.set()
        own_server.restart()
        for writer in writers:
            writer.join(30)
        with contextlib.suppress(ClientError):
            own_server.client("s3").put_object(Bucket="crash", Key="alive", Body=b"1")
    assert check(own_server.client("s3"), everything) > rounds
    own_server.stop()
    found, files, live = asyncio.run(leftovers(own_server.data))
    assert found == []
    assert files == live
