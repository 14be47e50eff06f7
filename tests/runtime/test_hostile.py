"""Functions that mean harm do it to themselves only. Each test is a line of docs/isolation.md."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path

import msgspec
import pytest

from environments import Bench, isolated, make_bench

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = """
    import os, uuid
    secret = uuid.uuid4().hex
    def handler(event, context):
        return secret
"""
LOOK_AROUND = """
    import os
    def handler(event, context):
        seen = {}
        for path in event:
            try:
                seen[path] = os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(100).hex()
            except OSError as error:
                seen[path] = type(error).__name__
        return seen
"""


async def test_it_does_not_see_the_data_directory_or_any_of_the_hosts_files(bench: Bench) -> None:
    isolated("files")
    data = bench.folder / "state" / "secret"
    data.write_text("secret")
    f = bench.function(LOOK_AROUND)
    here = str(Path(__file__).resolve())
    paths = [str(bench.folder), str(data), here, "/.host", "/root", "/home", "/var", "/etc/shadow", "/"]
    seen = await bench.answer(f, paths)
    for path in (str(bench.folder), str(data), here, "/etc/shadow"):
        assert seen[path] == "FileNotFoundError", (path, seen[path])
    assert seen["/.host"] == []
    assert set(seen["/var"]) == {"lang", "task", "runtime"}
    assert "proc" in seen["/"]


async def test_it_cannot_get_back_to_the_hosts_root(bench: Bench) -> None:
    isolated("files")
    f = bench.function("""
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        def attempt(what):
            try:
                return what()
            except OSError as error:
                return error.strerror
        def handler(event, context):
            out = {}
            out["mount"] = libc.mount(b"/", b"/tmp", None, 4096, None)
            out["umount"] = libc.umount2(b"/var/task", 2)
            out["unshare"] = libc.unshare(0x00020000)
            out["mknod"] = attempt(lambda: os.mknod("/tmp/disk", 0o60666, os.makedev(254, 0)))
            out["chroot"] = attempt(lambda: os.chroot("/tmp"))
            out["setuid"] = attempt(lambda: os.setuid(0))
            out["init"] = attempt(lambda: os.listdir("/proc/1/root"))
            out["caps"] = [l.split()[1] for l in open("/proc/self/status") if l.startswith("Cap")]
            out["nnp"] = [l.split()[1] for l in open("/proc/self/status") if l.startswith("NoNewPrivs")]
            return out
    """)
    out = await bench.answer(f)
    assert (out["mount"], out["umount"], out["unshare"]) == (-1, -1, -1)
    assert out["mknod"] == out["chroot"] == "Operation not permitted"
    assert out["setuid"] in ("Operation not permitted", "Invalid argument"), "in a user namespace there is no such user"
    assert isinstance(out["init"], str)
    assert set(out["caps"]) == {"0" * 16}
    assert out["nnp"] == ["1"]


async def test_it_cannot_write_but_in_tmp(bench: Bench) -> None:
    isolated("files")
    f = bench.function("""
        import os
        def handler(event, context):
            out = []
            for folder in event:
                try:
                    open(folder + "/x", "w").close()
                    out.append(folder)
                except OSError:
                    pass
            return out
    """)
    f = bench.function((f.code / "main.py").read_text(), layers=(bench.function(GOOD).code,))
    assert await bench.answer(f, ["/", "/var/task", "/opt", "/usr", "/etc", "/var/runtime", "/dev", "/tmp"]) == ["/tmp"]


async def test_it_does_not_see_another_functions_processes_code_or_environment(bench: Bench) -> None:
    isolated("files", "processes")
    victim = bench.function(GOOD, "victim", environment={"SECRET": "hush"})
    await bench.answer(victim)
    f = bench.function("""
        import os
        def handler(event, context):
            pids = [p for p in os.listdir("/proc") if p.isdigit()]
            environments = []
            for pid in pids:
                try:
                    environments.append(open(f"/proc/{pid}/environ").read())
                except OSError:
                    pass
            return {"pids": pids, "hush": any("hush" in e for e in environments), "task": os.listdir("/var/task"),
                    "environ": "hush" in str(os.environ)}
    """)
    out = await bench.answer(f)
    assert len(out["pids"]) <= 2
    assert not out["hush"]
    assert not out["environ"]
    assert out["task"] == ["main.py"]


async def test_it_kills_no_process_but_its_own(bench: Bench) -> None:
    isolated("files", "processes")
    victim = bench.function(GOOD, "victim")
    before = await bench.answer(victim)
    f = bench.function("""
        import os, signal
        def handler(event, context):
            for pid in [*range(event - 50, event + 50), *range(1, 2000), -1]:
                if pid not in (os.getpid(), 0):
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except OSError:
                        pass
            return "done"
    """)
    assert await bench.answer(f, os.getpid()) == "done"
    assert await bench.answer(victim) == before


async def test_it_fills_its_own_tmp_and_no_more(bench: Bench) -> None:
    isolated("files")
    f = bench.function("""
        def handler(event, context):
            written = 0
            try:
                with open("/tmp/big", "wb") as f:
                    while True:
                        written += f.write(bytes(1 << 20))
            except OSError as error:
                return [written >> 20, error.strerror]
    """, ephemeral_mb=64, timeout_s=20.0)  # fmt: skip
    assert await bench.answer(f) == [64, "No space left on device"]


async def test_many_files_in_tmp_end_too(bench: Bench) -> None:
    isolated("files")
    f = bench.function("""
        def handler(event, context):
            try:
                for n in range(10**9):
                    open(f"/tmp/{n}", "w").close()
            except OSError as error:
                return [n, error.strerror]
    """, ephemeral_mb=16, timeout_s=20.0)  # fmt: skip
    n, reason = await bench.answer(f)
    assert n < 16 * 512
    assert reason == "No space left on device"


async def test_allocating_without_end_is_killed_with_awss_words(bench: Bench) -> None:
    isolated("memory")
    f = bench.function("""
        def handler(event, context):
            hold = []
            while event:
                hold.append(bytearray(b"x" * (4 << 20)))
            return "small"
    """, memory_mb=128, timeout_s=30.0)  # fmt: skip
    outcome = await bench.invoke(f, True, request_id="r1")
    assert msgspec.json.decode(outcome.payload) == {
        "errorType": "Runtime.ExitError",
        "errorMessage": "RequestId: r1 Error: Runtime exited with error: signal: killed",
    }
    assert b"Max Memory Used: 128 MB" in outcome.log
    assert b"Error Type: Runtime.OutOfMemory" in outcome.log
    assert outcome.memory_used_mb == 128
    assert await bench.answer(f, False) == "small"


async def test_what_lies_in_tmp_is_not_the_functions_memory(bench: Bench) -> None:
    isolated("memory", "files")
    f = bench.function("""
        import time
        def handler(event, context):
            with open("/tmp/big", "wb") as f:
                for _ in range(200):
                    f.write(bytes(1 << 20))
            time.sleep(0.2)
            return "fits"
    """, memory_mb=128, timeout_s=20.0)  # fmt: skip
    assert await bench.answer(f) == "fits"


async def test_forking_without_end_ends_at_awss_limit_and_with_the_environment(bench: Bench) -> None:
    isolated("files", "process count", "processes")
    f = bench.function("""
        import os
        def handler(event, context):
            n = 0
            try:
                while True:
                    os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
                    n += 1
            except OSError as error:
                print(error)
            return n
    """, timeout_s=60.0, memory_mb=2048)  # fmt: skip
    n = await bench.answer(f)
    assert 900 < n < 1024
    began = time.monotonic()
    await bench.runtime.retire("")
    assert await bench.answer(bench.function(GOOD))
    assert time.monotonic() - began < 5


async def test_a_log_flood_is_held_back_and_the_server_goes_on(bench: Bench) -> None:
    flood = bench.function("""
        import os
        def handler(event, context):
            block = b"x\\n" * 2000
            while True:
                os.write(1, block)
    """, "flood", timeout_s=2.0)  # fmt: skip
    good = bench.function(GOOD)
    await bench.answer(good)
    flooding = asyncio.ensure_future(bench.invoke(flood))
    slowest = 0.0
    n = 0
    while not flooding.done():
        began = time.monotonic()
        await bench.answer(good)
        slowest = max(slowest, time.monotonic() - began)
        n += 1
        await asyncio.sleep(0.01)
    assert (await flooding).error == "Unhandled"
    assert len((await flooding).log) < 70_000
    assert n > 5  # a machine as busy as it may be: starved, it would be none
    assert slowest < 1.5
    assert sum(len(line) for name, _, line in bench.lines if name == "flood") < 50_000_000


async def test_output_without_a_line_break_is_cut_and_bounded(bench: Bench) -> None:
    f = bench.function("""
        import os
        def handler(event, context):
            for _ in range(300):
                os.write(1, b"y" * 4096)
            os.write(1, b"\\xa5\\x5a\\x00\\x03\\xff\\xff\\xff\\xff")  # a frame that promises 4 GB
            return "done"
    """)
    assert await bench.answer(f) == "done"
    assert await bench.answer(f) == "done"
    await asyncio.sleep(0.3)
    assert max(len(line) for _, _, line in bench.lines) <= 256 * 1024 + 1


RAW = """
    import http.client, json, os, time
    def call(method, path, body=None, headers={}):
        c = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"], timeout=3)
        c.request(method, "/2018-06-01/runtime/" + path, body, headers)
        r = c.getresponse()
        return r.status, r.read().decode()
"""


async def test_answering_twice_or_for_another_request_is_refused(bench: Bench) -> None:
    f = bench.function(RAW + """
    def handler(event, context):
        out = [call("POST", "invocation/00000000-0000-4000-8000-00000000ffff/response", "1")[0]]
        out.append(call("GET", "invocation/next")[0])
        out.append(call("POST", "init/error", "{}")[0])
        out.append(call("GET", "nowhere")[0])
        out.append(call("DELETE", "invocation/next")[0])
        if event:
            out.append(call("POST", f"invocation/{context.aws_request_id}/response", json.dumps("first"))[0])
            out.append(call("POST", f"invocation/{context.aws_request_id}/response", json.dumps("again"))[0])
            open("/tmp/out", "w").write(json.dumps(out))
        return out if not event else json.load(open("/tmp/out"))
    """)  # fmt: skip
    assert await bench.answer(f, False) == [400, 403, 403, 404, 404]
    assert await bench.answer(f, True) == "first"  # then the runtime client's own answer is refused, and it exits
    assert await bench.answer(f, False) == [400, 403, 403, 404, 404]


async def test_garbage_on_the_runtime_api_harms_nobody_else(bench: Bench) -> None:
    f = bench.function("""
        import os, socket
        def handler(event, context):
            host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
            for bad in (b"\\x00" * 1000, b"GET / HTTP/9.9\\r\\n\\r\\n", b"POST " + b"a" * 3_000_000,
                        b"GET / HTTP/1.1\\r\\nX: " + b"h" * 3_000_000,
                        b"POST /2018-06-01/runtime/invocation/x/response HTTP/1.1\\r\\nContent-Length: -1\\r\\n\\r\\n"):
                with socket.create_connection((host, int(port)), 3) as s:
                    try:
                        s.sendall(bad)
                        s.settimeout(0.2)
                        s.recv(1000)
                    except OSError:
                        pass
            many = [socket.create_connection((host, int(port)), 3) for _ in range(500)]
            return "tried"
    """, timeout_s=20.0)  # fmt: skip
    assert await bench.answer(f) == "tried"
    assert await bench.answer(bench.function(GOOD))


async def test_a_runtime_that_drops_its_connection_and_never_asks_again_times_out(bench: Bench) -> None:
    f = bench.function("""
        import os, threading, time
        def close_later():
            time.sleep(0.2)
            for fd in range(4, 64):  # the runtime client's connection among them
                try:
                    os.close(fd)
                except OSError:
                    pass
            time.sleep(1000)
        def handler(event, context):
            threading.Thread(target=close_later, daemon=True).start()
            return "closing"
    """, timeout_s=1.0)  # fmt: skip
    assert await bench.answer(f) == "closing"
    await asyncio.sleep(0.5)
    outcome = await asyncio.wait_for(bench.invoke(f), 5)
    assert outcome.payload in (b'"closing"',) or outcome.error == "Unhandled"
    assert await asyncio.wait_for(bench.answer(f), 5) == "closing"


async def test_threads_and_children_left_behind_end_with_the_environment(bench: Bench) -> None:
    isolated("processes")
    f = bench.function("""
        import os, subprocess, threading, time
        def handler(event, context):
            threading.Thread(target=time.sleep, args=(1000,)).start()
            subprocess.Popen(["sleep", "98765"], start_new_session=True)
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    os.execvp("sleep", ["sleep", "98765"])
                os._exit(0)
            return "left"
    """)
    assert await bench.answer(f) == "left"
    assert await bench.answer(f) == "left"
    assert sleepers("98765") >= 2
    await bench.runtime.retire("")
    for _ in range(100):
        if not sleepers("98765"):
            break
        await asyncio.sleep(0.02)
    assert sleepers("98765") == 0


def sleepers(argument: str) -> int:
    """Processes of this host that have the argument."""
    n = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                n += argument.encode() in (entry / "cmdline").read_bytes().split(b"\0")
    return n


async def test_it_reaches_no_network_but_its_own(bench: Bench) -> None:
    isolated("network")
    other = bench.function(GOOD, "other")
    await bench.answer(other)
    host = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    port = host.sockets[0].getsockname()[1]
    f = bench.function("""
        import os, socket
        def handler(event, context):
            out = {}
            for address in [("127.0.0.1", event), ("8.8.8.8", 53), ("169.254.169.254", 80)]:
                try:
                    socket.create_connection(address, 1).close()
                    out[address[0]] = "reached"
                except OSError as error:
                    out[address[0]] = error.strerror or str(error)
            out["links"] = os.listdir("/sys/class/net") if os.path.isdir("/sys/class/net") else []
            out["listening"] = [l.split()[1] for l in open("/proc/net/tcp").readlines()[1:] if l.split()[3] == "0A"]
            return out
    """)
    out = await bench.answer(f, port)
    host.close()
    assert out["127.0.0.1"] == "Connection refused"
    assert out["8.8.8.8"] == out["169.254.169.254"] == "Network is unreachable"
    assert out["listening"] == ["0100007F:2329", "0100007F:11D6"] or set(out["listening"]) == {
        "0100007F:2329", "0100007F:11D6",
    }  # fmt: skip


async def test_it_has_only_its_own_descriptors_and_variables(bench: Bench) -> None:
    f = bench.function("""
        import os
        def handler(event, context):
            links = {}
            for fd in os.listdir("/proc/self/fd"):
                try:
                    links[fd] = os.readlink("/proc/self/fd/" + fd).partition(":")[0]
                except OSError:
                    pass
            return {"fds": links, "environ": dict(os.environ)}
    """)
    os.environ["PENSTOCK_TEST_LEAK"] = "leak"
    try:
        out = await bench.answer(f)
    finally:
        del os.environ["PENSTOCK_TEST_LEAK"]
    assert out["fds"]["0"] == "/dev/null"
    assert {out["fds"][n] for n in "123"} == {"pipe"}
    assert all(kind in ("socket", "/proc/2/fd", "anon_inode") for n, kind in out["fds"].items() if n not in "0123")
    assert not any(name.startswith("PENSTOCK") for name in out["environ"])
    assert "HOME" not in out["environ"]


async def test_dangerous_system_calls_are_refused_and_ordinary_ones_are_not(bench: Bench) -> None:
    isolated("system calls")
    f = bench.function("""
        import ctypes, os, subprocess, threading
        libc = ctypes.CDLL(None, use_errno=True)
        def errno_of(*call):
            ctypes.set_errno(0)
            name, *arguments = call
            result = getattr(libc, name)(*arguments)
            return ctypes.get_errno() if result < 0 else 0
        def handler(event, context):
            refused = {
                "unshare user": errno_of("unshare", 0x10000000),
                "clone user": errno_of("syscall", 56 if os.uname().machine == "x86_64" else 220, 0x10000000 | 17, 0, 0, 0, 0),
                "ptrace": errno_of("ptrace", 0, 0, 0, 0),
                "setns": errno_of("setns", os.open("/proc/self/ns/net", os.O_RDONLY), 0),
            }
            seen = []
            thread = threading.Thread(target=lambda: seen.append("thread"))
            thread.start()
            thread.join()
            seen.append(subprocess.run(["sh", "-c", "echo child | cat"], capture_output=True, text=True).stdout.strip())
            if os.fork() == 0:
                os._exit(0)
            os.wait()
            return [refused, seen]
    """)
    refused, seen = await bench.answer(f)
    assert refused == dict.fromkeys(refused, 1)  # EPERM
    assert seen == ["thread", "child"]


async def test_on_the_hosts_network_others_still_cannot_use_its_runtime_api(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("without root, environments have the server's user")
    bench = make_bench(tmp_path, function_network="host")
    try:
        assert bench.runtime.protections()["network"].startswith("off")
        host = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
        f = bench.function("""
            import os, socket
            def handler(event, context):
                socket.create_connection(("127.0.0.1", event), 3).close()
                return [os.getuid(), os.environ["AWS_LAMBDA_RUNTIME_API"]]
        """)
        user, api = await bench.answer(f, host.sockets[0].getsockname()[1])
        address, port = api.split(":")
        host.close()
        if user == os.geteuid():
            pytest.skip("functions cannot be given another user here")
        reader, writer = await asyncio.open_connection(address, int(port))
        with contextlib.suppress(ConnectionError):
            writer.write(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n")
            await writer.drain()
            assert await asyncio.wait_for(reader.read(), 3) == b""
        writer.close()
    finally:
        await bench.runtime.close()
