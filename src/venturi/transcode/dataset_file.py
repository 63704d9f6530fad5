"""A Part 10 file that is open for transcoding or proving: its meta group, and the bytes of its dataset.

A large one is a memory map: read-only, and alive as long as views of it are. Fails with ``Malformed`` and ``OSError``.
"""

import hashlib
import mmap
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path

from venturi.dataset import part10
from venturi.dataset.contents import contents
from venturi.dataset.scan import Element, scan

_STEP_BYTES = 1 << 24


@dataclass(frozen=True)
class DatasetFile:
    """One file. Offsets of elements are offsets in ``data``, the whole file."""

    path: Path
    meta: part10.FileMeta
    offset: int
    """Of the dataset."""
    data: bytes | mmap.mmap = field(repr=False)

    @property
    def size_bytes(self) -> int:
        """Of the dataset."""
        return len(self.data) - self.offset

    def forget(self, start: int, end: int) -> None:
        """Take the pages before ``end`` out of this process's memory, once in 16 MiB; they can be read again.

        Called for stretches that follow each other, so that memory does not grow with the file.
        """
        border = end // _STEP_BYTES * _STEP_BYTES
        if border > start and not isinstance(self.data, bytes):
            begin = start // _STEP_BYTES * _STEP_BYTES
            self.data.madvise(mmap.MADV_DONTNEED, begin, border - begin)

    def elements(self) -> list[Element]:
        """Scan the whole top level as explicit VR little endian. Raises Malformed."""
        return list(scan(self.data, self.offset))

    @cached_property
    def sha256(self) -> str:
        """Of the dataset, 64 hexadecimal digits."""
        found = hashlib.sha256()
        with memoryview(self.data) as view:
            for start in range(self.offset, len(view), _STEP_BYTES):
                end = min(start + _STEP_BYTES, len(view))
                found.update(view[start:end])
                self.forget(start, end)
        return found.hexdigest()


def open_dataset(path: Path) -> DatasetFile:
    """Read or map the file, and read its meta group. Raises Malformed, OSError."""
    data = contents(path)
    meta, offset = part10.read(BytesIO(data) if isinstance(data, bytes) else data)
    return DatasetFile(path, meta, offset, data)


def digest(path: Path, offset: int) -> str:
    """SHA-256 of a file from an offset on, 64 hexadecimal digits."""
    with path.open("rb") as file:
        file.seek(offset)
        return hashlib.file_digest(file, "sha256").hexdigest()
