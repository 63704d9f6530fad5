"""Takes one destination's deliveries from the ledger to the destination: a thread, its queue, its breaker, its hours.

A destination that is down slows nobody else. Several couriers may serve one, with a ``Destination`` each.

Receipts are recorded right behind the deliveries (see ``behind.py``),
so that a crash repeats at most the delivery in hand and those of the last moment. Nothing ends a courier but
``stop``: what is unexpected is logged once, the deliveries concerned are tried later, and it goes on.
"""

import random
import re
import threading
import time
from collections.abc import Callable, Sequence

from venturi.behind import Behind
from venturi.deliver.breaker import BREAK_S, Breaker
from venturi.deliver.port import Destination, Ending, Parcel, Receipt
from venturi.deliver.retry import Backoff
from venturi.errors import Damaged
from venturi.ledger.port import Attempt, Job, Ledger, State
from venturi.log import get_logger
from venturi.spool.port import Spool

log = get_logger()

BATCH = 16
"""Deliveries claimed at once: one association for a peer."""
HAND_S = 2.0
"""So long what was claimed together is handed over; what is left then is given back, and a person's word counts."""
LEASE_S = 120.0
IDLE_S = 30.0
"""The longest sleep without a look at the ledger: a ring may be lost."""
PACE_S = 0.03
"""After a look that did not find a whole batch: a few more may come, and a look costs as much for one as for all."""
KEEP_S = 1.0
"""How long an association is kept for more."""
LEASED_S = 0.5
"""The shortest sleep, when what is due is in other hands."""
COMMIT_AFTER_S = 5.0
"""After a delivery, so that a study's are asked about together."""
LOOK_S = 0.5
"""How often is looked whether a person has ended a pause."""
HOURS_S = 20.0
"""How often is looked whether its hours have begun."""


class Courier:
    """Delivers to one destination until it is stopped."""

    def __init__(
        self,
        name: str,
        destination: Destination,
        ledger: Ledger,
        spool: Spool,
        owner: str,
        backoff: Backoff | None = None,
        breaker: Breaker | None = None,
        hours: Callable[[], bool] = lambda: True,
        commits: Callable[[str], bool] = lambda _: False,
        undecided: Callable[[], None] = lambda: None,
    ) -> None:
        """``owner`` names the leases of this courier and must be its own; couriers of one destination share a breaker.

        ``hours``: whether anything may be delivered now. ``commits``: whether it (or that member of a group) is to say
        later that it has what it took for good. ``undecided`` is called when an instance is to be decided anew.
        """
        self._undecided = undecided
        self.name = name
        self._destination = destination
        self._ledger = ledger
        self._spool = spool
        self._owner = (
            f"{owner}/"  # releasing goes by how names begin: "pacs" must not end the leases of "pacs2"
        )
        self._backoff = backoff if backoff is not None else Backoff()
        self._stop = threading.Event()
        self._rung = threading.Event()
        self._breaker = breaker if breaker is not None else Breaker(name, self._backoff)
        self._hours = hours
        self._commits = commits
        self._thread = threading.Thread(target=self._run, name=f"courier {name}", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def wake(self) -> None:
        """There may be something new to deliver."""
        self._rung.set()

    def stop(self) -> None:
        """Finish the parcel in hand and end; returns at once."""
        self._stop.set()
        self._rung.set()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until it has ended."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        failures, left = 0, False
        while not self._stop.is_set():
            try:
                if left:  # whatever it was, nobody works on it now
                    self._ledger.release(self._owner)
                    left = False
                if not self._hours():
                    self._destination.rest()
                    self._stop.wait(HOURS_S)
                    continue
                batch = BATCH
                if not self._breaker.closed:
                    if not self._there():
                        continue
                    batch = 1
                jobs = self._ledger.claim_deliveries(self.name, self._owner, batch, LEASE_S)
                if jobs:
                    left = not self._work(jobs)
                else:
                    self._sleep()
                    failures = 0
                if len(jobs) < batch:
                    self._stop.wait(PACE_S)
            except Exception:  # the ledger failed: nothing is lost, and it may be back soon
                log.exception("courier can't reach the ledger; it goes on later", destination=self.name)
                failures, left = failures + 1, True
                self._stop.wait(min(BREAK_S, self._backoff.delay_s(failures, random.random())))  # noqa: S311 - jitter
        try:
            self._destination.close()
            self._ledger.release(self._owner)
        except Exception:  # the lease runs out by itself
            log.exception("courier ended with its leases kept", destination=self.name)

    def _sleep(self) -> None:
        due = self._ledger.next_due(self.name)
        wait_s = IDLE_S if due is None else min(IDLE_S, max(LEASED_S, due - time.time()))
        if not self._rung.wait(min(wait_s, KEEP_S)):
            self._destination.rest()
            self._rung.wait(max(0.0, wait_s - KEEP_S))
        self._rung.clear()

    def _there(self) -> bool:
        """Whether a destination that took nothing may be tried again: not before its pause is over, and it says so."""
        self._destination.rest()  # a peer that takes one association at a time is to hear the question
        due = self._ledger.next_due(self.name)
        if due is None or due > time.time():
            self._sleep()  # there is nothing to ask for
            return False
        while pause_s := self._breaker.wait_s():  # no ring shortens this, but a person may
            if self._stop.wait(min(pause_s, LOOK_S)):
                return False
        with self._breaker.asking:
            if self._breaker.closed or self._breaker.wait_s():
                return self._breaker.closed  # another one has asked meanwhile
            why = self._destination.probe()
            if why:
                self._breaker.failed(why)
            return not why

    def _work(self, jobs: Sequence[Job]) -> bool:
        """Deliver; whether it came to the end of them."""
        waiting = {job.id: job for job in jobs}
        arrived, why, began = False, "unexpected", time.monotonic()
        parcels: list[Parcel] = []
        with Behind(self._write, self._renew, LEASE_S / 3) as recording:
            try:
                for job in jobs:
                    match self._parcel(job):
                        case Parcel() as parcel:
                            parcels.append(parcel)
                        case receipt:
                            recording.put((waiting.pop(job.id), receipt))
                receipts = iter(self._destination.deliver(parcels)) if parcels else iter(())
                for receipt in receipts:
                    recording.put((waiting.pop(receipt.delivery), receipt))
                    if receipt.ending is not Ending.LATER:
                        arrived = True
                        self._breaker.worked()
                    why = _why(receipt)
                    slow = arrived and time.monotonic() - began > HAND_S
                    if slow or self._stop.is_set() or recording.failed or not self._hours():
                        close = getattr(receipts, "close", None)
                        if close is not None:
                            close()
                        return not waiting
                if waiting:
                    raise RuntimeError(f"the destination gave no receipt for {len(waiting)} parcels")
            except Exception as error:  # a destination must not raise; if it does, the others go on
                log.exception("delivery failed unexpectedly", destination=self.name, deliveries=len(waiting))
                for job in waiting.values():
                    detail = f"unexpected {type(error).__name__}; the log has more"
                    recording.put((job, Receipt(job.id, Ending.LATER, "error", detail)))
        if parcels and not arrived:
            self._breaker.failed(why)
        return True

    def _renew(self) -> None:
        """Keep the leases alive."""
        try:
            self._ledger.renew(self._owner, LEASE_S)
        except Exception:  # tried again in a while; a lost lease costs a repetition, not an image
            log.exception("leases not renewed", destination=self.name)

    def _parcel(self, job: Job) -> Parcel | Receipt:
        """Find the files of a job, or say how it ends because they are damaged or can't be read."""
        try:
            try:
                original = rendition = self._spool.materialise(job.instance)
            except Damaged:
                self._spool.quarantine(job.instance)
                raise
            if job.outcome.transcoded:
                rendition = self._spool.materialise_rendition(job.instance, job.target)
        except Damaged as error:
            return Receipt(job.id, Ending.REFUSED, "damaged", str(error))
        except OSError as error:
            detail = f"the spool can't be read: {error.strerror or type(error).__name__}"
            return Receipt(job.id, Ending.LATER, "unreadable", detail)
        return Parcel(job.id, job.instance, job.outcome, rendition, original, job.study_instance_uid)

    def _write(self, ended: Sequence[tuple[Job, Receipt]]) -> None:
        """Record how attempts ended."""
        attempts = [(job, self._attempt(job, receipt)) for job, receipt in ended]
        self._ledger.record([attempt for _, attempt in attempts], self._owner)
        if any(attempt.anew for _, attempt in attempts):
            self._undecided()
        for job, attempt in attempts:
            pending = attempt.state is State.PENDING
            tell = log.info if attempt.state is State.DELIVERED else log.warning if pending else log.error
            if attempt.anew:
                tell = log.info
            tell(
                "delivery "
                + (
                    "decided anew" if attempt.anew else "to be tried again" if pending else str(attempt.state)
                ),
                instance=job.instance.id,
                delivery=job.id,
                destination=self.name,
                status=attempt.status,
                tries=job.tries + 1,
            )

    def _attempt(self, job: Job, receipt: Receipt) -> Attempt:
        now = time.time()
        refused_before = 0
        if receipt.ending is Ending.REFUSED and job.tries:
            for attempt in reversed(self._ledger.attempts(job.id)):
                if attempt.status != receipt.status:
                    break
                refused_before += 1
        state = self._backoff.state(receipt.ending, receipt.status, refused_before)
        anew = receipt.takes_another and receipt.ending is Ending.REFUSED and not refused_before
        if anew:  # once: what is refused again is refused
            state = State.HELD
        due_at, commit_due_at = 0.0, None
        if state is State.PENDING:
            due_at = now + self._backoff.delay_s(job.tries + 1, random.random())  # noqa: S311 - jitter
        elif state is State.DELIVERED and self._commits(receipt.member):
            commit_due_at = now + COMMIT_AFTER_S
        return Attempt(
            delivery=job.id,
            state=state,
            at=now,
            duration_s=receipt.duration_s,
            status=receipt.status,
            detail=receipt.detail,
            due_at=due_at,
            sent_original=receipt.sent_original,
            member=receipt.member,
            place=receipt.place,
            commit_due_at=commit_due_at,
            anew=anew,
        )


def _why(receipt: Receipt) -> str:
    """A receipt in words for a log: what a peer says in its own words may be anything."""
    of_peer = re.fullmatch(r"[0-9A-F]{4}", receipt.status)
    return f"answered {receipt.status}" if of_peer else f"{receipt.status}: {receipt.detail}"
