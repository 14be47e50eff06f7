"""Two nodes on one PostgreSQL run the demo's pipeline; one is killed in the middle, the other finishes it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

import flights
from postgres import start_postgres
from served import Served


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Served, Served]]:
    with start_postgres() as url:
        key = tmp_path / "master.key"
        key.write_text(os.urandom(32).hex())
        shared = ("--store", url, "--blobs", f"file://{tmp_path / 'blobs'}", "--master-key-file", str(key))
        pair = Served(tmp_path / "a", *shared), Served(tmp_path / "b", *shared)
        started = []
        try:
            for node in pair:
                started.append(node.start())
            yield pair
        finally:
            for node in started:
                if node.process and node.process.poll() is None:
                    node.kill()


@pytest.mark.serial
@pytest.mark.timeout(300)
def test_the_other_node_finishes_the_job(nodes: tuple[Served, Served]) -> None:
    a, b = nodes
    wanted = flights.files(4)
    flights.deploy(a.endpoint)
    uploading = threading.Thread(target=flights.upload, args=([a.endpoint, b.endpoint], wanted, 120), daemon=True)
    uploading.start()
    end = time.monotonic() + 60
    while not flights.csv_keys(b.endpoint):
        assert time.monotonic() < end, "nothing was converted"
        time.sleep(0.05)
    a.kill()
    uploading.join(120)
    assert not uploading.is_alive()
    flights.wait(b.endpoint, wanted, 150)
    assert flights.wrong_rows(b.endpoint, wanted) == []
    assert flights.names(wanted) <= flights.csv_keys(b.endpoint)


@pytest.mark.serial
@pytest.mark.timeout(120)
def test_what_one_node_writes_the_other_reads_at_once(nodes: tuple[Served, Served]) -> None:
    a, b = nodes
    a.client("s3").create_bucket(Bucket="both")
    for n in range(20):
        writer, reader = (a, b) if n % 2 else (b, a)
        writer.client("s3").put_object(Bucket="both", Key="k", Body=b"%d" % n)
        assert reader.client("s3").get_object(Bucket="both", Key="k")["Body"].read() == b"%d" % n


@pytest.mark.serial
@pytest.mark.timeout(120)
def test_nodes_share_the_master_key(nodes: tuple[Served, Served]) -> None:
    a, b = nodes
    key_id = a.client("kms").create_key()["KeyMetadata"]["KeyId"]
    sealed = a.client("kms").encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    assert b.client("kms").decrypt(CiphertextBlob=sealed)["Plaintext"] == b"x"
    stranger = Served(b.data.with_name("c"), *b.flags[:4])
    with pytest.raises(RuntimeError, match="nodes that share a store share its key"):
        stranger.start()


@pytest.mark.serial
@pytest.mark.timeout(120)
def test_one_of_two_nodes_wins_and_each_leaves_the_others_uploads_alone(nodes: tuple[Served, Served]) -> None:
    clients = [node.client("s3") for node in nodes]
    clients[0].create_bucket(Bucket="race")
    upload = clients[0].create_multipart_upload(Bucket="race", Key="slow")["UploadId"]
    given = {"Bucket": "race", "Key": "slow", "UploadId": upload}
    parts = [{"PartNumber": 1, "ETag": clients[0].upload_part(**given, PartNumber=1, Body=b"1" * 6_000_000)["ETag"]}]

    def put(n: int) -> bool:
        try:
            clients[n % 2].put_object(Bucket="race", Key=f"k{n // 8}", Body=b"x" * 100_000 * (n % 3), IfNoneMatch="*")
        except ClientError as error:
            assert error.response["Error"]["Code"] == "PreconditionFailed"
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(put, range(64))) == 8
    nodes[1].restart()  # sweeps as it starts
    second = nodes[1].client("s3")
    parts.append({"PartNumber": 2, "ETag": second.upload_part(**given, PartNumber=2, Body=b"2" * 1_000_000)["ETag"]})
    second.complete_multipart_upload(**given, MultipartUpload={"Parts": parts})
    got = clients[0].get_object(Bucket="race", Key="slow")["Body"].read()
    assert got == b"1" * 6_000_000 + b"2" * 1_000_000
