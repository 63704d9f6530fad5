"""A folder of time buckets in which files appear whole, and stay through a loss of power.

``place`` returns when the file's name, and the folder that holds it, are on disk. It fails with OSError, and
then the new name is not left. Safe from several threads; other processes may remove files and empty buckets.

After a failed fsync the kernel forgets which pages it could not write, and tells it only to descriptors that
were open at the time. So each ``place`` opens the bucket before it renames, and never tries a failure again.
"""

import errno
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from venturi.errors import SpoolFailed, SpoolFull
from venturi.spool import naming

_EMPTY_AFTER_S = 7200.0
"""A bucket that nothing has been made for since so long is removed once it is empty."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_SCARCE = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EFBIG))


def storage_error(error: OSError, what: str) -> SpoolFull | SpoolFailed:
    """Say what an operating system's error means for intake: no room, or broken storage."""
    kind = SpoolFull if error.errno in _SCARCE else SpoolFailed
    return kind(f"{what}: {error.strerror}")


def sync_folder(path: Path) -> None:
    """Make names in a folder durable. Raises OSError."""
    descriptor = os.open(path, _DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Shelf:
    """Buckets under ``root``, which exists; other names in ``root`` are left alone."""

    def __init__(self, root: Path, digits: int) -> None:
        self.root = root
        self._digits = digits
        self._lock = threading.Lock()
        self._durable: set[str] = set()
        """Buckets whose own name in ``root`` is known to be on disk."""
        self._touched: deque[str] = deque()
        """Buckets that lost a file here, to be removed when they are old and empty."""

    def path(self, instance_id: str, name: str) -> Path:
        """Say where a file of an instance belongs."""
        return self.root / instance_id[: self._digits] / name

    def place(self, temporary: Path, instance_id: str, name: str) -> None:
        """Give ``temporary``, whose bytes are synced, its name, replacing what has it. Raises OSError."""
        bucket = instance_id[: self._digits]
        while True:
            descriptor = self._open(bucket)
            try:
                if self._rename(temporary, name, descriptor):
                    return
            finally:
                os.close(descriptor)

    def remove(self, path: Path) -> None:
        """Unlink a file of a bucket, if it is there, and make that durable. Raises OSError."""
        try:
            path.unlink()
        except FileNotFoundError:
            return
        sync_folder(path.parent)
        self._touched.append(path.parent.name)
        now = time.time()
        while self._touched and naming.bucket_ends_at(self._touched[0]) + _EMPTY_AFTER_S < now:
            with suppress(
                OSError
            ):  # not empty yet, or gone already: the last file's removal comes here again
                (self.root / self._touched[0]).rmdir()
            self._touched.popleft()

    def names(self, instance_id: str) -> list[str]:
        """List all files of an instance."""
        try:
            found = os.listdir(self.root / instance_id[: self._digits])  # noqa: PTH208  # no objects for thousands
        except FileNotFoundError:
            return []
        return [name for name in found if name.startswith(instance_id)]

    def files(self) -> Iterator[Path]:
        """Walk every file of every bucket, oldest first; old empty buckets are removed on the way."""
        for bucket in self._buckets():
            folder = self.root / bucket
            try:
                names = sorted(os.listdir(folder))  # noqa: PTH208  # no objects for thousands
            except FileNotFoundError:
                continue
            if not names and naming.bucket_ends_at(bucket) + _EMPTY_AFTER_S < time.time():
                with suppress(OSError):  # somebody else removed it, or put a file there
                    folder.rmdir()
            yield from (folder / name for name in names)

    def _buckets(self) -> list[str]:
        return sorted(
            name
            for name in os.listdir(self.root)  # noqa: PTH208  # only names are asked for
            if len(name) == self._digits and all(digit in "0123456789abcdef" for digit in name)
        )

    def _open(self, bucket: str) -> int:
        """Open a bucket whose own name is on disk, making it where it is missing."""
        folder = self.root / bucket
        with self._lock:  # held over the sync: nobody may use a bucket before its name is on disk
            while True:
                if bucket in self._durable:
                    try:
                        return os.open(folder, _DIRECTORY)
                    except FileNotFoundError:  # it was old and empty, and was removed
                        self._durable.discard(bucket)
                folder.mkdir(mode=0o700, exist_ok=True)
                sync_folder(self.root)
                self._durable.add(bucket)

    def _rename(self, temporary: Path, name: str, descriptor: int) -> bool:
        """Rename into an open bucket and sync it; False where that bucket has been removed meanwhile."""
        try:
            os.rename(temporary, name, dst_dir_fd=descriptor)  # pathlib has no dst_dir_fd
        except FileNotFoundError:
            if temporary.exists():
                return False
            raise
        try:
            os.fsync(descriptor)
        except OSError:
            with suppress(OSError):  # the sync's own error is the one to tell
                os.unlink(name, dir_fd=descriptor)  # pathlib has no dir_fd
            raise
        return True
