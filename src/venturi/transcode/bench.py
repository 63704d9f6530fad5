"""One place for a worker: starts it, gives it objects one at a time, ends it when it takes too long, replaces it.

A worker has read hostile bytes, so nothing it says is taken for more than a judgement of the object it was given, or
one of the errors it may raise.
"""

import builtins
import contextlib
import io
import pickle
import subprocess
from collections.abc import Callable
from enum import Enum
from typing import Any

import structlog

from venturi.model import Instance, Judgement
from venturi.process import Child
from venturi.transcode.sandbox import GIB, Limits, limits, taken_bytes
from venturi.transcode.worker import READY, Work

log = structlog.get_logger()

JOBS_PER_WORKER = 2000
"""After so many objects a worker is replaced, so that leaks in codecs stay small."""
LEAK_BYTES = GIB
"""So is one that between two objects holds so much more memory than at its start."""
ANSWER_BYTES = 1 << 26
END_S = 2.0
START_S = 60.0
STARTS = 5
"""How often a worker is started in a row before the role gives up, to be started anew more slowly."""


class WorkerDied(Exception):
    """The worker ended over an object, or took too long (then it ``hung``) and was ended."""

    def __init__(self, how: str, *, hung: bool = False) -> None:
        super().__init__(how)
        self.hung = hung


class NoWorker(Exception):
    """Workers end before they are ready: no object is to blame."""


class Bench:
    """See the module. For one thread."""

    def __init__(self, start: Callable[[], Child], limits_for: Callable[[int], Limits] = limits) -> None:
        """``limits_for`` gives the limits for a dataset's length."""
        self._start = start
        self._limits_for = limits_for
        self._worker: Child | None = None
        self._jobs = 0
        self._data_bytes = 0
        """What the worker held when it was ready."""

    def prepare(self) -> None:
        """Have a worker ready. Raises NoWorker."""
        if self._worker is not None and (self._worn(self._worker) or not self._worker.alive()):
            self.close()  # one that died between two objects is no object's fault
        if self._worker is None:
            self._worker, self._jobs = self._ready(), 0
            self._data_bytes = self._holds(self._worker)

    def judge(self, instance: Instance, deaths: str = "") -> Judgement:
        """Have the worker judge an instance; ``deaths`` says how it has ended workers: it is not encoded then.

        Raises WorkerDied, NoWorker, and what the worker raised: Damaged, SpoolFull, SpoolFailed, OSError.
        """
        self.prepare()
        worker = self._worker
        assert worker is not None  # noqa: S101  # prepare has put it there
        self._jobs += 1
        allowed = self._limits_for(instance.size_bytes)
        try:
            worker.connection.send(Work(instance, allowed, deaths))
            if not worker.connection.poll(allowed.wall_s):
                self.close()
                raise WorkerDied(f"no answer in {allowed.wall_s:.0f} s", hung=True)
            data = worker.connection.recv_bytes(ANSWER_BYTES)
        except (EOFError, OSError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):  # how it ends by itself is worth a moment
                worker.process.wait(END_S)
            self.close()
            raise WorkerDied(worker.ending()) from error
        answer = _read(data)
        if isinstance(answer, Exception):
            raise answer
        if not isinstance(answer, Judgement) or answer.instance != instance:
            self.close()
            raise WorkerDied("its answer is no judgement of this instance")
        return answer

    def close(self) -> None:
        """End the worker, if there is one."""
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    def _ready(self) -> Child:
        for _ in range(STARTS):
            worker = self._start()
            try:
                if worker.connection.poll(START_S) and worker.connection.recv() == READY:
                    return worker
            except (EOFError, OSError):
                log.error("worker ended at its start", pid=worker.pid, how=worker.ending())
            worker.kill()
        raise NoWorker(f"{STARTS} workers ended before they were ready")

    def _worn(self, worker: Child) -> bool:
        return self._jobs >= JOBS_PER_WORKER or self._holds(worker) > self._data_bytes + LEAK_BYTES

    @staticmethod
    def _holds(worker: Child) -> int:
        with contextlib.suppress(OSError):  # it is gone: whoever speaks to it next will see
            return taken_bytes(worker.pid)[1]
        return 0


class _Answer(pickle.Unpickler):
    """Makes nothing but what a worker may say: the model's words, our errors, the operating system's."""

    def find_class(self, module: str, name: str) -> Any:
        """Find one of those classes. Raises UnpicklingError for anything else."""
        if module in ("venturi.model", "venturi.errors") and "." not in name:
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__ == module:
                return found
        if (module, name) == ("builtins", "getattr"):
            return _member
        known = getattr(builtins, name, None) if module == "builtins" else None
        if isinstance(known, type) and issubclass(known, OSError):
            return known
        raise pickle.UnpicklingError("not among what a worker may say")


def _member(kind: type[Enum], name: str) -> Enum:
    """Stand in for getattr, by which Python before 3.11.4 pickles members of enumerations."""
    return kind.__members__[name]


def _read(data: bytes) -> object:
    """Read a worker's answer; None where it can't be read."""
    try:
        return _Answer(io.BytesIO(data)).load()
    except Exception:  # hostile bytes may make it raise whatever they like
        return None
