"""Letting bytes go: only when every delivery is done, and long enough ago; rows stay as history, and go last."""

from collections import defaultdict
from collections.abc import Sequence

import sqlalchemy as sa

from venturi.ledger import acceptances, commitments, groups
from venturi.ledger.port import State
from venturi.ledger.rows import chunks, to_instance, to_target
from venturi.ledger.tables import attempts, deliveries, inline, instances, renditions
from venturi.model import Instance, Target


def removable(
    connection: sa.Connection, settled_before: float, limit: int, *, committed: bool
) -> list[tuple[Instance, list[Target]]]:
    """Mark and return what may go; see the port. What was marked before, and is not gone, comes first."""
    open_or_recent = sa.exists().where(
        deliveries.c.instance_id == instances.c.id,
        sa.or_(
            deliveries.c.state.in_([State.PENDING.value, State.HELD.value]),
            deliveries.c.done_at.is_(None),
            sa.and_(deliveries.c.state == State.DELIVERED.value, deliveries.c.commit_due_at.is_not(None)),
            deliveries.c.done_at >= settled_before,
        ),
    )
    kept_for_good = sa.exists().where(
        deliveries.c.instance_id == instances.c.id,
        deliveries.c.state == State.COMMITTED.value,
        renditions.c.id == deliveries.c.rendition_id,
        sa.or_(renditions.c.lossy_sop_instance_uid.is_(None), deliveries.c.sent_original),
        # Which of two contents a peer has is not known, whichever came first; a file was read again.
        sa.or_(
            sa.and_(instances.c.conflict.is_(False), ~_lossy_under_its_uid()),
            sa.and_(deliveries.c.place != "", ~_replaced()),
        ),
    )
    nowhere = ~sa.exists().where(
        deliveries.c.instance_id == instances.c.id, deliveries.c.state != State.DROPPED.value
    )
    marked = (
        connection.execute(
            sa.select(instances)
            .where(instances.c.state == inline("removable"))
            .order_by(instances.c.id)
            .limit(limit)
        )
        .mappings()
        .all()
    )
    settled = (
        connection.execute(
            sa.select(instances)
            .where(
                instances.c.state == inline("decided"),
                instances.c.decided_at < settled_before,
                instances.c.held == "",
                ~open_or_recent,
                *((sa.or_(kept_for_good, nowhere),) if committed else ()),
            )
            .order_by(instances.c.decided_at)
            .limit(limit - len(marked))
        )
        .mappings()
        .all()
    )
    for ids in chunks(row["id"] for row in settled):
        connection.execute(instances.update().where(instances.c.id.in_(ids)).values(state="removable"))
    rows = [*marked, *settled]
    targets = _transcoded(connection, [row["id"] for row in rows])
    return [(to_instance(row), targets[row["id"]]) for row in rows]


def _lossy_under_its_uid() -> sa.Exists:
    """Whether a lossy copy has the UID of the original: a peer that has one of them has not said which.

    Of whichever receipt: the same bytes may have come again, and gone another way.
    """
    lossy = renditions.alias("lossy")
    same = lossy.c.lossy_sop_instance_uid == instances.c.sop_instance_uid
    return sa.exists().where(same).correlate(instances)


def _replaced() -> sa.Exists:
    """Whether the file of a delivery holds other bytes that came later, or may once these are delivered."""
    other, theirs = instances.alias("other"), deliveries.alias("theirs")
    waits = theirs.c.state.in_([State.PENDING.value, State.HELD.value])
    return (
        sa.exists()
        .where(
            other.c.sop_instance_uid == instances.c.sop_instance_uid,
            other.c.sha256 != instances.c.sha256,
            other.c.id > instances.c.id,
            theirs.c.instance_id == other.c.id,
            theirs.c.destination == deliveries.c.destination,
            sa.or_(theirs.c.place == deliveries.c.place, waits),
        )
        .correlate(instances, deliveries)
    )


def gone(connection: sa.Connection, instance_ids: Sequence[str], now: float) -> None:
    """Note that bytes are no longer here; see the port."""
    for ids in chunks(instance_ids):
        connection.execute(
            instances.update()
            .where(instances.c.id.in_(ids), instances.c.state == "removable")
            .values(state="gone", gone_at=now)
        )


def prune(connection: sa.Connection, gone_before: float, limit: int) -> int:
    """Forget old history; see the port."""
    found = connection.execute(
        sa.select(instances.c.id)
        .where(instances.c.state == inline("gone"), instances.c.gone_at < gone_before)
        .order_by(instances.c.gone_at)
        .limit(limit)
    ).scalars()
    groups.forget(connection, gone_before)
    commitments.forget(connection, gone_before)
    acceptances.forget(connection, gone_before)
    pruned = 0
    for ids in chunks(found):
        theirs = sa.select(deliveries.c.id).where(deliveries.c.instance_id.in_(ids))
        connection.execute(attempts.delete().where(attempts.c.delivery_id.in_(theirs)))
        connection.execute(deliveries.delete().where(deliveries.c.instance_id.in_(ids)))
        connection.execute(renditions.delete().where(renditions.c.instance_id.in_(ids)))
        pruned += connection.execute(instances.delete().where(instances.c.id.in_(ids))).rowcount
    return pruned


def _transcoded(connection: sa.Connection, instance_ids: list[str]) -> dict[str, list[Target]]:
    targets: dict[str, list[Target]] = defaultdict(list)
    for ids in chunks(instance_ids):
        query = sa.select(renditions.c.instance_id, renditions.c.target).where(
            renditions.c.instance_id.in_(ids), renditions.c.reason == ""
        )
        for instance_id, text in connection.execute(query):
            targets[instance_id].append(to_target(text))
    return targets
