"""How many associations a node serves at once, counted over all its receiver processes.

A seat is a byte of a file under a POSIX record lock. The kernel frees the locks of a process that dies,
however it dies, so no seat is ever lost, and none needs to be swept. A peer that may have only so many has seats of its
own behind the node's, and needs one of each.
"""

import fcntl
import itertools
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path


class Seats:
    """``count`` seats, shared by every process that opens the same file. Safe to use from many threads."""

    def __init__(self, path: Path | None, count: int, of_peers: Mapping[str, int] | None = None) -> None:
        """Without a path the seats are this process's own. Raises OSError.

        Record locks belong to the process and go with the first descriptor of the file that it closes: open
        one ``Seats`` for a path in each process, with the same counts.
        """
        caps = dict(of_peers or {})
        ends = list(itertools.accumulate(caps.values(), initial=count))
        self._node = range(count)
        self._peers = {name: range(*each) for name, each in zip(caps, itertools.pairwise(ends), strict=True)}
        self._taken: set[int] = set()
        self._lock = threading.Lock()
        self._fd = -1 if path is None else os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self, peer: str) -> tuple[int, ...] | None:
        """The seats of one association of a peer, or None when all are taken."""
        taken: list[int] = []
        with self._lock:
            for seats in (self._node, self._peers.get(peer)):
                if seats is None:
                    continue
                seat = next((n for n in seats if n not in self._taken and self._claim(n)), None)
                if seat is None:
                    self._give_back(taken)
                    return None
                self._taken.add(seat)
                taken.append(seat)
        return tuple(taken)

    def free(self, seats: tuple[int, ...]) -> None:
        """Give seats back."""
        with self._lock:
            self._give_back(seats)

    def close(self) -> None:
        """Give all seats back."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
            self._taken.clear()

    def _give_back(self, seats: Iterable[int]) -> None:
        for seat in seats:
            self._taken.discard(seat)
            if self._fd >= 0:
                fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, seat)

    def _claim(self, seat: int) -> bool:
        if self._fd < 0:
            return True
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, seat)
        except (BlockingIOError, PermissionError):  # EAGAIN or EACCES: another process has it (fcntl(2))
            return False
        return True
