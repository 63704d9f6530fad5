"""What the filter of system calls answers, on both machines, and what limits an object gets."""

import errno
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from venturi.transcode import seccomp
from venturi.transcode.sandbox import GIB, limits

ALLOW, EPERM, ENOSYS = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
PID = 4711
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
AUDIT_ARCH_I386 = 0x40000003
THREAD = 0x3D0F00
"""What pthread_create asks of clone: CLONE_VM, CLONE_FS, CLONE_FILES, CLONE_SIGHAND, CLONE_THREAD and more."""
SIGCHLD = 17

# read, write, openat, mmap, exit_group, futex: by the numbers of each machine
NEEDED = {"x86_64": (0, 1, 257, 9, 231, 202), "aarch64": (63, 64, 56, 222, 94, 98)}
# socket, connect, bind, execve, ptrace, process_vm_writev, io_uring_setup, pidfd_getfd
FORBIDDEN = {
    "x86_64": (41, 42, 49, 59, 101, 311, 425, 438, 57, 58),  # and fork, vfork
    "aarch64": (198, 203, 200, 221, 117, 271, 425, 438),
}
# clone, kill, tgkill, prlimit64
LOOKED_AT = {"x86_64": (56, 62, 234, 302), "aarch64": (220, 129, 131, 261)}

machines = pytest.mark.parametrize("machine", ["x86_64", "aarch64"])


def answer(machine: str, number: int, argument: int = 0, architecture: int | None = None) -> int:
    """Run the filter over a ``struct seccomp_data``, as the kernel would (its classic BPF, linux/filter.h)."""
    data = struct.pack("<IIQQ", number, architecture or AUDIT_ARCH[machine], 0, argument & (1 << 64) - 1)
    code = list(struct.iter_unpack("<HBBI", seccomp._program(machine, PID)))
    value, at = 0, 0
    while True:
        operation, if_true, if_false, constant = code[at]
        at += 1
        match operation:
            case 0x20:
                value = int.from_bytes(data[constant : constant + 4], "little")
            case 0x06:
                return int(constant)
            case 0x15:
                at += if_true if value == constant else if_false
            case 0x35:
                at += if_true if value >= constant else if_false
            case 0x45:
                at += if_true if value & constant else if_false
            case _:
                raise AssertionError(f"operation {operation:#x}")


@machines
def test_what_a_codec_needs_is_allowed(machine: str) -> None:
    assert {answer(machine, number) for number in NEEDED[machine]} == {ALLOW}


@machines
def test_network_programs_and_other_processes_are_denied(machine: str) -> None:
    assert {answer(machine, number) for number in FORBIDDEN[machine]} == {EPERM}


@machines
def test_threads_are_allowed_and_processes_are_not(machine: str) -> None:
    clone = LOOKED_AT[machine][0]
    assert answer(machine, clone, THREAD) == ALLOW
    assert answer(machine, clone, SIGCHLD) == EPERM
    assert answer(machine, 435) == ENOSYS  # clone3: its flags are out of sight


@machines
def test_only_itself_may_be_signalled_and_limited(machine: str) -> None:
    _, kill, tgkill, prlimit64 = LOOKED_AT[machine]
    for call in (kill, tgkill):
        assert answer(machine, call, PID) == ALLOW
        assert {answer(machine, call, pid) for pid in (1, 0, -1, PID + 1)} == {EPERM}
    assert answer(machine, prlimit64, 0) == ALLOW
    assert answer(machine, prlimit64, 1) == EPERM


@settings(deadline=None, max_examples=50)
@given(st.integers(0, (1 << 32) - 1))
def test_other_calling_conventions_are_denied_whole(number: int) -> None:
    assert answer("x86_64", number, architecture=AUDIT_ARCH_I386) == EPERM
    assert answer("x86_64", number | 0x40000000) == EPERM


@settings(deadline=None)
@given(st.integers(0, 1 << 34))
def test_limits_grow_with_the_object_and_leave_memory_for_the_others(size_bytes: int) -> None:
    small, large = limits(size_bytes), limits(size_bytes + 1_000_000)
    assert large.wall_s == pytest.approx(small.wall_s + 1)
    assert small.wall_s < small.cpu_s
    assert GIB / 4 < small.memory_bytes <= large.memory_bytes < 1 << 45
    assert small.file_bytes >= size_bytes + 4 * GIB
