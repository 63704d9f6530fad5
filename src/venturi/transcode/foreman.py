"""The transcode role: claims instances from the ledger, has workers judge them, and records the judgements.

A worker's death is an outcome: the object is tried once more, alone, since a neighbour may have taken the memory it
needed; after a hang beside the others, whom it would keep waiting. Then it goes on as received (reason
``worker-died``), and if even reading its header kills a worker it is held for a person. What a dead worker left half
written is removed. The foreman parses nothing itself.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable

import structlog

from venturi.errors import Damaged, SpoolFailed, SpoolFull
from venturi.ledger.port import Claim, Doorbell, Ledger, Role
from venturi.model import Instance, Judgement
from venturi.process import Child
from venturi.spool.port import Spool
from venturi.transcode.bench import Bench, WorkerDied
from venturi.transcode.gate import Gate
from venturi.transcode.sandbox import Limits, limits

log = structlog.get_logger()

LEASE_S = 30.0
POLL_S = 2.0
"""How long a lost ring of the doorbell can go unnoticed."""
DISK_WAIT_S = 30.0
"""How long an instance waits when its rendition could not be written: a full disk, most likely."""
ROLE_DEATHS = 5
"""How often this role may die with an instance claimed before it is passed on as received, not encoded."""
PATIENCE_S = ALONE_S = 60.0
"""How long a second try waits to be alone, and how long it is left alone: see ``gate.py``."""


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
        limits_for: Callable[[int], Limits] = limits,
    ) -> None:
        """``bells`` are the one this role waits for and the one that wakes the deliver role.

        ``limits_for`` gives what an object may cost by its dataset's length.
        """
        self._ledger = ledger
        self._spool = spool
        self._owner = owner
        self._bell, self._deliver_bell = bells
        self._benches = [Bench(start_worker, limits_for) for _ in range(workers)]
        self._gate = Gate(PATIENCE_S, ALONE_S)
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
        instance = claim.instance
        if claim.tries > 1:
            self._spool.abandon_renditions(instance)  # this role may have died over it
        if claim.tries > ROLE_DEATHS:
            return self._have_judged(bench, instance, f"{claim.tries - 1} foremen have ended with it in work")
        try:
            return self._have_judged(bench, instance)
        except WorkerDied as first:
            log.error("worker died", instance=instance.id, attempt=1, reason=str(first))
            try:
                return self._have_judged(bench, instance, alone=not first.hung)
            except WorkerDied as second:
                log.error("worker died", instance=instance.id, attempt=2, reason=str(second))
                return self._have_judged(bench, instance, f"it ended two workers: {first}; {second}")

    def _have_judged(
        self, bench: Bench, instance: Instance, deaths: str = "", *, alone: bool = False
    ) -> Judgement:
        """Let a bench judge when its turn has come; see there."""
        bench.prepare()  # before others have to wait for it
        with self._gate.enter(alone=alone):
            try:
                return bench.judge(instance, deaths)
            except WorkerDied:
                self._spool.abandon_renditions(instance)
                raise

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
