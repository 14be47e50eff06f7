"""Links to download a package, as GetFunction and GetLayerVersion give them: good for ten minutes, for whoever has one."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator

import msgspec

from penstock.blobs.api import BlobMissing
from penstock.core.call import Call
from penstock.core.master_key import MasterKeyError
from penstock.core.operation import Result
from penstock.core.web import Visit, site
from penstock.services.lambda_.packages import Package
from penstock.wire.message import Response

# https://docs.aws.amazon.com/lambda/latest/api/API_GetFunction.html
LINK_DURATION_S = 600
_BOUND_TO = b"lambda package link"


class _Link(msgspec.Struct, array_like=True):
    blob: str
    size_bytes: int
    expires_at: float


async def code(call: Call, package: Package) -> Result:
    """GetFunction's FunctionCodeLocation."""
    if package.image is not None:
        return {
            "RepositoryType": "ECR", "ImageUri": package.image.uri, "ResolvedImageUri": package.image.resolved
        }  # fmt: skip
    return {"RepositoryType": "S3", "Location": await location(call, package)}


async def location(call: Call, package: Package) -> str:
    """A link to the package, on the host that the caller came by."""
    if package.folder:
        return f"file://{package.folder}"
    key = await call.node.master_keys.get()
    link = _Link(package.blob, package.size_bytes, call.now + LINK_DURATION_S)
    token = base64.urlsafe_b64encode(key.seal(msgspec.msgpack.encode(link), _BOUND_TO)).decode().rstrip("=")
    settings = call.node.settings
    endpoint = call.endpoint or f"http://{settings.host}:{settings.port}"
    return f"{endpoint}/_lambda/packages/{token}"


@site("lambda:Download", path=r"/_lambda/packages/(?P<token>[A-Za-z0-9_-]{1,512})")
async def download(visit: Visit) -> Response:
    """The package that a link is for."""
    token = visit.labels["token"]
    try:
        key = await visit.node.master_keys.get()
        sealed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        link = msgspec.msgpack.decode(key.unseal(sealed, _BOUND_TO), type=_Link)
    except (MasterKeyError, binascii.Error, msgspec.DecodeError):
        return _refused(403, "SignatureDoesNotMatch", "The link is not one that this server has given out.")
    if link.expires_at < visit.node.clock.now():
        return _refused(403, "AccessDenied", "Request has expired")
    if visit.request.method not in ("GET", "HEAD"):
        return _refused(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
    chunks = visit.node.blobs.read(link.blob, 0, link.size_bytes)
    try:
        first = await anext(chunks)
    except BlobMissing:
        return _refused(404, "NoSuchKey", "The specified key does not exist.")
    headers = [("Content-Type", "application/zip")]
    if visit.request.method == "HEAD":
        await chunks.aclose()
        return Response(200, [*headers, ("Content-Length", str(link.size_bytes))])

    async def pieces() -> AsyncIterator[bytes]:
        yield first
        async for piece in chunks:
            yield piece

    return Response(200, headers, stream=pieces(), length=link.size_bytes)


def _refused(status: int, code: str, message: str) -> Response:
    """In S3's words: that is what such a link is on AWS."""
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Response(status, [("Content-Type", "application/xml")], text.encode())
