"""The filter, run instruction by instruction as the kernel would."""

from __future__ import annotations

import struct

import pytest

from penstock.runtime import seccomp

ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
CLONE = {"x86_64": 56, "aarch64": 220}
OPENAT = {"x86_64": 257, "aarch64": 56}


def verdict(machine: str, number: int, argument: int = 0, architecture: int = 0) -> int:
    """What the filter of `machine` says to a system call."""
    data = struct.pack("=IIQQ", number, architecture or ARCHITECTURE[machine], 0, argument)
    steps = list(struct.iter_unpack("=HBBI", seccomp.program(machine)))
    at = held = 0
    while True:
        code, yes, no, operand = steps[at]
        at += 1
        if code == 0x20:
            held = struct.unpack_from("=I", data, operand)[0]
        elif code == 0x06:
            return int(operand)
        else:
            true = {0x15: held == operand, 0x35: held >= operand, 0x45: bool(held & operand)}[code]
            at += yes if true else no


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_refuses_what_it_names_and_allows_the_rest(machine: str) -> None:
    assert verdict(machine, OPENAT[machine]) == ALLOW
    assert verdict(machine, 0) == ALLOW
    for number in (*seccomp._REFUSED[machine].values(), *seccomp._REFUSED_EVERYWHERE.values()):
        assert verdict(machine, number) == EPERM
    assert verdict(machine, 435) == ENOSYS
    assert verdict(machine, OPENAT[machine], architecture=0x40000003) == KILL
    threads = 0x003D0F00
    assert verdict(machine, CLONE[machine], threads) == verdict(machine, CLONE[machine], 17) == ALLOW
    for namespace in (0x00020000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict(machine, CLONE[machine], namespace | 17) == EPERM


def test_the_x32_numbers_of_x86_64_are_unknown() -> None:
    assert verdict("x86_64", 0x40000000 | 101) == ENOSYS
