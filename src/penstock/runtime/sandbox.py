"""Inside a fork of the zygote: become an execution environment, then AWS's runtime client (or the `bootstrap`).

Runs in the zygote's forks: standard library only. Two processes make an environment. The first is its init: it enters
the namespaces, hands listening sockets to the server, starts the second, reaps, and takes everything with it when it
ends. The second is the runtime, without privileges. Both report over the control socket.
"""

from __future__ import annotations

import gc
import glob
import importlib
import json
import os
import resource
import signal
import socket
import sys
import time
from typing import Any, NamedTuple, NoReturn

from penstock.runtime import inits, linux, rootfs, seccomp, snapshots, warmth

RUNTIME_API_PORT = 9001
DEBUG_PORT = 5678
_CONTROL_FD = 4
_USER = 993
_FILES_MAX = _PROCESSES_MAX = 1024
"""https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html: 1,024 each."""
_NOT_FOR_EXTENSIONS = frozenset(
    """AWS_EXECUTION_ENV AWS_LAMBDA_LOG_GROUP_NAME AWS_LAMBDA_LOG_STREAM_NAME AWS_XRAY_CONTEXT_MISSING
    AWS_XRAY_DAEMON_ADDRESS LAMBDA_RUNTIME_DIR LAMBDA_TASK_ROOT _AWS_XRAY_DAEMON_ADDRESS _AWS_XRAY_DAEMON_PORT
    _HANDLER""".split()
)
"""https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html: variables that extensions do not have."""
_FLAGS = {
    "mount": linux.CLONE_NEWNS,
    "net": linux.CLONE_NEWNET,
    "ipc": linux.CLONE_NEWIPC,
    "uts": linux.CLONE_NEWUTS,
}


class Host(NamedTuple):
    """What a fork needs to know of the zygote it came from."""

    namespaces: set[str]
    runtime_path: str
    user_agent: str
    """For AWS's runtime client, which is imported; "": it is not."""
    replaceable: dict[str, list[str]]
    pid_namespace: int
    filters_calls: bool


def enter(blank: dict[str, Any], fds: list[int], host: Host) -> NoReturn:
    """Become an environment: first one of no function, then the one that the control socket says. Never returns.

    blank: uid, endpoint_port, host_network. fds: control socket, log pipe, then cgroup.procs files to join.
    """
    control_fd = _own_descriptors(fds)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=control_fd)
    own_pids = "pid" in host.namespaces
    try:
        if own_pids:
            linux.die_with_parent()
        runtime_api = _isolate(blank, host, control)
        reader, writer = os.pipe2(os.O_CLOEXEC)
        child = os.fork()
        if child == 0:
            os.close(writer)
            _become_runtime(reader, blank, host, control)
        os.close(reader)
        request = inits.awaited(control)
        request["runtime_api"] = runtime_api
        extensions = _launch_extensions(_furnish(request, blank["uid"], host, control), request, host, writer)
        with os.fdopen(writer, "wb") as f:
            f.write(json.dumps(request).encode())
        linux.drop_privileges(request["uid"])
        if own_pids:
            linux.die_with_parent()
        linux.hide_memory()
        inits.watch(child, extensions, control, own_pids=own_pids, listens=not blank.get("snapshot"))
    except BaseException as error:
        inits.tell(
            control, {"event": "failed", "kind": "Sandbox.Failure", "reason": f"{type(error).__name__}: {error}"}
        )
        os._exit(71)


def _own_descriptors(fds: list[int]) -> int:
    """0 is /dev/null, 1, 2 and 3 the log, 4 the control socket; cgroups are joined, all else is closed."""
    for fd in fds[2:]:
        os.write(fd, b"0")
    high = [os.dup2(fd, 100 + i, inheritable=False) for i, fd in enumerate(fds[:2])]
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    for fd in (1, 2, inits.LOG_FD):
        os.dup2(high[1], fd)
    os.dup2(high[0], _CONTROL_FD, inheritable=False)
    os.closerange(_CONTROL_FD + 1, 1 << 16)
    return _CONTROL_FD


def _isolate(blank: dict[str, Any], host: Host, control: socket.socket) -> str:
    """Enter the namespaces and hand the listening sockets over. Returns the Runtime API's address."""
    flags = 0
    for name, flag in _FLAGS.items():
        if name in host.namespaces and not (name == "net" and blank["host_network"]):
            flags |= flag
    if flags:
        linux.unshare(flags)
    own_network = bool(flags & linux.CLONE_NEWNET)
    if own_network:
        linux.loopback_up()
    if flags & linux.CLONE_NEWUTS:
        socket.sethostname("sandbox")
    ports = [RUNTIME_API_PORT, blank["endpoint_port"]] if own_network else [0]
    listeners = [inits.listen(port) for port in ports]
    socket.send_fds(control, [b'{"event":"listening"}'], [s.fileno() for s in listeners])
    address = f"127.0.0.1:{listeners[0].getsockname()[1]}"
    for s in listeners:
        s.close()
    return address


def _furnish(request: dict[str, Any], uid: int, host: Host, control: socket.socket) -> list[str]:
    """Mount what the function sees, and tell the server whose processes these are. Returns extensions' executables."""
    mounted = "mount" in host.namespaces
    if "uid" not in host.namespaces or not (mounted or _reaches(uid, request["code"])):
        uid = os.geteuid()
    request["uid"] = uid
    tmp = []
    if mounted:
        own_proc = "pid" in host.namespaces
        if request["image"]:
            rootfs.enter_image(request["code"], request["ephemeral_mb"], own_proc=own_proc)
        else:
            rootfs.enter_environment(
                request["code"], request["layers"], request["ephemeral_mb"], request["shown"], own_proc=own_proc
            )
        os.chdir("/")
        tmp.append(os.open("/tmp", os.O_RDONLY | os.O_DIRECTORY))  # noqa: S108
    layers = [rootfs.LAYERS] if mounted else request["layers"]
    extensions = [
        path for layer in layers for path in sorted(glob.glob(f"{layer}/extensions/*")) if os.path.isfile(path)
    ]
    names = [os.path.basename(path) for path in extensions]
    event = {"event": "furnished", "uid": uid, "extensions": names, "tmp": len(tmp)}
    if extensions:
        reader, output = os.pipe()
        tmp.append(reader)
        os.dup2(output, 1)  # ours is closed before long; theirs is not the function's, so that lines stay whole
        os.dup2(output, 2)
        os.close(output)
    socket.send_fds(control, [json.dumps(event).encode()], tmp)
    for fd in tmp:
        os.close(fd)
    return extensions


def _launch_extensions(paths: list[str], request: dict[str, Any], host: Host, writer: int) -> dict[int, str]:
    """Start external extensions, with the function's rights. Returns process id -> name."""
    launched = {}
    for path in paths:
        pid = os.fork()
        if pid == 0:
            try:
                os.close(writer)
                os.close(inits.LOG_FD)
                _become_extension(path, request, host)
            finally:
                os._exit(1)
        launched[pid] = os.path.basename(path)
    return launched


def _become_extension(path: str, request: dict[str, Any], host: Host) -> None:
    if "pid" not in host.namespaces:
        linux.die_with_parent()
    os.setsid()
    own_user = {"user", "pid", "mount"} <= host.namespaces
    if own_user:
        linux.show_memory()
        linux.enter_user_namespace(_USER)
    _give_up_rights(own_user, request["uid"], host)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.umask(0o022)
    environment = {k: v for k, v in request["environment"].items() if k not in _NOT_FOR_EXTENSIONS}
    environment["AWS_LAMBDA_RUNTIME_API"] = request["runtime_api"]
    try:
        os.execve(path, [path], environment)  # noqa: S606
    except OSError as error:
        os.write(2, f"extension {os.path.basename(path)}: fork/exec {path}: {str(error.strerror).lower()}\n".encode())


def _reaches(uid: int, code: str) -> bool:
    """Whether a user may read the code and this interpreter where they lie on the host."""
    own = os.geteuid()
    os.seteuid(uid)
    try:
        return all(
            os.access(path, os.R_OK | os.X_OK, effective_ids=True) for path in (code, os.path.dirname(os.__file__))
        )
    finally:
        os.seteuid(own)


def _become_runtime(reader: int, blank: dict[str, Any], host: Host, control: socket.socket) -> NoReturn:
    """blank's uid: to become where that can be told before the function is known, wherever its code is mounted."""
    uid, to_snapshot = blank["uid"], blank.get("snapshot", False)
    status = 1
    try:
        if "pid" not in host.namespaces:
            linux.die_with_parent()
        os.setsid()
        own_user = {"user", "pid", "mount"} <= host.namespaces
        early = "mount" in host.namespaces and not own_user
        if early:
            _give_up_rights(own_user, uid if "uid" in host.namespaces else os.geteuid(), host, to_fork=to_snapshot)
        if blank.get("rehearse"):
            warmth.rehearse()
        with os.fdopen(reader, "rb") as f:
            text = f.read()
        if not text:
            os._exit(0)
        request = json.loads(text)
        if own_user:  # needs /proc, which has just come
            linux.show_memory()
            linux.enter_user_namespace(_USER)  # one of its own: its processes are counted apart from all others
        if not early:
            _give_up_rights(own_user, request["uid"], host, to_fork=to_snapshot)
        if request["data_bytes"]:
            _lower(resource.RLIMIT_DATA, request["data_bytes"])
        with open("/proc/self/oom_score_adj", "w") as f:
            f.write("500")
        inits.tell(
            control, {"event": "running", "at": time.monotonic()}
        )  # the kernel adds our process id, as the server knows it
        os.umask(0o022)
        task = rootfs.TASK if "mount" in host.namespaces else request["code"]
        environment = request["environment"]
        if request["image"]:
            task = _enter_working_directory(request["image"]["working_directory"], control)
        os.chdir(task)
        environment["AWS_LAMBDA_RUNTIME_API"] = request["runtime_api"]
        if request["program"] is not None:
            _exec_program(request, task, environment, control)
        if to_snapshot:
            ports = [RUNTIME_API_PORT, blank["endpoint_port"]]
            _let_fork(snapshots.Template(control, ports, filters_calls=host.filters_calls))
        else:
            control.close()
        environment["_LAMBDA_TELEMETRY_LOG_FD"] = str(inits.LOG_FD)
        _run_python(task, environment, host, request)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if not isinstance(end.code, int) and end.code is not None:
            sys.stderr.write(f"{end.code}\n")
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status & 0xFF)


def _let_fork(template: snapshots.Template) -> None:
    """Where AWS's runtime client would wait for a snapshot to be restored, be what is forked."""
    client: Any = sys.modules["awslambdaric.lambda_runtime_client"]
    client.LambdaRuntimeClient.restore_next = lambda _: template.restored()


def _give_up_rights(own_user: bool, uid: int, host: Host, *, to_fork: bool = False) -> None:
    """Become the unprivileged user that the function's code runs as, for good.

    to_fork: leave it the system calls with which an initialised process makes namespaces of its own.
    """
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, _FILES_MAX)
    if own_user or uid != os.geteuid():  # the user is this environment's alone: its processes can be counted
        _lower(resource.RLIMIT_NPROC, _PROCESSES_MAX)
    linux.drop_privileges(os.geteuid() if own_user else uid)
    linux.show_memory()
    if "pid" not in host.namespaces:
        linux.die_with_parent()
    if host.filters_calls:
        seccomp.refuse_dangerous_calls(but_namespaces=to_fork)


def _lower(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))


def _enter_working_directory(wanted: str, control: socket.socket) -> str:
    """Where a container image's program begins; ends this process where that is no folder, as AWS does."""
    folder = wanted or "/"
    try:
        os.chdir(folder)
    except OSError as error:
        reason = f"chdir {folder}: {str(error.strerror).lower()}"
        inits.tell(control, {"event": "failed", "kind": "Runtime.InvalidWorkingDir", "reason": reason})
        os._exit(1)
    return folder


def _exec_program(request: dict[str, Any], task: str, environment: dict[str, str], control: socket.socket) -> NoReturn:
    """Become the runtime's program, or the function's own executable. The control socket closes as that succeeds."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if request["program_logs"]:
        environment["_LAMBDA_TELEMETRY_LOG_FD"] = str(inits.LOG_FD)
    else:
        os.close(inits.LOG_FD)
    if request["program"]:
        command = [environment.get("_HANDLER", word) if word == "{handler}" else word for word in request["program"]]
        if request["wrapper"]:
            _check_wrapper(request["wrapper"])
            command.insert(0, request["wrapper"])
        try:
            if request["image"]:
                os.execvpe(command[0], command, environment)  # noqa: S606 - found on the image's own PATH
            os.execve(command[0], command, environment)  # noqa: S606
        except OSError as error:
            reason = f"fork/exec {command[0]}: {str(error.strerror).lower()}"
        inits.tell(control, {"event": "failed", "kind": "Runtime.InvalidEntrypoint", "reason": reason})
        os._exit(1)
    reason = f"Couldn't find valid bootstrap(s): [{task}/bootstrap {rootfs.LAYERS}/bootstrap]"
    for folder in (task, rootfs.LAYERS):
        path = os.path.join(folder, "bootstrap")
        if os.path.isfile(path):
            try:
                os.execve(path, [path], environment)  # noqa: S606
            except OSError as error:
                reason = f"fork/exec {path}: {str(error.strerror).lower()}"
            break
    inits.tell(control, {"event": "failed", "kind": "Runtime.InvalidEntrypoint", "reason": reason})
    os._exit(1)


def _check_wrapper(path: str) -> None:
    """End as AWS's start script does where the wrapper script cannot be run."""
    if not os.path.isfile(path):
        os.write(2, f"{path}: does not exist\n".encode())
        os._exit(127)
    if not os.access(path, os.X_OK):
        os.write(2, f"{path}: is not an executable\n".encode())
        os._exit(126)


def _run_python(task: str, environment: dict[str, str], host: Host, request: dict[str, Any]) -> None:
    """The interpreter as on AWS: its variables, its path, and none of our modules; then AWS's own runtime client."""
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    layers = [rootfs.LAYERS] if "mount" in host.namespaces else list(reversed(request["layers"]))
    front = [task]
    for layer in layers:
        front += [f"{layer}/python/lib/{version}/site-packages", f"{layer}/python"]
    front += [p for p in environment.get("PYTHONPATH", "").split(":") if p and p != host.runtime_path]
    sys.path[:] = [*front, host.runtime_path, *(p for p in sys.path if p != host.runtime_path)]
    _let_own_packages_win(front, host.replaceable)
    gc.enable()
    sys.argv[:] = [os.path.join(host.runtime_path, "bootstrap.py"), environment["_HANDLER"]]
    if host.user_agent:
        if "AWS_LAMBDA_LOG_FORMAT" in environment or "AWS_LAMBDA_LOG_LEVEL" in environment:
            importlib.reload(sys.modules["awslambdaric.bootstrap"])  # it reads both as it is imported
        client: Any = sys.modules["runtime_client"]
        client.initialize_client(host.user_agent)
    if request["debugger"]:
        _await_debugger(request["debugger"])
    runtime: Any = importlib.import_module("awslambdaric.__main__")
    runtime.main(sys.argv)


def _await_debugger(folder: str) -> None:
    """Have debugpy listen, in this process, and wait until somebody has attached."""
    sys.path.append(folder)
    debugpy: Any = importlib.import_module("debugpy")
    debugpy.listen(("127.0.0.1", DEBUG_PORT), in_process_debug_adapter=True)
    os.write(2, b"waiting for a debugger to attach\n")
    debugpy.wait_for_client()


def _let_own_packages_win(folders: list[str], replaceable: dict[str, list[str]]) -> None:
    """Forget what the zygote preloaded, if the function or a layer carries any of it: theirs comes first on AWS.

    Packages go together (an own botocore with our boto3 would not work), standard modules one by one.
    """
    carried: set[str] = set()
    for folder in folders:
        try:
            carried.update(name.partition(".")[0] for name in os.listdir(folder))
        except OSError:
            continue
    replaced = {name for name in carried if name in replaceable}
    standard: frozenset[str] = getattr(sys, "stdlib_module_names", frozenset())
    if replaced - standard:
        replaced.update(name for name in replaceable if name not in standard)
    for top in replaced:
        for name in replaceable[top]:
            sys.modules.pop(name, None)
