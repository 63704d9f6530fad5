"""The bytes of a file, to be looked into at any offset: read where they are few, else a read-only memory map.

A map costs a page fault for every few pages, which for a small file is more than to copy it. Fails with ``Malformed``
and ``OSError``.
"""

import mmap
import os
from pathlib import Path

from venturi.errors import Malformed

FEW_BYTES = 1 << 20
"""A file of no more is read."""


def contents(path: Path) -> bytes | mmap.mmap:
    """Give the bytes of a whole file, which must not be empty."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size_bytes = os.fstat(file).st_size
        return map_file(file) if size_bytes > FEW_BYTES else _read(file, size_bytes)
    finally:
        os.close(file)


def map_file(fd: int) -> mmap.mmap:
    """Map a whole file, read-only; it may be closed afterwards."""
    try:
        return mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
    except ValueError as error:
        raise Malformed("the file is empty") from error


def _read(file: int, size_bytes: int) -> bytes:
    data = os.read(file, size_bytes)
    if len(data) < size_bytes:
        # Few file systems do that; a map has all of it, or fails.
        with os.fdopen(os.dup(file), "rb") as rest:
            data += rest.read(size_bytes - len(data))
    if not data:
        raise Malformed("the file is empty")
    return data


STEPS = 256
"""After so many steps a walk through a long file lets go: the kernel maps up to 64 KiB around each place it touches."""


def let_go(buffer: bytes | bytearray | memoryview | mmap.mmap) -> None:
    """Take all pages of a map of ours out of this process's memory; they can be read again."""
    if isinstance(buffer, mmap.mmap):
        buffer.madvise(mmap.MADV_DONTNEED)
