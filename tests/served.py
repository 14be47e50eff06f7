"""A real `penstock up` process under test, and real boto3 clients for it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Any

import boto3
import botocore.loaders
import botocore.session
from botocore.config import Config

SRC = Path(__file__).resolve().parent.parent / "src"


_MODELS = botocore.loaders.create_loader()


def _session() -> boto3.session.Session:
    """A session of its own, as sessions are not for several threads, but with the models read once: 10 ms, not 80."""
    session = botocore.session.Session()
    session.register_component("data_loader", _MODELS)
    return boto3.session.Session(botocore_session=session)


class Served:
    """`kill` is SIGKILL; `restart` comes back on the same port and data. `log` holds the last lines it printed."""

    def __init__(self, data: Path, *flags: str, env: dict[str, str] | None = None) -> None:
        self.data = data
        self.flags = flags
        self.env = env or {}
        self.port = 0
        self.process: subprocess.Popen[str] | None = None
        self.log: deque[str] = deque(maxlen=2000)

    def start(self, timeout_s: float = 30) -> Served:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PENSTOCK_"))}
        env.update(self.env, PYTHONPATH=str(SRC), PYTHONUNBUFFERED="1")
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-m", "penstock", "up", "--port", str(self.port), "--data", str(self.data)]
        self.process = subprocess.Popen(
            [*command, *self.flags], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        ready = threading.Event()
        threading.Thread(target=self._read, args=(self.process, ready), daemon=True).start()
        if not ready.wait(timeout_s) or not self.port or self.process.poll() is not None:
            self.kill()
            raise RuntimeError("the server did not get ready:\n" + "\n".join(self.log))
        return self

    def _read(self, process: subprocess.Popen[str], ready: threading.Event) -> None:
        assert process.stdout
        for line in process.stdout:
            self.log.append(line.rstrip())
            if " ready at http://" in line:
                self.port = int(line.split(" ready at ")[1].split()[0].rsplit(":", 1)[1])
                ready.set()
        if not ready.is_set():
            process.wait()  # it ended instead of getting ready; `start` sees that
            ready.set()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        assert self.process
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def restart(self) -> None:
        if self.process and self.process.poll() is None:
            self.kill()
        self.start()

    def client(
        self, service: str, access_key: str = "test", secret_key: str = "test", token: str | None = None,
        region: str = "us-east-1", **config: Any,
    ) -> Any:  # fmt: skip
        """A boto3 client without retries (a test sees each error); `config` goes to botocore's Config."""
        config.setdefault("retries", {"mode": "standard", "total_max_attempts": 1})
        if service == "s3":
            config.setdefault("s3", {"addressing_style": "path"})
        return _session().client(
            service, endpoint_url=self.endpoint, aws_access_key_id=access_key, aws_secret_access_key=secret_key,
            aws_session_token=token, region_name=region, config=Config(**config),
        )  # fmt: skip

    def resource(self, service: str, **config: Any) -> Any:
        """A boto3 resource with the default credentials."""
        return _session().resource(
            service, endpoint_url=self.endpoint, aws_access_key_id="test", aws_secret_access_key="test",
            region_name="us-east-1", config=Config(**config),
        )  # fmt: skip
