"""Storage commitment in the ledger: see ``commitment_port``."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import sqlalchemy as sa

from venturi.errors import Temporary
from venturi.ledger.commitment_port import COMMITTED, Commitment, Copy, Kept, Uncommitted
from venturi.ledger.commitment_rows import (
    COPY_COLUMNS,
    DELIVERED,
    delete,
    insert,
    to_copy,
    to_uncommitted,
    whole,
)
from venturi.ledger.database import Database
from venturi.ledger.port import State
from venturi.ledger.rows import chunks, to_instance
from venturi.ledger.tables import (
    attempts,
    commitment_items,
    commitments,
    deliveries,
    inline,
    instances,
)
from venturi.ledger.work import thaw
from venturi.model import CommitmentRequest, CommitmentResult, Reference

FAILURES = 3
"""So often a destination may say that it does not have what was delivered, before a person is to look."""
_SAYS = "commit-"
"""How the status of such an answer begins; its Failure Reason follows."""
_NOT_FOUND = "not-found"
_FAILED = 0x0110
"""Processing failure: what a peer means that does not say why, or does not mention an instance (PS3.3 C.14.1.1)."""
MOST_OPEN = 1000
"""Requests of one AE that it has not been told about; more are for later."""
SETTLE_S = 3.0
"""How far rows may be behind an acknowledgement: before that nothing is judged that was just asked."""
FRESH_S = 30.0
"""A verdict older than that is made anew before anybody is told."""
LONGEST_S = 31 * 86400.0
"""No answer may take as long (``node.commitment``): a time further ahead was set by a clock that was wrong."""
SOON_S = 3600.0
"""No wait until a request is judged or told again, and no lease of one, is as long."""

_open = commitments.c.state == inline("open")
_answered = commitments.c.state == inline("answered")
_delivered = deliveries.c.state == inline(State.DELIVERED.value)
_due = sa.and_(_delivered, deliveries.c.commit_due_at.is_not(None))


class SqlCommitments:
    """See ``venturi.ledger.commitment_port.Commitments`` for what each method does."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database, self._clock = database, clock

    # --- asked of us -------------------------------------------------------------------------------------------------

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
                sa.or_(_open, _answered),
            )
            for known in whole(connection, same, 1):
                if {each for _, each, _ in known.references} != set(request.references):
                    return False
                self._ask_again(connection, known.id, now + SETTLE_S)
                return True
            theirs = sa.and_(
                commitments.c.peer == peer,
                commitments.c.calling_ae == calling_ae,
                commitments.c.destination == "",
            )
            counts = [
                sa.select(sa.func.count()).where(each, theirs) for each in (_open, _answered)
            ]  # an index each
            if sum(connection.execute(count).scalar_one() for count in counts) >= MOST_OPEN:
                raise Temporary(f"{peer} has asked {MOST_OPEN} times and was not told yet")
            row = {"peer": peer, "calling_ae": calling_ae, "called_ae": called_ae, "until": until}
            state = {"destination": "", "state": "open", "at": now, "due_at": now + SETTLE_S}
            insert(connection, request, {**row, **state})
        return True

    def to_judge(self, limit: int) -> list[Commitment]:
        """Find what is to be judged; see the port."""
        with self._database.read() as connection:
            due = sa.and_(_open, commitments.c.due_at <= self._clock())
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
        still = sa.select(commitments.c.id).where(commitments.c.id == commitment, _open).with_for_update()
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
                .where(commitments.c.id == commitment, _open)
                .values({"due_at": due_at} if left else answered)
            )
            return not left

    def claim_report(self, peer: str, calling_ae: str, owner: str, lease_s: float) -> Commitment | None:
        """Claim what a peer is to be told that is here; see the port. Most looks find nothing, and lock nothing."""
        theirs = sa.and_(commitments.c.peer == peer, commitments.c.calling_ae == calling_ae)
        due = sa.func.coalesce(commitments.c.due_at, 0.0) <= self._clock()
        found = self._claim(sa.and_(_answered, theirs, due), owner, lease_s, 1)
        return found[0] if found else None

    def claim_reports(
        self, owner: str, answered_before: float, lease_s: float, limit: int
    ) -> list[Commitment]:
        """Claim what peers are to be told; see the port."""
        due = sa.and_(_answered, commitments.c.due_at <= self._clock())
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
                    .where(_answered, self._free(), commitments.c.due_at < due_at, theirs)
                    .values(due_at=due_at)
                )

    def _reopen(self, connection: sa.Connection, which: sa.ColumnElement[bool], due_at: float) -> None:
        """Have what was answered judged anew: what was committed may not be any more. Failures stay."""
        these = sa.select(commitments.c.id).where(_answered, self._free(), which)
        connection.execute(
            commitment_items.update()
            .where(commitment_items.c.commitment_id.in_(these), commitment_items.c.reason == COMMITTED)
            .values(reason=None)
        )
        connection.execute(
            commitments.update()
            .where(_answered, self._free(), which)
            .values(state="open", due_at=due_at, answered_at=None)
        )

    def _ask_again(self, connection: sa.Connection, number: int, due_at: float) -> None:
        """Judge a request anew, whole: its peer may have sent what failed.

        Whoever tells of it at this moment answers the first asking, and its lease is over: this one is told, too.
        What is not certain by the first one's time fails still: who asks again and again is to hear that.
        """
        connection.execute(
            commitment_items.update().where(commitment_items.c.commitment_id == number).values(reason=None)
        )
        free = {"lease_owner": None, "lease_until": 0.0}
        connection.execute(
            commitments.update()
            .where(commitments.c.id == number, _answered)
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

    # --- asked by us -------------------------------------------------------------------------------------------------

    def uncommitted(self, destination: str, limit: int, off: Sequence[str] = ()) -> list[Uncommitted]:
        """Find what is to be asked about; see the port."""
        query = (
            sa.select(*COPY_COLUMNS)
            .select_from(DELIVERED)
            .where(
                _due,
                deliveries.c.destination == destination,
                deliveries.c.commit_due_at <= self._clock(),
                *((deliveries.c.member.not_in(off),) if off else ()),
            )
            .order_by(deliveries.c.commit_due_at, deliveries.c.id)
            .limit(limit)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [to_uncommitted(row) for row in rows]

    def next_uncommitted(self, destination: str) -> float | None:
        """Say when there is something to ask about; see the port."""
        query = sa.select(sa.func.min(deliveries.c.commit_due_at)).where(
            _due, deliveries.c.destination == destination
        )
        with self._database.read() as connection:
            return connection.execute(query).scalar()

    def asked(
        self, request: CommitmentRequest, destination: str, peer: str, numbers: Sequence[int], until: float
    ) -> int:
        """Record what is asked; see the port."""
        row = {"destination": destination, "peer": peer, "calling_ae": "", "called_ae": "", "until": until}
        with self._database.write() as connection:
            for ids in chunks(map(str, numbers)):
                connection.execute(
                    deliveries.update()
                    .where(deliveries.c.id.in_([int(each) for each in ids]))
                    .values(commit_due_at=until)
                )
            return insert(
                connection, request, {**row, "state": "asked", "at": self._clock(), "due_at": None}, numbers
            )

    def refused(self, commitment: int, detail: str, due_at: float) -> None:
        """Record that a request was not taken; see the port."""
        theirs = sa.select(commitment_items.c.delivery_id).where(
            commitment_items.c.commitment_id == commitment
        )
        with self._database.write() as connection:
            name = connection.execute(
                sa.select(commitments.c.destination).where(commitments.c.id == commitment)
            ).scalar_one()
            before = sa.and_(commitments.c.destination == name, commitments.c.state == "refused")
            delete(connection, before)  # the last one is enough to be shown
            connection.execute(
                commitments.update()
                .where(commitments.c.id == commitment)
                .values(state="refused", detail=detail)
            )
            connection.execute(
                deliveries.update().where(_due, deliveries.c.id.in_(theirs)).values(commit_due_at=due_at)
            )

    def reported(self, result: CommitmentResult, peer: str, retry_at: float) -> int | None:
        """Record what a peer reports; see the port. What it does not mention failed, for it promised nothing."""
        reasons = dict.fromkeys(result.committed, COMMITTED)
        reasons |= {reference: reason or _FAILED for reference, reason in result.failed}
        ours = sa.and_(
            commitments.c.transaction_uid == result.transaction_uid,
            commitments.c.destination != "",
            commitments.c.peer == peer,
        )
        with self._database.write() as connection:
            asked = connection.execute(
                sa.select(commitments.c.id, commitments.c.at)
                .where(ours)
                .order_by(commitments.c.id.desc())
                .limit(1)
            ).first()
            if asked is None:
                return None
            number = asked.id
            items = connection.execute(
                sa.select(commitment_items).where(commitment_items.c.commitment_id == number)
            ).all()
            for item in items:
                reason = reasons.get(Reference(item.sop_class_uid, item.sop_instance_uid), _FAILED)
                connection.execute(
                    commitment_items.update().where(commitment_items.c.id == item.id).values(reason=reason)
                )
                why = f"{_SAYS}{reason:04X}" if reason else ""
                self._end(connection, item.delivery_id, why, retry_at, asked.at, by_peer=True)
            connection.execute(commitments.update().where(commitments.c.id == number).values(state="done"))
            return len(items)

    def verified(self, ended: Mapping[int, str], looked_at: float, retry_at: float) -> None:
        """Record what looking found; see the port."""
        with self._database.write() as connection:
            for number, why in ended.items():
                status = f"{_SAYS}{_NOT_FOUND}" if why else ""
                self._end(connection, number, status, retry_at, looked_at, by_peer=False, words=why)

    def put_off(self, numbers: Sequence[int], due_at: float | None) -> None:
        """Ask later, or never; see the port."""
        with self._database.write() as connection:
            connection.execute(
                deliveries.update().where(_due, deliveries.c.id.in_(numbers)).values(commit_due_at=due_at)
            )

    def want(self, destinations: Sequence[str]) -> int:
        """Say who is asked; see the port."""
        here = sa.select(instances.c.id).where(instances.c.state == inline("decided"))
        older = sa.and_(
            _delivered,
            deliveries.c.destination.in_(destinations),
            deliveries.c.commit_due_at.is_(None),
            deliveries.c.instance_id.in_(here),
        )
        others = sa.and_(_due, deliveries.c.destination.not_in(destinations))
        with self._database.write() as connection:
            connection.execute(deliveries.update().where(older).values(commit_due_at=self._clock()))
            return connection.execute(deliveries.update().where(others).values(commit_due_at=None)).rowcount

    def one(self, commitment: int) -> Commitment | None:
        """Find a request; see the port."""
        with self._database.read() as connection:
            found = whole(connection, commitments.c.id == commitment, 1)
            return found[0] if found else None

    def recent(self, limit: int) -> list[Commitment]:
        """List requests; see the port."""
        with self._database.read() as connection:
            return whole(connection, sa.true(), limit, commitments.c.id.desc())

    def _end(
        self,
        connection: sa.Connection,
        number: int,
        status: str,
        retry_at: float,
        asked_at: float,
        *,
        by_peer: bool,
        words: str = "",
    ) -> None:
        """A delivery is committed, or (with a status) is delivered again, or held.

        That counts for what was there when it was asked, or looked. Of a UID under which other bytes came, too, a peer
        has not said which it has: that stays delivered, and is asked no more.
        """
        now = self._clock()
        before = connection.execute(
            sa.select(
                deliveries.c.done_at, instances.c.state, instances.c.conflict, deliveries.c.sent_original
            )
            .select_from(deliveries.join(instances))
            .where(deliveries.c.id == number, _delivered)
        ).first()
        if before is None or before.done_at > asked_at:
            return  # it is on its way again, or was since, or a person has it
        unclear = by_peer and before.conflict and not status
        state = State.DELIVERED if unclear else State.COMMITTED
        values: dict[str, object] = {"state": state.value, "commit_due_at": None}
        if unclear:
            words = "the peer commits itself, but other bytes came under this UID, too"
        if status:
            often = connection.execute(
                sa.select(sa.func.count()).where(
                    attempts.c.delivery_id == number, attempts.c.status.startswith(_SAYS)
                )
            ).scalar_one()
            here = before.state in {"received", "decided"}
            words = words or "the peer says that it does not have it"
            words += "" if here else "; it can't be sent again, for its bytes are no longer here"
            again = here and often + 1 < FAILURES
            state = State.PENDING if again else State.HELD
            values = {
                "state": state.value,
                "status": status,
                "detail": words,
                "due_at": retry_at,
                "done_at": None,
            }
            thaw(connection, deliveries.c.id == number)
        connection.execute(deliveries.update().where(deliveries.c.id == number).values(values))
        connection.execute(
            attempts.insert().values(
                delivery_id=number,
                owner="",
                state=values["state"],
                at=now,
                duration_s=0.0,
                status=status or ("unclear" if unclear else "committed"),
                detail=words,
                due_at=retry_at if status else 0.0,
                sent_original=before.sent_original,
            )
        )


def forget(connection: sa.Connection, before: float) -> None:
    """Forget requests older than that, but for those that somebody waits for."""
    over = commitments.c.state.in_(["reported", "done", "refused"])
    delete(connection, sa.and_(commitments.c.at < before, sa.or_(over, commitments.c.until < before)))


def rewind(connection: sa.Connection, now: float) -> int:
    """Put right what a clock that was wrong has put off; how many rows."""
    late, soon = now + LONGEST_S, now + SOON_S
    leased = commitments.c.lease_owner.is_not(None)
    put_off = [
        (commitments, _open, commitments.c.due_at, soon, now),
        (commitments, _answered, commitments.c.due_at, soon, now),
        (commitments, _answered, commitments.c.answered_at, now + FRESH_S, 0.0),  # how long ago is not known
        (commitments, sa.or_(_open, _answered), commitments.c.until, late, now),
        (commitments, leased, commitments.c.lease_until, soon, 0.0),
        (deliveries, _due, deliveries.c.commit_due_at, late, now),
        (deliveries, _due, deliveries.c.done_at, late, now),
    ]
    return sum(
        connection.execute(table.update().where(which, column > ahead).values({column: value})).rowcount
        for table, which, column, ahead, value in put_off
    )
