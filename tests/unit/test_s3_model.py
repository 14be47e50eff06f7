"""S3 against a dict: whatever sequence of calls is made, objects, listings and blobs are what the model says."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock.store.faulty import Faults, FaultyStore
from penstock.store.memory import MemoryStore
from penstock.wire.errors import AwsError
from s3_node import S3, left_behind

KEYS = st.text(alphabet="ab/\0é\U0001f600", min_size=1, max_size=4)
BODIES = st.sampled_from([b"", b"x", b"small" * 100, b"L" * 70_000, b"M" * 300_000])


def listed(model: dict[str, bytes], prefix: str, delimiter: str, start: str) -> list[str]:
    """What a listing shows, by the definition: keys and common prefixes in UTF-8 order, after `start`."""
    found: list[str] = []
    for key in sorted(model, key=str.encode):
        if not key.startswith(prefix) or (start and key.encode() <= start.encode()):
            continue
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        shown = key if cut < 0 else key[: cut + len(delimiter)]
        if cut >= 0 and shown == start:
            continue
        if not found or found[-1] != shown:
            found.append(shown)
    return found


class S3Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.model: dict[str, bytes] = {}
        self.sequencers: dict[str, int] = {}

    def call(self, operation: str, **params: Any) -> dict[str, Any]:
        return self.runner.run(self.s3(operation, Bucket="bucket", **params))

    @initialize(faulty=st.booleans())
    def begin(self, faulty: bool) -> None:
        """On the plain store, or on one that runs bodies again and answers late, as a busy database does."""

        async def make() -> S3:
            self.store = MemoryStore()
            return S3(
                self.folder, FaultyStore(self.store, 7, Faults(retry=0.2, delay_turns=3)) if faulty else self.store
            )

        self.s3 = self.runner.run(make())
        self.call("CreateBucket")

    def teardown(self) -> None:
        if hasattr(self, "s3"):
            for key in list(self.model):
                self.call("DeleteObject", Key=key)
            self.call("DeleteBucket")
            self.s3.clock.advance(3600)
            self.runner.run(self.s3.blobs.sweep())
            assert left_behind(self.store) == [], "records or blobs were left behind"
            assert [p for p in (self.folder / "blobs" / "data").rglob("*") if p.is_file()] == []
            self.runner.run(self.s3.blobs.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    @rule(key=KEYS, body=BODIES)
    def put(self, key: str, body: bytes) -> None:
        assert self.call("PutObject", Key=key, Body=body)["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
        self.model[key] = body

    @rule(key=KEYS, body=BODIES)
    def put_if_absent(self, key: str, body: bytes) -> None:
        try:
            self.call("PutObject", Key=key, Body=body, IfNoneMatch="*")
        except AwsError as error:
            assert error.code == "PreconditionFailed"
            assert key in self.model
        else:
            assert key not in self.model
            self.model[key] = body

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        try:
            assert self.runner.run(self.s3.get("bucket", key)) == self.model.get(key)
        except AwsError as error:
            assert error.code == "NoSuchKey"
            assert key not in self.model

    @rule(source=KEYS, into=KEYS)
    def copy(self, source: str, into: str) -> None:
        from urllib.parse import quote

        try:
            self.call("CopyObject", Key=into, CopySource=f"bucket/{quote(source)}", MetadataDirective="REPLACE")
        except AwsError as error:
            assert error.code == "NoSuchKey"
            assert source not in self.model
        else:
            self.model[into] = self.model[source]

    @rule(keys=st.lists(KEYS, min_size=1, max_size=5))
    def delete(self, keys: list[str]) -> None:
        self.call("DeleteObjects", Delete={"Objects": [{"Key": key} for key in keys]})
        for key in keys:
            self.model.pop(key, None)

    @rule(key=KEYS, bodies=st.lists(BODIES, min_size=1, max_size=3))
    def upload(self, key: str, bodies: list[bytes]) -> None:
        upload = self.call("CreateMultipartUpload", Key=key)["UploadId"]
        parts = []
        for number, body in enumerate(bodies, 1):
            put = self.call("UploadPart", Key=key, UploadId=upload, PartNumber=number, Body=body)
            parts.append({"PartNumber": number, "ETag": put["ETag"]})
        given = {"Key": key, "UploadId": upload}
        self.call("CompleteMultipartUpload", **given, MultipartUpload={"Parts": parts[-1:]})
        self.model[key] = bodies[-1]

    @rule(key=KEYS)
    def abort(self, key: str) -> None:
        upload = self.call("CreateMultipartUpload", Key=key)["UploadId"]
        self.call("UploadPart", Key=key, UploadId=upload, PartNumber=1, Body=b"M" * 300_000)
        self.call("AbortMultipartUpload", Key=key, UploadId=upload)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def read_a_range(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.model)))
        body = self.model[key]
        if body:
            begin = data.draw(st.integers(0, len(body) - 1))
            end = data.draw(st.integers(begin, len(body)))
            assert self.runner.run(self.s3.get("bucket", key, Range=f"bytes={begin}-{end}")) == body[begin : end + 1]

    @rule(prefix=st.text("ab/é", max_size=2), delimiter=st.sampled_from(["", "/", "b", "é"]), most=st.integers(1, 5))
    def list_in_pages(self, prefix: str, delimiter: str, most: int) -> None:
        expected = listed(self.model, prefix, delimiter, "")
        found: list[str] = []
        params: dict[str, Any] = {"Prefix": prefix, "Delimiter": delimiter, "MaxKeys": most}
        while True:
            page = self.call("ListObjectsV2", **params)
            shown = [c["Key"] for c in page.get("Contents", [])] + [c["Prefix"] for c in page.get("CommonPrefixes", [])]
            assert len(shown) == page["KeyCount"] <= most
            found += sorted(shown, key=str.encode)
            if not page["IsTruncated"]:
                break
            params["ContinuationToken"] = page["NextContinuationToken"]
        assert found == expected

    @rule(delimiter=st.sampled_from(["", "/"]), most=st.integers(1, 3))
    def list_by_marker(self, delimiter: str, most: int) -> None:
        found: list[str] = []
        params: dict[str, Any] = {"Delimiter": delimiter, "MaxKeys": most}
        while True:
            page = self.call("ListObjects", **params)
            shown = [c["Key"] for c in page.get("Contents", [])] + [c["Prefix"] for c in page.get("CommonPrefixes", [])]
            found += sorted(shown, key=str.encode)
            if not page["IsTruncated"]:
                break
            params["Marker"] = page.get("NextMarker") or page["Contents"][-1]["Key"]
        assert found == listed(self.model, "", delimiter, "")

    @rule(start=KEYS)
    def list_after(self, start: str) -> None:
        page = self.call("ListObjectsV2", StartAfter=start)
        assert [c["Key"] for c in page.get("Contents", [])] == listed(self.model, "", "", start)

    @invariant()
    def counts_agree(self) -> None:
        if hasattr(self, "s3"):
            assert self.call("ListObjectsV2")["KeyCount"] == len(self.model)


TestS3Model = S3Machine.TestCase
TestS3Model.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
