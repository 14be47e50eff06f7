"""Runtimes that are a program of their own and not a fork of a loaded Python: any `bootstrap`, Node.js, Java.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html. They are found on this host, once. AWS keeps their
interpreter in /var/lang and its own side in /var/runtime; so does an environment.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from penstock.runtime.api import RuntimeUnsupported

HANDLER = "{handler}"
"""Stands for the function's handler among a program's arguments."""
PROVIDED = ("provided.al2023", "provided.al2")
_LANG, _RUNTIME = "/var/lang", "/var/runtime"
_NODE_SIDE = Path(__file__).parent / "node" / "bootstrap.mjs"
_JAVA_JARS = ("aws-lambda-java-runtime-interface-client", "aws-lambda-java-core", "aws-lambda-java-serialization")
_JAVA_MAIN = "com.amazonaws.services.lambda.runtime.api.client.AWSLambda"


@dataclass(frozen=True, slots=True)
class Program:
    """What an environment becomes.

    arguments: the program and its arguments as seen inside; none: the function's own `bootstrap`. shown: (folder or file
    on this host, where it is seen inside). variables: what it needs in its environment unless the function sets it.
    logs: whether it writes AWS's framed log records.
    """

    arguments: tuple[str, ...] = ()
    shown: tuple[tuple[str, str], ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    logs: bool = False

    def unmounted(self) -> Program:
        """The same where nothing can be mounted: everything is where the host has it."""

        def there(text: str) -> str:
            for source, target in sorted(self.shown, key=lambda pair: -len(pair[1])):
                text = text.replace(target, source)
            return text

        return Program(
            tuple(map(there, self.arguments)), (), tuple((k, there(v)) for k, v in self.variables), self.logs
        )


class Programs:
    """Finds the program of a runtime identifier; looks for each once."""

    def __init__(self, mapping: dict[str, str]) -> None:
        """mapping: runtime identifier (or "*") -> what to run instead, from settings.function_runtimes."""
        self._mapping = mapping
        self._found: dict[str, Program | str] = {}

    def find(self, runtime: str) -> Program | None:
        """The program of a runtime; None for Python, which is forked. Raises RuntimeUnsupported, saying what to do."""
        if runtime.startswith("python"):
            return None
        found = self._found.get(runtime)
        if found is None:
            found = self._found[runtime] = self._look(runtime)
        if isinstance(found, str):
            raise RuntimeUnsupported(found)
        return found

    def _look(self, runtime: str) -> Program | str:
        if runtime in PROVIDED:
            return Program()
        if match := re.fullmatch(r"nodejs(\d+)\.x", runtime):
            return self._node(runtime, int(match[1]))
        if match := re.fullmatch(r"java(\d+)(\.al2|\.al2023)?", runtime):
            return self._java(runtime, int(match[1]))
        return (
            f"the runtime {runtime} is not supported; python3.x, nodejs*.x, java* and {', '.join(PROVIDED)} are"
            " (any other language runs as a `bootstrap` on provided.al2023)"
        )

    def _node(self, runtime: str, major: int) -> Program | str:
        wanted = self._mapping.get(runtime, "")
        found = {}
        for path in [wanted] if wanted else _nodes():
            if (version := _node_version(path)) and version not in found:
                found[version] = os.path.realpath(shutil.which(path) or path)
        if wanted and not found:
            return f"PENSTOCK_FUNCTION_RUNTIMES maps {runtime} to {wanted}, which is no Node.js that can be run"
        executable = next(iter(found.values())) if wanted else found.get(major)
        if executable is None:
            have = ", ".join(f"Node.js {v} ({p})" for v, p in sorted(found.items())) or "no Node.js"
            hint = f", or use what there is: PENSTOCK_FUNCTION_RUNTIMES={runtime}=node" if found else ""
            return f"{runtime} needs Node.js {major} and this host has {have}. Install it{hint}"
        shown = [(str(_NODE_SIDE), f"{_RUNTIME}/bootstrap.mjs")]
        prefix = str(Path(executable).parent.parent)
        if not executable.startswith("/usr/"):
            shown.append((prefix, _LANG))
            executable = executable.replace(prefix, _LANG, 1)
        modules = Path(prefix) / "lib" / "node_modules"
        if modules.is_dir():
            shown.append((str(modules), f"{_RUNTIME}/node_modules"))
        folders = (
            f"/opt/nodejs/node{major}/node_modules", "/opt/nodejs/node_modules", f"{_RUNTIME}/node_modules", _RUNTIME,
            "/var/task",
        )  # fmt: skip
        return Program(
            (executable, f"{_RUNTIME}/bootstrap.mjs"), tuple(shown),
            (("NODE_PATH", ":".join(folders)), ("AWS_EXECUTION_ENV", f"AWS_Lambda_{runtime}")), logs=True,
        )  # fmt: skip

    def _java(self, runtime: str, major: int) -> Program | str:
        executable = os.path.realpath(shutil.which("java") or "")
        if not Path(executable).is_file():
            return f"{runtime} needs a Java {major} virtual machine, and this host has none. Install one"
        version = _java_version(executable)
        if version < major:
            return f"{runtime} needs Java {major} and this host has Java {version} ({executable}). Install it"
        jars = _java_jars(self._mapping.get(runtime) or self._mapping.get("java") or "")
        if isinstance(jars, str):
            return f"{runtime} needs {jars}"
        home = Path(executable).parent.parent
        folder = os.path.commonpath([Path(jar).parent for jar in jars])
        shown = [(folder, _RUNTIME)]
        if not executable.startswith("/usr/"):
            shown.append((str(home), _LANG))
            executable = f"{_LANG}/bin/java"
        classes = ":".join(f"{_RUNTIME}/{os.path.relpath(jar, folder)}" for jar in jars)
        options = (
            "-XX:+TieredCompilation -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto -XX:-UsePerfData".split()
        )
        return Program(
            (executable, *options, "-cp", classes, _JAVA_MAIN, HANDLER), tuple(shown),
            (("AWS_EXECUTION_ENV", f"AWS_Lambda_{runtime}"),), logs=True,
        )  # fmt: skip


def _nodes() -> Iterator[str]:
    """Where Node.js may be: on the path, beside it by version, and where version managers put it."""
    for name in ("node", "nodejs"):
        if path := shutil.which(name):
            yield path
    for pattern in (
        "/usr/local/bin/node[0-9]*",
        "/usr/bin/node[0-9]*",
        "/opt/node*/bin/node",
        "/usr/local/node*/bin/node",
    ):
        yield from map(str, sorted(Path("/").glob(pattern.lstrip("/"))))
    for home, pattern in (
        (os.environ.get("NVM_DIR") or "~/.nvm", "versions/node/*/bin/node"),
        ("~/.local/share/fnm", "node-versions/*/installation/bin/node"),
        ("~/.volta", "tools/image/node/*/bin/node"), ("~/.asdf", "installs/nodejs/*/bin/node"),
    ):  # fmt: skip
        folder = Path(home).expanduser()
        if folder.is_dir():
            yield from map(str, sorted(folder.glob(pattern), reverse=True))


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, timeout=10, check=True, cwd="/", text=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return done.stdout + done.stderr


def _node_version(path: str) -> int:
    match = re.match(r"v(\d+)\.", _output([path, "--version"]))
    return int(match[1]) if match else 0


def _java_version(path: str) -> int:
    match = re.search(r'version "(?:1\.)?(\d+)', _output([path, "-version"]))
    return int(match[1]) if match else 0


def _java_jars(folder: str) -> list[str] | str:
    """AWS's runtime interface client and what it stands on; or what to do about their lack."""
    found = []
    for name in _JAVA_JARS:
        places = (
            [Path(folder).glob(f"{name}-*.jar")] if folder
            else [(Path.home() / ".m2/repository/com/amazonaws" / name).glob("*/*.jar")]
        )  # fmt: skip
        jars = [
            jar for place in places for jar in place
            if not re.search(r"-(sources|javadoc|tests|osx|linux-aarch_64|aarch)\S*\.jar$", jar.name)
        ]  # fmt: skip
        if not jars:
            where = folder or "~/.m2/repository"
            return (
                f"AWS's runtime interface client for Java: {name} is not in {where}. Put the jars of "
                f"{', '.join(_JAVA_JARS)} into a folder and name it: PENSTOCK_FUNCTION_RUNTIMES=java=/that/folder"
            )
        found.append(str(max(jars, key=lambda jar: (jar.stat().st_mtime, jar.name))))
    return found
