"""Whether a file is what was stored: read once more, from the disk and not from memory where that can be told."""

import hashlib
import os
from pathlib import Path

from venturi.dataset import part10
from venturi.errors import Malformed
from venturi.model import Outcome

CHUNK_BYTES = 1 << 20


def digest(descriptor: int, offset: int) -> str:
    """The SHA-256 of what is from ``offset`` on, 64 hexadecimal digits. Raises OSError."""
    found = hashlib.sha256()
    while data := os.pread(descriptor, CHUNK_BYTES, offset):
        found.update(data)
        offset += len(data)
    return found.hexdigest()


def holds(path: Path, outcome: Outcome, *, from_disk: bool = False) -> bool:
    """Whether a Part 10 file holds a rendition's dataset in its syntax. Raises OSError.

    ``from_disk``: what the system keeps of it in memory is let go first, so that the disk is asked.
    """
    try:
        with path.open("rb") as file:
            if from_disk:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            meta, offset = part10.read(file)
            return (
                meta.transfer_syntax == outcome.transfer_syntax
                and os.fstat(file.fileno()).st_size - offset == outcome.size_bytes
                and digest(file.fileno(), offset) == outcome.sha256
            )
    except Malformed:
        return False
