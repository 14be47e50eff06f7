"""`penstock layer`: a layer of Python packages or of a folder, built and published."""

from __future__ import annotations

import argparse
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from penstock.cli.running import DEFAULT_ENDPOINT, client

LAYER = """builds a layer and publishes it: Python packages as pip installs them, or a folder as it is (its python/, bin/, lib/
and extensions/ come to /opt). Prints the new version's ARN. boto3 and what it needs are left out unless they are asked for:
the runtime carries them. What would be too large goes without its tests, headers and type stubs.

examples:
  penstock layer requests requests                     a layer of that name with the package of that name
  penstock layer awswrangler awswrangler               with pandas and pyarrow
  penstock layer team -r requirements.txt --runtime python3.12
  penstock layer tools --folder ./tools                a folder that is laid out as a layer
  penstock layer requests requests --out layer.zip     only build it

function.json may name layers without their ARN ("Layers": ["requests"]): `penstock deploy` uses the newest version."""

UNZIPPED_BYTES_MAX = 262_144_000
_UPLOADED_BYTES_MAX = 50 * 1024 * 1024
_SPARE_BYTES = 10 * 1024 * 1024
_OF_THE_RUNTIME = ("boto3", "botocore", "s3transfer", "jmespath")
_HEAVY_FOLDERS = {"tests", "include", "__pycache__"}
_HEAVY_FILES = (".pyi", ".pyx", ".pxd", ".pxi", ".h", ".hpp", ".a", ".c", ".cpp")


class LayerError(Exception):
    """The layer cannot be made; the message is for the person at the terminal."""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the `layer` command to the command line's sub-parsers."""
    shape = argparse.RawDescriptionHelpFormatter
    parser: argparse.ArgumentParser = commands.add_parser(
        "layer", help="build and publish a layer", description=LAYER, formatter_class=shape
    )
    own = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    parser.add_argument("name")
    parser.add_argument("packages", nargs="*", help="what pip is to install")
    parser.add_argument("-r", "--requirements", type=Path, metavar="FILE", help="a requirements file")
    parser.add_argument("--folder", type=Path, help="a folder in place of packages")
    parser.add_argument("--runtime", default=own, help=f"the runtime that packages are for (default {own})")
    parser.add_argument("--out", type=Path, metavar="ZIP", help="write the layer there, and publish nothing")
    parser.add_argument("--endpoint", default=os.environ.get("AWS_ENDPOINT_URL", DEFAULT_ENDPOINT))
    parser.add_argument("--region", default="")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out. Raises LayerError."""
    if bool(arguments.folder) == bool(arguments.packages or arguments.requirements):
        raise LayerError("say which packages the layer is of (or -r FILE), or --folder, and not both")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if arguments.folder:
            if not arguments.folder.is_dir():
                raise LayerError(f"{arguments.folder} is no folder")
            folder = arguments.folder.resolve()
        else:
            _install(arguments, folder / "python")
        body = zipped(folder)
    if arguments.out:
        arguments.out.write_bytes(body)
        print(arguments.out)
        return 0
    runtimes = [arguments.runtime] if not arguments.folder else []
    print(_publish(arguments, body, runtimes))
    return 0


def _install(arguments: argparse.Namespace, target: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--target",
        str(target),
    ]
    match = re.fullmatch(r"python(3\.\d+)", arguments.runtime)
    if match is None:
        raise LayerError(f"packages are for a Python, not for {arguments.runtime}; --folder takes anything")
    if match[1] != f"{sys.version_info[0]}.{sys.version_info[1]}":
        machine = platform.machine()
        command += ["--python-version", match[1], "--only-binary=:all:", "--implementation", "cp"]
        for abi in ("manylinux2014", "manylinux_2_17", "manylinux_2_28"):
            command += ["--platform", f"{abi}_{machine}"]
    if arguments.requirements:
        command += ["-r", str(arguments.requirements)]
    done = subprocess.run([*command, *arguments.packages], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LayerError(f"pip could not install them:\n{done.stderr.strip()}")
    asked = " ".join(arguments.packages)
    if arguments.requirements:
        asked += " " + arguments.requirements.read_text()
    for name in _OF_THE_RUNTIME:
        if not re.search(rf"\b{name}\b", asked):
            for path in (target / name, *target.glob(f"{name}-*.dist-info")):
                shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(target / "bin", ignore_errors=True)


def zipped(folder: Path) -> bytes:
    """The layer as Lambda takes it; without what only developers need where it would be too large. Raises LayerError."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    if not files:
        raise LayerError("there is nothing to put into the layer")
    if _size_bytes(files) > UNZIPPED_BYTES_MAX - _SPARE_BYTES:
        files = [path for path in files if not _is_heavy(path.relative_to(folder))]
    if _size_bytes(files) > UNZIPPED_BYTES_MAX:
        raise LayerError(
            f"the layer unpacks to {_size_bytes(files):,} bytes, even without tests and headers; a function and its layers"
            f" have {UNZIPPED_BYTES_MAX:,} together"
        )
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, path.relative_to(folder))
    return body.getvalue()


def _size_bytes(files: list[Path]) -> int:
    return sum(path.stat().st_size for path in files)


def _is_heavy(path: Path) -> bool:
    return bool(_HEAVY_FOLDERS.intersection(path.parts)) or path.suffix in _HEAVY_FILES


def _publish(arguments: argparse.Namespace, body: bytes, runtimes: list[str]) -> str:
    functions = client(arguments.endpoint, "lambda", arguments.region)
    more = {"CompatibleRuntimes": runtimes} if runtimes else {}
    if len(body) <= _UPLOADED_BYTES_MAX:
        made = functions.publish_layer_version(LayerName=arguments.name, Content={"ZipFile": body}, **more)
        return str(made["LayerVersionArn"])
    account = client(arguments.endpoint, "sts", arguments.region).get_caller_identity()["Account"]
    bucket, key = f"penstock-layers-{account}", f"{arguments.name}.zip"
    s3 = client(arguments.endpoint, "s3", arguments.region)
    where = {"CreateBucketConfiguration": {"LocationConstraint": s3.meta.region_name}}
    try:
        s3.create_bucket(Bucket=bucket, **({} if s3.meta.region_name == "us-east-1" else where))
    except (s3.exceptions.BucketAlreadyOwnedByYou, s3.exceptions.BucketAlreadyExists):
        pass
    s3.put_object(Bucket=bucket, Key=key, Body=body)
    try:
        content = {"S3Bucket": bucket, "S3Key": key}
        made = functions.publish_layer_version(LayerName=arguments.name, Content=content, **more)
    finally:
        s3.delete_object(Bucket=bucket, Key=key)
    return str(made["LayerVersionArn"])


def newest(functions: Any, layer: str) -> str:
    """A layer version's ARN as it is, or that of the newest version of the layer of that name. Raises LayerError."""
    if layer.startswith("arn:"):
        return layer
    found = functions.list_layer_versions(LayerName=layer)["LayerVersions"]
    if not found:
        raise LayerError(f"there is no layer {layer} yet; make it first: penstock layer {layer} {layer}")
    return str(found[0]["LayerVersionArn"])
