"""The first process of an environment, and what it tells the server: reap, report, end with the server.

Runs in the zygote's forks: standard library only.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from typing import Any, NoReturn

from penstock.runtime import linux

LOG_FD = 3
MESSAGE_BYTES = 200_000


def awaited(control: socket.socket) -> dict[str, Any]:
    """The function to become an environment of. Ends this process if the server has gone."""
    text = control.recv(MESSAGE_BYTES)
    if not text:
        os._exit(0)
    request: dict[str, Any] = json.loads(text)
    return request


def listen(port: int) -> socket.socket:
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", port))
    s.listen(128)
    return s


def watch(
    child: int, extensions: dict[int, str], control: socket.socket, *, own_pids: bool, listens: bool = True
) -> NoReturn:
    """Be the environment's init: reap, report the runtime's end, and end with it or with the server.

    listens: what the server says is for this process; else (a snapshot) for the runtime, and only the end is heard here.
    """
    if not own_pids:
        linux.adopt_orphans()
    wake_r, wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
    for fd in (0, 1, 2, LOG_FD):
        os.close(fd)  # the log's reader must see its end when the function's last process is gone
    poll = select.poll()
    poll.register(control, select.POLLIN if listens else 0)
    poll.register(wake_r, select.POLLIN)
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            tell(control, {"event": "exit", "status": status})
            child = 0
        elif pid in extensions:
            tell(control, {"event": "extension exit", "name": extensions.pop(pid), "status": status})
        if child == 0 and not extensions:
            _end(own_pids)
        if pid:
            continue
        ready = [fd for fd, _ in poll.poll()]
        if control.fileno() in ready:
            text = control.recv(MESSAGE_BYTES) if listens else b""
            if not text:  # the server closed its end: to end this environment, or because it died
                _end(own_pids)
            _connect(json.loads(text), control)
        if wake_r in ready:
            os.read(wake_r, 4096)


def _connect(asked: dict[str, Any], control: socket.socket) -> None:
    """Connect to a port of this network on the server's behalf, and hand the connection over."""
    try:
        with socket.create_connection(("127.0.0.1", asked["connect"]), timeout=1) as s:
            s.settimeout(None)
            socket.send_fds(control, [json.dumps({"event": "connected", "id": asked["id"]}).encode()], [s.fileno()])
    except OSError as error:
        tell(control, {"event": "connected", "id": asked["id"], "reason": str(error)})


def _end(own_pids: bool) -> NoReturn:
    """Exit, and with it every process of the environment: the kernel's work in a pid namespace, ours without."""
    deadline = time.monotonic() + 5
    while not own_pids and time.monotonic() < deadline:
        with open(f"/proc/self/task/{os.getpid()}/children") as f:
            children = f.read().split()
        if not children:
            break
        for pid in children:  # killing a child hands its children to us: the next round finds them
            os.kill(int(pid), signal.SIGKILL)
            os.waitpid(int(pid), 0)
    os._exit(0)


def tell(control: socket.socket, event: dict[str, Any]) -> None:
    try:
        control.send(json.dumps(event).encode())
    except OSError:
        pass
