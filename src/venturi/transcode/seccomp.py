"""A filter of system calls for a process that reads hostile bytes (seccomp(2)): no network, no processes, no others.

    network         sockets are neither made nor used; the pipe to the foreman is read and written as a file
    processes       no fork, no exec; threads may be made
    others          no signals, limits, memory or descriptors of another process
    ways around     io_uring (makes calls the filter does not see), other calling conventions, new namespaces, bpf

What is denied answers EPERM, as a kernel without the right would, so a library that tries goes on or raises. clone3
answers ENOSYS, since its flags can't be seen: the C library then makes its threads by clone. Files are not guarded:
the process may touch what its user may. The filter covers every thread and can't be taken off.
"""

import ctypes
import errno
import os
import struct

_EPERM, _ENOSYS, _ALLOW = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS, 0x7FFF0000
"""SECCOMP_RET_ERRNO with its number, SECCOMP_RET_ALLOW."""
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
"""BPF_LD | BPF_W | BPF_ABS; BPF_JMP | BPF_K with BPF_JEQ, BPF_JGE, BPF_JSET; BPF_RET | BPF_K."""
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
"""Offsets in ``struct seccomp_data``; of the argument its lower half, on a little-endian machine."""
_X32 = 0x40000000
"""Numbers from here on are x86_64's other calling convention; aarch64 has none so high."""
_CLONE_THREAD = 0x00010000
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_FILTER_FLAG_TSYNC = 1

_MACHINES = ("x86_64", "aarch64")
"""The order of the numbers below, which are those of the kernel's asm/unistd_64.h and asm-generic/unistd.h."""
_AUDIT = (0xC000003E, 0xC00000B7)
_SECCOMP = (317, 277)
_CLONE, _CLONE3 = (56, 220), (435, 435)
_KILL, _TGKILL, _PRLIMIT64 = (62, 129), (234, 131), (302, 261)
_DENIED: dict[str, tuple[int, int]] = {
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    "execve": (59, 221),
    "execveat": (322, 281),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "io_uring_setup": (425, 425),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
}
_X86_64_ONLY = {"fork": 57, "vfork": 58}


def deny() -> str:
    """Deny those calls to this process from now on; empty, or in words why the kernel does not do it."""
    machine = os.uname().machine
    if machine not in _MACHINES or struct.calcsize("P") != 8:
        return f"no filter of system calls for {machine}"
    libc = ctypes.CDLL(None, use_errno=True)
    program = _program(machine, os.getpid())
    code = ctypes.create_string_buffer(program, len(program))
    filter_ = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(code)))
    zero, one = ctypes.c_ulong(0), ctypes.c_ulong(1)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, one, zero, zero, zero):
        return f"prctl(PR_SET_NO_NEW_PRIVS): {os.strerror(ctypes.get_errno())}"
    # prctl's older way would leave out threads that libraries have started: OpenBLAS does when it is loaded.
    mode, flags = ctypes.c_ulong(_SECCOMP_SET_MODE_FILTER), ctypes.c_ulong(_SECCOMP_FILTER_FLAG_TSYNC)
    if libc.syscall(ctypes.c_long(_SECCOMP[_MACHINES.index(machine)]), mode, flags, filter_):
        return f"seccomp(SECCOMP_SET_MODE_FILTER): {os.strerror(ctypes.get_errno())}"
    return ""


def _program(machine: str, pid: int) -> bytes:
    """Assemble the filter; each instruction is a ``struct sock_filter``."""
    column = _MACHINES.index(machine)
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _AUDIT[column]),
        (_RETURN, 0, 0, _EPERM),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _EPERM),
        (_EQUAL, 0, 1, _CLONE3[column]),
        (_RETURN, 0, 0, _ENOSYS),
        *_only(_CLONE[column], _ANY_BIT, _CLONE_THREAD),
        *_only(_KILL[column], _EQUAL, pid),
        *_only(_TGKILL[column], _EQUAL, pid),
        *_only(_PRLIMIT64[column], _EQUAL, 0),  # 0 is the process itself
    ]
    denied = [numbers[column] for numbers in _DENIED.values()]
    for number in denied + (list(_X86_64_ONLY.values()) if machine == "x86_64" else []):
        code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _EPERM)]
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in code)


def _only(number: int, test: int, value: int) -> list[tuple[int, int, int, int]]:
    """Of one call, allow what passes the test by its first argument, and deny the rest."""
    return [
        (_EQUAL, 0, 4, number),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (test, 0, 1, value),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _EPERM),
    ]
