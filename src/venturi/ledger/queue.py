"""Deliveries: claiming them, and recording how they ended. What a person may do with them is in ``verbs``."""

from collections.abc import Sequence

import sqlalchemy as sa

from venturi.ledger.lists import matching
from venturi.ledger.port import ANEW, Attempt, Filter, Job, State
from venturi.ledger.rows import JOB_COLUMNS, to_instance, to_outcome
from venturi.ledger.tables import attempts, deliveries, inline, instances, renditions
from venturi.ledger.work import LONGEST_S, is_frozen, thaw

_DONE = (State.DELIVERED, State.COMMITTED)
_NO_DESTINATION = "no-destination"

DUE = (
    sa.select(deliveries.c.id)
    .where(
        deliveries.c.state == inline(State.PENDING.value),
        deliveries.c.destination == sa.bindparam("destination"),
        deliveries.c.due_at <= sa.bindparam("now"),
        deliveries.c.lease_until <= sa.bindparam("now"),
    )
    .order_by(deliveries.c.due_at, deliveries.c.id)
    .limit(sa.bindparam("limit"))
    .with_for_update(skip_locked=True)  # PostgreSQL; in SQLite the writer is alone
)
"""Ids of deliveries that are due and that nobody holds: ``destination``, ``now``, ``limit``."""

_CLAIM = (
    deliveries.update()
    .where(deliveries.c.id.in_(sa.bindparam("ids", expanding=True)))
    .values(lease_owner=sa.bindparam("owner"), lease_until=sa.bindparam("until"))
)

_ALL = deliveries.join(instances).join(renditions, renditions.c.id == deliveries.c.rendition_id)
_JOBS = (
    sa.select(*JOB_COLUMNS)
    .select_from(_ALL)
    .where(deliveries.c.id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(deliveries.c.due_at, deliveries.c.id)
)

_FROZEN = (
    sa.select(deliveries.c.id)
    .select_from(deliveries.join(renditions, renditions.c.id == deliveries.c.rendition_id))
    .where(deliveries.c.id.in_(sa.bindparam("ids", expanding=True)), is_frozen(renditions.c.digest))
)
"""What was on its way when its rendition was made again, and did not arrive: hardly ever any."""

_RECORD = (
    deliveries.update()
    .where(
        deliveries.c.id == sa.bindparam("of"),
        sa.or_(
            sa.and_(
                deliveries.c.lease_owner == sa.bindparam("owner"),
                deliveries.c.state == inline(State.PENDING.value),
            ),
            sa.bindparam("done", type_=sa.Boolean),
        ),
    )
    .values(
        state=sa.bindparam("to_state"),
        status=sa.bindparam("to_status"),
        detail=sa.bindparam("to_detail"),
        sent_original=sa.bindparam("to_sent_original"),
        due_at=sa.bindparam("to_due_at"),
        done_at=sa.bindparam("to_done_at"),
        member=sa.bindparam("to_member"),
        place=sa.bindparam("to_place"),
        commit_due_at=sa.bindparam("to_commit_due_at"),
        tries=deliveries.c.tries + 1,
        lease_owner=None,
        lease_until=0.0,
    )
)
_LET_GO = (
    deliveries.update()
    .where(deliveries.c.id == sa.bindparam("of"), deliveries.c.lease_owner == sa.bindparam("owner"))
    .values(lease_owner=None, lease_until=0.0)
)
"""What was not pending any more, because a person holds it."""
_INSERT_ATTEMPT = attempts.insert()


def claim(
    connection: sa.Connection, destination: str, owner: str, limit: int, now: float, lease_s: float
) -> list[Job]:
    """Claim due deliveries; see the port."""
    found = connection.execute(DUE, {"destination": destination, "now": now, "limit": limit})
    ids = list(found.scalars())
    if not ids:
        return []
    connection.execute(_CLAIM, {"ids": ids, "owner": owner, "until": now + lease_s})
    if frozen := list(connection.execute(_FROZEN, {"ids": ids}).scalars()):
        thaw(connection, deliveries.c.id.in_(frozen))
    return [_job(row) for row in connection.execute(_JOBS, {"ids": ids}).mappings()]


def jobs(connection: sa.Connection, which: Filter) -> list[Job]:
    """Find deliveries with all that is needed to make them; see the port."""
    query = (
        sa.select(*JOB_COLUMNS)
        .select_from(_ALL)
        .where(*matching(which), instances.c.state.in_(["received", "decided"]))
        .order_by(deliveries.c.id)
        .limit(which.limit)
    )
    return [_job(row) for row in connection.execute(query).mappings()]


def _job(row: sa.RowMapping) -> Job:
    return Job(
        id=row["id"],
        instance=to_instance(row, "instance_id"),
        destination=row["destination"],
        rule=row["rule"],
        target=(outcome := to_outcome(row)).target,
        outcome=outcome,
        tries=row["tries"],
        study_instance_uid=row["study_instance_uid"],
    )


def next_due(connection: sa.Connection, destination: str) -> float | None:
    """Say when there is something to claim; see the port. A delivery somebody holds counts when its lease ends."""
    pending = sa.and_(
        deliveries.c.state == inline(State.PENDING.value), deliveries.c.destination == destination
    )
    free: float | None = connection.execute(
        sa.select(deliveries.c.due_at)
        .where(pending, deliveries.c.lease_owner.is_(None))
        .order_by(deliveries.c.due_at)
        .limit(1)
    ).scalar()
    leased: float | None = connection.execute(
        sa.select(deliveries.c.lease_until)
        .where(pending, deliveries.c.lease_owner.is_not(None))
        .order_by(deliveries.c.lease_until)
        .limit(1)
    ).scalar()
    return min((at for at in (free, leased) if at is not None), default=None)


def record(connection: sa.Connection, ended: Sequence[Attempt], owner: str) -> None:
    """Record attempts; see the port.

    Where the lease was lost meanwhile, a success still counts (the peer has the object), and a failure only in the
    history: the delivery is the new owner's.
    """
    if not ended:
        return
    connection.execute(
        _RECORD,
        [
            {
                "of": attempt.delivery,
                "owner": owner,
                "done": attempt.state in _DONE,
                "to_state": attempt.state.value,
                "to_status": ANEW if attempt.anew else attempt.status,
                "to_detail": attempt.detail,
                "to_sent_original": attempt.sent_original,
                "to_due_at": attempt.due_at or attempt.at,
                "to_done_at": attempt.at if attempt.state in _DONE else None,
                "to_member": attempt.member,
                "to_place": attempt.place,
                "to_commit_due_at": attempt.commit_due_at,
            }
            for attempt in ended
        ],
    )
    connection.execute(_LET_GO, [{"of": attempt.delivery, "owner": owner} for attempt in ended])
    if anew := [attempt.delivery for attempt in ended if attempt.anew]:
        theirs = sa.select(deliveries.c.instance_id).where(
            deliveries.c.id.in_(anew),
            deliveries.c.state == inline(State.HELD.value),
            deliveries.c.status == ANEW,
        )
        connection.execute(
            instances.update()
            .where(instances.c.id.in_(theirs), instances.c.state == inline("decided"))
            .values(state="received", tries=0)
        )
    connection.execute(
        _INSERT_ATTEMPT,
        [
            {
                "delivery_id": attempt.delivery,
                "owner": owner,
                "state": attempt.state.value,
                "at": attempt.at,
                "duration_s": attempt.duration_s,
                "status": attempt.status,
                "detail": attempt.detail,
                "due_at": attempt.due_at,
                "sent_original": attempt.sent_original,
            }
            for attempt in ended
        ],
    )


def strand(connection: sa.Connection, known: Sequence[str], now: float) -> int:
    """Hold what nobody will deliver, and let go what somebody will again; see the port."""
    nobodys = connection.execute(
        deliveries.update()
        .where(
            deliveries.c.state == inline(State.PENDING.value),
            deliveries.c.destination.not_in(known),
            deliveries.c.lease_until <= now,
        )
        .values(
            state=State.HELD.value,
            status=_NO_DESTINATION,
            detail="the configuration no longer has this destination; it goes on when it has it again",
        )
    ).rowcount
    connection.execute(
        deliveries.update()
        .where(
            deliveries.c.state == inline(State.HELD.value),
            deliveries.c.destination.in_(known),
            deliveries.c.status == _NO_DESTINATION,
        )
        .values(state=State.PENDING.value, due_at=now)
    )
    return nobodys


def rewind(connection: sa.Connection, now: float) -> int:
    """Put deliveries' times right; see the port."""
    return connection.execute(
        deliveries.update()
        .where(deliveries.c.state == inline(State.PENDING.value), deliveries.c.due_at > now + LONGEST_S)
        .values(due_at=now)
    ).rowcount
