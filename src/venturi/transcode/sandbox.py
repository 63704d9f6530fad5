"""What a worker may cost and do: limits for each object, and a filter of system calls for its whole life.

An object whose pixels make a codec allocate, spin or write without end meets one of these walls: an allocation fails
(MemoryError, which the engine refuses as ``too-large``), a write fails (EFBIG, the same), the kernel ends the worker
(SIGXCPU), or the foreman does (``wall_s``). They are the second wall: the first is that a codestream's own header is
checked before it is decoded. Only soft limits are set, anew for each object; the hard ones stay as they were.

Nothing here ends a start: what the kernel or its administrator does not allow is given back in words, for the log.
"""

import errno
import os
import resource
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from venturi.transcode import seccomp

GIB = 1 << 30
MEMORY_PER_BYTE = 8
"""The hungriest codec measured, OpenJPEG on 8-bit samples, allocates 7 bytes for each byte of a native frame."""
OPEN_FILES = 64
LIMITS = {errno.ENOMEM: "no memory is left to it", errno.EFBIG: "its rendition would be too long a file"}
"""Errors of the operating system that are the object's own fault: it met a limit, and would again."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one object may cost."""

    wall_s: float
    cpu_s: float
    """Of all threads together."""
    memory_bytes: int
    """Allocated, beyond what the worker has before it begins. Files that are mapped read-only don't count."""
    file_bytes: int
    """Length of a rendition."""


def limits(size_bytes: int) -> Limits:
    """Limits for a dataset of such a length.

    Two minutes, and a second for each megabyte. A native rendition has at most the 4 GiB that its length field can
    say (PS3.5 7.1.2) beside its other elements; a compressed one of compressed pixels is bounded by eight times those.
    """
    wall_s = 120.0 + size_bytes / 1e6
    return Limits(
        wall_s=wall_s,
        cpu_s=1.25 * wall_s,
        memory_bytes=_memory_for(size_bytes),
        file_bytes=4 * GIB + 8 * size_bytes,
    )


def _memory_for(native_bytes: int) -> int:
    """What codecs may allocate over so many bytes of pixels; half the machine's memory is for everybody else."""
    half = os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES // 2
    return min(2 * GIB + MEMORY_PER_BYTE * native_bytes, half)


@dataclass(frozen=True, slots=True)
class _Confined:
    """The object in hand."""

    limits: Limits
    address_space_bytes: int
    """Taken before it began."""
    data_bytes: int
    """Of that, private and writable: what RLIMIT_DATA counts (getrlimit(2))."""


_confined: _Confined | None = None


def confine(allowed: Limits) -> None:
    """Set this process's limits for the object it begins now."""
    global _confined  # noqa: PLW0603  # limits are the process's, and so is what they are counted from
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _set_soft(resource.RLIMIT_CPU, ceil(usage.ru_utime + usage.ru_stime + allowed.cpu_s))
    _set_soft(resource.RLIMIT_FSIZE, allowed.file_bytes)
    _set_soft(resource.RLIMIT_NOFILE, OPEN_FILES)
    _confined = _Confined(allowed, *taken_bytes())
    _allow(_confined, allowed.memory_bytes)


def make_room(frame_bytes: int) -> None:
    """Allow as much memory as codecs need for a native frame of such a length, and never less than before.

    For whoever has found that a compressed object's codestreams and header agree on so large a frame: its own size
    did not say it. Does nothing in a process that was not confined.
    """
    if _confined is not None:
        _allow(_confined, max(_memory_for(frame_bytes), _confined.limits.memory_bytes))


def _allow(confined: _Confined, memory_bytes: int) -> None:
    _set_soft(resource.RLIMIT_DATA, confined.data_bytes + memory_bytes)
    # Beside what is allocated, the source and the rendition are mapped, each once or twice.
    mapped_bytes = 4 * confined.limits.file_bytes
    _set_soft(resource.RLIMIT_AS, confined.address_space_bytes + memory_bytes + mapped_bytes)


def _set_soft(what: int, value: int) -> None:
    if what not in _hard:
        _hard[what] = resource.getrlimit(what)[1]
    if _soft.get(what) != value:
        hard = _hard[what]
        resource.setrlimit(what, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
        _soft[what] = value


_hard: dict[int, int] = {}
_soft: dict[int, int] = {}
"""What was set; both are this process's own business alone, and most objects have the same limits as the last one."""


def taken_bytes(statm: int | None = None) -> tuple[int, int]:
    """Address space of this process, and the part that is private and writable; or of another whose ``statm`` is open.

    Raises OSError: it is gone.
    """
    if statm is None:
        own = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return taken_bytes(own)
        finally:
            os.close(own)
    fields = os.pread(statm, 128, 0).split()
    return int(fields[0]) * _PAGE_BYTES, int(fields[5]) * _PAGE_BYTES


def enter() -> tuple[str, ...]:
    """Shut this process in for good; what the kernel does not allow, in words.

    To be called when all that starts programs or opens sockets has been imported. Where memory runs out all the same,
    the kernel ends this process first, and not a receiver (proc(5), oom_score_adj).
    """
    missing = []
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError as error:
        missing.append(f"oom_score_adj: {error.strerror}")
    if denied := seccomp.deny():
        missing.append(denied)
    return tuple(missing)
