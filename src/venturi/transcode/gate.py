"""Lets threads in side by side, or one alone, in the order in which they came.

For the retry of an object that has ended a worker: if memory ran out because of its neighbours, it has none now. So
that no object stalls the node, being alone is bounded: who waits for others to leave waits ``patience_s`` at most and
then goes in beside them, and after ``alone_s`` others come in beside who is still there. A thread that is in must not
ask again.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """See the module."""

    def __init__(self, patience_s: float, alone_s: float) -> None:
        self._patience_s = patience_s
        self._alone_s = alone_s
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._inside = 0
        self._closed_until = 0.0
        """Nobody else comes in before, on the monotonic clock: somebody is alone."""

    @contextmanager
    def enter(self, *, alone: bool = False) -> Iterator[None]:
        """Wait for one's turn; inside the block one is in."""
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            self._changed.wait_for(lambda: self._waiting[0] is ticket)
            patient_until = time.monotonic() + self._patience_s
            while True:
                until = max(self._closed_until, patient_until if alone and self._inside else 0.0)
                if (wait_s := until - time.monotonic()) <= 0:
                    break
                self._changed.wait(wait_s)
            self._waiting.popleft()
            self._closed_until = time.monotonic() + self._alone_s if alone and not self._inside else 0.0
            self._inside += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._closed_until = 0.0
                self._changed.notify_all()
