"""A real server on disks that fill up, refuse to sync, refuse to grow, and give back torn and garbled files.

Every time: errors that SDKs take for the server's fault, nothing wrong read, and once the disk is well again and the
server started again, everything acknowledged is there.
"""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
import os
import random
import resource
import shutil
import subprocess
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from served import Served

MIB = 1024 * 1024
FAULTS = {(500, "InternalError"), (500, "InternalServerError"), (500, "ServiceException"), (503, "ServiceUnavailable")}


def run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)


def mounted(kind: str, where: Path, *options: str | Path) -> Path:
    """Mount, or skip the test where that is not allowed."""
    where.mkdir()
    command = ["mount", *map(str, options), str(where)]
    done = subprocess.run(command, capture_output=True, text=True) if os.geteuid() == 0 else None
    if done is None or done.returncode:
        pytest.skip(f"mounting {kind} needs root with CAP_SYS_ADMIN: {done.stderr.strip() if done else 'not root'}")
    return where


def unmount(where: Path) -> None:
    for options in ([], ["-l"]):
        if subprocess.run(["umount", *options, str(where)], capture_output=True).returncode == 0:
            return
        time.sleep(0.2)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    disk = mounted("a tmpfs", tmp_path / "disk", "-t", "tmpfs", "-o", "size=24m", "tmpfs")
    try:
        yield disk
    finally:
        unmount(disk)


class Mortal:
    """A file system on a disk that can die: from then on what is written is in memory only, and every sync fails."""

    def __init__(self, folder: Path) -> None:
        self.below, self.disk = folder / "below", folder / "disk"
        mounted("a tmpfs", self.below, "-t", "tmpfs", "-o", "size=300m", "tmpfs")
        self.image, self.kept = self.below / "image", self.below / "kept"
        with self.image.open("wb") as file:
            file.truncate(256 * MIB)
        run("mkfs.ext4", "-q", "-O", "^has_journal", "-E", "nodiscard", self.image)
        mounted("a loop device", self.disk, "-o", "loop", self.image)

    def die(self) -> None:
        """The device shrinks to nothing under the file system. What it held is kept aside."""
        found = subprocess.run(["losetup", "-j", str(self.image)], check=True, capture_output=True, text=True)
        run("cp", "--sparse=always", self.image, self.kept)
        os.truncate(self.image, 4096)
        run("losetup", "-c", found.stdout.partition(":")[0])

    def mend(self) -> None:
        """The disk as it was when it died, as after a restart of the machine."""
        unmount(self.disk)
        subprocess.run(["e2fsck", "-y", str(self.kept)], capture_output=True)
        run("mount", "-o", "loop", self.kept, self.disk)


@pytest.fixture
def mortal_disk(tmp_path: Path) -> Iterator[Mortal]:
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is not there")
    try:
        disk = Mortal(tmp_path)
        yield disk
    finally:
        unmount(tmp_path / "disk")
        unmount(tmp_path / "below")


class Load:
    """Writes of one kind or several, and what was acknowledged of them."""

    def __init__(self, server: Served) -> None:
        self.server = server
        self.s3, self.dynamodb, self.functions = (server.client(name) for name in ("s3", "dynamodb", "lambda"))
        self.objects: dict[str, bytes] = {}
        self.items: dict[str, str] = {}
        self.packages: dict[str, int] = {}
        self.rng = random.Random(1)
        self.errors: list[tuple[int, str]] = []
        self.n = 0

    def set_up(self) -> None:
        self.s3.create_bucket(Bucket="bucket")
        self.dynamodb.create_table(
            TableName="table", BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        )  # fmt: skip

    def small_object(self) -> None:
        self._object(20_000)

    def large_object(self) -> None:
        self._object(700_000)

    def _object(self, size: int) -> None:
        key, body = f"{self.n}", self.rng.randbytes(size)
        self.s3.put_object(Bucket="bucket", Key=key, Body=body)
        self.objects[key] = body

    def item(self) -> None:
        key, value = f"{self.n}", base64.b64encode(self.rng.randbytes(30_000)).decode()
        self.dynamodb.put_item(TableName="table", Item={"pk": {"S": key}, "value": {"S": value}})
        self.items[key] = value

    def package(self) -> None:
        name, zipped = f"f{self.n}", io.BytesIO()
        with zipfile.ZipFile(zipped, "w") as archive:
            archive.writestr("index.py", b"#" + base64.b64encode(self.rng.randbytes(700_000)))
        made = self.functions.create_function(
            FunctionName=name, Runtime="python3.11", Handler="index.handler", Role="arn:aws:iam::000000000000:role/any",
            Code={"ZipFile": zipped.getvalue()},
        )  # fmt: skip
        self.packages[name] = made["CodeSize"]

    def go_on(self, *kinds: Callable[[], None], errors: int, most: int = 3000) -> None:
        """Write until so many writes have failed."""
        self.errors.clear()
        for kind in itertools.islice(itertools.cycle(kinds), most):
            self.n += 1
            try:
                kind()
            except ClientError as error:
                self.errors.append(
                    (error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"])
                )
                if len(self.errors) == errors:
                    return
        raise AssertionError("the disk never failed")

    def check(self) -> None:
        """Everything acknowledged is there, and can be read whole."""
        for key, body in self.objects.items():
            assert self.s3.get_object(Bucket="bucket", Key=key)["Body"].read() == body, key
        for key, value in self.items.items():
            found = self.dynamodb.get_item(TableName="table", Key={"pk": {"S": key}}, ConsistentRead=True)
            assert found["Item"]["value"]["S"] == value, key
        for name, size in self.packages.items():
            assert self.functions.get_function(FunctionName=name)["Configuration"]["CodeSize"] == size


def ready(server: Served) -> tuple[bool, str]:
    """What /_penstock/ready says, and why."""
    try:
        with urllib.request.urlopen(f"{server.endpoint}/_penstock/ready", timeout=10) as answer:
            said = json.load(answer)
    except urllib.error.HTTPError as error:
        assert error.code == 503
        said = json.load(error)
    return said["ready"], said.get("reason", "")


@contextlib.contextmanager
def serving(data: Path) -> Iterator[Served]:
    server = Served(data)
    server.start()
    try:
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.kill()


def logged(server: Served, *texts: str) -> None:
    """One line with all of that is in the log, and not one traceback."""
    deadline = time.monotonic() + 10  # the log arrives by a pipe, after the answer
    while not any(all(text in line for text in texts) for line in list(server.log)):
        assert time.monotonic() < deadline, list(server.log)[-30:]
        time.sleep(0.05)
    log = list(server.log)
    assert not any("Traceback" in line for line in log), log[-60:]


@pytest.mark.parametrize("kinds", [("item", "small_object"), ("large_object",), ("package",), ("item", "large_object")])
def test_a_disk_that_fills_up(small_disk: Path, kinds: tuple[str, ...]) -> None:
    with serving(small_disk / "data") as server:
        load = Load(server)
        load.set_up()
        load.go_on(*(getattr(load, kind) for kind in kinds), errors=10)
        assert set(load.errors) <= FAULTS
        is_ready, reason = ready(server)
        if not is_ready:
            assert "No space left on device" in reason
            logged(server, "the store has failed", "No space left on device", "start this server again")
        else:
            logged(server, "No space left on device")
        server.kill()
        run("mount", "-o", "remount,size=200m", small_disk)
        server.restart()
        assert ready(server) == (True, "")
        load.check()
        load.small_object()
        load.item()
        load.check()


@pytest.mark.parametrize("kinds", [("item", "small_object"), ("large_object", "item")])
def test_a_disk_that_does_not_sync(mortal_disk: Mortal, kinds: tuple[str, ...]) -> None:
    with serving(mortal_disk.disk / "data") as server:
        load = Load(server)
        load.set_up()
        writes = [getattr(load, kind) for kind in kinds]
        for write in writes * 40:
            load.n += 1
            write()
        mortal_disk.die()
        load.go_on(*writes, errors=6, most=12)
        assert set(load.errors) <= FAULTS
        is_ready, reason = ready(server)
        assert not is_ready and "Input/output error" in reason
        logged(server, "the store has failed", "Input/output error", "start this server again")
        server.kill()
        mortal_disk.mend()
        server.restart()
        load.check()


def test_files_that_may_not_grow(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        load = Load(server)
        load.set_up()
        load.item()
        log_bytes = max(path.stat().st_size for path in (tmp_path / "data" / "store").glob("*.log"))
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (log_bytes + 1_000_000, resource.RLIM_INFINITY))
        load.go_on(load.item, load.small_object, errors=10)
        assert set(load.errors) <= FAULTS
        is_ready, reason = ready(server)
        assert not is_ready and "File too large" in reason
        logged(server, "the store has failed", "File too large")
        server.restart()
        load.check()


@pytest.mark.parametrize("seed", range(4))
def test_a_torn_log(tmp_path: Path, seed: int) -> None:
    """What was never synced may be torn; what was may not. So the tail that is garbled here comes on top."""
    rng = random.Random(seed)
    with serving(tmp_path / "data") as server:
        load = Load(server)
        load.set_up()
        for _ in range(10):
            load.n += 1
            load.item()
            load.small_object()
        server.kill()
        newest = max((tmp_path / "data" / "store").glob("*.log"), key=lambda path: int(path.stem))
        with newest.open("ab") as file:
            file.write(rng.choice([rng.randbytes(50), bytes(5000), rng.randbytes(20_000), b"\x01\x02\x03"]))
        server.restart()
        load.check()


def test_a_log_damaged_in_the_middle_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        load = Load(server)
        load.set_up()
        for _ in range(10):
            load.n += 1
            load.item()
        server.kill()
        newest = max((tmp_path / "data" / "store").glob("*.log"), key=lambda path: int(path.stem))
        was = newest.read_bytes()
        at = len(was) // 2
        newest.write_bytes(was[:at] + bytes(byte ^ 0xFF for byte in was[at : at + 100]) + was[at + 100 :])
        with pytest.raises(RuntimeError, match=r"(?s)penstock: RocksDB cannot open .*orruption"):
            server.restart()
        assert not any("Traceback" in line for line in server.log)
        newest.write_bytes(was)
        server.start()
        load.check()


def test_garbled_bodies_are_never_handed_out(tmp_path: Path) -> None:
    rng = random.Random(1)
    with serving(tmp_path / "data") as server:
        load = Load(server)
        load.set_up()
        for _ in range(6):
            load.n += 1
            load.large_object()
        server.kill()
        files = sorted(
            path for path in (tmp_path / "data" / "blobs" / "data").glob("*/*/*") if path.stat().st_size > 1000
        )
        assert len(files) == len(load.objects)
        for number, path in enumerate(files[:-1]):
            damage(path, rng, number)
        server.restart()
        whole = 0
        for key, body in load.objects.items():
            try:
                got = load.s3.get_object(Bucket="bucket", Key=key)["Body"].read()
            except ClientError as error:
                assert error.response["Error"]["Code"] == "InternalError"
            except BotoCoreError:
                pass  # cut off in the middle
            else:
                assert got == body
                whole += 1
        assert whole == 1


def damage(path: Path, rng: random.Random, how: int) -> None:
    was = bytearray(path.read_bytes())
    match how:
        case 0:
            del was[rng.randrange(len(was)) :]
        case 1:
            was[rng.randrange(600_000)] ^= 1
        case 2:
            was[650_000:700_000] = bytes(50_000)
        case 3:
            was.clear()
        case _:
            path.unlink()
            return
    path.write_bytes(was)


def test_a_disk_that_is_full_at_the_start(small_disk: Path) -> None:
    with contextlib.suppress(OSError), (small_disk / "ballast").open("wb") as file:
        while True:
            file.write(bytes(MIB))
    server: Any = Served(small_disk / "data")
    with pytest.raises(RuntimeError, match=r"(?s)penstock: .*No space left on device"):
        server.start()
    assert not any("Traceback" in line for line in server.log)
    (small_disk / "ballast").unlink()
    with serving(small_disk / "data"):
        pass
