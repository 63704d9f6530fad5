"""Storage commitment as SCP: requests of peers are judged (see ``promise.py``), reading files again, and told.

One thread judges, and waits for no folder that hangs; a few more tell, since a peer that does not listen must not keep
the others from hearing. What is to be told is looked for beside the judging: a yes would be old before the next request
is judged.
Nothing ends it but ``stop``: what is unexpected is logged, and tried again.
"""

import itertools
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from venturi.dataset.commitment import PROCESSING_FAILURE
from venturi.deliver.commitment_talk import Talk
from venturi.deliver.dicom_scu import NotAssociated
from venturi.deliver.promise import Keeping, Verdict, judge
from venturi.deliver.reread import Reader, Where
from venturi.deliver.retry import Backoff
from venturi.deliver.wire import Lost
from venturi.ledger.port import COMMITTED, Commitment, Copy, Kept, Ledger, State
from venturi.log import get_logger

log = get_logger()

SAME_S = 1.5
"""How long telling is left to the association on which was asked, if that is open still."""
LEASE_S = 300.0
TELLERS = 8
TELL_DAYS = 7
"""So long a peer is called; after that it is told when it asks."""
QUICK_S, LOOK_S = 0.5, 2.0
QUICK_FOR_S = 30.0
"""After a request was judged, more is likely to happen."""
LATER = Backoff(first_s=1.0, ceiling_s=60.0)
"""When a request is judged again."""
REQUESTS = 4
"""Looked up at once; one may have thousands of instances."""


class Answering:
    """Judges and tells."""

    def __init__(self, ledger: Ledger, where: Callable[[str, str], Where], talk: Talk, owner: str) -> None:
        """``where`` is given a destination and a member of it, if that is a group."""
        self._ledger, self._known = ledger, ledger.commitments
        self._where, self._talk = where, talk
        self._owner = f"{owner}commitment"
        self._stop, self._rung = threading.Event(), threading.Event()
        self._tellers = ThreadPoolExecutor(TELLERS, thread_name_prefix="commitment told")
        self._reader = Reader()
        self._busy_at = float("-inf")
        """When something was judged last."""
        self._threads = [
            threading.Thread(target=self._run, name="commitment", daemon=True),
            threading.Thread(target=self._run_telling, name="commitment to tell", daemon=True),
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """There may be something new to judge."""
        self._rung.set()

    def stop(self) -> None:
        """End soon; returns at once."""
        self._stop.set()
        self._rung.set()

    def join(self) -> None:
        """Wait until it has ended."""
        for thread in self._threads:
            thread.join()
        self._tellers.shutdown(cancel_futures=True)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                for commitment in self._known.to_judge(REQUESTS):
                    self._judge_or_later(commitment)
                    self._busy_at = time.monotonic()
            except Exception:  # the ledger failed, most likely: it may be back soon
                log.exception("storage commitments not judged; it goes on later")
            self._rung.wait(self._pause_s())
            self._rung.clear()

    def _run_telling(self) -> None:
        """Claim no more than can be told at once: what waits here grows old, and its lease runs out."""
        telling: list[Future[None]] = []
        owners = (f"{self._owner}{number}" for number in itertools.count())
        while not self._stop.is_set():
            telling = [one for one in telling if not one.done()]
            free = TELLERS - len(telling)
            owner = next(owners)  # who told of a first asking must not end the lease of a second
            try:
                due = self._known.claim_reports(owner, time.time() - SAME_S, LEASE_S, free) if free else []
                telling += [self._tellers.submit(self._tell, commitment, owner) for commitment in due]
            except Exception:  # the ledger failed, most likely: it may be back soon
                log.exception("storage commitments not told; it goes on later")
            self._stop.wait(self._pause_s())

    def _pause_s(self) -> float:
        return QUICK_S if time.monotonic() - self._busy_at < QUICK_FOR_S else LOOK_S

    def _judge_or_later(self, commitment: Commitment) -> None:
        """Judge one; whatever is wrong with it, the others are judged, too."""
        try:
            self._judge(commitment)
        except (
            Exception
        ):  # it may be better later; the ledger's own failure is met again at once, by recording that
            log.exception("a request for storage commitment not judged", peer=commitment.peer)
            self._known.judged(commitment.id, {}, time.time() + LATER.ceiling_s)

    def _judge(self, commitment: Commitment) -> None:
        """Failures stand as soon as they are certain; that all else is committed is found out in one pass, the last.

        Files are not read before nothing waits any more: they would be read again and again.
        """
        now = time.time()
        found: dict[int, tuple[list[Kept], list[Verdict]]] = {}
        unsettled = {number: reference for number, reference, reason in commitment.references if not reason}
        receipts = self._known.kept([each.sop_instance_uid for each in unsettled.values()])
        for number, reference in unsettled.items():
            kept = receipts[reference.sop_instance_uid]
            found[number] = kept, judge(reference, kept, commitment.peer, self._keeping)
        waits = now < commitment.until and any(
            verdict.reason is None and not verdict.files
            for _, verdicts in found.values()
            for verdict in verdicts
        )
        reasons: dict[int, int | None] = {}
        for number, (kept, verdicts) in found.items():
            if self._stop.is_set():
                return
            reasons[number] = self._together(verdicts, look=not waits)
            if reasons[number] is None and now >= commitment.until:
                reasons[number] = PROCESSING_FAILURE
            if reasons[number]:
                self._tell_log(commitment, kept, verdicts, reasons[number])
        certain = {number: reason for number, reason in reasons.items() if reason is not None}
        if len(certain) < len(found):  # what is committed now may not be when the others are
            certain = {number: reason for number, reason in certain.items() if reason}
        wait_s = LATER.delay_s(max(1, int((now - commitment.at) / 5)), random.random())  # noqa: S311 - jitter
        if self._known.judged(commitment.id, certain, min(now + wait_s, max(now, commitment.until))):
            log.info("storage commitment judged", peer=commitment.peer, instances=len(commitment.references))

    def _together(self, verdicts: Sequence[Verdict], *, look: bool) -> int | None:
        """The Failure Reason of an instance, 0 if all of its contents are safe; None: not certain, or not looked at."""
        found = [
            self._reason(verdict.reason, verdict.files) if look or not verdict.files else None
            for verdict in verdicts
        ]
        failed = next((each for each in found if each), None)
        return failed or (None if None in found else COMMITTED)

    def _tell_log(
        self, commitment: Commitment, kept: list[Kept], verdicts: Sequence[Verdict], reason: int | None
    ) -> None:
        log.warning(
            "storage commitment refused",
            instance=kept[-1].instance.id if kept else "",
            reason=f"{reason:04X}",
            why=next(
                (verdict.why for verdict in verdicts if verdict.reason), "not safe in time, or not there"
            ),
            peer=commitment.peer,
        )

    def _reason(self, reason: int | None, files: Sequence[Sequence[Copy]]) -> int | None:
        """The Failure Reason, once the files are looked at; None: not certain yet."""
        if not files:
            return reason
        unknown = False
        for one in files:
            looked = [
                self._reader.look(self._where(copy.destination, copy.member), copy.place, copy.outcome)
                for copy in one
            ]
            if all(each == "" for each in looked):
                return COMMITTED
            unknown = unknown or not any(looked)
        return None if unknown or reason is None else PROCESSING_FAILURE

    def _keeping(self, copy: Copy) -> Keeping:
        """Of what has not arrived, a group's member is only who got it last, or did not take it."""
        there = copy.state in {State.DELIVERED, State.COMMITTED}
        return self._where(copy.destination, copy.member if there else "").keeping

    def _tell(self, commitment: Commitment, owner: str) -> None:
        failure, due_at, off = "", None, False
        try:
            status = self._talk.tell(commitment)
            if status is None:
                failure = "it has no host in the configuration: it is told on an association of its own"
            elif status and status & 0xF000 != 0xB000:
                failure = f"it answered {status:04X}"
        except (NotAssociated, Lost) as error:
            failure, off = f"{error.status}: {error}", isinstance(error, NotAssociated)
            status = 0
        except Exception as error:  # whatever it is, the lease must end
            log.exception("storage commitment not told", peer=commitment.peer)
            failure, status = f"unexpected {type(error).__name__}; the log has more", 0
        if failure and status is not None and time.time() < commitment.at + TELL_DAYS * 86400:
            due_at = time.time() + Backoff().delay_s(commitment.tries + 1, random.random())  # noqa: S311 - jitter
        try:
            self._known.told(commitment.id, owner, failure, due_at, off=off)
        except Exception:  # the lease runs out, and it is told again
            log.exception("storage commitment told, but not recorded", peer=commitment.peer)
        if failure and not commitment.tries:
            log.warning("peer not told of storage commitment", peer=commitment.peer, why=failure)
