"""How fast one destination is sent to, over all its associations; and whether to make haste, since a stop waits."""

import threading
import time

GAP_S = 1.0
"""No peer should wait longer for the next bytes or, in an open association, for the next object."""
MOST_BYTES = 1 << 20


class Pace:
    """Keeps its callers waiting; what was not used earlier is not saved up. Safe to use from many threads."""

    def __init__(self, objects_per_s: float | None = None, bytes_per_s: float | None = None) -> None:
        """None: as fast as it goes."""
        self._objects_per_s, self._bytes_per_s = objects_per_s, bytes_per_s
        self._next_object = self._next_byte = 0.0
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    @property
    def rare(self) -> bool:
        """Whether more time passes between objects than an association should wait for the next one."""
        return self._objects_per_s is not None and self._objects_per_s < 1 / GAP_S

    @property
    def at_once(self) -> int:
        """How many bytes may be sent in one piece, so that a peer need not wait long for the next: even."""
        return (
            MOST_BYTES
            if self._bytes_per_s is None
            else max(2, min(MOST_BYTES, int(self._bytes_per_s * GAP_S)) & ~1)
        )

    def object(self) -> None:
        """Wait until another object may begin."""
        if self._objects_per_s is not None:
            with self._lock:
                now = time.monotonic()
                wait_s = max(0.0, self._next_object - now)
                self._next_object = now + wait_s + 1 / self._objects_per_s
            self._stopped.wait(wait_s)

    def bytes(self, count: int) -> None:
        """Wait until so many more may be sent."""
        if self._bytes_per_s is not None:
            with self._lock:
                now = time.monotonic()
                wait_s = max(0.0, self._next_byte - now)
                self._next_byte = now + wait_s + count / self._bytes_per_s
            self._stopped.wait(wait_s)

    def stopped(self) -> bool:
        """Whether a stop waits: nothing new is worth beginning."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Let everybody go on at once from now on: what is in hand is to be finished."""
        self._stopped.set()
