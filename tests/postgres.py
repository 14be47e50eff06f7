"""A private PostgreSQL cluster for tests, of Debian's server binaries or those on the PATH.

with start_postgres() as cluster:
    store = await open_store(cluster.create_database(), ...)
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

import psycopg
import pytest


class NoPostgres(Exception):
    """This machine has no PostgreSQL server; the message says what to install."""


def find_binaries() -> Path:
    """The folder that holds initdb and postgres. Raises NoPostgres."""
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if config := shutil.which("pg_config"):
        shown = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)
        candidates.append(Path(shown.stdout.strip()))
    candidates += [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise NoPostgres("no PostgreSQL server here (Debian: apt-get install postgresql)")


class Cluster:
    """A running server, reached by a unix socket only. Stop it with `stop`, or leave the `with` block."""

    def __init__(self, home: Path, binaries: Path, user: str, fsync: bool) -> None:
        self._fsync = "on" if fsync else "off"
        self.home = home
        self._binaries = binaries
        self._user = user
        self._names = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        """Where a database of this server is."""
        return f"postgresql://{self._user}@/{database}?host={self.home}"

    def create_database(self) -> str:
        """Create an empty schema for a test to use as its database (which would be 8 MB each); returns its URL."""
        name = f"test_{next(self._names)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"{self.url()}&options=-csearch_path%3D{name}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        with (self.home / "log").open("ab") as log:
            self._process = self._as_user(
                "postgres", "-D", str(self.home / "data"), "-k", str(self.home), "-c", "listen_addresses=", stdout=log
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url()).close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.home / "log").read_text()) from None
                time.sleep(0.05)

    def kill(self) -> None:
        """SIGQUIT: the server drops everything at once, as in a crash, and recovers at the next `start`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(20)

    def stop(self) -> None:
        """Stop the server (without a checkpoint: nobody comes back) and remove its files."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    def initialise(self) -> None:
        """Create the cluster's files."""
        made = self._as_user(
            "initdb", "-D", str(self.home / "data"), "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync",
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        if made.wait():
            raise RuntimeError("initdb failed")
        with (self.home / "data" / "postgresql.conf").open("a") as f:
            f.write(f"fsync = {self._fsync}\n")
            f.write("shared_buffers = 32MB\nmax_connections = 80\nmax_wal_size = 256MB\n")

    def _as_user(self, program: str, *arguments: str, stdout: object) -> subprocess.Popen[bytes]:
        user = self._user if os.getuid() == 0 else None
        return subprocess.Popen(
            [str(self._binaries / program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stdout,  # type: ignore[arg-type]
            stderr=subprocess.STDOUT,
            user=user,
            group=pwd.getpwnam(user).pw_gid if user else None,
            cwd=self.home,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
        )

    def __enter__(self) -> str:
        return self.create_database()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()


def start_postgres(*, fsync: bool = False) -> Cluster:
    """Create and start a cluster; skips the test where the machine has none to start.

    Without `fsync` it survives the death of its processes and not that of the machine, which is all that a test can see.
    """
    try:
        binaries = find_binaries()
    except NoPostgres as reason:
        pytest.skip(str(reason))
    user = pwd.getpwuid(os.getuid()).pw_name
    if os.getuid() == 0:  # which PostgreSQL refuses to run as
        known = {entry.pw_name for entry in pwd.getpwall()}
        user = next((name for name in ("postgres", "nobody") if name in known), "")
        if not user:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody")
    home = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # short: a unix socket's path has 107 bytes at most
    if os.getuid() == 0:
        shutil.chown(home, user)
    cluster = Cluster(home, binaries, user, fsync)
    try:
        cluster.initialise()
        cluster.start()
    except BaseException:
        cluster.stop()
        raise
    return cluster
