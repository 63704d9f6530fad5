"""Storage commitment that peers ask for, in the ledger: see ``commitment_port``."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import sqlalchemy as sa

from venturi.errors import Temporary
from venturi.ledger.commitment_port import COMMITTED, Commitment, Copy, Kept
from venturi.ledger.commitment_rows import (
    ANSWERED,
    COPY_COLUMNS,
    DELIVERED,
    OPEN,
    delete,
    insert,
    insert_items,
    to_copy,
    whole,
)
from venturi.ledger.database import Database
from venturi.ledger.rows import chunks, to_instance
from venturi.ledger.tables import commitment_items, commitments, inline, instances
from venturi.model import CommitmentRequest

MOST_OPEN = 1000
"""Requests of one AE that it has not been told about; more are for later."""
SETTLE_S = 3.0
"""How far rows may be behind an acknowledgement: before that nothing is judged that was just asked."""
FRESH_S = 30.0
"""A verdict older than that is made anew before anybody is told."""
ANEW_S = 3600.0
"""So long it may take to judge anew."""


class OfPeers:
    """What peers ask of us."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database, self._clock = database, clock

    def requested(
        self, request: CommitmentRequest, peer: str, calling_ae: str, called_ae: str, until: float
    ) -> bool:
        """Record what a peer asks; see the port."""
        now = self._clock()
        with self._database.write() as connection:
            same = sa.and_(
                commitments.c.transaction_uid == request.transaction_uid,
                commitments.c.destination == "",
                commitments.c.peer == peer,
                commitments.c.calling_ae == calling_ae,
                sa.or_(OPEN, ANSWERED),
            )
            for known in whole(connection, same, 1):
                if {each for _, each, _ in known.references} != set(request.references):
                    return False
                self._ask_again(connection, known, now + SETTLE_S)
                return True
            theirs = sa.and_(
                commitments.c.peer == peer,
                commitments.c.calling_ae == calling_ae,
                commitments.c.destination == "",
            )
            counts = [
                sa.select(sa.func.count()).where(each, theirs) for each in (OPEN, ANSWERED)
            ]  # an index each
            if sum(connection.execute(count).scalar_one() for count in counts) >= MOST_OPEN:
                given_up = sa.and_(ANSWERED, theirs, commitments.c.due_at.is_(None), self._free())
                oldest = sa.select(sa.func.min(commitments.c.id)).where(given_up)
                if (number := connection.execute(oldest).scalar()) is None:
                    raise Temporary(f"{peer} has asked {MOST_OPEN} times and was not told yet")
                delete(
                    connection, commitments.c.id == number
                )  # it was called in vain, and has not asked again
            row = {"peer": peer, "calling_ae": calling_ae, "called_ae": called_ae, "until": until}
            state = {"destination": "", "state": "open", "at": now, "due_at": now + SETTLE_S}
            insert(connection, request, {**row, **state})
        return True

    def to_judge(self, limit: int) -> list[Commitment]:
        """Find what is to be judged; see the port."""
        with self._database.read() as connection:
            due = sa.and_(OPEN, commitments.c.due_at <= self._clock())
            return whole(connection, due, limit, commitments.c.due_at)  # in the index's order

    def kept(self, sop_instance_uids: Sequence[str]) -> dict[str, list[Kept]]:
        """Find every receipt of these; see the port. Each chunk is read as of one moment."""
        found: dict[str, list[Kept]] = {uid: [] for uid in sop_instance_uids}
        for uids in chunks(found):
            of_them = instances.c.sop_instance_uid.in_(uids)
            copies: dict[str, list[Copy]] = defaultdict(list)
            with self._database.read() as connection:
                receipts = sa.select(instances).where(of_them).order_by(instances.c.id)
                rows = connection.execute(receipts).mappings().all()
                for row in connection.execute(
                    sa.select(*COPY_COLUMNS).select_from(DELIVERED).where(of_them)
                ).mappings():
                    copies[row["instance_id"]].append(to_copy(row))
            for row in rows:
                kept = Kept(
                    to_instance(row), row["state"], row["held"], row["conflict"], tuple(copies[row["id"]])
                )
                found[row["sop_instance_uid"]].append(kept)
        return found

    def judged(self, commitment: int, reasons: Mapping[int, int], due_at: float) -> bool:
        """Record Failure Reasons; see the port. Whoever was slower than another one says nothing any more."""
        still = sa.select(commitments.c.id).where(commitments.c.id == commitment, OPEN).with_for_update()
        with self._database.write() as connection:
            if connection.execute(still).first() is None:
                return False
            if reasons:
                connection.execute(
                    commitment_items.update()
                    .where(commitment_items.c.id == sa.bindparam("of"))
                    .values(reason=sa.bindparam("why")),
                    [{"of": number, "why": reason} for number, reason in reasons.items()],
                )
            left = connection.execute(
                sa.select(sa.func.count()).where(
                    commitment_items.c.commitment_id == commitment, commitment_items.c.reason.is_(None)
                )
            ).scalar_one()
            now = self._clock()
            answered = {"state": "answered", "answered_at": now, "due_at": now}
            connection.execute(
                commitments.update()
                .where(commitments.c.id == commitment, OPEN)
                .values({"due_at": due_at} if left else answered)
            )
            return not left

    def claim_report(self, peer: str, calling_ae: str, owner: str, lease_s: float) -> Commitment | None:
        """Claim what a peer is to be told that is here; see the port. Most looks find nothing, and lock nothing."""
        theirs = sa.and_(commitments.c.peer == peer, commitments.c.calling_ae == calling_ae)
        # Where another one was told in vain, all are put off: not what nobody has tried to tell to who is here now.
        untried = commitments.c.tries == 0
        due = sa.or_(untried, sa.func.coalesce(commitments.c.due_at, 0.0) <= self._clock())
        found = self._claim(sa.and_(ANSWERED, theirs, due), owner, lease_s, 1)
        return found[0] if found else None

    def claim_reports(
        self, owner: str, answered_before: float, lease_s: float, limit: int
    ) -> list[Commitment]:
        """Claim what peers are to be told; see the port."""
        due = sa.and_(ANSWERED, commitments.c.due_at <= self._clock())
        oldest = (
            sa.select(sa.func.min(commitments.c.id))
            .where(due, self._free(), *self._no_other())
            .group_by(commitments.c.peer, commitments.c.calling_ae)
        )
        settled = commitments.c.answered_at <= answered_before
        return self._claim(sa.and_(due, settled, commitments.c.id.in_(oldest)), owner, lease_s, limit)

    def _no_other(self) -> list[sa.ColumnElement[bool]]:
        """That no other request of the same AE is being told, or judged anew to be told: one after the other.

        Who is off would have everything judged for each call, for nothing.
        """
        other = commitments.alias("another")
        same = (
            other.c.peer == commitments.c.peer,
            other.c.calling_ae == commitments.c.calling_ae,
            other.c.id != commitments.c.id,
            other.c.destination == "",
        )
        told = (other.c.lease_owner.is_not(None), other.c.lease_until > self._clock())
        anew = (other.c.state == inline("open"), other.c.tries > 0, other.c.due_at <= self._clock())
        return [~sa.exists().where(*same, *each).correlate(commitments) for each in (told, anew)]

    def told(
        self,
        commitment: int,
        owner: str,
        failure: str = "",
        due_at: float | None = None,
        *,
        off: bool = False,
    ) -> None:
        """Record whether a peer has been told; see the port."""
        done = {"state": "reported", "detail": ""} if not failure else {"detail": failure, "due_at": due_at}
        with self._database.write() as connection:
            connection.execute(
                commitments.update()
                .where(commitments.c.id == commitment, commitments.c.lease_owner == owner)
                .values(**done, tries=commitments.c.tries + 1, lease_owner=None, lease_until=0.0)
            )
            if off and due_at is not None:
                this = commitments.alias("this")
                same = (this.c.peer == commitments.c.peer, this.c.calling_ae == commitments.c.calling_ae)
                theirs = sa.exists().where(this.c.id == commitment, *same).correlate(commitments)
                connection.execute(
                    commitments.update()
                    .where(ANSWERED, self._free(), commitments.c.due_at < due_at, theirs)
                    .values(due_at=due_at)
                )

    def _reopen(self, connection: sa.Connection, which: sa.ColumnElement[bool], due_at: float) -> None:
        """Have what was answered judged anew: what was committed may not be any more. Failures stay.

        What was certain once has some time: a folder that is away for a moment makes no failure of it.
        """
        these = sa.select(commitments.c.id).where(ANSWERED, self._free(), which)
        connection.execute(
            commitment_items.update()
            .where(commitment_items.c.commitment_id.in_(these), commitment_items.c.reason == COMMITTED)
            .values(reason=None)
        )
        connection.execute(
            commitments.update()
            .where(ANSWERED, self._free(), which)
            .values(
                state="open",
                due_at=due_at,
                answered_at=None,
                until=_later(commitments.c.until, due_at + ANEW_S),
            )
        )

    def _ask_again(self, connection: sa.Connection, known: Commitment, due_at: float) -> None:
        """Judge a request anew, whole: its peer may have sent what failed.

        Whoever tells of it at this moment answers the first asking, and its lease is over: this one is told, too.
        Whoever judges it at this moment knows nothing of what was sent since: references get new numbers, which it has
        not. What is not certain by the first one's time fails still: who asks again and again is to hear that.
        """
        number, before = known.id, [each for each, _, _ in known.references]
        insert_items(connection, number, [reference for _, reference, _ in known.references])
        connection.execute(
            commitment_items.delete().where(
                commitment_items.c.commitment_id == number, commitment_items.c.id <= max(before, default=0)
            )
        )
        free = {"lease_owner": None, "lease_until": 0.0}
        connection.execute(
            commitments.update()
            .where(commitments.c.id == number, ANSWERED)
            .values(state="open", due_at=due_at, answered_at=None, **free)
        )

    def _free(self) -> sa.ColumnElement[bool]:
        return commitments.c.lease_until <= self._clock()

    def _claim(
        self, which: sa.ColumnElement[bool], owner: str, lease_s: float, limit: int
    ) -> list[Commitment]:
        wanted = sa.and_(which, self._free())
        with self._database.read() as connection:
            if connection.execute(sa.select(commitments.c.id).where(wanted).limit(1)).first() is None:
                return []
        with self._database.write() as connection:
            stale = commitments.c.answered_at < self._clock() - FRESH_S
            self._reopen(connection, sa.and_(which, stale), self._clock())
            # What is the oldest may be another one now, and as stale: it has its turn the next time.
            found = whole(connection, sa.and_(wanted, ~stale), limit, commitments.c.due_at)
            connection.execute(
                commitments.update()
                .where(commitments.c.id.in_([each.id for each in found]))
                .values(lease_owner=owner, lease_until=self._clock() + lease_s)
            )
            return found


def _later(column: sa.ColumnElement[float], time_s: float) -> sa.ColumnElement[float]:
    return sa.case((column < time_s, time_s), else_=column)
