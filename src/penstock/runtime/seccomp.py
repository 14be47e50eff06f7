"""System calls that no function needs and kernels have had holes behind: refused by a filter, for good.

Runs in the zygote's forks: standard library only. The rest of isolation does not depend on it.
https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

from __future__ import annotations

import ctypes
import platform
import struct

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_EPERM, _ENOSYS = 0x00050001, 0x00050026
_NUMBER_AT, _ARCH_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_CLONE_NAMESPACES = 0x7E020000  # CLONE_NEWUSER, NEWPID, NEWNET, NEWIPC, NEWUTS, NEWCGROUP, NEWNS
_X32 = 0x40000000
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_CLONE3 = 435

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CLONE = {"x86_64": 56, "aarch64": 220}
_REFUSED = {
    "x86_64": {
        "ptrace": 101, "syslog": 103, "pivot_root": 155, "chroot": 161, "acct": 163, "mount": 165, "umount2": 166,
        "swapon": 167, "swapoff": 168, "reboot": 169, "init_module": 175, "delete_module": 176, "quotactl": 179,
        "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272, "perf_event_open": 298,
        "name_to_handle_at": 303, "open_by_handle_at": 304, "setns": 308, "process_vm_readv": 310,
        "process_vm_writev": 311, "finit_module": 313, "kexec_file_load": 320, "bpf": 321, "userfaultfd": 323,
    },
    "aarch64": {
        "umount2": 39, "mount": 40, "pivot_root": 41, "chroot": 51, "quotactl": 60, "acct": 89, "unshare": 97,
        "kexec_load": 104, "init_module": 105, "delete_module": 106, "syslog": 116, "ptrace": 117, "reboot": 142,
        "add_key": 217, "request_key": 218, "keyctl": 219, "swapon": 224, "swapoff": 225, "perf_event_open": 241,
        "name_to_handle_at": 264, "open_by_handle_at": 265, "setns": 268, "process_vm_readv": 270,
        "process_vm_writev": 271, "finit_module": 273, "bpf": 280, "userfaultfd": 282, "kexec_file_load": 294,
    },
}  # fmt: skip
_REFUSED_EVERYWHERE = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "pidfd_getfd": 438, "mount_setattr": 442,
    "quotactl_fd": 443,
}  # fmt: skip


_NAMESPACES = frozenset(("unshare", "mount", "umount2"))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def supported() -> bool:
    """Whether there is a filter for this machine's architecture."""
    return platform.machine() in _ARCHITECTURES


def program(machine: str, but: frozenset[str] = frozenset()) -> bytes:
    """The filter, in BPF: sock_filter structures (code, jump if true, jump if false, operand).

    but: calls to let through; namespaces by clone too, if unshare is one.
    """

    def step(code: int, operand: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("=HBBI", code, yes, no, operand)

    out = [step(_LOAD, _ARCH_AT), step(_EQUAL, _ARCHITECTURES[machine], 1, 0), step(_RETURN, _KILL)]
    out.append(step(_LOAD, _NUMBER_AT))
    if machine == "x86_64":
        out += [step(_AT_LEAST, _X32, 0, 1), step(_RETURN, _ENOSYS)]
    # glibc and musl fall back to clone(2), whose flags a filter can see, when clone3(2) is not there.
    out += [step(_EQUAL, _CLONE3, 0, 1), step(_RETURN, _ENOSYS)]
    refused = {**_REFUSED[machine], **_REFUSED_EVERYWHERE}
    for number in (number for name, number in refused.items() if name not in but):
        out += [step(_EQUAL, number, 0, 1), step(_RETURN, _EPERM)]
    if "unshare" not in but:
        out += [step(_EQUAL, _CLONE[machine], 0, 3), step(_LOAD, _FIRST_ARGUMENT_AT)]
        out += [step(_ANY_BIT, _CLONE_NAMESPACES, 0, 1), step(_RETURN, _EPERM)]
    out.append(step(_RETURN, _ALLOW))
    return b"".join(out)


def refuse_dangerous_calls(*, but_namespaces: bool = False) -> None:
    """Install the filter in this thread and all that come of it. no_new_privs must be set. Raises OSError.

    but_namespaces: leave what it takes to enter namespaces of one's own. A later filter can still refuse that.
    """
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        return
    code = program(machine, _NAMESPACES if but_namespaces else frozenset())
    loaded = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(loaded), 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "prctl PR_SET_SECCOMP")
