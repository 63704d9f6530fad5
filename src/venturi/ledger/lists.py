"""What people ask the ledger: lists and totals. Nothing here changes anything."""

import dataclasses
import json

import sqlalchemy as sa

from venturi.ledger.port import Attempt, DeliveryRow, Entry, Filter, InstanceRow, State, Totals
from venturi.ledger.rows import DELIVERY_COLUMNS, to_attempt, to_delivery_row, to_instance_row
from venturi.ledger.tables import attempts, commitments, deliveries, inline, instances, journal, renditions


def matching(which: Filter) -> list[sa.ColumnElement[bool] | sa.TextClause]:
    """Make the conditions of a filter on deliveries joined with their instances and renditions."""
    conditions: list[sa.ColumnElement[bool] | sa.TextClause] = []
    if which.ids:
        conditions.append(deliveries.c.id.in_(which.ids))
    if which.destination:
        conditions.append(deliveries.c.destination == which.destination)
    if which.state:
        known = which.state in set(State)
        conditions.append(deliveries.c.state == (inline(which.state) if known else which.state))
    if which.sop_instance_uid:
        conditions.append(
            sa.or_(
                instances.c.sop_instance_uid == which.sop_instance_uid,
                renditions.c.lossy_sop_instance_uid == which.sop_instance_uid,
            )
        )
    conditions += of_instances(which)
    return conditions


def of_instances(which: Filter) -> list[sa.ColumnElement[bool] | sa.TextClause]:
    """Make the conditions of a filter on instances: what it says of deliveries alone is not among them."""
    conditions: list[sa.ColumnElement[bool] | sa.TextClause] = []
    if which.study_instance_uid:
        conditions.append(instances.c.study_instance_uid == which.study_instance_uid)
    if which.sop_instance_uid:
        conditions.append(instances.c.id.in_(named(which.sop_instance_uid)))
    if which.conflict:
        conditions.append(sa.text("instances.conflict"))
    if which.received_before is not None:
        conditions.append(instances.c.received_at < which.received_before)
    if which.received_after is not None:
        conditions.append(instances.c.received_at >= which.received_after)
    return conditions


def named(sop_instance_uid: str) -> sa.CompoundSelect[tuple[str]]:
    """Ids of instances that came under a UID, or have a lossy rendition under it; each half reads its index."""
    return sa.union(
        sa.select(instances.c.id).where(instances.c.sop_instance_uid == sop_instance_uid),
        sa.select(renditions.c.instance_id).where(renditions.c.lossy_sop_instance_uid == sop_instance_uid),
    )


def list_deliveries(connection: sa.Connection, which: Filter) -> list[DeliveryRow]:
    """List deliveries; see the port."""
    rows = connection.execute(
        sa.select(*DELIVERY_COLUMNS)
        .select_from(
            deliveries.join(instances).join(renditions, renditions.c.id == deliveries.c.rendition_id)
        )
        .where(*matching(which))
        .order_by(deliveries.c.id.desc())
        .limit(which.limit)
    ).mappings()
    return [to_delivery_row(row) for row in rows]


def list_instances(connection: sa.Connection, which: Filter) -> list[InstanceRow]:
    """List instances; see the port. The state "held" means those that wait for a person."""
    query = sa.select(instances).order_by(instances.c.id.desc()).limit(which.limit)
    if which.state == "held":
        query = query.where(instances.c.held != inline(""))
    elif which.state:
        query = query.where(instances.c.state == which.state)
    query = query.where(*of_instances(which))
    return [to_instance_row(row) for row in connection.execute(query).mappings()]


def list_attempts(connection: sa.Connection, delivery: int) -> list[Attempt]:
    """List a delivery's attempts; see the port."""
    query = sa.select(attempts).where(attempts.c.delivery_id == delivery).order_by(attempts.c.id)
    return [to_attempt(row) for row in connection.execute(query).mappings()]


def list_journal(connection: sa.Connection, limit: int) -> list[Entry]:
    """List what persons did; see the port."""
    known = {field.name for field in dataclasses.fields(Filter)}
    entries = []
    for row in connection.execute(sa.select(journal).order_by(journal.c.id.desc()).limit(limit)):
        what = json.loads(row.what)
        which = {name: value for name, value in what["which"].items() if name in known}
        which["ids"] = tuple(which.get("ids", ()))
        entries.append(Entry(row.at, row.who, row.verb, Filter(**which), what["changed"]))
    return entries


def totals(connection: sa.Connection) -> Totals:
    """Count everything; see the port. Reads whole indices: for a page or a scrape, not for a loop."""
    by_destination = connection.execute(
        sa.select(deliveries.c.destination, deliveries.c.state, sa.func.count()).group_by(
            deliveries.c.destination, deliveries.c.state
        )
    ).all()
    made = connection.execute(
        sa.select(
            renditions.c.transfer_syntax,
            renditions.c.reason,
            renditions.c.proof,
            sa.func.count(),
            sa.func.sum(renditions.c.pixel_bytes_before),
            sa.func.sum(renditions.c.pixel_bytes_after),
        ).group_by(renditions.c.transfer_syntax, renditions.c.reason, renditions.c.proof)
    ).all()
    asked = connection.execute(
        sa.select(commitments.c.destination, commitments.c.state, sa.func.count()).group_by(
            commitments.c.destination, commitments.c.state
        )
    ).all()
    transcoded = [row for row in made if not row[1]]
    return Totals(
        instances=_by_state(connection),
        deliveries={(row[0], row[1]): row[2] for row in by_destination},
        renditions={(row[0], row[1], row[2]): row[3] for row in made},
        bytes_received=connection.execute(sa.select(sa.func.sum(instances.c.size_bytes))).scalar() or 0,
        bytes_before=sum(row[4] for row in transcoded),
        bytes_after=sum(row[5] for row in transcoded),
        oldest_pending_at=connection.execute(
            sa.select(sa.func.min(deliveries.c.created_at)).where(
                deliveries.c.state == inline(State.PENDING.value)
            )
        ).scalar(),
        oldest_kept_at=connection.execute(
            sa.select(sa.func.min(instances.c.decided_at)).where(instances.c.state == inline("decided"))
        ).scalar(),
        conflicts=_count(connection, sa.text("conflict")),
        commitments={(row[0], row[1]): row[2] for row in asked},
    )


def _by_state(connection: sa.Connection) -> dict[str, int]:
    """Count instances, each once: those that wait for a person as "held". Each count reads one partial index."""
    waiting = connection.execute(
        sa.select(instances.c.state, sa.func.count())
        .where(instances.c.held != inline(""))
        .group_by(instances.c.state)
    )
    held = {row[0]: row[1] for row in waiting}
    undecided = sa.and_(instances.c.state == inline("received"), instances.c.held == inline(""))
    counts = {"held": sum(held.values()), "received": _count(connection, undecided)}
    for state in ("decided", "removable", "gone"):
        counts[state] = _count(connection, instances.c.state == inline(state)) - held.get(state, 0)
    return {state: count for state, count in counts.items() if count}


def _count(connection: sa.Connection, condition: sa.ColumnElement[bool] | sa.TextClause) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(instances).where(condition)).scalar_one()
