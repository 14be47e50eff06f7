"""S3's browser uploads: a multipart form whose fields stand for the headers of a PutObject.

The form is read until its file begins; the file then streams on as the body of the PutObject that the form asks for. What
comes behind the file is ignored. Source: "Browser-based uploads using POST" in the Amazon S3 API reference, its "POST
object" page in the same place, and "HTML form fields" for which names stand for what.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from urllib.parse import quote, urlencode, urlsplit
from xml.sax.saxutils import escape

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from penstock.wire import xml_tree
from penstock.wire.errors import AwsError
from penstock.wire.message import BodyStream, Request, Response

CONTENT_TYPE = "multipart/form-data"
NOT_ALLOWED = "The specified method is not allowed against this resource."
FIELD_BYTES = 20 * 1024
"""All fields before the file, names and values together."""
_HEADERS = frozenset({
    "cache-control", "content-disposition", "content-encoding", "content-language", "content-md5", "content-type",
    "expires",
})  # fmt: skip
_NOT_HEADERS = frozenset({
    "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-security-token", "x-amz-signature",
})  # fmt: skip
_CONTROL = re.compile(r"[\x00-\x1f\x7f]").search


class PostForm:
    """An upload by form, read up to its file.

    fields: the fields before the file by their names in lower case, as latin-1 text that stands for the bytes.
    content: the file, or what has come of it, and how it goes on.
    """

    def __init__(self, fields: dict[str, str], file_name: str, content: FileContent) -> None:
        self.fields = fields
        self.content = content
        if not fields.get("key"):
            raise AwsError(
                "InvalidArgument",
                "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields.",
                400,
                members={"ArgumentName": "key", "ArgumentValue": ""},
            )
        if file_name:
            fields["key"] = fields["key"].replace("${filename}", file_name)

    def as_put(self, request: Request) -> Request:
        """The PutObject that this form stands for. Raises AwsError InvalidArgument, MalformedXML."""
        kept = ("host", "origin", "user-agent")
        headers: dict[str, str] = {name: request.headers[name] for name in kept if name in request.headers}
        for name, value in self.fields.items():
            if name in _HEADERS or (name.startswith("x-amz-") and name not in _NOT_HEADERS):
                headers[name] = _header(name, value)
        if "acl" in self.fields:
            headers["x-amz-acl"] = _header("acl", self.fields["acl"])
        if "tagging" in self.fields:
            headers["x-amz-tagging"] = _tagging(self.fields["tagging"])
        path = f"{request.path.rstrip('/')}/{quote(self.fields['key'].encode('latin-1'), safe='/-._~')}"
        return Request(
            "PUT", path, "", headers, stream=self.content, peer=request.peer, secure=request.secure, tls=request.tls,
            http_version=request.http_version, received_at=request.received_at,
        )  # fmt: skip

    def answer(self, put: Request, bucket: str, response: Response) -> Response:
        """What the form wants to hear of a PutObject that went well: a redirect, or 200, 201 or 204."""
        etag = next((value for name, value in response.headers if name.lower() == "etag"), "")
        key = self.fields["key"].encode("latin-1").decode("utf-8", "replace")
        headers = [(name, value) for name, value in response.headers if name.lower() != "content-type"]
        wanted = self.fields.get("success_action_redirect") or self.fields.get("redirect", "")
        target = _redirect(wanted, bucket, key, etag) if wanted else None
        if target is not None:
            return Response(303, [*headers, ("Location", target)])
        location = f"{'https' if put.secure else 'http'}://{put.headers.get('host', '')}{put.path}"
        headers.append(("Location", location))
        status = self.fields.get("success_action_status", "")
        if status != "201":
            return Response(200 if status == "200" else 204, headers)
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<PostResponse>'
            f"<Location>{escape(location)}</Location><Bucket>{escape(bucket)}</Bucket>"
            f"<Key>{escape(key)}</Key><ETag>{escape(etag)}</ETag></PostResponse>"
        )
        return Response(201, [*headers, ("Content-Type", "application/xml")], body.encode())


class FileContent:
    """The form's file as a body: iterate once. Raises AwsError where its size is out of bounds or the form breaks off.

    least_bytes, most_bytes: the policy's content-length-range.
    """

    def __init__(self, reader: _Reader, pieces: AsyncIterator[bytes]) -> None:
        self.length: int | None = None
        self.trailers: dict[str, str] = {}
        self.least_bytes = 0
        self.most_bytes = 5 * 1024**3
        self._reader = reader
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        reader, size = self._reader, 0
        while True:
            for piece in reader.take():
                size += len(piece)
                if size > self.most_bytes:
                    raise AwsError(
                        "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size", 400,
                        members={"ProposedSize": str(size), "MaxSizeAllowed": str(self.most_bytes)},
                    )  # fmt: skip
                yield piece
            if reader.file_ended:
                break
            await _more(reader, self._pieces)
        if size < self.least_bytes:
            raise AwsError(
                "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size", 400,
                members={"ProposedSize": str(size), "MinSizeAllowed": str(self.least_bytes)},
            )  # fmt: skip


def is_form(request: Request) -> bool:
    """Whether a request that is no operation of S3's is an upload by form."""
    return (
        request.method == "POST"
        and request.query == ""
        and request.headers.get("content-type", "").lower().startswith(CONTENT_TYPE)
    )


async def read(request: Request) -> PostForm:
    """Read the form up to its file. Raises AwsError MalformedPOSTRequest, InvalidArgument, MaxPostPreDataLengthExceeded."""
    _, options = parse_options_header(request.headers["content-type"].encode("latin-1"))
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= 70:
        raise _malformed()
    reader = _Reader(boundary)
    pieces = _pieces(request.body, request.stream)
    while not reader.in_file:
        if reader.ended:
            raise AwsError(
                "InvalidArgument", "POST requires exactly one file upload per request.", 400,
                members={"ArgumentName": "file", "ArgumentValue": "0"},
            )  # fmt: skip
        await _more(reader, pieces)
    return PostForm(reader.fields, reader.file_name, FileContent(reader, pieces))


async def _pieces(body: bytes, stream: BodyStream | None) -> AsyncIterator[bytes]:
    if stream is None:
        yield body
    else:
        async for piece in stream:
            yield bytes(piece)


async def _more(reader: _Reader, pieces: AsyncIterator[bytes]) -> None:
    try:
        piece = await anext(pieces)
    except StopAsyncIteration:
        raise _malformed() from None
    reader.feed(piece)


class _Reader:
    """A multipart parser's callbacks: gathers fields, then hands the file on. Later parts are dropped."""

    def __init__(self, boundary: bytes) -> None:
        self.fields: dict[str, str] = {}
        self.file_name = ""
        self.in_file = False
        self.file_ended = False
        self.ended = False
        self._content: list[bytes] = []
        self._name = ""
        self._header = b""
        self._headers: dict[bytes, bytes] = {}
        self._value: list[bytes] = []
        self._held_bytes = 0
        calls: dict[str, Callable[..., None]] = {
            "on_part_begin": self._part_begins,
            "on_part_data": self._part_data,
            "on_part_end": self._part_ends,
            "on_header_begin": self._header_begins,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_headers_finished": self._headers_finished,
            "on_end": self._end,
        }
        self._parser = MultipartParser(boundary, calls)  # type: ignore[arg-type]
        self._header_text = b""

    def feed(self, piece: bytes) -> None:
        try:
            self._parser.write(piece)
        except MultipartParseError:
            raise _malformed() from None

    def take(self) -> list[bytes]:
        """What has come of the file since."""
        taken, self._content = self._content, []
        return taken

    def _part_begins(self) -> None:
        self._headers, self._value, self._name = {}, [], ""

    def _header_begins(self) -> None:
        self._header = self._header_text = b""

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._hold(end - start)
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._hold(end - start)
        self._header_text += data[start:end]
        self._headers[self._header.lower()] = self._header_text

    def _headers_finished(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if self.file_ended:
            return
        if kind != b"form-data" or b"name" not in options:
            raise _malformed()
        self._name = options[b"name"].decode("latin-1").lower()
        self._hold(len(self._name))
        if self._name == "file":
            self.in_file = True
            self.file_name = options.get(b"filename", b"").decode("latin-1").rpartition("/")[2].rpartition("\\")[2]

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self.file_ended:
            return
        if self.in_file:
            self._content.append(data[start:end])
        else:
            self._hold(end - start)
            self._value.append(data[start:end])

    def _part_ends(self) -> None:
        if self.in_file:
            self.file_ended = True
        else:
            self.fields[self._name] = b"".join(self._value).decode("latin-1")

    def _end(self) -> None:
        self.ended = True

    def _hold(self, size: int) -> None:
        self._held_bytes += size
        if self._held_bytes > FIELD_BYTES and not self.file_ended:
            raise AwsError(
                "MaxPostPreDataLengthExceededError",
                "Your POST request fields preceding the upload file were too large.",
                400,
                members={"MaxPostPreDataLengthExceeded": str(FIELD_BYTES)},
            )


def _header(name: str, value: str) -> str:
    """A field's value as a header's. Raises AwsError InvalidArgument: what comes back as a header may not end a line."""
    if _CONTROL(value):
        raise AwsError(
            "InvalidArgument", "Header value cannot be represented.", 400, members={"ArgumentName": name}
        )  # fmt: skip
    return value.strip()


def _tagging(document: str) -> str:
    """The tags of a Tagging document as the header has them. Raises AwsError MalformedXML."""
    try:
        root = xml_tree.parse(document.encode("latin-1"))
    except xml_tree.BadXmlError:
        raise AwsError(
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema",
            400,
        ) from None
    pairs = []
    for tag in root.iter():
        if xml_tree.local(tag.tag) == "Tag":
            found = {xml_tree.local(child.tag): child.text or "" for child in tag}
            pairs.append((found.get("Key", ""), found.get("Value", "")))
    return urlencode(pairs)


def _redirect(wanted: str, bucket: str, key: str, etag: str) -> str | None:
    """The address to go on to, with what was stored; None where it is no http address."""
    try:
        parts = urlsplit(wanted)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.netloc or _CONTROL(wanted):
        return None
    told = urlencode({"bucket": bucket, "key": key, "etag": etag})
    return parts._replace(query=f"{parts.query}&{told}" if parts.query else told).geturl()


def _malformed() -> AwsError:
    return AwsError(
        "MalformedPOSTRequest", "The body of your POST request is not well-formed multipart/form-data.", 400
    )
