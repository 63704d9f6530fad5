"""Receipts: recording them, and claiming them for a decision."""

from collections import defaultdict
from collections.abc import Sequence

import sqlalchemy as sa

from venturi.ledger.database import insert_or_ignore
from venturi.ledger.port import ANEW, Claim, State
from venturi.ledger.rows import chunks, instance_values, to_instance
from venturi.ledger.tables import deliveries, inline, instances
from venturi.model import Instance

DAMAGED = "damaged"
"""What destinations say of a file that is not what it was."""
NOT_ROUTED = "no-longer-routed"
"""The status of what is decided anew because a person wants it, and of what stays held by that."""

# Statements are made once: making one costs more than running it.

_OTHER = instances.alias("other")


def _of_same_uid(least_or_most: sa.Function[str]) -> sa.ScalarSelect[str]:
    same = _OTHER.c.sop_instance_uid == instances.c.sop_instance_uid
    return sa.select(least_or_most).where(same).scalar_subquery()


_IN_CONFLICT = (
    sa.select(instances.c.sop_instance_uid)
    .where(
        instances.c.id.in_(sa.bindparam("ids", expanding=True)),
        # Both are one look into the index, however often an instance has come.
        _of_same_uid(sa.func.min(_OTHER.c.sha256)) != _of_same_uid(sa.func.max(_OTHER.c.sha256)),
    )
    .distinct()
)
_FLAG = (
    instances.update()
    .where(
        instances.c.sop_instance_uid.in_(sa.bindparam("uids", expanding=True)),
        instances.c.conflict.is_(False),
    )
    .values(conflict=True)
)

UNDECIDED = (
    sa.select(instances)
    .where(
        instances.c.state == inline("received"),
        instances.c.held == inline(""),
        instances.c.lease_until <= sa.bindparam("now"),
    )
    .order_by(instances.c.id)
    .limit(sa.bindparam("limit"))
    .with_for_update(skip_locked=True)  # PostgreSQL; in SQLite the writer is alone
)
"""Instances that wait for a decision and that nobody holds: ``now``, ``limit``."""

_KNOWN = sa.select(instances.c.id).where(instances.c.id.in_(sa.bindparam("ids", expanding=True)))
_CLAIM = (
    instances.update()
    .where(instances.c.id.in_(sa.bindparam("ids", expanding=True)))
    .values(lease_owner=sa.bindparam("owner"), lease_until=sa.bindparam("until"), tries=instances.c.tries + 1)
)


def add(connection: sa.Connection, new: Sequence[Instance]) -> int:
    """Record receipts; see the port. An instance that shares its SOP Instance UID with other bytes is flagged."""
    if not new:
        return 0
    rows = [instance_values(instance) for instance in new]
    added = connection.execute(insert_or_ignore(connection.dialect.name, instances), rows).rowcount
    if added:
        named = [instance.id for instance in new if instance.envelope.sop_instance_uid]
        for ids in chunks(named):
            if uids := list(connection.execute(_IN_CONFLICT, {"ids": ids}).scalars()):
                connection.execute(_FLAG, {"uids": uids})
    return added


def known(connection: sa.Connection, instance_ids: Sequence[str]) -> set[str]:
    """Say which of these have been recorded; see the port."""
    rows = (connection.execute(_KNOWN, {"ids": ids}).scalars() for ids in chunks(instance_ids))
    return {instance_id for found in rows for instance_id in found}


def claim(connection: sa.Connection, owner: str, limit: int, now: float, lease_s: float) -> list[Claim]:
    """Claim undecided instances; see the port."""
    rows = connection.execute(UNDECIDED, {"now": now, "limit": limit}).mappings().all()
    if rows:
        ids = [row["id"] for row in rows]
        connection.execute(_CLAIM, {"ids": ids, "owner": owner, "until": now + lease_s})
    again = [row["id"] for row in rows if row["decided_at"] is not None]
    only = _only(connection, again) if again else {}
    return [Claim(to_instance(row), row["tries"] + 1, only.get(row["id"], ())) for row in rows]


def _only(connection: sa.Connection, ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Tell which instances are decided anew for some destinations alone, and for which.

    Where a person wants more of an instance at the same time, it is decided for all.
    """
    query = sa.select(deliveries.c.instance_id, deliveries.c.destination, deliveries.c.status).where(
        deliveries.c.instance_id.in_(ids),
        deliveries.c.state == inline(State.HELD.value),
        deliveries.c.status.in_([ANEW, NOT_ROUTED, DAMAGED]),
    )
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for instance_id, destination, status in connection.execute(query):
        found[instance_id].append((destination, status))
    return {
        instance_id: tuple(destination for destination, _ in asked)
        for instance_id, asked in found.items()
        if all(status == ANEW for _, status in asked)
    }


def put_back(connection: sa.Connection, instance_id: str, owner: str, not_before: float) -> None:
    """Give back a claim as if it had not been made; see the port."""
    connection.execute(
        instances.update()
        .where(instances.c.id == instance_id, instances.c.lease_owner == owner)
        .values(lease_owner=None, lease_until=not_before, tries=instances.c.tries - 1)
    )


def hold(connection: sa.Connection, instance_id: str, reason: str) -> None:
    """Set an instance aside; see the port."""
    connection.execute(
        instances.update()
        .where(instances.c.id == instance_id, instances.c.state.in_(["received", "decided"]))
        .values(held=reason, lease_owner=None, lease_until=0.0)
    )
