"""Programs and libraries that speak S3, unmodified, against a real server; each where it is installed."""

from __future__ import annotations

import importlib
import os
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from clients.test_cli import AWS, aws, bare
from served import Served


@pytest.fixture
def bucket(server: Served) -> str:
    name = f"tools-{uuid.uuid4().hex[:10]}"
    server.client("s3").create_bucket(Bucket=name)
    return name


def library(name: str) -> Any:
    """A module that is not a dependency of ours."""
    return pytest.importorskip(name)


def cli() -> None:
    if AWS is None or subprocess.run([AWS, "--version"], capture_output=True, env=bare(), timeout=60).returncode:
        pytest.skip("the AWS CLI is not installed")


def test_cli_sync_mv_and_rb(server: Served, bucket: str, tmp_path: Path) -> None:
    cli()
    here, back = tmp_path / "here", tmp_path / "back"
    for i, folder in enumerate(("", "a", "a/b c", "é")):
        (here / folder).mkdir(parents=True, exist_ok=True)
        (here / folder / f"{i}.txt").write_bytes(os.urandom(1000 * i))
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
    transfer = library("boto3.s3.transfer")
    s3 = server.client("s3", max_pool_connections=20)
    config = transfer.TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20, max_concurrency=16)
    body = os.urandom(64 << 20)
    (tmp_path / "there").write_bytes(body)
    s3.upload_file(str(tmp_path / "there"), bucket, "large", Config=config)
    assert s3.head_object(Bucket=bucket, Key="large")["ETag"].endswith('-13"')
    s3.copy({"Bucket": bucket, "Key": "large"}, bucket, "copy", Config=config)
    s3.download_file(bucket, "copy", str(tmp_path / "back"), Config=config)
    assert (tmp_path / "back").read_bytes() == body


def test_s3fs(server: Served, bucket: str) -> None:
    s3fs = library("s3fs")
    fs = s3fs.S3FileSystem(
        key="test", secret="test", endpoint_url=server.endpoint, client_kwargs={"region_name": "us-east-1"}
    )
    body = os.urandom(12_000_000)
    with fs.open(f"{bucket}/a/b.bin", "wb", block_size=5 << 20) as file:
        file.write(body)
    fs.pipe(f"{bucket}/a/c.txt", b"line 1\nline 2\n")
    assert sorted(fs.ls(f"{bucket}/a", detail=False)) == [f"{bucket}/a/b.bin", f"{bucket}/a/c.txt"]
    with fs.open(f"{bucket}/a/b.bin", "rb") as file:
        file.seek(6_000_000)
        assert file.read(100) == body[6_000_000:6_000_100]
    fs.mv(f"{bucket}/a/c.txt", f"{bucket}/d.txt")
    assert fs.cat(f"{bucket}/d.txt") == b"line 1\nline 2\n"
    assert fs.info(f"{bucket}/a/b.bin")["size"] == len(body)
    fs.rm(f"{bucket}/a", recursive=True)
    assert not fs.exists(f"{bucket}/a/b.bin")


def test_pyarrow(server: Served, bucket: str) -> None:
    fs = library("pyarrow.fs")
    pa, parquet, dataset = library("pyarrow"), library("pyarrow.parquet"), library("pyarrow.dataset")
    host = server.endpoint.removeprefix("http://")
    s3 = fs.S3FileSystem(
        access_key="test", secret_key="test", endpoint_override=host, scheme="http", region="us-east-1"
    )  # fmt: skip
    table = pa.table({"year": [2024, 2025, 2025], "mass": [3750, 5050, 5200]})
    parquet.write_table(table, f"{bucket}/one.parquet", filesystem=s3)
    assert parquet.read_table(f"{bucket}/one.parquet", filesystem=s3, columns=["mass"]).to_pydict() == {
        "mass": [3750, 5050, 5200]
    }
    parquet.write_to_dataset(table, f"{bucket}/tree", partition_cols=["year"], filesystem=s3)
    back = dataset.dataset(f"{bucket}/tree", filesystem=s3, partitioning="hive")
    assert sorted(back.to_table(filter=dataset.field("year") == 2025).to_pydict()["mass"]) == [5050, 5200]
    body = os.urandom(11_000_000)
    with s3.open_output_stream(f"{bucket}/large") as stream:
        stream.write(body)
    with s3.open_input_file(f"{bucket}/large") as file:
        assert file.read_at(1000, 10_500_000) == body[10_500_000:10_501_000]
    assert s3.get_file_info(f"{bucket}/large").size == len(body)
    s3.delete_dir(f"{bucket}/tree")
    assert [info.base_name for info in s3.get_file_info(fs.FileSelector(bucket))] == ["large", "one.parquet"]


def test_duckdb_httpfs(server: Served, bucket: str) -> None:
    duckdb = importlib.import_module("duckdb")
    session = duckdb.connect()
    try:
        session.execute("INSTALL httpfs; LOAD httpfs")
    except duckdb.Error as error:
        pytest.skip(f"httpfs cannot be installed: {str(error)[:200]}")
    host = server.endpoint.removeprefix("http://")
    session.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID 'test', SECRET 'test', ENDPOINT '{host}', URL_STYLE 'path', USE_SSL false)"
    )
    session.execute(f"COPY (SELECT range AS i, range % 7 AS k FROM range(100000)) TO 's3://{bucket}/t.parquet'")
    assert session.execute(f"SELECT sum(i) FROM 's3://{bucket}/t.parquet' WHERE k = 3").fetchall() == [
        (sum(i for i in range(100000) if i % 7 == 3),)
    ]
    session.execute(
        f"COPY (SELECT 1 AS a) TO 's3://{bucket}/c/one.csv'; COPY (SELECT 2 AS a) TO 's3://{bucket}/c/two.csv'"
    )
    assert session.execute(f"SELECT sum(a) FROM 's3://{bucket}/c/*.csv'").fetchall() == [(3,)]
