"""Storage commitment as SCU: finds out whether a destination has what it got for good.

A thread for each destination of which somebody wants to know that: a peer is asked, files are read again. Nothing ends
it but ``stop``: what is unexpected is logged, and tried again.
"""

import random
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence

from venturi.deliver.commitment_talk import INVALID_ARGUMENT, Talk
from venturi.deliver.dicom_scu import NotAssociated
from venturi.deliver.promise import Keeping
from venturi.deliver.reread import OTHER, Where
from venturi.deliver.retry import Backoff
from venturi.deliver.wire import Lost
from venturi.ledger.port import Ledger, Uncommitted
from venturi.log import get_logger
from venturi.model import CommitmentRequest, CommitmentResult

log = get_logger()

AT_ONCE = 200
"""References in one request of ours; a study has some hundred, and some peers take no thousands."""
REFUSED_S = 900.0
"""After a peer did not take a request for one instance alone."""
LOOK_S, IDLE_S = 2.0, 30.0
RESEND_S = 30.0
"""After a destination said that it does not have what it got."""
UNREADABLE_S, ABSENT_S = 900.0, 60.0
"""When is looked again at a file that can't be read, and at a folder that is not there."""


class Asking:
    """Finds out whether one destination has what it got for good."""

    def __init__(
        self, name: str, ledger: Ledger, where: Callable[[str, str], Where], talk: Talk, within_s: float
    ) -> None:
        """``within_s``: how long an answer may take, before it is asked again."""
        self._name, self._known = name, ledger.commitments
        self._where, self._talk, self._within_s = where, talk, within_s
        self._stop = threading.Event()
        self._at_once, self._absent = AT_ONCE, False
        self._failures: dict[str, int] = {}
        """How often each member did not take a request, the last times; and until when (monotonic) it is left alone."""
        self._until: dict[str, float] = {}
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
        now = time.monotonic()
        off = {member: until - now for member, until in self._until.items() if until > now}
        due = self._known.uncommitted(self._name, self._at_once, sorted(off))
        if not due and off:
            return min(IDLE_S, max(LOOK_S, min(off.values())))
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
        return 0.0

    def _look(self, where: Where, wanted: Sequence[Uncommitted]) -> None:
        """Read files again. What was replaced on purpose stays delivered; what can't be read keeps no other waiting."""
        absent, self._absent = self._absent, where.absent()
        if self._absent:
            if not absent:
                log.error("a folder is not there: what it got can't be read again", destination=self._name)
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
        """Ask a peer. What it does not take is asked about in halves: one that it can't bear keeps no other waiting."""
        once = {one.reference.sop_instance_uid: one for one in reversed(wanted)}
        request = CommitmentRequest(f"2.25.{uuid.uuid4().int}", tuple(one.reference for one in once.values()))
        deliveries = [one.copy.delivery for one in once.values()]
        number = self._known.asked(request, self._name, peer, deliveries, time.time() + self._within_s)

        def take(result: CommitmentResult) -> int:
            found = self._known.reported(result, peer, time.time() + RESEND_S)
            return 0 if found is not None else INVALID_ARGUMENT

        again_at, there = time.time(), True
        try:
            status = self._talk.ask(self._name, member, request, take)
            why = f"it answered {status:04X}" if status and status & 0xF000 != 0xB000 else ""
        except (NotAssociated, Lost) as error:
            why, there = f"{error.status}: {error}", isinstance(error, Lost)
        if why and there:  # some abort at what they can't bear
            again_at += REFUSED_S if len(once) == 1 else 0.0
            self._at_once = max(1, len(once) // 2)
        if not why:
            self._failures.pop(member, None)
            self._at_once = min(AT_ONCE, 2 * self._at_once)
            return
        times = self._failures[member] = self._failures.get(member, 0) + 1
        self._until[member] = time.monotonic() + Backoff().delay_s(times, random.random())  # noqa: S311 - jitter
        self._known.refused(number, why, again_at)
        if times == 1:
            words = "destination does not take requests for storage commitment"
            log.error(words, destination=self._name, member=member, why=why)
