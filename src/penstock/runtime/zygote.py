"""The zygote: a process that holds a loaded interpreter and forks an execution environment whenever asked.

Runs as a program of its own (`python -S -c ...`), possibly on another Python than the server's: standard library only.
It speaks JSON with file descriptors over a SOCK_SEQPACKET socket: a request to spawn comes in, "spawned" and "ended"
go out. Everything of it ends with the server: the kernel kills it when its parent dies, and environments with it.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import site
import socket
import sys
from typing import Any

from penstock.runtime import inits, linux, probe, rootfs, sandbox, warmth

_IDLE_MS = 50


def main(server: socket.socket, boot: dict[str, Any]) -> None:
    """Prepare, then fork until the server's end of the socket closes.

    boot: parent (process id), template (empty folder), prefixes, site, packages, preload (modules), services (whose
    models to parse, the first at once), host_network.
    Answers "ready" with what isolation was found to work.
    """
    linux.die_with_parent()
    if os.getppid() != boot["parent"]:
        return
    found = probe.probe(boot["template"])
    namespaces = {name for name, reason in found.items() if not reason}
    if "user" in namespaces:
        linux.enter_user_namespace()
        if "pid" in namespaces:
            _enter_pid_namespace(server)
    linux.hide_memory()
    linux.die_with_parent()
    pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY) if "pid" in namespaces else -1
    if "mount" in namespaces:
        linux.unshare(linux.CLONE_NEWNS)
        rootfs.enter_template(
            boot["template"], boot["prefixes"], boot["site"], boot["packages"], network=boot["host_network"]
        )
    runtime_path = rootfs.RUNTIME if "mount" in namespaces else boot["site"]
    own = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    sys.path[:] = [p for p in sys.path if p not in ("", own)] + [runtime_path]
    sys.path += [
        os.path.dirname(name) for name in boot["packages"] if os.path.isabs(name) and "mount" not in namespaces
    ]
    user_agent, replaceable = _preload(boot["preload"], own_network="net" in namespaces and not boot["host_network"])
    pending = list(boot["services"])
    warmth.make_client(pending.pop(0))  # the first also fills what all clients share
    proc = f"{rootfs.HOST}/proc" if "mount" in namespaces else "/proc"
    gc.collect()
    gc.freeze()
    linux.collapse_memory(proc)
    server.send(json.dumps({"event": "ready", "found": found}).encode())
    _serve(
        server,
        sandbox.Host(namespaces, runtime_path, user_agent, replaceable, pid_namespace, not found["seccomp"]),
        pending,
        proc,
    )


def _enter_pid_namespace(server: socket.socket) -> None:
    """Go on as the first process of a pid namespace that our user namespace owns; the caller stays as its parent.

    Without root, only into such a namespace may a process return after making one for a child (see `_fork`).
    """
    linux.unshare(linux.CLONE_NEWPID)
    pid = os.fork()
    if pid == 0:
        return
    server.close()
    linux.die_with_parent()
    os.waitpid(pid, 0)
    os._exit(0)


def _preload(names: list[str], *, own_network: bool) -> tuple[str, dict[str, list[str]]]:
    """Import AWS's runtime client and what functions are likely to use.

    Returns the client's user agent, and what a function's own copies may replace: top-level name -> its modules. A page
    that is only looked at stays shared with the fork, so all that can be worked out here is.
    """
    site.setquit()
    site.setcopyright()
    site.sethelper()
    user_agent = _import_runtime_client() if own_network else ""
    base = frozenset(sys.modules)
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    warmth.keep_what_never_changes()
    replaceable: dict[str, list[str]] = {}
    for name in sys.modules:
        if name not in base:
            replaceable.setdefault(name.partition(".")[0], []).append(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "penstock"]:
        del sys.modules[name]
    return user_agent, replaceable


def _import_runtime_client() -> str:
    """Import all of awslambdaric, and return its user agent.

    Its C library reads AWS_LAMBDA_RUNTIME_API as it is loaded, so this serves where that is the same in every
    environment. Its client is made as it is imported: that is put off to the fork.
    """
    os.environ["AWS_LAMBDA_RUNTIME_API"] = f"127.0.0.1:{sandbox.RUNTIME_API_PORT}"
    client: Any = importlib.import_module("runtime_client")
    initialize = client.initialize_client
    asked: list[str] = []
    client.initialize_client = asked.append
    importlib.import_module("awslambdaric.__main__")
    client.initialize_client = initialize
    return asked[0]


def _serve(server: socket.socket, host: sandbox.Host, pending: list[str], proc: str) -> None:
    wake_r, wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
    poll = select.poll()
    poll.register(server, select.POLLIN)
    poll.register(wake_r, select.POLLIN)
    children: dict[int, str] = {}
    while True:
        ready = poll.poll(_IDLE_MS if pending else None)
        if not ready:
            warmth.make_client(pending.pop(0))
            gc.freeze()
            if not pending:
                linux.collapse_memory(proc)
        for fd, _ in ready:
            if fd == wake_r:
                os.read(wake_r, 4096)
                _reap(server, children)
                continue
            try:
                text, fds, _, _ = socket.recv_fds(server, inits.MESSAGE_BYTES, 8)
            except ConnectionResetError:
                return
            if not text:
                return
            request = json.loads(text)
            pid = _fork(request, fds, host, server)
            for passed in fds:
                os.close(passed)
            children[pid] = request["id"]


def _fork(request: dict[str, Any], fds: list[int], host: sandbox.Host, server: socket.socket) -> int:
    if host.pid_namespace >= 0:
        linux.setns(host.pid_namespace, linux.CLONE_NEWPID)  # back to our own, or the new one would nest in the last
        linux.unshare(linux.CLONE_NEWPID)
    pid = os.fork()
    if pid == 0:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            sandbox.enter(request, fds, host)
        finally:
            os._exit(70)
    pidfd = os.pidfd_open(pid)
    event = json.dumps({"event": "spawned", "id": request["id"], "pid": pid}).encode()
    socket.send_fds(server, [event], [pidfd])
    os.close(pidfd)
    return pid


def _reap(server: socket.socket, children: dict[int, str]) -> None:
    while children:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid in children:
            server.send(json.dumps({"event": "ended", "id": children.pop(pid), "status": status}).encode())
