"""Benches, each with a thread, over one queue of jobs: a ``transcode.port.Crew``.

A worker's death is an outcome: the object is tried once more, alone, since a neighbour may have taken the memory it
needed; after a hang beside the others, whom it would keep waiting. Then it goes on as received (reason
``worker-died``). What a dead worker left half written is removed.

A large object's shares go to benches that have nothing in hand, before the next job does; its lead does them with
them, so nobody waits for who is busy. A share needs no turn at the gate: its lead is inside, and stays there until
nobody works at its shares, so whoever is alone is alone with all of theirs (and is not spread itself). Nobody who
holds a share waits for anything but a worker, and nobody waits at the gate with one: there is no circle.
"""

import glob
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from venturi.errors import Damaged, SpoolFailed, SpoolFull
from venturi.log import get_logger
from venturi.process import Child
from venturi.transcode.bench import Bench
from venturi.transcode.gate import Gate
from venturi.transcode.pool import Pool
from venturi.transcode.port import Answer, Compress, Job, Judge, WorkerDied
from venturi.transcode.sandbox import Limits, limits
from venturi.transcode.shares import Done, Request, Share

log = get_logger()

AHEAD = 16
"""Jobs that may wait, for each worker: who brings them has a ledger to ask, which costs as much for one as for many."""
SMALL_BYTES = 1 << 20
MOST_TOGETHER, MOST_BYTES = 8, 1 << 22
"""Small jobs are given to a worker several at a time: to wake one another costs both sides as much as a small image."""
PATIENCE_S = ALONE_S = 60.0
"""How long a second try waits to be alone, and how long it is left alone: see ``gate.py``."""


def _is_small(job: Job) -> bool:
    """Whether it is worth no more words than others with it, and has not ended anybody yet."""
    return job.size_bytes <= SMALL_BYTES and not (isinstance(job, Judge) and job.deaths)


Finish = Callable[[Job, Answer | Exception], None]


def clear_output(job: Job) -> None:
    """Remove what a worker that died over a ``Compress`` may have left."""
    if isinstance(job, Compress):
        output = Path(job.output)
        for path in (output, *output.parent.glob(f"{glob.escape(output.stem)}.*.part")):
            path.unlink(missing_ok=True)


class Crew:
    """See the module and the port."""

    def __init__(
        self,
        start_worker: Callable[[], Child],
        workers: int,
        finish: Finish,
        clear: Callable[[Job], None] = clear_output,
        limits_for: Callable[[int], Limits] = limits,
    ) -> None:
        """``clear`` removes what a worker that died over a job has left half made.

        ``limits_for`` gives what an object, or a share of one, may cost by its length.
        """
        self._finish = finish
        self._clear = clear
        self._limits_for = limits_for
        self._gate = Gate(PATIENCE_S, ALONE_S)
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        """For benches: there is something to do, or there never will be."""
        self._space = threading.Condition(self._lock)
        """For who puts: there is room."""
        self._jobs: deque[Job] = deque()
        self._most = AHEAD * workers
        self._pools: list[Pool] = []
        self._in_hand = 0
        self._closing = self._broken = False
        self._threads = [
            threading.Thread(
                target=self._run, args=(Bench(start_worker),), name=f"bench-{number}", daemon=True
            )
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def room(self) -> int:
        """See the port."""
        with self._lock:
            self._require_whole()
            room = self._most - len(self._jobs)
            return room if 2 * room >= self._most else 0

    def put(self, job: Job) -> None:
        """See the port."""
        with self._lock:
            if len(self._jobs) >= self._most:  # then until there is room for some: each waking costs
                self._space.wait_for(lambda: 2 * len(self._jobs) <= self._most or self._broken)
            self._require_whole()
            self._jobs.append(job)
            self._work.notify()

    def take_back(self) -> list[Job]:
        """See the port."""
        with self._lock:
            jobs = list(self._jobs)
            self._jobs.clear()
            self._space.notify_all()
        return jobs

    def close(self) -> None:
        """See the port."""
        with self._lock:
            self._closing = True
            self._work.notify_all()
        for thread in self._threads:
            thread.join()
        self._require_whole()

    def _require_whole(self) -> None:
        if self._broken:
            raise RuntimeError("a bench stopped")

    def _run(self, bench: Bench) -> None:
        try:
            while (task := self._next()) is not None:
                if isinstance(task, Pool):
                    self._help(bench, task)
                elif len(task) == 1:
                    self._do(bench, task[0])
                else:
                    self._do_all(bench, task)
        except Exception:
            log.exception("bench stopped")  # no worker starts, or whoever gave the jobs has failed
            with self._lock:
                self._broken = True
                self._work.notify_all()
                self._space.notify_all()
        finally:
            bench.close()

    def _next(self) -> Pool | list[Job] | None:
        """Wait for something to do; None at the end, when nobody has a job that might yet be spread."""
        with self._lock:
            while not self._broken:
                for pool in self._pools:
                    if pool.open:
                        return pool
                if self._jobs:
                    jobs = self._together()
                    self._in_hand += len(jobs)
                    if 2 * len(self._jobs) <= self._most:
                        self._space.notify()
                    return jobs
                if self._closing and not self._in_hand:
                    return None
                self._work.wait()
            return None

    def _together(self) -> list[Job]:
        """Take the next job, and small ones that follow a small one, but no more than one bench's part."""
        jobs = [self._jobs.popleft()]
        most = min(MOST_TOGETHER, -(-(1 + len(self._jobs)) // len(self._threads)))
        size_bytes = jobs[0].size_bytes
        if not _is_small(jobs[0]):
            return jobs
        while len(jobs) < most and self._jobs and _is_small(self._jobs[0]):
            size_bytes += self._jobs[0].size_bytes
            if size_bytes > MOST_BYTES:
                break
            jobs.append(self._jobs.popleft())
        return jobs

    def _help(self, bench: Bench, pool: Pool) -> None:
        bench.prepare()  # before it takes what others wait for
        with self._lock:
            share = pool.take(bench)
        if share is not None:
            pool.help(bench, share)

    def _do(self, bench: Bench, job: Job, died: WorkerDied | None = None) -> None:
        """Do a job, which has ended a worker or not yet."""
        try:
            answer: Answer | Exception = self._have_done(bench, job, died)
        except (Damaged, SpoolFull, SpoolFailed, OSError, WorkerDied) as error:
            answer = error
        self._end(job, answer)

    def _do_all(self, bench: Bench, jobs: list[Job]) -> None:
        """Do small jobs. Where the worker dies over one, those behind it wait again.

        They were not begun; or, where it was ended for its answer, they were: nothing of them may stay.
        """
        left = deque(jobs)

        def end(job: Job, answer: Answer | Exception) -> None:
            left.popleft()
            self._end(job, answer)

        bench.prepare()  # before others have to wait for it
        try:
            with self._gate.enter():
                try:
                    bench.run_through(jobs, self._limits_for(max(job.size_bytes for job in jobs)), end)
                except WorkerDied:
                    for job in left:
                        self._clear(job)
                    raise
        except WorkerDied as died:
            job = left.popleft()
            with self._lock:
                self._jobs.extendleft(reversed(left))
                self._in_hand -= len(left)
                self._work.notify_all()
            self._do(bench, job, died)

    def _end(self, job: Job, answer: Answer | Exception) -> None:
        try:
            self._finish(job, answer)
        finally:
            with self._lock:
                self._in_hand -= 1
                if self._closing and not self._in_hand:
                    self._work.notify_all()

    def _have_done(self, bench: Bench, job: Job, first: WorkerDied | None) -> Answer:
        if isinstance(job, Judge) and job.deaths:
            return self._try(bench, job, job.deaths)
        try:
            if first is None:
                return self._try(bench, job, spread=True)
        except WorkerDied as died:
            first = died
        log.error("worker died", job=job.name, attempt=1, reason=str(first))
        try:
            return self._try(bench, job, alone=not first.hung)
        except WorkerDied as second:
            log.error("worker died", job=job.name, attempt=2, reason=str(second))
            return self._try(bench, job, f"it ended two workers: {first}; {second}")

    def _try(
        self, bench: Bench, job: Job, deaths: str = "", *, alone: bool = False, spread: bool = False
    ) -> Answer:
        """Have a bench do a job when its turn has come."""
        allowed = self._limits_for(job.size_bytes)

        def lead(request: Request, until: float) -> tuple[Done, ...] | OSError:
            return self._lead(bench, request, allowed, until)

        bench.prepare()  # before others have to wait for it
        with self._gate.enter(alone=alone):
            try:
                return bench.work(job, allowed, deaths, lead if spread else None)
            except WorkerDied:
                self._clear(job)
                raise

    def _lead(
        self, bench: Bench, request: Request, allowed: Limits, until: float
    ) -> tuple[Done, ...] | OSError:
        """Have shares done by this bench and by those that have nothing in hand."""
        costs = {share.number: self._limits_of(share, allowed) for share in request.shares}
        pool = Pool(bench, request, costs, self._lock)
        with self._lock:
            self._pools.append(pool)
            self._work.notify_all()
        try:
            return pool.led(until)
        finally:
            with self._lock:
                self._pools.remove(pool)

    def _limits_of(self, share: Share, whole: Limits) -> Limits:
        """A share may cost what an object of its length may; the files it maps are those of the whole."""
        return replace(self._limits_for(share.size_bytes), file_bytes=whole.file_bytes)
