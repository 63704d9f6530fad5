"""One destination's breaker: whether it is tried at all, shared by all that deliver to it.

Closed while something arrives. A batch of which nothing arrived opens it for a while, longer each time; then one of
those that deliver asks whether the destination is there (``Destination.probe``), and only if it is, tries with a single
object. So a destination that is down costs one question now and then, and no tries of what waits for it.
"""

import random
import threading
import time
from dataclasses import dataclass

from venturi.deliver.retry import Backoff
from venturi.log import get_logger

log = get_logger()

BREAK_S = 60.0
"""The longest pause: so soon a destination that is back is noticed."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A destination that takes nothing."""

    destination: str
    since: float
    """Seconds since 1970-01-01 UTC."""
    failures: int
    """How often it was tried or asked since."""
    why: str
    """In words, without PHI: the last time."""


class Breaker:
    """Safe to use from many threads."""

    def __init__(self, destination: str, backoff: Backoff) -> None:
        self._destination, self._backoff = destination, backoff
        self._failures = 0
        self._until = 0.0
        self._since, self._why = 0.0, ""
        self._lock = threading.Lock()
        self.asking = threading.Lock()
        """Held by who asks whether the destination is there; the others need not ask, too."""

    @property
    def closed(self) -> bool:
        """Whether it may be tried without asking."""
        return self._failures == 0

    def wait_s(self) -> float:
        """How long nobody may try, seconds; 0 where somebody may ask now."""
        with self._lock:
            return max(0.0, self._until - time.monotonic()) if self._failures else 0.0

    def hurry(self) -> None:
        """End the pause: a person says that it is back. It is asked first, as ever."""
        with self._lock:
            self._until = 0.0

    def trouble(self) -> Trouble | None:
        """Since when nothing arrives, and why; None where something does."""
        with self._lock:
            return (
                Trouble(self._destination, self._since, self._failures, self._why) if self._failures else None
            )

    def worked(self) -> None:
        """Something has arrived."""
        with self._lock:
            was, self._failures = self._failures, 0
        if was:
            log.warning("destination is back", destination=self._destination, failures=was)

    def failed(self, why: str) -> None:
        """Nothing has arrived, or it is not there; ``why`` in words without PHI."""
        with self._lock:
            self._failures += 1
            delay_s = self._backoff.delay_s(self._failures, random.random())  # noqa: S311 - jitter
            self._until = time.monotonic() + min(BREAK_S, delay_s)
            first = self._failures == 1
            self._since, self._why = time.time() if first else self._since, why
        if first:  # the others say no more
            log.warning("destination takes nothing: paused", destination=self._destination, why=why)
