"""How many associations a node serves at once, counted over all its receiver processes.

A seat is a byte of a file under a POSIX record lock. The kernel frees the locks of a process that dies,
however it dies, so no seat is ever lost, and none needs to be swept.
"""

import fcntl
import os
import threading
from pathlib import Path


class Seats:
    """``count`` seats, shared by every process that opens the same file. Safe to use from many threads."""

    def __init__(self, path: Path | None, count: int) -> None:
        """Without a path the seats are this process's own. Raises OSError.

        Record locks belong to the process and go with the first descriptor of the file that it closes: open
        one ``Seats`` for a path in each process.
        """
        self._count = count
        self._taken: set[int] = set()
        self._lock = threading.Lock()
        self._fd = -1 if path is None else os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self) -> int | None:
        """A seat, or None when all are taken."""
        with self._lock:
            for seat in range(self._count):
                if seat not in self._taken and self._claim(seat):
                    self._taken.add(seat)
                    return seat
        return None

    def free(self, seat: int) -> None:
        """Give a seat back."""
        with self._lock:
            self._taken.discard(seat)
            if self._fd >= 0:
                fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, seat)

    def close(self) -> None:
        """Give all seats back."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
            self._taken.clear()

    def _claim(self, seat: int) -> bool:
        if self._fd < 0:
            return True
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, seat)
        except (BlockingIOError, PermissionError):  # EAGAIN or EACCES: another process has it (fcntl(2))
            return False
        return True
