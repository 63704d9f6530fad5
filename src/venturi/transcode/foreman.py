"""The transcode role: claims instances from the ledger, has a crew judge them, and records the judgements.

An object that ends its workers goes on as received (see ``crew.py``), and if even reading its header kills a worker
it is held for a person. The foreman parses nothing itself.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence

from venturi.behind import Behind
from venturi.errors import Damaged
from venturi.ledger.port import TRUSTED_S, Claim, Doorbell, Ledger, Role
from venturi.log import get_logger
from venturi.model import Acceptance, Judgement
from venturi.process import Child
from venturi.spool.port import Spool
from venturi.transcode.crew import Crew
from venturi.transcode.port import Answer, Job, Judge, WorkerDied
from venturi.transcode.sandbox import Limits, limits

log = get_logger()

LEASE_S = 30.0
POLL_S = 2.0
"""How long a lost ring of the doorbell can go unnoticed."""
DISK_WAIT_S = 30.0
"""How long an instance waits when its rendition could not be written: a full disk, most likely."""
ROLE_DEATHS = 5
"""How often this role may die with an instance claimed before it is passed on as received, not encoded."""
LOOK_S = 1.0
"""How old may be what peers are known to accept: it is read for all that is claimed, and not for each."""


class Foreman:
    """Has ``workers`` work over what the ledger has to decide."""

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
        self._start_worker = start_worker
        self._workers = workers
        self._limits_for = limits_for
        self._in_hand: set[str] = set()
        """Instances the crew has, or whose judgement is not yet recorded."""
        self._acceptances: dict[str, tuple[Acceptance, ...]] = {}
        """By SOP class."""
        self._looked_at = float("-inf")

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set; then finish the objects in hand and return."""
        with Behind(self._write, self._renew, LEASE_S / 3) as recording:
            crew = Crew(
                self._start_worker,
                self._workers,
                lambda job, answer: self._finish(job, answer, recording),
                self._clear,
                self._limits_for,
            )
            try:
                self._claim(crew, recording, stop)
            finally:
                for job in crew.take_back():
                    self._ledger.put_back(job.name, self._owner, wait_s=0.0)
                with contextlib.suppress(RuntimeError):  # it was said when it happened
                    crew.close()
        self._ledger.release(self._owner)

    def _claim(self, crew: Crew, recording: Behind[Judgement], stop: threading.Event) -> None:
        while not stop.is_set() and not recording.failed:
            room = crew.room()
            claims = self._ledger.claim_instances(self._owner, room, LEASE_S) if room else []
            if claims:
                self._look(now=any(claim.only for claim in claims))
            for claim in claims:
                # A lease of our own may have run out, where the ledger was slow or the clock was set.
                if claim.instance.id not in self._in_hand:
                    self._in_hand.add(claim.instance.id)
                    crew.put(self._job(claim))
            if not room:
                time.sleep(0.005)  # every worker is busy and has its next objects waiting
            elif not claims:
                self._bell.wait(min(POLL_S, LEASE_S / 3))

    def _look(self, *, now: bool) -> None:
        """Read what peers accept, ``now`` where something has just been learnt."""
        if not now and time.monotonic() - self._looked_at < LOOK_S:
            return
        found: dict[str, list[Acceptance]] = {}
        for each in self._ledger.learnt(time.time() - TRUSTED_S):
            found.setdefault(each.sop_class_uid, []).append(each)
        self._acceptances = {uid: tuple(acceptances) for uid, acceptances in found.items()}
        self._looked_at = time.monotonic()

    def _job(self, claim: Claim) -> Judge:
        if claim.tries > 1:
            self._spool.abandon_renditions(claim.instance)  # this role may have died over it
        deaths = f"{claim.tries - 1} foremen have ended with it in work" if claim.tries > ROLE_DEATHS else ""
        acceptances = self._acceptances.get(claim.instance.envelope.sop_class_uid, ())
        return Judge(claim.instance, deaths, claim.only, acceptances)

    def _renew(self) -> None:
        self._ledger.renew(self._owner, LEASE_S)

    def _clear(self, job: Job) -> None:
        if isinstance(job, Judge):
            self._spool.abandon_renditions(job.instance)

    def _finish(self, job: Job, answer: Answer | Exception, recording: Behind[Judgement]) -> None:
        assert isinstance(job, Judge)  # noqa: S101  # no others are put
        instance = job.instance
        match answer:
            case Judgement():
                recording.put(answer)
                return
            case Damaged():
                log.error("instance damaged in the spool", instance=instance.id, reason=str(answer))
                self._spool.quarantine(instance)
                self._ledger.hold_instance(instance.id, "damaged")
            case WorkerDied():
                log.error("instance can't be read: held", instance=instance.id, reason=str(answer))
                self._ledger.hold_instance(instance.id, "unreadable")
            case _:
                log.error("rendition can't be written", instance=instance.id, reason=str(answer))
                self._ledger.put_back(instance.id, self._owner, wait_s=DISK_WAIT_S)
        self._in_hand.discard(instance.id)

    def _write(self, judgements: Sequence[Judgement]) -> None:
        recorded = self._ledger.judge_all(judgements, self._owner)
        self._in_hand.difference_update(judgement.instance.id for judgement in judgements)
        self._deliver_bell.ring(Role.DELIVER)
        for judgement in judgements:
            instance = judgement.instance
            if instance.id not in recorded:
                log.warning("judged by another meanwhile", instance=instance.id)
                continue
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
