"""Leases, and the one transaction in which instances are decided."""

import uuid
from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from venturi.ledger.intake import NOT_ROUTED
from venturi.ledger.port import ANEW, BY_HAND, State, failed, holds
from venturi.ledger.rows import rendition_values
from venturi.ledger.tables import commitments, deliveries, inline, instances, renditions
from venturi.model import Decision, Judgement, Outcome

LONGEST_S = 86400.0
"""No lease and no wait for the next try is as long: a time further ahead was set by a clock that was wrong."""

_LEASED = (instances, deliveries, commitments)
"""What somebody may work on."""

_MINE = (
    sa.select(instances.c.id)
    .where(
        instances.c.id.in_(sa.bindparam("ids", expanding=True)),
        instances.c.state == inline("received"),
        instances.c.held == inline(""),
        instances.c.lease_owner == sa.bindparam("owner"),
    )
    .with_for_update()  # PostgreSQL; in SQLite the writer is alone
)
_DECIDE = (
    instances.update()
    .where(instances.c.id == sa.bindparam("of"))
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
_DIGEST_LENGTH = 16
"""Of a target's digest, characters; that of a rendition which is kept for what was sent alone is longer."""
_SENT = sa.or_(
    deliveries.c.state.in_([State.DELIVERED.value, State.COMMITTED.value]),
    deliveries.c.lease_owner.is_not(None),
)
"""Or is being sent at this moment; if it does not arrive, ``queue.claim`` thaws it."""
_RENDITIONS_OF = sa.select(renditions.c.instance_id, renditions.c.digest, renditions.c.id).where(
    renditions.c.instance_id.in_(sa.bindparam("ids", expanding=True))
)
_DESTINATIONS_OF = sa.select(deliveries.c.instance_id, deliveries.c.destination).where(
    deliveries.c.instance_id.in_(sa.bindparam("ids", expanding=True))
)
_TRIES = sa.case((deliveries.c.status == ANEW, deliveries.c.tries), else_=0)
"""Of a delivery that is taken up again: those of the same attempt go on counting."""
_INSERT_RENDITION = renditions.insert()
_INSERT_DELIVERY = deliveries.insert()


def renew(connection: sa.Connection, owner: str, until: float) -> None:
    """Extend an owner's leases; see the port."""
    for table in _LEASED:
        connection.execute(table.update().where(table.c.lease_owner == owner).values(lease_until=until))


def release(connection: sa.Connection, owner: str) -> int:
    """Free the leases of all whose names begin with ``owner``; see the port."""
    freed = 0
    for table in _LEASED:
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
    held = [sa.select(t.c.lease_owner).where(t.c.lease_owner.is_not(None)) for t in _LEASED]
    return sorted(connection.execute(sa.union(*held)).scalars())


def judge(connection: sa.Connection, judgements: Sequence[Judgement], owner: str, now: float) -> set[str]:
    """Record judgements, of each instance the first; see the port. Raises ValueError where a decision has no outcome.

    Of an instance that is decided anew, renditions are replaced, and held deliveries begin again.
    """
    for judgement in judgements:
        made = {outcome.target for outcome in judgement.outcomes}
        missing = [decision.destination for decision in judgement.decisions if decision.target not in made]
        if missing:
            raise ValueError(f"{judgement.instance.id}: no outcome for the decisions on {', '.join(missing)}")
    first: dict[str, Judgement] = {}
    for judgement in judgements:
        first.setdefault(judgement.instance.id, judgement)
    taken = set(connection.execute(_MINE, {"ids": list(first), "owner": owner}).scalars())
    ours = [judgement for instance_id, judgement in first.items() if instance_id in taken]
    if ours:
        connection.execute(_DECIDE, [_decided(judgement, now) for judgement in ours])
        _deliver(connection, ours, _render(connection, ours, now), now)
    return taken


def _decided(judgement: Judgement, now: float) -> dict[str, object]:
    waits = bool(judgement.held) and not judgement.decisions
    return {
        "of": judgement.instance.id,
        "to_state": "received" if waits else "decided",
        "to_held": judgement.held if waits else "",
        "to_decided_at": None if waits else now,
        "study": judgement.summary.study_instance_uid,
        "series": judgement.summary.series_instance_uid,
        "to_modality": judgement.summary.modality,
        "digest": judgement.config_digest,
    }


def _renditions(connection: sa.Connection, judgements: Sequence[Judgement]) -> dict[tuple[str, str], int]:
    """Find the renditions there are: their numbers by instance and target digest."""
    ids = [judgement.instance.id for judgement in judgements]
    rows = connection.execute(_RENDITIONS_OF, {"ids": ids})
    return {(row.instance_id, row.digest): row.id for row in rows}


def _render(
    connection: sa.Connection, judgements: Sequence[Judgement], now: float
) -> dict[tuple[str, str], int]:
    """Write the renditions of judgements; their numbers by instance and target digest.

    What was made of another one and delivered stays recorded as it was: see ``_freeze``.
    """
    made = _renditions(connection, judgements)
    new = []
    for judgement in judgements:
        for outcome in judgement.outcomes:
            row = rendition_values(judgement.instance.id, outcome, failed(outcome), now)
            number = made.get((judgement.instance.id, outcome.target.digest))
            if number is None:
                new.append(row)
            else:
                _freeze(connection, number, outcome)
                connection.execute(renditions.update().where(renditions.c.id == number).values(row))
    if new:
        connection.execute(_INSERT_RENDITION, new)
    return _renditions(connection, judgements) if new else made


def _freeze(connection: sa.Connection, number: int, outcome: Outcome) -> None:
    """A rendition is made again and is another now: deliveries that were made, or are, keep a row of what was sent.

    Its digest is no target's any more: the live one's, a slash and more.
    """
    was = connection.execute(sa.select(renditions).where(renditions.c.id == number)).mappings().one()
    same = (was["sha256"], was["transfer_syntax"]) == (outcome.sha256, outcome.transfer_syntax)
    sent = sa.and_(deliveries.c.rendition_id == number, deliveries.c.instance_id == was["instance_id"], _SENT)
    if same or connection.execute(sa.select(deliveries.c.id).where(sent).limit(1)).first() is None:
        return
    values = {name: value for name, value in was.items() if name != "id"}
    digest = f"{was['digest']}/{uuid.uuid4().hex}"
    insert = renditions.insert().values(values | {"digest": digest}).returning(renditions.c.id)
    kept = connection.execute(insert).scalar_one()
    connection.execute(deliveries.update().where(sent).values(rendition_id=kept))


def thaw(connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    """Before deliveries are made again: what they send is what their target's rendition is now."""
    live = renditions.alias("live")
    now = (
        sa.select(live.c.id)
        .where(
            live.c.instance_id == deliveries.c.instance_id,
            live.c.digest == sa.func.substr(renditions.c.digest, 1, _DIGEST_LENGTH),
            renditions.c.id == deliveries.c.rendition_id,
        )
        .correlate(deliveries)
        .scalar_subquery()
    )
    frozen = sa.exists().where(
        renditions.c.id == deliveries.c.rendition_id, is_frozen(renditions.c.digest)
    )  # of theirs alone: all of them are not looked through
    connection.execute(deliveries.update().where(which, frozen).values(rendition_id=now))


def is_frozen(digest: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Whether a rendition's row is kept for what was sent alone; see ``_freeze``."""
    return sa.func.length(digest) > _DIGEST_LENGTH


def _deliver(
    connection: sa.Connection,
    judgements: Sequence[Judgement],
    numbers: Mapping[tuple[str, str], int],
    now: float,
) -> None:
    """Write the deliveries of judgements whose renditions have these numbers."""
    ids = [judgement.instance.id for judgement in judgements]
    known = {(row.instance_id, row.destination) for row in connection.execute(_DESTINATIONS_OF, {"ids": ids})}
    new = []
    for judgement in judgements:
        instance_id = judgement.instance.id
        outcomes = {outcome.target: outcome for outcome in judgement.outcomes}
        for decision in judgement.decisions:
            row = {
                "instance_id": instance_id,
                "rendition_id": numbers[instance_id, decision.target.digest],
                **_delivery(decision, outcomes[decision.target]),
                "due_at": now,
            }
            if (instance_id, decision.destination) not in known:
                new.append({**row, "created_at": now})
                continue
            connection.execute(  # what is delivered stays so, and what is pending is on its way
                deliveries.update()
                .where(
                    deliveries.c.instance_id == instance_id,
                    deliveries.c.destination == decision.destination,
                    deliveries.c.state == inline(State.HELD.value),
                    deliveries.c.status != BY_HAND,  # that waits for whoever holds it
                )
                .values({**row, "tries": _TRIES})
            )
    if new:
        connection.execute(_INSERT_DELIVERY, new)
    again = {instance_id for instance_id, _ in known}
    for judgement in judgements:
        if judgement.instance.id in again:
            _leave_nothing(connection, judgement)


def _leave_nothing(connection: sa.Connection, judgement: Judgement) -> None:
    """See to it that nothing waits for a decision that was made: not what is no longer routed, nor what asked since."""
    waiting = (
        deliveries.c.instance_id == judgement.instance.id,
        deliveries.c.state == inline(State.HELD.value),
        deliveries.c.status == ANEW,
    )
    asked = deliveries.c.destination.in_(judgement.only) if judgement.only else sa.true()
    connection.execute(
        deliveries.update()
        .where(*waiting, asked)
        .values(
            status=NOT_ROUTED,
            detail=deliveries.c.detail
            + "; decided anew, and the rules no longer send it there: release or drop it",
        )
    )
    if connection.execute(sa.select(deliveries.c.id).where(*waiting)).first() is not None:
        connection.execute(
            instances.update()
            .where(instances.c.id == judgement.instance.id)
            .values(state="received", held="")
        )


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
        "instead": decision.instead,
        "tries": 0,
        "lease_until": 0.0,
    }
