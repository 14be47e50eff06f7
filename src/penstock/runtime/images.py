"""Container images as code: found in the local podman or docker, taken out of it whole, unpacked into a folder.

The engine only keeps and hands out images. Functions of one run in environments like all others (see `rootfs`), with the
image's files as their root, so nothing of the engine runs when a function does, and an image that is gone from it goes
on working. https://docs.aws.amazon.com/lambda/latest/dg/images-create.html. An image is hostile until proved otherwise.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENGINES = ("podman", "docker")
UNPACKED_BYTES_MAX = 10 * 1024**3
"""https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html: 10 GB, uncompressed, all layers included."""
ENTRIES_MAX = 1_000_000
_ASK_S, _EXPORT_S = 20, 900
_FOLDERS = ("tmp", "proc", "dev", "sys", "etc")
"""What every image's root has: environments mount on some of these, so none may be a link."""
_FILES = ("etc/hosts", "etc/resolv.conf")
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "arm64"}


class NoEngine(Exception):
    """This host has no engine that answers; the message says what to do."""


class ImageMissing(Exception):
    """The engine has no such image."""


class ImageRefused(Exception):
    """The image cannot be run here; the message says why."""


@dataclass(frozen=True, slots=True)
class Image:
    """What an engine says of an image. digest: with its algorithm. resolved: its name by digest."""

    identity: str
    digest: str
    resolved: str
    architecture: str
    entry_point: tuple[str, ...]
    command: tuple[str, ...]
    working_directory: str
    environment: tuple[tuple[str, str], ...]


class Engine:
    """The podman or docker of this host. Its methods block: call them in a thread."""

    def __init__(self, wanted: str, owner: str) -> None:
        """wanted: the engine's name or path; "": the first that answers; "off": none. owner: marks what is ours in it."""
        self._wanted = wanted
        self._label = f"penstock={owner}"
        self._program = ""

    def name(self) -> str:
        """Which engine it is. Raises NoEngine."""
        return self._find()

    def inspect(self, uri: str) -> Image:
        """An image that the engine has by that name; it fetches none. Raises NoEngine, ImageMissing, ImageRefused."""
        engine = self._find()
        if uri.startswith("-"):
            raise ImageMissing(uri)
        done = _run([engine, "image", "inspect", uri], _ASK_S)
        if done.returncode:
            raise ImageMissing(uri)
        try:
            return _read(uri, json.loads(done.stdout)[0])
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ImageRefused(f"{engine} describes {uri} in an unknown way") from error

    def export(self, image: Image, to: Path) -> None:
        """Write the image's files to a tar archive at `to`. Raises NoEngine, ImageRefused."""
        engine = self._find()
        name = f"penstock-{secrets.token_hex(8)}"
        # A container that is never started is how both engines put layers over each other.
        made = _run(
            [engine, "create", "--name", name, "--label", self._label, "--network=none", image.identity, "/none"],
            _EXPORT_S,
        )
        try:
            if made.returncode:
                raise ImageRefused(f"{engine} cannot unpack {image.resolved}: {_said(made)}")
            done = _run([engine, "export", "--output", str(to), name], _EXPORT_S)
            if done.returncode:
                raise ImageRefused(f"{engine} cannot export {image.resolved}: {_said(done)}")
        finally:
            _run([engine, "rm", "--force", name], _ASK_S)

    def sweep(self) -> None:
        """Remove the containers that a server which died left behind. Only if an engine is known to answer."""
        if not self._program:
            return
        listed = _run([self._program, "ps", "--all", "--quiet", "--filter", f"label={self._label}"], _ASK_S)
        if left := listed.stdout.decode().split():
            _run([self._program, "rm", "--force", *left], _ASK_S)

    def _find(self) -> str:
        if self._program:
            return self._program
        if self._wanted == "off":
            raise NoEngine("container images are switched off on this server (function_images=off)")
        tried = []
        for name in (self._wanted,) if self._wanted else ENGINES:
            if shutil.which(name) is None:
                tried.append(f"{name} is not installed")
                continue
            done = _run([name, "version"], _ASK_S)
            if not done.returncode:
                self._program = name
                self.sweep()
                return name
            tried.append(f"{name} does not answer: {_said(done)}")
        raise NoEngine(
            f"container images need podman or docker on this host, and there is none: {'; '.join(tried)}. Install podman, "
            "or start docker, as the user that the server runs as; or name another with --function-images"
        )


def _run(command: list[str], timeout_s: float) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=timeout_s, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return subprocess.CompletedProcess(command, 125, b"", str(error).encode())


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else f"status {done.returncode}"


def _read(uri: str, found: dict[str, Any]) -> Image:
    config = found.get("Config") or {}
    identity = str(found["Id"])
    name = _without_tag(uri)
    digests = [text for text in found.get("RepoDigests") or () if "@sha256:" in text]
    digest = str(found.get("Digest") or "")
    if not digest:
        digest = digests[0].partition("@")[2] if digests else "sha256:" + identity.removeprefix("sha256:")
    pairs = [text.partition("=") for text in config.get("Env") or ()]
    return Image(
        identity=identity,
        digest=digest,
        resolved=f"{name}@{digest}",
        architecture=_ARCHITECTURES.get(found.get("Architecture", ""), found.get("Architecture", "")),
        entry_point=tuple(map(str, config.get("Entrypoint") or ())),
        command=tuple(map(str, config.get("Cmd") or ())),
        working_directory=str(config.get("WorkingDir") or ""),
        environment=tuple((name, value) for name, _, value in pairs if name),
    )


def _without_tag(uri: str) -> str:
    name = uri.partition("@")[0]
    before, _, last = name.rpartition("/")
    last = last.partition(":")[0]
    return f"{before}/{last}" if before else last


def unpack(archive: Path, target: Path) -> None:
    """Unpack an exported image for an environment to have as its root. Raises OSError, ImageRefused, tarfile.TarError.

    Nothing is written outside `target`: no entry passes through a link, and devices, sockets and pipes are left out, as
    are set-user-id bits. Owners are not kept: a function reads what others than a file's owner may read.
    """
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, mode=0o755)
    left, entries = UNPACKED_BYTES_MAX, 0
    modes: list[tuple[Path, int]] = []
    folders: set[str] = {""}
    with tarfile.open(archive) as tar:
        for entry in tar:
            entries += 1
            left -= entry.size if entry.isreg() else 0
            if left < 0 or entries > ENTRIES_MAX:
                raise ImageRefused(f"the image is larger than {UNPACKED_BYTES_MAX} bytes, or {ENTRIES_MAX} files")
            name = _inside(entry.name)
            if not name:
                continue
            _make_folder(partial, name.rpartition("/")[0], folders)
            path = partial / name
            if entry.isdir():
                _make_folder(partial, name, folders)
                modes.append((path, entry.mode & 0o777))
            elif entry.issym():
                path.symlink_to(entry.linkname)
            elif entry.islnk():
                os.link(_regular(partial, _inside(entry.linkname)), path, follow_symlinks=False)
            elif entry.isreg():
                _write(tar, entry, path)
    _finish(partial, modes)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def _inside(name: str) -> str:
    """An entry's name below the root. Raises ImageRefused for one that leaves it."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name:
        raise ImageRefused(f"the image has a file by the name {name[:200]!r}")
    return "/".join(parts)


def _make_folder(root: Path, name: str, known: set[str]) -> None:
    """A folder, with those above it. Raises ImageRefused where a link or a file is in its place."""
    if name in known:
        return
    _make_folder(root, name.rpartition("/")[0], known)
    path = root / name
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise ImageRefused(f"the image has a file below {name[:200]!r}, which is no folder")
    path.mkdir(exist_ok=True)
    known.add(name)


def _regular(root: Path, name: str) -> Path:
    path = root
    for part in name.split("/"):
        path = path / part
        if path.is_symlink():
            raise ImageRefused(f"the image has a link to {name[:200]!r}")
    if not path.is_file():
        raise ImageRefused(f"the image has a link to {name[:200]!r}, which is no file")
    return path


def _write(tar: tarfile.TarFile, entry: tarfile.TarInfo, path: Path) -> None:
    source = tar.extractfile(entry)
    assert source is not None
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
        os.fchmod(sink.fileno(), entry.mode & 0o777)


def _finish(root: Path, modes: list[tuple[Path, int]]) -> None:
    """Folders' own modes, and the places that environments mount on."""
    for name in _FOLDERS:
        path = root / name
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            path.unlink()
        path.mkdir(exist_ok=True)
    for name in _FILES:
        path = root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        path.touch(0o644)
    for path, mode in reversed(modes):
        path.chmod(mode | 0o700)  # the server has to be able to remove it again
    for name in (*_FOLDERS, ""):
        (root / name).chmod(0o755)
