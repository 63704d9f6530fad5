"""A Part 10 file that is open for transcoding or proving: its meta group, and its dataset as a memory map.

The map is read-only and lives as long as views of it do. Fails with ``Malformed`` and ``OSError``.
"""

import hashlib
import mmap
from dataclasses import dataclass
from pathlib import Path

from venturi.dataset import part10
from venturi.dataset.scan import Element, scan
from venturi.errors import Malformed

_STEP_BYTES = 1 << 24


@dataclass(frozen=True)
class DatasetFile:
    """One file. Offsets of elements are offsets in ``data``, the whole file."""

    path: Path
    meta: part10.FileMeta
    offset: int
    """Of the dataset."""
    data: mmap.mmap

    @property
    def size_bytes(self) -> int:
        """Of the dataset."""
        return len(self.data) - self.offset

    def forget(self, start: int, end: int) -> None:
        """Take the pages before ``end`` out of this process's memory, once in 16 MiB; they can be read again.

        Called for stretches that follow each other, so that memory does not grow with the file.
        """
        border = end // _STEP_BYTES * _STEP_BYTES
        if border > start:
            begin = start // _STEP_BYTES * _STEP_BYTES
            self.data.madvise(mmap.MADV_DONTNEED, begin, border - begin)

    def elements(self) -> list[Element]:
        """Scan the whole top level as explicit VR little endian. Raises Malformed."""
        return list(scan(self.data, self.offset))

    @property
    def sha256(self) -> str:
        """Of the dataset, 64 hexadecimal digits."""
        return digest(self.path, self.offset)


def open_dataset(path: Path) -> DatasetFile:
    """Read the meta group and map the file. Raises Malformed, OSError."""
    with path.open("rb") as file:
        meta, offset = part10.read(file)
        return DatasetFile(path, meta, offset, map_file(file.fileno()))


def map_file(fd: int) -> mmap.mmap:
    """Map a whole file, read-only; it may be closed afterwards. Raises Malformed where it is empty, OSError."""
    try:
        return mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
    except ValueError as error:
        raise Malformed("the file is empty") from error


def digest(path: Path, offset: int) -> str:
    """SHA-256 of a file from an offset on, 64 hexadecimal digits."""
    with path.open("rb") as file:
        file.seek(offset)
        return hashlib.file_digest(file, "sha256").hexdigest()
