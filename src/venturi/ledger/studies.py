"""What became of each study: counts by which everything received is accounted for."""

from collections import defaultdict

import sqlalchemy as sa

from venturi.ledger.port import StudyRow
from venturi.ledger.rows import to_instance
from venturi.ledger.tables import deliveries, inline, instances, renditions
from venturi.model import Instance

_study = instances.c.study_instance_uid


def _wanted(study_instance_uid: str) -> list[sa.ColumnElement[bool]]:
    return [_study == study_instance_uid] if study_instance_uid else []


def list_studies(connection: sa.Connection, study_instance_uid: str) -> list[StudyRow]:
    """Count; see the port."""
    wanted = _wanted(study_instance_uid)
    held = instances.c.held != inline("")

    def count(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
        return sa.func.sum(sa.case((condition, 1), else_=0))

    nowhere = ~sa.exists().where(deliveries.c.instance_id == instances.c.id)
    decided = instances.c.state != inline("received")
    rows = connection.execute(
        sa.select(
            _study,
            sa.func.count(),
            sa.func.min(instances.c.received_at),
            sa.func.max(instances.c.received_at),
            count(sa.and_(~decided, ~held)),
            count(held),
            count(sa.and_(decided, ~held, nowhere)),
            count(instances.c.state == inline("gone")),
            count(instances.c.conflict),
        )
        .where(*wanted)
        .group_by(_study)
    ).all()
    made = connection.execute(
        sa.select(_study, sa.func.count(sa.distinct(instances.c.id)))
        .select_from(renditions.join(instances))
        .where(renditions.c.reason == inline(""), *wanted)
        .group_by(_study)
    )
    transcoded: dict[str, int] = {row[0]: row[1] for row in made}
    sent: dict[str, dict[tuple[str, str], int]] = defaultdict(dict)
    for study, destination, state, number in connection.execute(
        sa.select(_study, deliveries.c.destination, deliveries.c.state, sa.func.count())
        .select_from(deliveries.join(instances))
        .where(*wanted)
        .group_by(_study, deliveries.c.destination, deliveries.c.state)
    ):
        sent[study][destination, state] = number
    names = ("study_instance_uid", "received", "first_at", "last_at", "waiting", "held", "discarded", "gone")
    found = [
        StudyRow(
            **dict(zip((*names, "conflicts"), row, strict=True)),
            transcoded=transcoded.get(row[0], 0),
            deliveries=sent.get(row[0], {}),
        )
        for row in rows
    ]
    return sorted(found, key=lambda row: -row.last_at)


def here(connection: sa.Connection, after: str, limit: int, study_instance_uid: str) -> list[Instance]:
    """List; see the port."""
    query = (
        sa.select(instances)
        .where(
            instances.c.id > after,
            instances.c.state.in_(["received", "decided"]),
            *_wanted(study_instance_uid),
        )
        .order_by(instances.c.id)
        .limit(limit)
    )
    return [to_instance(row) for row in connection.execute(query).mappings()]
