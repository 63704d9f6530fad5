"""Storage commitment, as SCP and as SCU: what peers ask of us is judged and told, and what we ask is asked.

    Answering   judges requests of peers (see ``promise.py``), reading files again, and tells them: one thread, and a
                few more for the telling, since a peer that does not listen must not keep the others from hearing
    Asking      one thread for each destination of which somebody wants to know whether it has what it got for good

Nothing ends them but ``stop``: what is unexpected is logged, and tried again.
"""

import os
import random
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from venturi.dataset.commitment import PROCESSING_FAILURE
from venturi.deliver.dicom_scu import NotAssociated
from venturi.deliver.promise import Keeping, Verdict, judge
from venturi.deliver.reread import holds
from venturi.deliver.retry import Backoff
from venturi.deliver.wire import Lost
from venturi.ledger.port import COMMITTED, Commitment, Copy, Kept, Ledger, Uncommitted
from venturi.log import get_logger
from venturi.model import CommitmentRequest, CommitmentResult, Outcome, Reference

log = get_logger()

AT_ONCE = 200
"""References in one request of ours; a study has some hundred, and some peers take no thousands."""
SAME_S = 1.5
"""How long telling is left to the association on which was asked, if that is open still."""
LEASE_S = 300.0
TELLERS = 8
TELL_DAYS = 7
"""So long a peer is called; after that it is told when it asks."""
QUICK_S, LOOK_S, IDLE_S = 0.5, 2.0, 30.0
QUICK_FOR_S = 30.0
"""After a request was judged, more is likely to happen."""
RESEND_S = 30.0
"""After a destination said that it does not have what it got."""
LATER = Backoff(first_s=1.0, ceiling_s=60.0)
"""When a request is judged again."""
OTHER = "the file holds something else"
UNREADABLE_S, ABSENT_S = 900.0, 60.0
"""When is looked again at a file that can't be read, and at a folder that is not there."""
REQUESTS = 4
"""Judged before others are told; one may have thousands of instances."""


@dataclass(frozen=True, slots=True)
class Where:
    """How one destination, or member of a group, keeps what it gets."""

    keeping: Keeping
    folder: Path | None = None
    mount: Path | None = None
    """Where something must be mounted."""
    peer: str = ""

    def absent(self) -> bool:
        """Whether the whole folder is not there now, or not what is mounted there."""
        mounted = self.mount is None or os.path.ismount(self.mount)
        return self.folder is not None and not (self.folder.is_dir() and mounted)

    def look(self, place: str, outcome: Outcome) -> str | None:
        """Whether a file holds what it should: empty, or why not; None where that can't be told now."""
        if self.folder is None or not place:
            return "where it is has not been recorded"
        if self.absent():
            return None
        try:
            same = holds(self.folder / place, outcome, from_disk=True)
            return "" if same else OTHER
        except FileNotFoundError:
            return "the file is not there"
        except OSError as error:
            log.error("a file can't be read again", error=error.strerror or type(error).__name__)
            return None


class Talk(Protocol):
    """Associations with peers."""

    def ask(
        self,
        destination: str,
        member: str,
        request: CommitmentRequest,
        take: Callable[[CommitmentResult], int],
    ) -> int:
        """Ask for storage commitment: the status. Raises NotAssociated, Lost."""

    def tell(self, commitment: Commitment) -> int | None:
        """Tell who asked: the status, or None where it can't be called. Raises NotAssociated, Lost."""


class Answering:
    """Judges and tells."""

    def __init__(self, ledger: Ledger, where: Callable[[str, str], Where], talk: Talk, owner: str) -> None:
        """``where`` is given a destination and a member of it, if that is a group."""
        self._ledger, self._known = ledger, ledger.commitments
        self._where, self._talk = where, talk
        self._owner = f"{owner}commitment"
        self._stop, self._rung = threading.Event(), threading.Event()
        self._tellers = ThreadPoolExecutor(TELLERS, thread_name_prefix="commitment told")
        self._thread = threading.Thread(target=self._run, name="commitment", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """There may be something new to judge."""
        self._rung.set()

    def stop(self) -> None:
        """End soon; returns at once."""
        self._stop.set()
        self._rung.set()

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()
        self._tellers.shutdown(cancel_futures=True)

    def _run(self) -> None:
        busy_at = float("-inf")
        while not self._stop.is_set():
            try:
                for commitment in self._known.claim_reports(self._owner, time.time() - SAME_S, LEASE_S):
                    self._tellers.submit(self._tell, commitment)
                for commitment in self._known.to_judge(REQUESTS):
                    busy_at = time.monotonic()
                    self._judge_or_later(commitment)
            except Exception:  # the ledger failed, most likely: it may be back soon
                log.exception("storage commitments not judged; it goes on later")
            self._rung.wait(QUICK_S if time.monotonic() - busy_at < QUICK_FOR_S else LOOK_S)
            self._rung.clear()

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
        found: dict[int, tuple[Sequence[Kept], list[Verdict]]] = {}
        for number, reference, reason in commitment.references:
            if self._stop.is_set():
                return
            if not reason:
                found[number] = self._verdicts(reference, commitment.peer)
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

    def _verdicts(self, reference: Reference, peer: str) -> tuple[Sequence[Kept], list[Verdict]]:
        kept = self._known.kept(reference.sop_instance_uid)
        return kept, judge(reference, kept, peer, self._keeping)

    def _together(self, verdicts: Sequence[Verdict], *, look: bool) -> int | None:
        """The Failure Reason of an instance, 0 if all of its contents are safe; None: not certain, or not looked at."""
        found = [
            self._reason(verdict.reason, verdict.files) if look or not verdict.files else None
            for verdict in verdicts
        ]
        failed = next((each for each in found if each), None)
        return failed or (None if None in found else COMMITTED)

    def _tell_log(
        self, commitment: Commitment, kept: Sequence[Kept], verdicts: Sequence[Verdict], reason: int | None
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
                self._where(copy.destination, copy.member).look(copy.place, copy.outcome) for copy in one
            ]
            if all(each == "" for each in looked):
                return COMMITTED
            unknown = unknown or not any(looked)
        return None if unknown or reason is None else PROCESSING_FAILURE

    def _keeping(self, copy: Copy) -> Keeping:
        return self._where(copy.destination, copy.member).keeping

    def _tell(self, commitment: Commitment) -> None:
        failure, due_at = "", None
        try:
            status = self._talk.tell(commitment)
            if status is None:
                failure = "it has no host in the configuration: it is told on an association of its own"
            elif status and status & 0xF000 != 0xB000:
                failure = f"it answered {status:04X}"
        except (NotAssociated, Lost) as error:
            failure = f"{error.status}: {error}"
            status = 0
        except Exception as error:  # whatever it is, the lease must end
            log.exception("storage commitment not told", peer=commitment.peer)
            failure, status = f"unexpected {type(error).__name__}; the log has more", 0
        if failure and status is not None and time.time() < commitment.at + TELL_DAYS * 86400:
            due_at = time.time() + Backoff().delay_s(commitment.tries + 1, random.random())  # noqa: S311 - jitter
        try:
            self._known.told(commitment.id, self._owner, failure, due_at)
        except Exception:  # the lease runs out, and it is told again
            log.exception("storage commitment told, but not recorded", peer=commitment.peer)
        if failure and not commitment.tries:
            log.warning("peer not told of storage commitment", peer=commitment.peer, why=failure)


class Asking:
    """Finds out whether one destination has what it got for good."""

    def __init__(
        self, name: str, ledger: Ledger, where: Callable[[str, str], Where], talk: Talk, within_s: float
    ) -> None:
        """``within_s``: how long an answer may take, before it is asked again."""
        self._name, self._known = name, ledger.commitments
        self._where, self._talk, self._within_s = where, talk, within_s
        self._stop = threading.Event()
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name=f"commitment of {name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End soon; returns at once."""
        self._stop.set()

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stop.wait(wait_s):
            try:
                wait_s = self._once()
            except Exception:  # the ledger failed, most likely: it may be back soon
                log.exception("storage commitment not asked for; it goes on later", destination=self._name)
                wait_s = IDLE_S

    def _once(self) -> float:
        """Ask about what is due; how long to wait then, seconds."""
        due = self._known.uncommitted(self._name, AT_ONCE)
        if not due:
            at = self._known.next_uncommitted(self._name)
            return LOOK_S if at is None else min(IDLE_S, max(LOOK_S, at - time.time()))
        by_member: dict[str, list[Uncommitted]] = defaultdict(list)
        for one in due:
            by_member[one.copy.member].append(one)
        for member, wanted in by_member.items():
            where = self._where(self._name, member)
            match where.keeping:
                case Keeping.NOT | Keeping.OPEN:
                    self._known.put_off([one.copy.delivery for one in wanted], None)
                case Keeping.AS_FILE:
                    self._look(where, wanted)
                case Keeping.BY_PEER:
                    self._ask(where.peer, member, wanted)
        if self._failures:
            return min(900.0, Backoff().delay_s(self._failures, random.random()))  # noqa: S311 - jitter
        return 0.0

    def _look(self, where: Where, wanted: Sequence[Uncommitted]) -> None:
        """Read files again. What was replaced on purpose stays delivered; what can't be read keeps no other waiting."""
        if where.absent():
            self._known.put_off([one.copy.delivery for one in wanted], time.time() + ABSENT_S)
            return
        looked_at, ended = time.time(), dict[int, str]()
        for one in wanted:
            if self._stop.is_set():
                break
            found, delivery = where.look(one.copy.place, one.copy.outcome), one.copy.delivery
            if found is None:
                self._known.put_off([delivery], time.time() + UNREADABLE_S)
            elif found == OTHER and one.conflict:
                self._known.put_off([delivery], None)
            else:
                ended[delivery] = found
                if found:
                    words = "what was delivered is not there: it is delivered again"
                    log.error(words, instance=one.instance.id, destination=self._name, why=found)
        self._known.verified(ended, looked_at, time.time())

    def _ask(self, peer: str, member: str, wanted: Sequence[Uncommitted]) -> None:
        once = {one.reference.sop_instance_uid: one for one in reversed(wanted)}
        request = CommitmentRequest(f"2.25.{uuid.uuid4().int}", tuple(one.reference for one in once.values()))
        deliveries = [one.copy.delivery for one in once.values()]
        number = self._known.asked(request, self._name, peer, deliveries, time.time() + self._within_s)

        def take(result: CommitmentResult) -> int:
            found = self._known.reported(result, peer, time.time() + RESEND_S)
            return 0 if found is not None else 0x0115

        try:
            status = self._talk.ask(self._name, member, request, take)
            why = f"it answered {status:04X}" if status and status & 0xF000 != 0xB000 else ""
        except (NotAssociated, Lost) as error:
            why = f"{error.status}: {error}"
        if not why:
            self._failures = 0
            return
        self._failures += 1
        self._known.refused(number, why, time.time())
        if self._failures == 1:
            log.error(
                "destination does not take requests for storage commitment", destination=self._name, why=why
            )
