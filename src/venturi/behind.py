"""Does a thing with what several bring, in batches, in a thread behind them: writing facts into the ledger, mostly.

A transaction costs about as much for one row as for ten. So each batch is all there is, and the next follows a moment
later: who brings something does not wait for the ledger, and a crash takes what came within that moment. That must be
harmless to whoever uses this: the work is done once more.
"""

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")

PACE_S = 0.03
"""Between two batches."""


class Behind(Generic[Item]):
    """As a context: at its end all is done, or what went wrong is raised."""

    def __init__(
        self,
        do: Callable[[Sequence[Item]], None],
        meanwhile: Callable[[], None],
        every_s: float,
    ) -> None:
        """``meanwhile`` is called every ``every_s`` seconds (leases are renewed). After either raises, nothing is done.

        ``every_s`` counts from the start; a batch that takes long puts the call off.
        """
        self._do = do
        self._meanwhile = meanwhile
        self._every_s = every_s
        self._changed = threading.Condition()
        self._waiting: list[Item] = []
        self._closing = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="behind", daemon=True)

    def put(self, item: Item) -> None:
        """Have it done soon; never waits, never raises."""
        with self._changed:
            self._waiting.append(item)
            self._changed.notify()

    @property
    def failed(self) -> bool:
        """Whether something went wrong, so that nothing more is done."""
        return self._error is not None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closing.set()
            self._changed.notify()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            due = time.monotonic() + self._every_s
            while batch := self._next(due):
                if batch[0]:
                    self._do(batch[0])
                    self._closing.wait(PACE_S)
                if time.monotonic() >= due:
                    self._meanwhile()
                    due = time.monotonic() + self._every_s
        except Exception as error:  # whoever uses this hears it
            self._error = error

    def _next(self, due: float) -> tuple[list[Item]] | None:
        """Wait for a batch, empty where it is time for something else; None at the end."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._waiting or self._closing.is_set(), max(0.0, due - time.monotonic())
            )
            batch, self._waiting = self._waiting, []
            return None if self._closing.is_set() and not batch else (batch,)
