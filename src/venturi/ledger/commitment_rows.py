"""Between what is known of storage commitment and its rows."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from venturi.ledger.commitment_port import Commitment, Copy, Uncommitted
from venturi.ledger.port import State
from venturi.ledger.rows import JOB_COLUMNS, chunks, to_instance, to_outcome
from venturi.ledger.tables import commitment_items, commitments, deliveries, inline, instances, renditions
from venturi.model import CommitmentRequest, Reference

COPY_COLUMNS = (
    *JOB_COLUMNS,
    *(deliveries.c[name] for name in ("member", "place", "sent_original")),
    *(deliveries.c.state.label("delivery_state"), instances.c.state.label("instance_state")),
    *(instances.c.held, instances.c.conflict),
)
OPEN = commitments.c.state == inline("open")
ANSWERED = commitments.c.state == inline("answered")
DUE = sa.and_(deliveries.c.state == inline(State.DELIVERED.value), deliveries.c.commit_due_at.is_not(None))
"""Somebody is to be asked about it."""
DELIVERED = deliveries.join(instances).join(renditions, renditions.c.id == deliveries.c.rendition_id)


def delete(connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    """Delete requests with what they refer to."""
    ids = sa.select(commitments.c.id).where(which)
    connection.execute(commitment_items.delete().where(commitment_items.c.commitment_id.in_(ids)))
    connection.execute(commitments.delete().where(which))


def insert(
    connection: sa.Connection,
    request: CommitmentRequest,
    row: Mapping[str, object],
    numbers: Sequence[int] = (),
) -> int:
    """Write a request with what it refers to; its number. ``numbers``: the delivery of each reference."""
    made = connection.execute(
        commitments.insert()
        .values(**row, transaction_uid=request.transaction_uid, tries=0, detail="", lease_until=0.0)
        .returning(commitments.c.id)
    ).scalar_one()
    insert_items(connection, made, request.references, numbers)
    return int(made)


def insert_items(
    connection: sa.Connection, commitment: int, references: Sequence[Reference], numbers: Sequence[int] = ()
) -> None:
    """Write what a request refers to; see ``insert``."""
    connection.execute(
        commitment_items.insert(),
        [
            {
                "commitment_id": commitment,
                "sop_class_uid": reference.sop_class_uid,
                "sop_instance_uid": reference.sop_instance_uid,
                "delivery_id": numbers[index] if numbers else None,
            }
            for index, reference in enumerate(references)
        ],
    )


def whole(
    connection: sa.Connection,
    which: sa.ColumnElement[bool],
    limit: int,
    order: sa.ColumnElement[Any] = commitments.c.id,
) -> list[Commitment]:
    """Read requests, each with what it refers to; a negative ``limit`` means all."""
    query = sa.select(commitments).where(which).order_by(order)
    rows = connection.execute(query if limit < 0 else query.limit(limit)).mappings().all()
    items: dict[int, list[tuple[int, Reference, int | None]]] = defaultdict(list)
    for ids in chunks(str(row["id"]) for row in rows):
        for item in connection.execute(
            sa.select(commitment_items)
            .where(commitment_items.c.commitment_id.in_([int(each) for each in ids]))
            .order_by(commitment_items.c.id)
        ):
            reference = Reference(item.sop_class_uid, item.sop_instance_uid)
            items[item.commitment_id].append((item.id, reference, item.reason))
    names = (
        *("id", "transaction_uid", "destination", "peer", "calling_ae", "called_ae", "state", "at", "until"),
        *("tries", "detail"),
    )
    return [
        Commitment(**{name: row[name] for name in names}, references=tuple(items[row["id"]])) for row in rows
    ]


def to_copy(row: Mapping[Any, Any]) -> Copy:
    """Make the copy of a row with ``COPY_COLUMNS``."""
    return Copy(
        delivery=row["id"],
        destination=row["destination"],
        member=row["member"],
        place=row["place"],
        state=row["delivery_state"],
        outcome=to_outcome(row),
        sent_original=row["sent_original"],
    )


def to_uncommitted(row: Mapping[Any, Any]) -> Uncommitted:
    """Make what is to be found out about of a row with ``COPY_COLUMNS``."""
    copy, instance = to_copy(row), to_instance(row, "instance_id")
    sent = instance.envelope.sop_instance_uid
    if copy.outcome.lossy is not None and not copy.sent_original:
        sent = copy.outcome.lossy.sop_instance_uid
    reference = Reference(instance.envelope.sop_class_uid, sent)
    return Uncommitted(copy, instance, reference, row["conflict"])
