"""A bucket with versions, locks and uploads under way against a model of it, with SIGKILL and restart as one of the steps."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

from botocore.exceptions import ClientError
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from served import Served

KEYS = st.sampled_from(["a", "a/b", "a/b\x7fc\r\n", "é&<>'\"", "\U0001f600 +%2F"])
BODIES = st.sampled_from([b"", b"small", b"L" * 70_000, b"M" * 300_000])
PART = b"P" * (5 * 1024 * 1024)
_shared: list[Served] = []


def served() -> Served:
    if not _shared:
        _shared.append(Served(Path(tempfile.mkdtemp(prefix="penstock-s3-model-"))).start())
    return _shared[0]


class Version:
    """One version as the model keeps it. body: None for a delete marker."""

    def __init__(self, version_id: str, body: bytes | None) -> None:
        self.id = version_id
        self.body = body
        self.etag = ""
        self.held = False
        self.governed = False


class BucketModel(RuleBasedStateMachine):
    """The model: each key's versions, newest first, and the uploads under way with their parts."""

    @initialize()
    def make(self) -> None:
        self.bucket = f"model-{uuid4().hex}"
        self.versions: dict[str, list[Version]] = {}
        self.uploads: dict[str, tuple[str, dict[int, tuple[bytes, str]]]] = {}
        self.connect()
        self.client.create_bucket(Bucket=self.bucket, ObjectLockEnabledForBucket=True)

    def connect(self) -> None:
        self.client = served().client("s3")

    def code(self, operation: str, **params: Any) -> str:
        """What the call is refused with, "" if it is not; its answer is in `self.answer`."""
        try:
            self.answer = getattr(self.client, operation)(Bucket=self.bucket, **params)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return ""

    def current(self, key: str) -> Version | None:
        found = self.versions.get(key)
        return found[0] if found and found[0].body is not None else None

    def add(self, key: str, body: bytes | None, answer: dict[str, Any]) -> None:
        version = Version(answer["VersionId"], body)
        version.etag = answer.get("ETag", "")
        self.versions.setdefault(key, []).insert(0, version)

    @rule(key=KEYS, body=BODIES, condition=st.sampled_from(["", "absent", "match", "stale"]))
    def put(self, key: str, body: bytes, condition: str) -> None:
        current = self.current(key)
        given: dict[str, Any] = {}
        expected = ""
        if condition == "absent":
            given = {"IfNoneMatch": "*"}
            expected = "" if current is None else "PreconditionFailed"
        elif condition:
            given = {"IfMatch": current.etag if current is not None and condition == "match" else "0" * 32}
            expected = "NoSuchKey" if current is None else "" if condition == "match" else "PreconditionFailed"
        assert self.code("put_object", Key=key, Body=body, **given) == expected
        if not expected:
            self.add(key, body, self.answer)

    @rule(source=KEYS, into=KEYS)
    def copy(self, source: str, into: str) -> None:
        found = self.current(source)
        params = {"Key": into, "CopySource": {"Bucket": self.bucket, "Key": source}, "MetadataDirective": "REPLACE"}
        assert self.code("copy_object", **params) == ("" if found is not None else "NoSuchKey")
        if found is not None:
            self.add(into, found.body, {**self.answer, "ETag": self.answer["CopyObjectResult"]["ETag"]})

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        assert self.code("delete_object", Key=key) == ""
        self.add(key, None, self.answer)

    def any_version(self, data: st.DataObject) -> tuple[str, Version]:
        key = data.draw(st.sampled_from(sorted(self.versions)))
        return key, data.draw(st.sampled_from(self.versions[key]))

    @precondition(lambda self: self.versions)
    @rule(data=st.data(), bypass=st.booleans())
    def delete_version(self, data: st.DataObject, bypass: bool) -> None:
        key, version = self.any_version(data)
        given = {"BypassGovernanceRetention": True} if bypass else {}
        stays = version.held or (version.governed and not bypass)
        assert self.code("delete_object", Key=key, VersionId=version.id, **given) == ("AccessDenied" if stays else "")
        if not stays:
            self.versions[key].remove(version)
            if not self.versions[key]:
                del self.versions[key]

    @precondition(lambda self: self.versions)
    @rule(data=st.data(), held=st.booleans())
    def hold(self, data: st.DataObject, held: bool) -> None:
        key, version = self.any_version(data)
        params = {"Key": key, "VersionId": version.id, "LegalHold": {"Status": "ON" if held else "OFF"}}
        code = self.code("put_object_legal_hold", **params)
        assert code == ("" if version.body is not None else "MethodNotAllowed")
        version.held = held if not code else version.held

    @precondition(lambda self: self.versions)
    @rule(data=st.data())
    def govern(self, data: st.DataObject) -> None:
        key, version = self.any_version(data)
        retention = {"Mode": "GOVERNANCE", "RetainUntilDate": "2099-01-01T00:00:00Z"}
        code = self.code("put_object_retention", Key=key, VersionId=version.id, Retention=retention)
        assert code == ("" if version.body is not None else "MethodNotAllowed")
        version.governed = version.governed or not code

    @rule(key=KEYS)
    def begin_upload(self, key: str) -> None:
        assert self.code("create_multipart_upload", Key=key) == ""
        self.uploads[self.answer["UploadId"]] = (key, {})

    @precondition(lambda self: self.uploads)
    @rule(data=st.data(), number=st.integers(1, 3), body=st.sampled_from([PART, b"tail", b""]))
    def upload_part(self, data: st.DataObject, number: int, body: bytes) -> None:
        upload_id = data.draw(st.sampled_from(sorted(self.uploads)))
        key, parts = self.uploads[upload_id]
        assert self.code("upload_part", Key=key, UploadId=upload_id, PartNumber=number, Body=body) == ""
        parts[number] = (body, self.answer["ETag"])

    @precondition(lambda self: self.uploads)
    @rule(data=st.data(), absent=st.booleans())
    def complete(self, data: st.DataObject, absent: bool) -> None:
        upload_id = data.draw(st.sampled_from(sorted(self.uploads)))
        key, parts = self.uploads[upload_id]
        named = [{"PartNumber": number, "ETag": etag} for number, (_, etag) in sorted(parts.items())]
        bodies = [body for _, (body, _) in sorted(parts.items())]
        expected = ""
        if not named:
            expected = "InvalidRequest"
        elif any(len(body) < len(PART) for body in bodies[:-1]):
            expected = "EntityTooSmall"
        elif absent and self.current(key) is not None:
            expected = "PreconditionFailed"
        params = {"Key": key, "UploadId": upload_id, "MultipartUpload": {"Parts": named}}
        assert self.code("complete_multipart_upload", **params, **({"IfNoneMatch": "*"} if absent else {})) == expected
        if not expected:
            del self.uploads[upload_id]
            self.add(key, b"".join(bodies), self.answer)
            assert self.code("upload_part", Key=key, UploadId=upload_id, PartNumber=1, Body=b"") == "NoSuchUpload"

    @precondition(lambda self: self.uploads)
    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        upload_id = data.draw(st.sampled_from(sorted(self.uploads)))
        key, _ = self.uploads.pop(upload_id)
        assert self.code("abort_multipart_upload", Key=key, UploadId=upload_id) == ""

    @rule(luck=st.integers(0, 3))
    def crash(self, luck: int) -> None:
        if luck == 0:
            served().restart()
            self.connect()
            self.everything_reads_back()

    @rule()
    def everything_reads_back(self) -> None:
        for key, found in self.versions.items():
            for version in found:
                if version.body is not None:
                    assert self.code("get_object", Key=key, VersionId=version.id) == ""
                    assert self.answer["Body"].read() == version.body
                    assert self.answer.get("ObjectLockLegalHoldStatus", "OFF") == ("ON" if version.held else "OFF")
                    assert ("ObjectLockMode" in self.answer) is version.governed
        for upload_id, (key, parts) in self.uploads.items():
            assert self.code("list_parts", Key=key, UploadId=upload_id) == ""
            told = {part["PartNumber"]: part["Size"] for part in self.answer.get("Parts", [])}
            assert told == {number: len(body) for number, (body, _) in parts.items()}

    @invariant()
    def listings_agree(self) -> None:
        if not hasattr(self, "versions"):
            return
        listed: dict[str, list[tuple[Any, str, bool]]] = {}
        for page in self.client.get_paginator("list_object_versions").paginate(Bucket=self.bucket):
            for entry in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
                item = (entry["LastModified"], entry["VersionId"], entry["IsLatest"])
                listed.setdefault(entry["Key"], []).append(item)
        assert {key: {item[1] for item in found} for key, found in listed.items()} == {
            key: {version.id for version in found} for key, found in self.versions.items()
        }
        latest = {key: [item[1] for item in found if item[2]] for key, found in listed.items()}
        assert latest == {key: [found[0].id] for key, found in self.versions.items()}
        shown = self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        current = {key: found for key in self.versions if (found := self.current(key)) is not None}
        assert [entry["Key"] for entry in shown] == sorted(current, key=str.encode)
        assert {entry["Key"]: entry["ETag"] for entry in shown} == {key: found.etag for key, found in current.items()}


def test_a_bucket_is_what_its_model_says() -> None:
    try:
        case = BucketModel.TestCase
        case.settings = settings(
            max_examples=6,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
        case("runTest").runTest()
    finally:
        for server in _shared:
            server.kill()
        _shared.clear()
