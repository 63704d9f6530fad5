"""How a destination keeps what it gets; and whether a file is what was stored.

A file is read once more, from the disk and not from memory where that can be told.
"""

import errno
import hashlib
import os
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

from venturi.dataset import part10
from venturi.deliver.promise import Keeping
from venturi.errors import Malformed
from venturi.log import get_logger
from venturi.model import Outcome

log = get_logger()

CHUNK_BYTES = 1 << 20
OTHER = "the file holds something else"
PATIENCE_S = 30.0
SLOWEST_BYTES_PER_S = 1 << 20
"""A folder whose files come more slowly hangs."""


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
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "not a file")  # a pipe would be waited for
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


@dataclass(frozen=True, slots=True)
class Where:
    """How one destination, or member of a group, keeps what it gets."""

    keeping: Keeping
    folder: Path | None = None
    mount: Path | None = None
    """Where something must be mounted."""
    peer: str = ""

    def absent(self) -> bool:
        """Whether the whole folder is not there now, or not what is mounted there."""
        mounted = self.mount is None or os.path.ismount(self.mount)
        return self.folder is not None and not (self.folder.is_dir() and mounted)

    def look(self, place: str, outcome: Outcome) -> str | None:
        """Whether a file holds what it should: empty, or why not; None where that can't be told now."""
        if self.folder is None or not place:
            return "where it is has not been recorded"
        if self.absent():
            return None
        try:
            same = holds(self.folder / place, outcome, from_disk=True)
            return "" if same else OTHER
        except FileNotFoundError:
            return "the file is not there"
        except OSError as error:
            log.error("a file can't be read again", error=error.strerror or type(error).__name__)
            return None


class Reader:
    """Looks at files of folders that may hang, as a network's do: each is waited for so long, and no longer.

    A folder in which somebody hangs still is not looked at again: that can't be told now.
    """

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._hanging: dict[Path | None, threading.Thread] = {}

    def look(self, where: Where, place: str, outcome: Outcome) -> str | None:
        """See ``Where.look``."""
        hanging = self._hanging.get(where.folder)
        if hanging is not None and hanging.is_alive():
            return None
        found: list[str | None] = []
        looking = threading.Thread(
            target=lambda: found.append(where.look(place, outcome)), name="file looked at", daemon=True
        )
        looking.start()
        looking.join(self._patience_s + outcome.size_bytes / SLOWEST_BYTES_PER_S)
        if looking.is_alive():
            self._hanging[where.folder] = looking
            log.error(
                "a folder does not answer: its files are not looked at until it does",
                folder=str(where.folder),
            )
            return None
        if self._hanging.pop(where.folder, None) is not None:
            log.info("a folder answers again", folder=str(where.folder))
        return found[0] if found else None
