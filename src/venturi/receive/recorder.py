"""Writes a ledger row for each object a receiver has made durable, in batches, behind the acknowledgement.

The spool is the truth, so a row may come late: what a crash takes from the queue, the next sweep restores.
But a ledger that takes no rows stops intake: ``healthy`` turns False until it takes them again, or else
images would be acknowledged that nothing delivers. Nothing in the queue is ever dropped while the process
lives.
"""

import itertools
import queue
import threading
from collections.abc import Iterable

from venturi.ledger.port import Doorbell, Ledger, Role
from venturi.log import get_logger
from venturi.model import Instance

log = get_logger()

BATCH = 256
"""Rows in one transaction at most."""
PACE_S = 0.03
"""Between two transactions: one costs about as much for one row as for ten, and takes the GIL from the associations."""
BACKLOG = 10_000
"""Rows that may wait before intake stops: a ledger that hangs is as bad as one that fails."""
RETRY_S = (0.2, 10.0)
"""The first and the longest wait between two tries of a batch that the ledger did not take."""


class Recorder:
    """One for each receiver process."""

    def __init__(self, ledger: Ledger, doorbell: Doorbell) -> None:
        self._ledger = ledger
        self._doorbell = doorbell
        self._waiting: queue.SimpleQueue[Instance | None] = queue.SimpleQueue()
        self._healthy = threading.Event()
        self._healthy.set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def recover(self, instances: Iterable[Instance]) -> int:
        """Before serving: record what the sweep found; how many rows were new.

        Raises what the ledger raises: a receiver that can't record must not begin to serve.
        """
        new, rest = 0, iter(instances)
        while batch := list(itertools.islice(rest, BATCH)):
            new += self._ledger.add(batch)
        if new:
            self._doorbell.ring(Role.TRANSCODE)
        return new

    def start(self) -> None:
        """Begin to write rows."""
        self._thread.start()

    def add(self, instance: Instance) -> None:
        """Record a durable object soon; never blocks, never raises."""
        self._waiting.put(instance)

    def healthy(self) -> bool:
        """False while rows can't be written, or too many wait."""
        return self._healthy.is_set() and self._waiting.qsize() < BACKLOG

    def stop(self, timeout_s: float = 10.0) -> None:
        """Write what waits and end. What can't be written in time is left for the sweep of the next start."""
        self._stopping.set()
        self._waiting.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.error("rows not written before the stop; the next start's sweep restores them")

    def _run(self) -> None:
        done = False
        while not done:
            batch: list[Instance] = []
            item = self._waiting.get()
            while item is not None:
                batch.append(item)
                if len(batch) >= BATCH or self._waiting.empty():
                    break
                item = self._waiting.get()
            done = item is None
            if batch and not self._write(batch):
                return
            if self._waiting.qsize() < BATCH:
                self._stopping.wait(PACE_S)  # a first row goes at once; those on its heels go together

    def _write(self, batch: list[Instance]) -> bool:
        """Write a batch, as often as it takes; False only when it was given up because of a stop."""
        wait_s, longest_s = RETRY_S
        while True:
            try:
                self._ledger.add(batch)
            except (
                Exception
            ) as error:  # whatever the engine raises: intake stops, and the batch is tried again
                if self._healthy.is_set():
                    log.exception("ledger takes no rows: intake stops", instance=batch[0].id, rows=len(batch))
                else:
                    log.error("ledger still takes no rows", error=type(error).__name__, rows=len(batch))
                self._healthy.clear()
                if self._stopping.wait(wait_s):
                    return self._last_try(batch)
                wait_s = min(wait_s * 2, longest_s)
                continue
            if not self._healthy.is_set():
                log.warning("ledger takes rows again: intake goes on", rows=len(batch))
                self._healthy.set()
            self._doorbell.ring(Role.TRANSCODE)
            return True

    def _last_try(self, batch: list[Instance]) -> bool:
        try:
            self._ledger.add(batch)
        except Exception:  # given up: the objects are durable, and the next start's sweep adds the rows
            log.exception(
                "rows not written before the stop; the next start's sweep restores them", rows=len(batch)
            )
            return False
        self._doorbell.ring(Role.TRANSCODE)
        return True
