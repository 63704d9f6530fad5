"""Leases, and the one transaction in which an instance is decided."""

import sqlalchemy as sa

from venturi.ledger.port import State, failed, holds
from venturi.ledger.rows import rendition_values
from venturi.ledger.tables import deliveries, inline, instances, renditions
from venturi.model import Decision, Judgement, Outcome

LONGEST_S = 86400.0
"""No lease and no wait for the next try is as long: a time further ahead was set by a clock that was wrong."""

_DECIDE = (
    instances.update()
    .where(
        instances.c.id == sa.bindparam("of"),
        instances.c.state == inline("received"),
        instances.c.held == inline(""),
        instances.c.lease_owner == sa.bindparam("owner"),
    )
    .values(
        state=sa.bindparam("to_state"),
        held=sa.bindparam("to_held"),
        decided_at=sa.bindparam("to_decided_at"),
        lease_owner=None,
        lease_until=0.0,
        study_instance_uid=sa.bindparam("study"),
        series_instance_uid=sa.bindparam("series"),
        modality=sa.bindparam("to_modality"),
        config_digest=sa.bindparam("digest"),
    )
)
_RENDITIONS_OF = sa.select(renditions.c.digest, renditions.c.id).where(
    renditions.c.instance_id == sa.bindparam("of")
)
_DESTINATIONS_OF = sa.select(deliveries.c.destination).where(deliveries.c.instance_id == sa.bindparam("of"))
_INSERT_RENDITION = renditions.insert().returning(renditions.c.id)
_INSERT_DELIVERY = deliveries.insert()


def renew(connection: sa.Connection, owner: str, until: float) -> None:
    """Extend an owner's leases; see the port."""
    for table in (instances, deliveries):
        connection.execute(table.update().where(table.c.lease_owner == owner).values(lease_until=until))


def release(connection: sa.Connection, owner: str) -> int:
    """Free the leases of all whose names begin with ``owner``; see the port."""
    freed = 0
    for table in (instances, deliveries):
        # a range instead of LIKE, which ignores case in SQLite and would not use the index
        begins = sa.and_(table.c.lease_owner >= owner, table.c.lease_owner < owner + "\U0010ffff")
        freed += connection.execute(
            table.update().where(begins).values(lease_owner=None, lease_until=0.0)
        ).rowcount
    return freed


def rewind(connection: sa.Connection, now: float) -> int:
    """Put leases' times right; see the port. Whoever lives renews its own."""
    undecided = sa.and_(instances.c.state == inline("received"), instances.c.held == inline(""))
    leased = deliveries.c.lease_owner.is_not(None)
    return sum(
        connection.execute(
            table.update()
            .where(which, table.c.lease_until > now + LONGEST_S)
            .values(lease_owner=None, lease_until=0.0)
        ).rowcount
        for table, which in ((instances, undecided), (deliveries, leased))
    )


def owners(connection: sa.Connection) -> list[str]:
    """Name everybody who holds a lease; see the port."""
    held = [sa.select(t.c.lease_owner).where(t.c.lease_owner.is_not(None)) for t in (instances, deliveries)]
    return sorted(connection.execute(sa.union(*held)).scalars())


def judge(connection: sa.Connection, judgement: Judgement, owner: str, now: float) -> bool:
    """Record a judgement; see the port. Raises ValueError where a decision has no outcome.

    Of an instance that is decided anew, renditions are replaced, and held deliveries begin again.
    """
    outcomes = {outcome.target: outcome for outcome in judgement.outcomes}
    missing = [decision.destination for decision in judgement.decisions if decision.target not in outcomes]
    if missing:
        raise ValueError(f"{judgement.instance.id}: no outcome for the decisions on {', '.join(missing)}")
    instance_id = judgement.instance.id
    waits = bool(judgement.held) and not judgement.decisions
    taken = connection.execute(
        _DECIDE,
        {
            "of": instance_id,
            "owner": owner,
            "to_state": "received" if waits else "decided",
            "to_held": judgement.held if waits else "",
            "to_decided_at": None if waits else now,
            "study": judgement.summary.study_instance_uid,
            "series": judgement.summary.series_instance_uid,
            "to_modality": judgement.summary.modality,
            "digest": judgement.config_digest,
        },
    ).rowcount
    if not taken:
        return False
    made = {row.digest: row.id for row in connection.execute(_RENDITIONS_OF, {"of": instance_id})}
    ids = {}
    for outcome in outcomes.values():
        row = rendition_values(instance_id, outcome, failed(outcome), now)
        ids[outcome.target] = (
            made.get(outcome.target.digest) or connection.execute(_INSERT_RENDITION, row).scalar_one()
        )
        if outcome.target.digest in made:
            connection.execute(renditions.update().where(renditions.c.id == ids[outcome.target]).values(row))
    known = set(connection.execute(_DESTINATIONS_OF, {"of": instance_id}).scalars())
    new = []
    for decision in judgement.decisions:
        row = {
            "instance_id": instance_id,
            "rendition_id": ids[decision.target],
            **_delivery(decision, outcomes[decision.target]),
            "due_at": now,
        }
        if decision.destination not in known:
            new.append({**row, "created_at": now})
            continue
        connection.execute(  # what is delivered stays so, and what is pending is on its way
            deliveries.update()
            .where(
                deliveries.c.instance_id == instance_id,
                deliveries.c.destination == decision.destination,
                deliveries.c.state == inline(State.HELD.value),
            )
            .values(row)
        )
    if new:
        connection.execute(_INSERT_DELIVERY, new)
    return True


def _delivery(decision: Decision, outcome: Outcome) -> dict[str, object]:
    held = holds(decision, outcome)
    reason = outcome.reason.value if held and outcome.reason else ""
    return {
        "destination": decision.destination,
        "rule": decision.rule,
        "state": State.HELD.value if held else State.PENDING.value,
        "status": reason,
        "detail": f"held by the rule, not sent as received: {outcome.detail or reason}; to send it so after all, "
        "name its number to venturi queue retry"
        if held
        else "",
        "sent_original": False,
        "tries": 0,
        "lease_until": 0.0,
    }
