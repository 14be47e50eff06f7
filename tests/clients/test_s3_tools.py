"""Programs and libraries that speak S3, unmodified, against a real server."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from pathlib import Path

import pytest
from boto3.s3.transfer import TransferConfig

from clients.test_cli import aws
from clients.tools import HERE, environment, interpreter
from served import Served

pytestmark = pytest.mark.timeout(300)  # the first run installs


@pytest.fixture
def bucket(server: Served) -> str:
    name = f"tools-{uuid.uuid4().hex[:10]}"
    server.client("s3").create_bucket(Bucket=name)
    return name


def test_cli_sync_mv_and_rb(server: Served, bucket: str, tmp_path: Path) -> None:
    here, back = tmp_path / "here", tmp_path / "back"
    for i, folder in enumerate(("", "a", "a/b c", "é")):
        (here / folder).mkdir(parents=True, exist_ok=True)
        (here / folder / f"{i}.txt").write_bytes(os.urandom(1000 * i))
        # S3 tells times in whole seconds: of the same second, the file here would be the newer one and sent again.
        os.utime(here / folder / f"{i}.txt", (time.time() - 60,) * 2)
    url = f"s3://{bucket}/tree"
    assert aws(server, "s3", "sync", str(here), url).count("upload:") == 4
    assert aws(server, "s3", "sync", str(here), url) == "", "nothing has changed"
    (here / "0.txt").unlink()
    assert "delete:" in aws(server, "s3", "sync", "--delete", str(here), url)
    aws(server, "s3", "mv", f"{url}/a/1.txt", f"{url}/moved.txt")
    aws(server, "s3", "cp", "--recursive", url, f"s3://{bucket}/copy")
    aws(server, "s3", "sync", f"s3://{bucket}/copy", str(back))
    found = {str(path.relative_to(back)): path.read_bytes() for path in back.rglob("*") if path.is_file()}
    assert found == {
        "moved.txt": (here / "a/1.txt").read_bytes(),
        "a/b c/2.txt": (here / "a/b c/2.txt").read_bytes(),
        "é/3.txt": (here / "é/3.txt").read_bytes(),
    }
    assert "BucketNotEmpty" in aws(server, "s3", "rb", f"s3://{bucket}", fails=True)
    aws(server, "s3", "rb", "--force", f"s3://{bucket}")
    assert "NoSuchBucket" in aws(server, "s3", "ls", f"s3://{bucket}", fails=True)


def test_s3transfer_in_parallel(server: Served, bucket: str, tmp_path: Path) -> None:
    """Many parts under way at once, both ways."""
    s3 = server.client("s3", max_pool_connections=20)
    config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20, max_concurrency=16)
    body = os.urandom(64 << 20)
    (tmp_path / "there").write_bytes(body)
    s3.upload_file(str(tmp_path / "there"), bucket, "large", Config=config)
    assert s3.head_object(Bucket=bucket, Key="large")["ETag"].endswith('-13"')
    s3.copy({"Bucket": bucket, "Key": "large"}, bucket, "copy", Config=config)
    s3.download_file(bucket, "copy", str(tmp_path / "back"), Config=config)
    assert (tmp_path / "back").read_bytes() == body


@pytest.mark.parametrize("script", ["s3fs_files", "pyarrow_files", "duckdb_files"])
def test_library(server: Served, bucket: str, script: str) -> None:
    command = [str(interpreter("libraries")), str(HERE / f"{script}.py"), server.endpoint, bucket]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=180)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr[-2000:]
