"""S3's access control lists: off by default, and what they let callers of other accounts do where they are on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.core.identity import ANONYMOUS, root
from penstock.services.s3.grants import ALL_USERS, canonical_id
from penstock.wire.errors import AwsError
from s3_node import ACCOUNT, S3

OTHER = "222222222222"


class Buckets(S3):
    async def refused(self, operation: str, code: str, **params: Any) -> None:
        with pytest.raises(AwsError) as caught:
            await self(operation, Bucket="bucket", **params)
        assert caught.value.code == code, caught.value

    async def other(self, operation: str, **params: Any) -> dict[str, Any]:
        return await self(operation, Bucket="bucket", principal=root(OTHER), account=OTHER, **params)

    async def anybody(self, operation: str, **params: Any) -> dict[str, Any]:
        return await self(operation, Bucket="bucket", principal=ANONYMOUS, **params)


@pytest.fixture
async def s3(tmp_path: Path) -> Buckets:
    node = Buckets(tmp_path)
    await node("CreateBucket", Bucket="bucket")
    return node


async def with_lists(s3: Buckets, ownership: str = "ObjectWriter") -> None:
    controls = {"Rules": [{"ObjectOwnership": ownership}]}
    await s3("PutBucketOwnershipControls", Bucket="bucket", OwnershipControls=controls)
    await s3("DeletePublicAccessBlock", Bucket="bucket")


async def denied(awaitable: Any) -> None:
    with pytest.raises(AwsError) as caught:
        await awaitable
    assert caught.value.code == "AccessDenied", caught.value


async def test_lists_are_off(s3: Buckets) -> None:
    got = await s3("GetBucketOwnershipControls", Bucket="bucket")
    assert got["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    await s3.refused("PutBucketAcl", "AccessControlListNotSupported", ACL="public-read")
    await s3.refused("PutObject", "AccessControlListNotSupported", Key="k", Body=b"", ACL="public-read")
    await s3("PutObject", Bucket="bucket", Key="k", Body=b"", ACL="bucket-owner-full-control")
    await s3.refused("PutObjectAcl", "AccessControlListNotSupported", Key="k", GrantRead=f'uri="{ALL_USERS}"')
    me = {"Type": "CanonicalUser", "ID": canonical_id(ACCOUNT)}
    got = await s3("GetObjectAcl", Bucket="bucket", Key="k")
    assert got == {"Owner": {"ID": me["ID"]}, "Grants": [{"Grantee": me, "Permission": "FULL_CONTROL"}]}
    with pytest.raises(AwsError, match="InvalidBucketAclWithObjectOwnership"):
        await s3("CreateBucket", Bucket="public", ACL="public-read")
    with pytest.raises(AwsError, match="InvalidBucketAclWithBlockPublicAccessError"):
        await s3("CreateBucket", Bucket="public", ACL="public-read", ObjectOwnership="ObjectWriter")


async def test_the_world_may_read_and_write(s3: Buckets) -> None:
    await with_lists(s3)
    await s3("PutObject", Bucket="bucket", Key="k", Body=b"x")
    await denied(s3.anybody("GetObject", Key="k"))
    await s3("PutObjectAcl", Bucket="bucket", Key="k", ACL="public-read")
    assert (await s3.anybody("GetObject", Key="k"))["Body"] == b"x"
    await denied(s3.anybody("ListObjectsV2"))
    await denied(s3.anybody("PutObject", Key="new", Body=b""))
    await s3("PutBucketAcl", Bucket="bucket", ACL="public-read-write")
    assert len((await s3.anybody("ListObjectsV2"))["Contents"]) == 1
    await s3.anybody("PutObject", Key="new", Body=b"")
    await denied(s3.anybody("GetBucketAcl"))
    block = {"IgnorePublicAcls": True, "BlockPublicAcls": True}
    await s3("PutPublicAccessBlock", Bucket="bucket", PublicAccessBlockConfiguration=block)
    await denied(s3.anybody("GetObject", Key="k"))
    await s3.refused("PutBucketAcl", "AccessDenied", ACL="public-read")
    await s3.refused("PutObject", "AccessDenied", Key="k", Body=b"", ACL="authenticated-read")


async def test_grants_to_another_account(s3: Buckets) -> None:
    await with_lists(s3)
    await s3("PutObject", Bucket="bucket", Key="k", Body=b"x", GrantRead=f'id="{canonical_id(OTHER)}"')
    assert (await s3.other("GetObject", Key="k"))["Body"] == b"x"
    await denied(s3.other("GetObjectAcl", Key="k"))
    await denied(s3.other("DeleteObject", Key="k"))
    policy = {
        "Owner": {"ID": canonical_id(ACCOUNT)},
        "Grants": [
            {"Grantee": {"Type": "CanonicalUser", "ID": canonical_id(OTHER)}, "Permission": "READ_ACP"},
            {"Grantee": {"Type": "Group", "URI": ALL_USERS}, "Permission": "READ"},
        ],
    }
    await s3("PutObjectAcl", Bucket="bucket", Key="k", AccessControlPolicy=policy)
    assert await s3.other("GetObjectAcl", Key="k") == policy
    assert (await s3.anybody("HeadObject", Key="k"))["ContentLength"] == 1


@pytest.mark.parametrize("ownership", ["ObjectWriter", "BucketOwnerPreferred"])
async def test_whose_an_object_is(s3: Buckets, ownership: str) -> None:
    await with_lists(s3, ownership)
    await s3("PutBucketAcl", Bucket="bucket", GrantWrite=f"id={canonical_id(OTHER)}")
    await s3.other("PutObject", Key="theirs", Body=b"x")
    await denied(s3("GetObject", Bucket="bucket", Key="theirs"))
    assert (await s3.other("GetObject", Key="theirs"))["Body"] == b"x"
    listed = await s3("ListObjects", Bucket="bucket")
    assert listed["Contents"][0]["Owner"] == {"ID": canonical_id(OTHER)}
    await s3.other("PutObject", Key="given", Body=b"x", ACL="bucket-owner-full-control")
    assert (await s3("GetObject", Bucket="bucket", Key="given"))["Body"] == b"x"
    got = await s3("GetObjectAcl", Bucket="bucket", Key="given")
    assert got["Owner"]["ID"] == canonical_id(ACCOUNT if ownership == "BucketOwnerPreferred" else OTHER)
    await s3("DeleteObject", Bucket="bucket", Key="theirs")


async def test_what_is_refused(s3: Buckets) -> None:
    await with_lists(s3)
    await s3.refused("PutBucketAcl", "InvalidRequest", ACL="private", GrantRead=f"uri={ALL_USERS}")
    await s3.refused("PutBucketAcl", "InvalidArgument", GrantRead="id=nobody")
    await s3.refused("PutBucketAcl", "InvalidArgument", ACL="open")
    await s3.refused("PutBucketAcl", "MethodNotAllowed", GrantRead='emailAddress="a@b.c"')
    await s3.refused("PutBucketAcl", "MalformedACLError", AccessControlPolicy={"Grants": []})
    await s3("PutBucketAcl", Bucket="bucket", ACL="public-read")
    controls = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    await s3.refused("PutBucketOwnershipControls", "InvalidBucketAclWithObjectOwnership", OwnershipControls=controls)
    await s3("DeleteBucketOwnershipControls", Bucket="bucket")
    await s3.refused("GetBucketOwnershipControls", "OwnershipControlsNotFoundError")
