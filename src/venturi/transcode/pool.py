"""The shares of one large object, between the bench whose worker leads and those that help it.

Shares are begun in order. Where a worker dies over one, the whole object has ended it, and what others do for it is for
nobody: they may finish soon, or are ended. ``led`` returns, or raises, only when no helper works at it any more, so
that whoever removes what was left half made removes all of it.
"""

import threading
import time
from collections import deque

from venturi.transcode.bench import END_S, Bench
from venturi.transcode.port import WorkerDied
from venturi.transcode.sandbox import Limits
from venturi.transcode.shares import Done, Request, Share


class Pool:
    """See the module."""

    def __init__(
        self, lead: Bench, request: Request, allowed: dict[int, Limits], lock: threading.Lock
    ) -> None:
        """``allowed`` gives what each share may cost, by its number; ``lock`` is that of all that is in here."""
        self.allowed = allowed
        self._lead = lead
        self._request = request
        self._changed = threading.Condition(lock)
        self._todo = deque(request.shares)
        self._busy: set[Bench] = set()
        self._done: dict[int, Done] = {}
        self._error: OSError | None = None
        self._death: WorkerDied | None = None
        self._patient_until = 0.0
        """After a death, on the monotonic clock."""
        self._ended: set[Bench] = set()

    @property
    def open(self) -> bool:
        """Whether there is a share to take. For whoever holds the lock."""
        return bool(self._todo)

    def take(self, bench: Bench) -> Share | None:
        """Give a bench the next share, if there is one. For whoever holds the lock."""
        if not self._todo:
            return None
        self._busy.add(bench)
        return self._todo.popleft()

    def give(self, bench: Bench, said: Done | OSError | WorkerDied) -> None:
        """Say what became of the share that this bench has taken."""
        with self._changed:
            self._busy.discard(bench)
            match said:
                case Done():
                    self._done[said.number] = said
                    written = sum(done.written_bytes for done in self._done.values())
                    if said.refused or said.unused_bits or 0 < self._request.most_bytes < written:
                        self._todo.clear()
                case OSError():
                    self._todo.clear()
                    self._error = self._error or said
                case WorkerDied():
                    self._die(said)
            ended = bench in self._ended
            self._changed.notify_all()
        if ended:  # perhaps just after it had answered
            bench.close()

    def help(self, bench: Bench, share: Share) -> None:
        """Have a bench do the share it has taken."""
        said: Done | OSError | WorkerDied = WorkerDied("a bench stopped")
        try:
            said = bench.help(share, self.allowed[share.number])
        except WorkerDied as died:
            said = died
        finally:
            self.give(bench, said)

    def led(self, until: float) -> tuple[Done, ...] | OSError:
        """Have all done; the lead does what nobody else has begun.

        Raises WorkerDied, after that worker was ended too.
        """
        bench = self._lead
        while (share := self._next(until)) is not None:
            try:
                self.give(bench, bench.ask(share, self.allowed[share.number], until))
            except WorkerDied as died:
                self.give(bench, died)
        if self._death is not None:
            bench.close()
            raise self._death
        return self._error or tuple(self._done[number] for number in sorted(self._done))

    def _next(self, until: float) -> Share | None:
        """Take the next share for the lead; None when all is done, or in vain, and nobody works at it any more."""
        with self._changed:
            while (share := self.take(self._lead)) is None and self._busy:
                left_s = (self._patient_until if self._death else until) - time.monotonic()
                if left_s > 0:
                    self._changed.wait(left_s)
                elif self._death is None:
                    self._die(WorkerDied("its shares took too long", hung=True))
                else:
                    self._end_all()
                    self._changed.wait(END_S)
            return share

    def _die(self, death: WorkerDied) -> None:
        self._todo.clear()
        if self._death is None:
            self._death = death
            self._patient_until = time.monotonic() + END_S
            if self._lead in self._busy:
                self._lead.end()

    def _end_all(self) -> None:
        self._ended |= self._busy
        for bench in self._busy:
            bench.end()
