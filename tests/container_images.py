"""Tiny container images, built on this host from its own shell and curl, for whichever engine answers here."""

from __future__ import annotations

import functools
import io
import re
import shutil
import subprocess
import tarfile
import tempfile
import uuid
from pathlib import Path

PROGRAMS = ("sh", "curl", "cat", "grep", "tr", "cut", "ls", "id", "sleep", "touch", "env", "pwd", "dd", "mkdir")
BOOTSTRAP = """
api=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime
echo "began with $*"
while true; do
    curl -sS -D /tmp/head -o /tmp/event "$api/invocation/next"
    id=$(grep -i lambda-runtime-aws-request-id /tmp/head | tr -d '[:space:]' | cut -d: -f2)
    sh -c "$(tr -d '"' < /tmp/event)" > /tmp/answer 2>&1
    curl -sS -X POST "$api/invocation/$id/response" --data-binary @/tmp/answer > /dev/null
done
"""


@functools.cache
def engine() -> str:
    """podman or docker, if one answers; else ""."""
    for name in ("podman", "docker"):
        if shutil.which(name) and not subprocess.run([name, "version"], capture_output=True, check=False).returncode:
            return name
    return ""


def _libraries(program: str) -> set[str]:
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return set(re.findall(r"(?:=> |^\s+)(/\S+) \(0x", said, re.MULTILINE))


def files() -> bytes:
    """A root with a shell that runs each event as a command, as a tar archive."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:

        def add(name: str, content: bytes, mode: int) -> None:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))

        libraries: set[str] = set()
        for program in PROGRAMS:
            path = shutil.which(program)
            assert path, program
            libraries |= _libraries(path)
            add(f"bin/{program}", Path(path).resolve().read_bytes(), 0o755)
        for library in libraries:
            add(library.lstrip("/"), Path(library).resolve().read_bytes(), 0o755)
        add("bootstrap", BOOTSTRAP.encode(), 0o755)
        add("work/own.txt", b"from the image", 0o644)
    return archive.getvalue()


def build(*changes: str) -> str:
    """Import such an image; changes: Dockerfile instructions (ENTRYPOINT, CMD, ENV, WORKDIR). Returns its name."""
    name = f"localhost/penstock-test-{uuid.uuid4().hex[:12]}:latest"
    with tempfile.NamedTemporaryFile(suffix=".tar") as file:
        file.write(files())
        file.flush()
        options = [word for change in changes for word in ("--change", change)]
        subprocess.run([engine(), "import", *options, file.name, name], capture_output=True, check=True)
    return name


def remove(name: str) -> None:
    """Forget an image."""
    subprocess.run([engine(), "rmi", "--force", name], capture_output=True, check=False)
