"""Deployment packages: checked, kept as blobs, and unpacked into folders that environments mount.

A package is hostile until proved otherwise: names that leave the folder, links out of it, and zip bombs are refused.
The folders are a cache of this process: wiped at start, made again from the blob when needed.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import shutil
import stat
import tarfile
import uuid
import zipfile
from pathlib import Path, PurePosixPath

import msgspec

from penstock.core.call import Call
from penstock.core.node import Node
from penstock.runtime import images
from penstock.services.lambda_.rules import UNZIPPED_BYTES_MAX, invalid
from penstock.wire.errors import AwsError
from penstock.wire.message import OutgoingStream

# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
ZIPPED_BYTES_MAX = 50 * 1024 * 1024
ENTRIES_MAX = 100_000
UNUSED_S = 3900.0
"""Longer than any invocation: 15 minutes, or an hour in a debugger."""
_NAME_BYTES_MAX, _PATH_BYTES_MAX = 255, 3000
"""What a file system takes; a path is longer by where it is unpacked."""
HOT_RELOAD = "hot-reload"
"""The name in place of a bucket that makes the key a folder of this host."""

_ENTRY, _END, _LOCATOR = b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x07"
_END_BYTES, _LOCATOR_BYTES, _LONG_END_BYTES = 22, 20, 56
_BAD_ZIP = "Could not unzip uploaded file. Please check your file, then try to upload again."


class ImageCode(msgspec.Struct, frozen=True, array_like=True):
    """What a container image says of itself, and by which name it was given and found."""

    uri: str
    resolved: str
    entry_point: tuple[str, ...]
    command: tuple[str, ...]
    working_directory: str
    environment: dict[str, str]


class Package(msgspec.Struct, frozen=True, array_like=True):
    """A stored package: the blob's name, its size in bytes and the base64 SHA-256 that AWS calls CodeSha256.

    Of a container image the blob is a tar archive of its files, and CodeSha256 its digest in hex.
    """

    blob: str
    size_bytes: int
    sha256: str
    unzipped_bytes: int = 0
    folder: str = ""
    """A live folder of the host in place of a blob."""
    image: ImageCode | None = None

    @property
    def shown_bytes(self) -> int:
        """What AWS calls CodeSize: nothing for a container image, which is kept elsewhere there."""
        return 0 if self.image is not None else self.size_bytes


async def body_of(call: Call, code: dict[str, object], what: str = "function") -> bytes:
    """The zip that a FunctionCode or LayerVersionContent names: inline, or read from S3 with the caller's own permissions.

    Raises InvalidParameterValueException, RequestEntityTooLargeException, and what S3 raises, in Lambda's words.
    """
    inline = code.get("ZipFile")
    if inline is not None and ("S3Bucket" in code or "S3Key" in code):
        raise invalid("Please do not provide other FunctionCode parameters when providing a ZipFile.")
    if isinstance(inline, bytes):
        if not inline:
            raise invalid("Uploaded file must be a non-empty zip")
        if len(inline) > ZIPPED_BYTES_MAX:
            raise AwsError(
                "RequestEntityTooLargeException", f"Zipped size must be smaller than {ZIPPED_BYTES_MAX} bytes", 413
            )
        return inline
    if "S3Bucket" not in code or "S3Key" not in code:
        raise invalid(f"Please provide a source for {what} code.")
    source = {"Bucket": code["S3Bucket"], "Key": code["S3Key"]}
    if "S3ObjectVersion" in code:
        source["VersionId"] = code["S3ObjectVersion"]
    try:
        found = await call.invoke("s3", "GetObject", source)
    except AwsError as error:
        raise invalid(
            f"Error occurred while GetObject. S3 Error Code: {error.code}. S3 Error Message: {error.message}"
        ) from error
    body = found["Body"]
    if isinstance(body, OutgoingStream):
        pieces = bytearray()
        async for piece in body.chunks:
            pieces += piece
            if len(pieces) > UNZIPPED_BYTES_MAX:
                raise invalid(f"Unzipped size must be smaller than {UNZIPPED_BYTES_MAX} bytes")
        return bytes(pieces)
    return bytes(body)


async def of_code(call: Call, code: dict[str, object]) -> Package:
    """The package that a FunctionCode names: stored, or a live folder. Raises as `body_of` and `store` do."""
    if code.get("S3Bucket") == HOT_RELOAD and "ZipFile" not in code:
        return _live(call, str(code.get("S3Key", "")))
    return await store(call, await body_of(call, code))


def _live(call: Call, key: str) -> Package:
    """A folder of this host, as it is at each invocation. Raises InvalidParameterValueException.

    Only what `function_folders` names may be run: whoever may make a function could else read the whole host.
    """
    allowed = [Path(part.strip()).resolve() for part in call.node.settings.function_folders.split(",") if part.strip()]
    folder = Path(key)
    if not folder.is_absolute() or not folder.is_dir():
        raise invalid(f"The bucket {HOT_RELOAD} takes the absolute path of a folder as its key; {key!r} is none.")
    folder = folder.resolve()
    if not any(folder.is_relative_to(root) for root in allowed):
        raise invalid(
            f"{folder} is not below a folder that functions may run live. Start the server with --function-folders "
            f"{folder} (or PENSTOCK_FUNCTION_FOLDERS) to let them."
        )
    digest = hashlib.sha256(str(folder).encode()).digest()
    return Package("", 0, base64.b64encode(digest).decode(), folder=str(folder))


async def store(call: Call, body: bytes) -> Package:
    """Check the zip and keep it as a blob, durable but not adopted. Raises InvalidParameterValueException."""
    unzipped_bytes = await asyncio.to_thread(check, body)
    digest = await asyncio.to_thread(lambda: hashlib.sha256(body).digest())
    writer = await call.blobs.create()
    try:
        await writer.write(body)
        await writer.finish()
    except BaseException:
        await writer.abort()
        raise
    return Package(writer.name, len(body), base64.b64encode(digest).decode(), unzipped_bytes)


def check(body: bytes) -> int:
    """How many bytes the zip unpacks to.

    Raises InvalidParameterValueException for what is no zip, or would unpack to something harmful.
    """
    if _entries_most(body) > ENTRIES_MAX:
        raise invalid(f"Unzipped size must be smaller than {UNZIPPED_BYTES_MAX} bytes")
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            entries = archive.infolist()
            if not entries:
                raise invalid("Uploaded file must be a non-empty zip")
            if len(entries) > ENTRIES_MAX or sum(e.file_size for e in entries) > UNZIPPED_BYTES_MAX:
                raise invalid(f"Unzipped size must be smaller than {UNZIPPED_BYTES_MAX} bytes")
            for entry in entries:
                _check_entry(archive, entry)
            _check_names(entries)
            return sum(entry.file_size for entry in entries)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, ValueError, RuntimeError) as error:
        raise invalid(_BAD_ZIP) from error


def _entries_most(body: bytes) -> int:
    """At most so many entries `zipfile` would find. It makes a kilobyte of each before anybody can count them, and a zip of
    250 MB may name five million.

    https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT: the directory lies before the record that ends it.
    """
    end = len(body) - _END_BYTES
    if body[end : end + 4] != _END or body[-2:] != bytes(2):  # there is a comment behind it
        end = body.rfind(_END, max(0, end - 0xFFFF))
    if end < 0:
        return 0
    size_bytes = int.from_bytes(body[end + 12 : end + 16], "little")
    long_end = end - _LOCATOR_BYTES - _LONG_END_BYTES
    if long_end >= 0 and body[end - _LOCATOR_BYTES : end - _LOCATOR_BYTES + 4] == _LOCATOR:
        size_bytes = max(size_bytes, int.from_bytes(body[long_end + 40 : long_end + 48], "little"))
        size_bytes += end - long_end
    return body.count(_ENTRY, max(0, end - size_bytes), end)


def _check_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    path = PurePosixPath(entry.filename)
    if (
        not entry.filename
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in entry.filename
        or "\0" in entry.filename
    ):
        raise invalid(_BAD_ZIP)
    if entry.flag_bits & 1:
        raise invalid(_BAD_ZIP)
    if stat.S_ISLNK(entry.external_attr >> 16):
        to = archive.read(entry).decode() if entry.file_size < 4096 else "/"
        target = PurePosixPath(to)
        if not to or "\0" in to or target.is_absolute() or _climbs(path.parent, target):
            raise invalid(_BAD_ZIP)


def _check_names(entries: list[zipfile.ZipInfo]) -> None:
    """Refuse what no folder could hold: a name too long, or one that is a file or a link and a folder at once."""
    leaves: set[PurePosixPath] = set()
    links: set[PurePosixPath] = set()
    folders: set[PurePosixPath] = set()
    for entry in entries:
        path = PurePosixPath(entry.filename)
        if len(entry.filename.encode()) > _PATH_BYTES_MAX or any(len(p.encode()) > _NAME_BYTES_MAX for p in path.parts):
            raise invalid(_BAD_ZIP)
        if entry.is_dir():
            folders.add(path)
        elif not path.parts or path in links or (stat.S_ISLNK(entry.external_attr >> 16) and path in leaves):
            raise invalid(_BAD_ZIP)
        else:
            leaves.add(path)
            if stat.S_ISLNK(entry.external_attr >> 16):
                links.add(path)
        folders.update(path.parents)
    if leaves & folders:
        raise invalid(_BAD_ZIP)


def _climbs(folder: PurePosixPath, target: PurePosixPath) -> bool:
    depth = len(folder.parts)
    for part in target.parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return True
    return False


class PackageFolders:
    """Unpacked packages of this process, one folder for each distinct content."""

    def __init__(self, node: Node) -> None:
        self._blobs = node.blobs
        self._clock = node.clock
        self._root = Path(node.settings.data) / "runtime" / "packages"
        self._wiped: asyncio.Task[None] | None = None
        self._folders: dict[str, asyncio.Task[Path]] = {}
        self._asked_at: dict[str, float] = {}

    async def folder(self, package: Package) -> Path:
        """The package's folder, unpacked if it is not there yet. Raises BlobMissing, OSError."""
        if package.folder:
            return Path(package.folder)
        if self._wiped is None:
            self._wiped = asyncio.create_task(asyncio.to_thread(_renew, self._root))
        self._asked_at[package.sha256] = self._clock.now()
        task = self._folders.get(package.sha256)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._folders[package.sha256] = asyncio.create_task(self._make(package, self._wiped))
        return await asyncio.shield(task)

    async def sweep(self, used: set[Path]) -> int:
        """Remove the folders that are not used, nor were for long enough that no environment can show them still.

        used: by functions as they are now. Returns how many were removed.
        """
        now, removed = self._clock.now(), 0
        for digest, task in list(self._folders.items()):
            if not task.done() or task.cancelled() or task.exception() is not None:
                continue
            folder = task.result()
            if folder in used:
                self._asked_at[digest] = now
            elif now - self._asked_at.get(digest, 0.0) > UNUSED_S:
                gone = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}")
                folder.rename(gone)  # so that it can be made again meanwhile
                del self._folders[digest]
                self._asked_at.pop(digest, None)
                await asyncio.to_thread(shutil.rmtree, gone, ignore_errors=True)
                removed += 1
        return removed

    async def _make(self, package: Package, wiped: asyncio.Task[None]) -> Path:
        await wiped
        if package.image is not None:
            return await self._make_image(package)
        pieces = [piece async for piece in self._blobs.read(package.blob, 0, package.size_bytes)]
        target = self._root / base64.b64decode(package.sha256).hex()
        await asyncio.to_thread(unpack, b"".join(pieces), target)
        return target

    async def _make_image(self, package: Package) -> Path:
        target = self._root / f"image-{package.sha256}"
        archive = target.with_name(target.name + ".tar")
        try:
            with await asyncio.to_thread(archive.open, "wb") as file:
                async for piece in self._blobs.read(package.blob, 0, package.size_bytes):
                    await asyncio.to_thread(file.write, piece)
            await asyncio.to_thread(images.unpack, archive, target)
        except (images.ImageRefused, tarfile.TarError) as error:
            raise OSError(
                f"the image {package.image and package.image.resolved} cannot be unpacked: {error}"
            ) from error
        finally:
            await asyncio.to_thread(archive.unlink, missing_ok=True)
        return target


def _renew(root: Path) -> None:
    """An empty folder, which functions' users pass through and cannot list. Raises OSError."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True, exist_ok=True)
    for folder in (root, root.parent):
        folder.chmod(0o711)


def unpack(body: bytes, target: Path) -> None:
    """Unpack a checked zip; everybody may read, nobody but its owner write. Raises OSError, BadZipFile."""
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    partial.chmod(0o755)
    left = UNZIPPED_BYTES_MAX
    folders: set[Path] = {partial}
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        links: list[tuple[Path, str]] = []
        for entry in archive.infolist():
            path = partial / entry.filename
            mode = entry.external_attr >> 16
            if entry.is_dir():
                _make_folder(path, folders)
                continue
            _make_folder(path.parent, folders)
            if stat.S_ISLNK(mode):
                links.append((path, archive.read(entry).decode()))
                continue
            with archive.open(entry) as source, path.open("wb") as sink:
                while piece := source.read(1 << 20):
                    left -= len(piece)
                    if left < 0:
                        raise zipfile.BadZipFile("unpacks to more than it says")
                    sink.write(piece)
            path.chmod((mode & 0o755 or 0o644) | 0o444)
        # Links come last, so that no entry is ever written through one.
        for path, to in links:
            path.symlink_to(to)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def _make_folder(path: Path, known: set[Path]) -> None:
    """Whatever the server's umask is: functions run as other users."""
    if path not in known:
        _make_folder(path.parent, known)
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
        known.add(path)
