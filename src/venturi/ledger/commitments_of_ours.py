"""Storage commitment that we ask for, in the ledger: see ``commitment_port``."""

import time
from collections.abc import Callable, Mapping, Sequence

import sqlalchemy as sa

from venturi.ledger.commitment_port import COMMITTED, Uncommitted
from venturi.ledger.commitment_rows import COPY_COLUMNS, DELIVERED, DUE, delete, insert, to_uncommitted
from venturi.ledger.database import Database
from venturi.ledger.port import State
from venturi.ledger.rows import chunks
from venturi.ledger.tables import attempts, commitment_items, commitments, deliveries, inline, instances
from venturi.ledger.work import thaw
from venturi.model import CommitmentRequest, CommitmentResult, Reference

FAILURES = 3
"""So often a destination may say that it does not have what was delivered, before a person is to look."""
_SAYS = "commit-"
"""How the status of such an answer begins; its Failure Reason follows."""
_NOT_FOUND = "not-found"
_FAILED = 0x0110
"""Processing failure: what a peer means that does not say why, or does not mention an instance (PS3.3 C.14.1.1)."""

_delivered = deliveries.c.state == inline(State.DELIVERED.value)


class OfOurs:
    """What we ask of destinations, and find out by looking."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database, self._clock = database, clock

    def uncommitted(self, destination: str, limit: int, off: Sequence[str] = ()) -> list[Uncommitted]:
        """Find what is to be asked about; see the port."""
        query = (
            sa.select(*COPY_COLUMNS)
            .select_from(DELIVERED)
            .where(
                DUE,
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
            DUE, deliveries.c.destination == destination
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
                deliveries.update().where(DUE, deliveries.c.id.in_(theirs)).values(commit_due_at=due_at)
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
                deliveries.update().where(DUE, deliveries.c.id.in_(numbers)).values(commit_due_at=due_at)
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
        others = sa.and_(DUE, deliveries.c.destination.not_in(destinations))
        with self._database.write() as connection:
            connection.execute(deliveries.update().where(older).values(commit_due_at=self._clock()))
            return connection.execute(deliveries.update().where(others).values(commit_due_at=None)).rowcount

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
