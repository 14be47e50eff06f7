"""Container images as a function's code: taken from the host's podman or docker when the function is made.

AWS takes them from ECR and keeps a copy that it refreshes; so a copy is kept here as well, as a blob like any package,
and what becomes of the image in the engine changes nothing. https://docs.aws.amazon.com/lambda/latest/dg/images-create.html
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import shutil
from pathlib import Path
from typing import Any

from penstock.core.call import Call
from penstock.core.node import Node
from penstock.runtime.api import ImageRun
from penstock.runtime.images import Engine, Image, ImageMissing, ImageRefused, NoEngine
from penstock.services.lambda_ import rules
from penstock.services.lambda_.packages import ImageCode, Package
from penstock.services.lambda_.records import Function, ImageConfig

_PIECE_BYTES = 4 << 20
RUNS_AS = "provided.al2023"
"""What the runtime takes such functions for: a program that speaks the Runtime API."""


class Images:
    """The engine of this host, and where images lie while they are taken out of it."""

    def __init__(self, node: Node) -> None:
        data = Path(node.settings.data).absolute()
        self.engine = Engine(node.settings.function_images, hashlib.sha256(str(data).encode()).hexdigest()[:16])
        self.scratch = data / "runtime" / "images"
        shutil.rmtree(self.scratch, ignore_errors=True)  # of a server that died


def check(params: dict[str, Any], code: dict[str, Any]) -> None:
    """Raises InvalidParameterValueException where CreateFunction mixes what images and zip packages have."""
    if params.get("PackageType", "Zip") == "Zip":
        if "ImageUri" in code:
            raise rules.invalid(
                "ImageUri is not supported for functions with packageType Zip. Set PackageType to Image."
            )
        if params.get("ImageConfig"):
            raise rules.invalid("ImageConfig is not supported for functions with packageType Zip.")
        return
    if set(code) & {"ZipFile", "S3Bucket", "S3Key", "S3ObjectVersion"} or not code.get("ImageUri"):
        raise rules.invalid("Please provide ImageUri when creating a function with packageType Image.")
    check_settings(params)


def check_settings(params: dict[str, Any]) -> None:
    """Raises InvalidParameterValueException for settings that only zip packages have."""
    extra = [name for name in ("Runtime", "Handler", "Layers") if params.get(name)]
    if extra:
        raise rules.invalid(
            f"Please don't provide Handler or Runtime or Layer when the intent is to create a function with packaging "
            f"type Image. Given: {', '.join(extra)}"
        )
    if params.get("SnapStart", {}).get("ApplyOn", "None") != "None":
        raise rules.invalid("SnapStart is not supported for functions with packageType Image.")


async def stored(call: Call, uri: str) -> Package:
    """The image as a package: found, checked, its files kept as a blob that is durable but not adopted.

    Raises InvalidParameterValueException, OSError.
    """
    images = call.node.own(Images)
    archive = images.scratch / f"{secrets.token_hex(8)}.tar"
    try:
        image = await asyncio.to_thread(_exported, images.engine, uri, archive)
        writer = await call.blobs.create()
        try:
            with await asyncio.to_thread(archive.open, "rb") as file:
                while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
                    await writer.write(piece)
            await writer.finish()
        except BaseException:
            await writer.abort()
            raise
    except NoEngine as error:
        raise rules.invalid(str(error)) from None
    except ImageMissing:
        raise rules.invalid(f"Source image {uri} does not exist. Provide a valid source image.") from None
    except ImageRefused as error:
        raise rules.invalid(f"Source image {uri} is not valid: {error}") from None
    finally:
        await asyncio.to_thread(archive.unlink, missing_ok=True)
    kept = ImageCode(
        uri, image.resolved, image.entry_point, image.command, image.working_directory, dict(image.environment)
    )
    return Package(writer.name, writer.size_bytes, image.digest.partition(":")[2], image=kept)


def _exported(engine: Engine, uri: str, archive: Path) -> Image:
    image = engine.inspect(uri)
    if image.architecture != rules.ARCHITECTURE:
        raise ImageRefused(f"it is made for {image.architecture}, and this host is {rules.ARCHITECTURE}")
    archive.parent.mkdir(parents=True, exist_ok=True)
    engine.export(image, archive)
    return image


def configured(asked: dict[str, Any]) -> ImageConfig | None:
    """The record of an ImageConfig; None where it asks for nothing but the image's own."""
    made = ImageConfig(
        tuple(asked.get("EntryPoint", ())), tuple(asked.get("Command", ())), asked.get("WorkingDirectory", "")
    )
    return None if made == ImageConfig() else made


def run(function: Function) -> ImageRun | None:
    """How the function begins; None for a zip package."""
    image = function.package.image
    if image is None:
        return None
    config = function.image_config or ImageConfig()
    return ImageRun(
        (config.entry_point or image.entry_point) + (config.command or image.command),
        config.working_directory or image.working_directory,
        tuple(image.environment.items()),
    )
