"""The kernel's doors that Python 3.11 does not open: namespaces, mounts, prctl, capabilities. Linux only.

Imported by the zygote, which runs without site-packages and may be an older Python: standard library only.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import socket
import struct

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2

CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN = 6, 7, 21

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 1, 4, 24
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 36, 38
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_MOUNT_SETATTR = 442
_MADV_COLLAPSE, _HUGE_BYTES = 25, 1 << 21
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV = 1, 2, 4

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), what)


def unshare(flags: int) -> None:
    """Leave the namespaces in `flags` for new ones. Raises OSError."""
    _check(_libc.unshare(flags), f"unshare {flags:#x}")


def enter_user_namespace(inside: int = 0, others: int = 0) -> None:
    """Become the user `inside` of a new user namespace, with every capability in it; outside, nothing changes.

    others: flags of namespaces to make at once, which that one owns.

    Only that user exists there. The process must be dumpable (`show_memory`). Raises OSError.
    """
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | others)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{inside} {uid} 1"), ("gid_map", f"{inside} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as f:
            f.write(text)


def setns(fd: int, kind: int) -> None:
    """Enter the namespace behind `fd`. Raises OSError."""
    _check(_libc.setns(fd, kind), "setns")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2). Raises OSError naming the target."""
    ok = _libc.mount(
        os.fsencode(source), os.fsencode(target), kind.encode() or None, ctypes.c_ulong(flags), options.encode() or None
    )
    _check(ok, f"mount {source} at {target}")


def bind_read_only(source: str, target: str, *, devices: bool = False) -> None:
    """Show `source` at `target`, mounts below it included: read-only, without set-uid and (mostly) device files."""
    mount(source, target, flags=MS_BIND | MS_REC)
    attributes = _MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID | (0 if devices else _MOUNT_ATTR_NODEV)
    request = struct.pack("=QQQQ", attributes, 0, 0, 0)
    done = _libc.syscall(
        ctypes.c_long(_MOUNT_SETATTR), ctypes.c_int(_AT_FDCWD), ctypes.c_char_p(os.fsencode(target)),
        ctypes.c_uint(_AT_RECURSIVE), ctypes.c_char_p(request), ctypes.c_size_t(len(request)),
    )  # fmt: skip
    if done < 0:  # before Linux 5.12: the top mount only, keeping the flags that a user namespace may not take off
        kept = os.statvfs(target).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC | 1024 | 2048 | (1 << 21))
        flags = MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | kept | (0 if devices else MS_NODEV)
        mount("none", target, flags=flags)


def detach(target: str) -> None:
    """Take a mount, and all below it, out of this namespace. Raises OSError."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    """Make `new` this namespace's root; the former root appears at `old`, a folder below it. Raises OSError."""
    number = _PIVOT_ROOT[platform.machine()]
    arguments = ctypes.c_char_p(os.fsencode(new)), ctypes.c_char_p(os.fsencode(old))
    _check(_libc.syscall(ctypes.c_long(number), *arguments), "pivot_root")


def collapse_memory(proc: str) -> None:
    """Have this process's own memory in huge pages where that can be: a fork then copies a five-hundredth of the tables.

    A fork's write splits a huge page again, so what is shared stays shared in pages of 4 KB. Since Linux 6.1; before,
    nothing changes. proc: where proc is mounted.
    """
    with open(f"{proc}/self/maps") as f:
        lines = f.read().splitlines()
    for line in lines:
        place, rights, _, _, inode, *name = line.split(None, 5)
        if rights != "rw-p" or inode != "0" or (name and name[0] != "[heap]"):
            continue
        begin, end = (int(text, 16) for text in place.split("-"))
        begin, end = -(-begin // _HUGE_BYTES) * _HUGE_BYTES, end // _HUGE_BYTES * _HUGE_BYTES
        if end > begin:
            _libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), _MADV_COLLAPSE)


def _prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    _check(_libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero), f"prctl {option}")


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends. Changing user or capabilities undoes it."""
    _prctl(_PR_SET_PDEATHSIG, 9)


def adopt_orphans() -> None:
    """Become the parent of orphaned descendants, so that none of them is lost sight of."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def capable(capability: int) -> bool:
    """Whether this process has a capability (in its user namespace) in force."""
    with open("/proc/self/status") as f:
        held = next((int(line.split()[1], 16) for line in f if line.startswith("CapEff")), 0)
    return bool(held >> capability & 1)


def hide_memory() -> None:
    """No ptrace of this process, and /proc/self belongs to root."""
    _prctl(_PR_SET_DUMPABLE, 0)


def show_memory() -> None:
    """Undo `hide_memory`, and what changing user did to it: /proc/self belongs to this process's user again."""
    _prctl(_PR_SET_DUMPABLE, 1)


def no_new_privileges() -> None:
    """Let no program that this process becomes have more rights than it, set-uid or not."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def drop_privileges(uid: int) -> None:
    """Give up every capability for good, set-uid programs included, and become the user `uid`. Raises OSError."""
    no_new_privileges()
    for capability in range(64):  # while we may: changing user takes the right to
        if _libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) < 0:
            break  # past the last one this kernel knows, or not ours to drop: then no_new_privs bounds it
    if uid != os.geteuid():
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    header = struct.pack("=Ii", 0x20080522, 0)
    _check(_libc.capset(ctypes.c_char_p(header), ctypes.c_char_p(bytes(24))), "capset")


def loopback_up() -> None:
    """Switch `lo` on in this network namespace. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, 0x8914, struct.pack("16sh22x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: IFF_UP | IFF_RUNNING
