"""The transcode role: claims instances from the ledger, has workers judge them, and records the judgements.

A worker's death is an outcome: the object is tried once more, then goes on as received (reason
``worker-died``), and if even reading its header kills a worker it is held for a person. The foreman parses
nothing itself.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable

import structlog

from venturi.errors import Damaged, SpoolFailed, SpoolFull
from venturi.ledger.port import Claim, Doorbell, Ledger, Role
from venturi.model import Judgement
from venturi.process import Child
from venturi.spool.port import Spool
from venturi.transcode.worker import READY, Work

log = structlog.get_logger()

LEASE_S = 30.0
POLL_S = 2.0
"""How long a lost ring of the doorbell can go unnoticed."""
DISK_WAIT_S = 30.0
"""How long an instance waits when its rendition could not be written: a full disk, most likely."""
ROLE_DEATHS = 5
"""How often this role may die with an instance claimed before it is passed on as received, not encoded."""
JOBS_PER_WORKER = 2000
"""After so many objects a worker is replaced, so that leaks in codecs stay small."""


def allowed_s(size_bytes: int) -> float:
    """How long a worker may take over an object: two minutes, and a second for each megabyte."""
    return 120.0 + size_bytes / 1e6


START_S = 60.0
STARTS = 5
"""How often a worker is started in a row before the role gives up, to be started anew more slowly."""


class WorkerDied(Exception):
    """The worker ended over an object, or took too long and was ended."""


class NoWorker(Exception):
    """Workers end before they are ready: no object is to blame."""


class Bench:
    """One place for a worker: starts it, replaces it when it dies or has done enough."""

    def __init__(self, start: Callable[[], Child]) -> None:
        self._start = start
        self._worker: Child | None = None
        self._jobs = 0

    def judge(self, work: Work) -> Judgement:
        """Have the worker judge an instance.

        Raises WorkerDied, NoWorker, and what the worker raised: Damaged, SpoolFull, SpoolFailed, OSError.
        """
        if self._jobs >= JOBS_PER_WORKER or (self._worker is not None and not self._worker.alive()):
            self.close()  # one that died between two objects is no object's fault
        if self._worker is None:
            self._worker, self._jobs = self._ready(), 0
        self._jobs += 1
        worker = self._worker
        try:
            worker.connection.send(work)
            if not worker.connection.poll(allowed_s(work.instance.size_bytes)):
                raise WorkerDied(f"no answer in {allowed_s(work.instance.size_bytes):.0f} s")
            answer: Judgement | Exception = worker.connection.recv()
        except (EOFError, OSError) as error:
            worker.kill() if worker.alive() else worker.process.wait()
            self._worker = None
            raise WorkerDied(worker.ending()) from error
        except WorkerDied:
            self.close()
            raise
        if isinstance(answer, Exception):
            raise answer
        return answer

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

    def close(self) -> None:
        """End the worker, if there is one."""
        if self._worker is not None:
            self._worker.kill()
            self._worker = None


class Foreman:
    """Runs ``benches`` workers over what the ledger has to decide."""

    def __init__(
        self,
        ledger: Ledger,
        spool: Spool,
        start_worker: Callable[[], Child],
        workers: int,
        owner: str,
        bells: tuple[Doorbell, Doorbell],
    ) -> None:
        """``bells`` are the one this role waits for and the one that wakes the deliver role."""
        self._ledger = ledger
        self._spool = spool
        self._owner = owner
        self._bell, self._deliver_bell = bells
        self._benches = [Bench(start_worker) for _ in range(workers)]
        self._claims: queue.Queue[Claim | None] = queue.Queue(maxsize=2 * workers)
        self._broken = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set; then finish the objects in hand and return."""
        threads = [
            threading.Thread(target=self._work, args=(bench,), name=f"bench-{number}", daemon=True)
            for number, bench in enumerate(self._benches)
        ]
        for thread in threads:
            thread.start()
        try:
            self._claim(stop)
        finally:
            self._put_back_the_rest()
            for _ in threads:
                self._claims.put(None)
            while any(thread.is_alive() for thread in threads):
                self._ledger.renew(self._owner, LEASE_S)
                time.sleep(0.05)
            self._ledger.release(self._owner)

    def _claim(self, stop: threading.Event) -> None:
        renewed = time.monotonic()
        while not stop.is_set():
            if self._broken.is_set():
                raise RuntimeError("a bench stopped: this role ends, to be started anew")
            if time.monotonic() - renewed > LEASE_S / 3:
                self._ledger.renew(self._owner, LEASE_S)
                renewed = time.monotonic()
            wanted = self._claims.maxsize - self._claims.qsize()
            claims = self._ledger.claim_instances(self._owner, wanted, LEASE_S) if wanted else []
            for claim in claims:
                self._claims.put(claim)
            if not wanted:
                time.sleep(0.005)  # every worker is busy and has its next object waiting
            elif not claims:
                self._bell.wait(min(POLL_S, LEASE_S / 3))

    def _put_back_the_rest(self) -> None:
        """Give back what was claimed and not begun."""
        with contextlib.suppress(queue.Empty):
            while (claim := self._claims.get_nowait()) is not None:
                self._ledger.put_back(claim.instance.id, self._owner, wait_s=0.0)

    def _work(self, bench: Bench) -> None:
        try:
            while (claim := self._claims.get()) is not None:
                self._handle(bench, claim)
        except Exception:
            log.exception("bench stopped")  # the ledger failed: _claim ends the role, to be started anew
            self._broken.set()
        finally:
            bench.close()

    def _handle(self, bench: Bench, claim: Claim) -> None:
        instance = claim.instance
        try:
            judgement = self._judge(bench, claim)
        except Damaged as error:
            log.error("instance damaged in the spool", instance=instance.id, reason=str(error))
            self._spool.quarantine(instance)
            self._ledger.hold_instance(instance.id, "damaged")
        except WorkerDied as error:
            log.error("instance can't be read: held", instance=instance.id, reason=str(error))
            self._ledger.hold_instance(instance.id, "unreadable")
        except (SpoolFull, SpoolFailed, OSError) as error:
            log.error("rendition can't be written", instance=instance.id, reason=str(error))
            self._ledger.put_back(instance.id, self._owner, wait_s=DISK_WAIT_S)
        else:
            self._record(judgement)

    def _judge(self, bench: Bench, claim: Claim) -> Judgement:
        if claim.tries <= ROLE_DEATHS:
            for attempt in (1, 2):
                try:
                    return bench.judge(Work(claim.instance))
                except WorkerDied as error:
                    log.error("worker died", instance=claim.instance.id, attempt=attempt, reason=str(error))
        return bench.judge(Work(claim.instance, encode=False))

    def _record(self, judgement: Judgement) -> None:
        instance = judgement.instance
        if not self._ledger.judge(judgement, self._owner):
            log.warning("judged by another meanwhile", instance=instance.id)
            return
        self._deliver_bell.ring(Role.DELIVER)
        for outcome in judgement.outcomes:
            log.info(
                "judged",
                instance=instance.id,
                transfer_syntax=outcome.transfer_syntax,
                reason=str(outcome.reason or ""),
                detail=outcome.detail,
                before=outcome.pixel_bytes_before,
                after=outcome.pixel_bytes_after,
            )
        if judgement.held:
            log.warning("instance held", instance=instance.id, reason=judgement.held)
