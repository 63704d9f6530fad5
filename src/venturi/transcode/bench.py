"""One place for a worker: starts it, gives it work one piece at a time, ends it when it takes too long, replaces it.

What a worker may say, see ``messages.py``. Anything else ends it, as if it had died over what it has in hand.
"""

import contextlib
import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

from venturi.log import get_logger
from venturi.process import Child
from venturi.transcode.messages import READY, Help, Said, Work, answers, is_proper, read
from venturi.transcode.port import Answer, Job, WorkerDied
from venturi.transcode.sandbox import GIB, Limits, taken_bytes
from venturi.transcode.shares import Done, Request, Share

log = get_logger()

JOBS_PER_WORKER = 2000
"""After so many objects or shares a worker is replaced, so that leaks in codecs stay small."""
LEAK_BYTES = GIB
"""So is one that between two objects holds so much more memory than at its start."""
ANSWER_BYTES = 1 << 26
REQUESTS = 64
"""How often a worker may ask to spread one job: once to encode and once to prove each try at each target."""
END_S = 2.0
STALL_S = 30
"""How long a worker may take over the rest of a message that it has begun to say, or hear."""
START_S = 60.0
STARTS = 5
"""How often a worker is started in a row before the role gives up, to be started anew more slowly."""


class NoWorker(Exception):
    """Workers end before they are ready: no object is to blame."""


Lead = Callable[[Request, float], "tuple[Done, ...] | OSError"]
"""Has the shares of a request done until a time on the monotonic clock; the worker that asked does its part by
``Bench.ask``. Raises WorkerDied, whoever's worker it was."""


class Bench:
    """See the module. For one thread; ``end`` is for the others."""

    def __init__(self, start: Callable[[], Child]) -> None:
        self._start = start
        self._worker: Child | None = None
        self._answered = select.poll()
        self._statm = -1
        """Open while there is a worker: what memory it holds (proc(5))."""
        self._jobs = 0
        self._data_bytes = 0
        """What the worker held when it was ready."""

    def prepare(self) -> None:
        """Have a worker ready. Raises NoWorker."""
        if self._worker is not None and (self._worn() or not self._worker.alive()):
            self.close()  # one that died between two objects is no object's fault
        if self._worker is None:
            worker = self._ready()
            self._statm = os.open(f"/proc/{worker.pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
            self._answered.register(worker.connection.fileno(), select.POLLIN)
            self._worker, self._jobs = worker, 0
            self._data_bytes = self._holds()

    def run_through(
        self, jobs: Sequence[Job], allowed: Limits, done: Callable[[Job, Answer | Exception], None]
    ) -> None:
        """Have the worker do small jobs, each for so much, without a word in between; tell what comes of each.

        Raises WorkerDied, over the first of which nothing was told; NoWorker.
        """
        self.prepare()
        self._jobs += len(jobs)
        self._say(tuple(Work(job, allowed) for job in jobs))
        for job in jobs:
            done(job, self._answer(job, self._hear(time.monotonic() + allowed.wall_s, allowed.wall_s)))

    def work(self, job: Job, allowed: Limits, deaths: str = "", lead: Lead | None = None) -> Answer:
        """Have the worker do a job; ``deaths`` says how it has ended workers: it is not encoded then.

        Raises WorkerDied, NoWorker, and what the worker raised: Damaged, SpoolFull, SpoolFailed, OSError.
        """
        self.prepare()
        self._jobs += 1
        until = time.monotonic() + allowed.wall_s
        self._say((Work(job, allowed, deaths, spread=lead is not None),))
        said = self._hear(until, allowed.wall_s)
        for _ in range(REQUESTS):
            if not (isinstance(said, Request) and lead and is_proper(said, job)):
                break
            self._say(lead(said, until))
            said = self._hear(until, allowed.wall_s)
        answer = self._answer(job, said)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def ask(self, share: Share, allowed: Limits, until: float) -> Done | OSError:
        """Have the worker, which has asked to spread its job, do a share itself. Raises WorkerDied."""
        self._say(share.number)
        return self._done(share, min(until, time.monotonic() + allowed.wall_s), allowed)

    def help(self, share: Share, allowed: Limits) -> Done | OSError:
        """Have the worker, ``prepare``d, do a share of another's job. Raises WorkerDied."""
        self._jobs += 1
        self._say((Help(share, allowed),))
        return self._done(share, time.monotonic() + allowed.wall_s, allowed)

    def end(self) -> None:
        """End the worker, from any thread: whoever waits for it hears so at once."""
        worker = self._worker
        if worker is not None:
            worker.process.kill()

    def close(self) -> None:
        """End the worker, if there is one."""
        if self._worker is not None:
            self._answered.unregister(self._worker.connection.fileno())
            os.close(self._statm)
            self._worker.kill()
            self._worker = None

    def _answer(self, job: Job, said: Said | None) -> Answer | Exception:
        if isinstance(said, Exception) or (isinstance(said, Answer) and answers(said, job)):
            return said
        raise self._died("its answer is none to what it was asked")

    def _done(self, share: Share, until: float, allowed: Limits) -> Done | OSError:
        said = self._hear(until, allowed.wall_s)
        if isinstance(said, OSError) or (isinstance(said, Done) and said.number == share.number):
            return said
        raise self._died("its answer is none to the share it was asked for")

    def _say(self, message: Any) -> None:
        assert self._worker is not None  # noqa: S101  # whoever speaks to it has prepared it
        try:
            self._worker.connection.send(message)
        except OSError as error:
            raise self._died() from error

    def _hear(self, until: float, wall_s: float) -> Said | None:
        assert self._worker is not None  # noqa: S101  # it was spoken to
        connection = self._worker.connection
        try:
            if not self._answered.poll(max(until - time.monotonic(), 0.0) * 1000):
                raise self._died(f"no answer in {wall_s:.0f} s", hung=True)
            return read(connection.recv_bytes(ANSWER_BYTES))
        except (EOFError, OSError) as error:
            raise self._died() from error

    def _died(self, how: str = "", *, hung: bool = False) -> WorkerDied:
        """End the worker and say how it ended: by itself, if nothing else is said."""
        assert self._worker is not None  # noqa: S101  # it was spoken to
        if not how:
            with contextlib.suppress(subprocess.TimeoutExpired):  # how it ends by itself is worth a moment
                self._worker.process.wait(END_S)
            how = self._worker.ending()
        self.close()
        return WorkerDied(how, hung=hung)

    def _ready(self) -> Child:
        for _ in range(STARTS):
            worker = self._start()
            try:
                if worker.connection.poll(START_S) and worker.connection.recv() == READY:
                    _set_stall(worker)
                    return worker
            except (EOFError, OSError):
                log.error("worker ended at its start", pid=worker.pid, how=worker.ending())
            worker.kill()
        raise NoWorker(f"{STARTS} workers ended before they were ready")

    def _worn(self) -> bool:
        return self._jobs >= JOBS_PER_WORKER or self._holds() > self._data_bytes + LEAK_BYTES

    def _holds(self) -> int:
        with contextlib.suppress(OSError):  # it is gone: whoever speaks to it next will see
            return taken_bytes(self._statm)[1]
        return 0


def _set_stall(worker: Child) -> None:
    """Let no message that is not finished hold a thread of ours (socket(7), SO_RCVTIMEO)."""
    stall = struct.pack("@ll", STALL_S, 0)
    with socket.fromfd(worker.connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, stall)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, stall)
