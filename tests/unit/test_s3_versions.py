"""S3's versions: what writes and deletes leave behind, and that nothing of it stays when it has been deleted."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.services.s3 import keys
from penstock.store.tuples import pack, prefix_end
from penstock.wire.errors import AwsError
from s3_node import S3

BIG = bytes(range(256)) * 400


@pytest.fixture
async def s3(tmp_path: Path) -> S3:
    node = S3(tmp_path)
    await node("CreateBucket", Bucket="bucket")
    return node


async def versioning(s3: S3, status: str) -> None:
    await s3("PutBucketVersioning", Bucket="bucket", VersioningConfiguration={"Status": status})


async def refused(awaitable: Awaitable[Any], code: str, status: int) -> AwsError:
    with pytest.raises(AwsError) as caught:
        await awaitable
    assert (caught.value.code, caught.value.status) == (code, status)
    return caught.value


async def put(s3: S3, key: str, body: bytes) -> str:
    return str((await s3("PutObject", Bucket="bucket", Key=key, Body=body))["VersionId"])


async def test_configuration(s3: S3) -> None:
    assert await s3("GetBucketVersioning", Bucket="bucket") == {}
    await versioning(s3, "Enabled")
    assert await s3("GetBucketVersioning", Bucket="bucket") == {"Status": "Enabled"}
    await versioning(s3, "Suspended")
    assert await s3("GetBucketVersioning", Bucket="bucket") == {"Status": "Suspended"}
    wanted = {"Status": "Enabled", "MFADelete": "Enabled"}
    await refused(s3("PutBucketVersioning", Bucket="bucket", VersioningConfiguration=wanted), "NotImplemented", 501)
    await refused(
        s3("PutBucketVersioning", Bucket="bucket", VersioningConfiguration={}),
        "IllegalVersioningConfigurationException", 400,
    )  # fmt: skip


@pytest.mark.parametrize("size", [5, 100_000])
async def test_old_versions_stay_and_come_back(s3: S3, size: int) -> None:
    bodies = [bytes([i]) * size for i in range(3)]
    await s3("PutObject", Bucket="bucket", Key="k", Body=bodies[0])
    await versioning(s3, "Enabled")
    first, second = "null", await put(s3, "k", bodies[1])
    third = await put(s3, "k", bodies[2])
    for version, body in zip((first, second, third), bodies, strict=True):
        assert await s3.get("bucket", "k", VersionId=version) == body
    assert await s3.get("bucket", "k") == bodies[2]
    assert (await s3("HeadObject", Bucket="bucket", Key="k"))["VersionId"] == third
    assert await s3("DeleteObject", Bucket="bucket", Key="k", VersionId=third) == {"VersionId": third}
    assert await s3.get("bucket", "k") == bodies[1]
    await s3("DeleteObject", Bucket="bucket", Key="k", VersionId=second)
    assert await s3.get("bucket", "k") == bodies[0]
    fourth = await put(s3, "k", b"again")
    assert await s3.get("bucket", "k", VersionId="null") == bodies[0]
    await s3("DeleteObject", Bucket="bucket", Key="k", VersionId=fourth)
    assert await s3.get("bucket", "k", VersionId="null") == bodies[0]
    await refused(s3.get("bucket", "k", VersionId=fourth), "NoSuchVersion", 404)
    await refused(s3.get("bucket", "k", VersionId="what"), "InvalidArgument", 400)


async def test_delete_markers(s3: S3) -> None:
    await versioning(s3, "Enabled")
    version = await put(s3, "k", b"v")
    deleted = await s3("DeleteObject", Bucket="bucket", Key="k")
    marker = deleted["VersionId"]
    assert deleted["DeleteMarker"] is True
    error = await refused(s3.get("bucket", "k"), "NoSuchKey", 404)
    assert error.headers == {"x-amz-delete-marker": "true", "x-amz-version-id": marker}
    error = await refused(s3.get("bucket", "k", VersionId=marker), "MethodNotAllowed", 405)
    assert error.headers["x-amz-delete-marker"] == "true"
    assert "Contents" not in await s3("ListObjectsV2", Bucket="bucket")
    listed = await s3("ListObjectVersions", Bucket="bucket")
    assert [(m["VersionId"], m["IsLatest"]) for m in listed["DeleteMarkers"]] == [(marker, True)]
    assert [(v["VersionId"], v["IsLatest"]) for v in listed["Versions"]] == [(version, False)]
    await refused(s3("DeleteBucket", Bucket="bucket"), "BucketNotEmpty", 409)
    gone = await s3("DeleteObject", Bucket="bucket", Key="k", VersionId=marker)
    assert gone == {"VersionId": marker, "DeleteMarker": True}
    assert await s3.get("bucket", "k") == b"v"
    batch = await s3(
        "DeleteObjects", Bucket="bucket", Delete={"Objects": [{"Key": "k"}, {"Key": "k", "VersionId": version}]}
    )
    assert batch["Deleted"][0]["DeleteMarker"] is True
    assert batch["Deleted"][1] == {"Key": "k", "VersionId": version}


async def test_put_if_absent_in_front_of_a_marker(s3: S3) -> None:
    await versioning(s3, "Enabled")
    version = await put(s3, "k", b"v")
    await refused(s3("PutObject", Bucket="bucket", Key="k", Body=b"", IfNoneMatch="*"), "PreconditionFailed", 412)
    await s3("DeleteObject", Bucket="bucket", Key="k")
    await s3("PutObject", Bucket="bucket", Key="k", Body=b"w", IfNoneMatch="*")
    assert await s3.get("bucket", "k", VersionId=version) == b"v"


async def test_copies_name_versions(s3: S3) -> None:
    await versioning(s3, "Enabled")
    old = await put(s3, "k", BIG)
    await put(s3, "k", b"new")
    copied = await s3("CopyObject", Bucket="bucket", Key="k", CopySource=f"bucket/k?versionId={old}")
    assert copied["CopySourceVersionId"] == old
    assert await s3.get("bucket", "k", VersionId=copied["VersionId"]) == BIG
    await s3("DeleteObject", Bucket="bucket", Key="k", VersionId=old)
    assert await s3.get("bucket", "k") == BIG


async def test_tags_of_versions(s3: S3) -> None:
    await versioning(s3, "Enabled")
    old = await put(s3, "k", b"1")
    new = await put(s3, "k", b"2")
    tagging = {"TagSet": [{"Key": "a", "Value": "b"}]}
    assert await s3("PutObjectTagging", Bucket="bucket", Key="k", VersionId=old, Tagging=tagging) == {"VersionId": old}
    got = await s3("GetObjectTagging", Bucket="bucket", Key="k", VersionId=old)
    assert got == {"VersionId": old, **tagging}
    assert await s3("GetObjectTagging", Bucket="bucket", Key="k") == {"VersionId": new, "TagSet": []}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("a a\0 b/1 b/2 c".split(" ")), st.sampled_from([3, 70_000])),
        st.tuples(st.just("delete"), st.sampled_from("a a\0 b/1 b/2 c".split(" ")), st.just(0)),
        st.tuples(st.just("delete version"), st.just(""), st.integers(0, 100)),
        st.tuples(st.just("status"), st.sampled_from(["Enabled", "Suspended"]), st.just(0)),
    ),
    max_size=25,
)


class Model:
    """What a versioned bucket holds: (key, id) -> body or None for a marker, each key's newest first."""

    def __init__(self) -> None:
        self.status = ""
        self.versions: dict[str, list[tuple[str, bytes | None]]] = {}

    def add(self, key: str, version_id: str, body: bytes | None) -> None:
        kept = [item for item in self.versions.get(key, []) if item[0] != version_id]
        self.versions[key] = [(version_id, body), *kept]

    def listed(self) -> list[tuple[str, str, bool, bool]]:
        return [
            (key, version_id, body is None, i == 0)
            for key, found in sorted(self.versions.items(), key=lambda item: item[0].encode())
            for i, (version_id, body) in enumerate(found)
        ]


async def step(s3: S3, model: Model, what: str, key: str, n: int) -> None:
    if what == "status":
        await versioning(s3, key)
        model.status = key
    elif what == "put":
        body = bytes([len(model.listed())]) * n
        model.add(key, (await s3("PutObject", Bucket="bucket", Key=key, Body=body)).get("VersionId", "null"), body)
    elif what == "delete":
        done = await s3("DeleteObject", Bucket="bucket", Key=key)
        if model.status:
            model.add(key, done["VersionId"], None)
        else:
            model.versions.pop(key, None)
    elif model.listed():
        key, version_id, marker, _ = model.listed()[n % len(model.listed())]
        done = await s3("DeleteObject", Bucket="bucket", Key=key, VersionId=version_id)
        assert done.get("DeleteMarker", False) is marker
        model.versions[key] = [item for item in model.versions[key] if item[0] != version_id]
        if not model.versions[key]:
            del model.versions[key]


async def pages(s3: S3, size: int) -> list[tuple[str, str, bool, bool]]:
    found: list[tuple[str, str, bool, bool]] = []
    asked: dict[str, Any] = {"Bucket": "bucket", "MaxKeys": size}
    while True:
        page = await s3("ListObjectVersions", **asked)
        both = [(v, False) for v in page.get("Versions", [])] + [(m, True) for m in page.get("DeleteMarkers", [])]
        # The two kinds come apart in the dict; within a page they are put together again by the model's order.
        found += [(v["Key"], v["VersionId"], marker, v["IsLatest"]) for v, marker in both]
        if not page["IsTruncated"]:
            return found
        asked["KeyMarker"], asked["VersionIdMarker"] = page["NextKeyMarker"], page["NextVersionIdMarker"]


async def check(s3: S3, model: Model) -> None:
    expected = model.listed()
    for size in (1, 3, 1000):
        assert sorted(await pages(s3, size)) == sorted(expected)
    assert await pages(s3, 1) == expected
    for key, found in model.versions.items():
        for version_id, body in found:
            if body is not None:
                assert await s3.get("bucket", key, VersionId=version_id) == body
    current = {key: found[0][1] for key, found in model.versions.items() if found[0][1] is not None}
    listed = await s3("ListObjectsV2", Bucket="bucket")
    assert [item["Key"] for item in listed.get("Contents", [])] == sorted(current)
    for key, body in current.items():
        assert await s3.get("bucket", key) == body


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_any_history(steps: list[tuple[str, str, int]]) -> None:
    async def run(data: Path) -> None:
        s3, model = S3(data), Model()
        await s3("CreateBucket", Bucket="bucket")
        for one in steps:
            await step(s3, model, *one)
        await check(s3, model)
        while model.listed():
            await step(s3, model, "delete version", "", 0)
        await s3("DeleteBucket", Bucket="bucket")
        await s3.blobs.sweep()
        s3.clock.advance(300)
        await s3.blobs.sweep()
        assert not [path for path in (data / "blobs").rglob("*") if path.is_file() and path.parent.name != "holders"], (
            "blobs are left"
        )

        def left(txn: Any) -> list[bytes]:
            return [
                key for kind in "obgvwxn" for key, _ in txn.scan(pack(("s3", kind)), prefix_end(pack(("s3", kind))))
            ]

        assert await s3.store.transact(left, read_only=True) == []

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))


@given(st.text(max_size=4), st.text(max_size=4), st.integers(1, 2**62), st.integers(1, 2**62))
def test_keys_of_versions(a: str, b: str, one: int, other: int) -> None:
    if any("\ud800" <= c <= "\udfff" for c in a + b):
        return
    x, y = keys.version("n", a, one), keys.version("n", b, other)
    assert (x < y) == ((a.encode(), -one) < (b.encode(), -other))
    assert keys.split_version(x[len(keys.versions("n")) :]) == (a.encode(), one)
