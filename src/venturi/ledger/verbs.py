"""What a person may do with deliveries: one function for each verb of the port, each in one transaction."""

from collections.abc import Callable

import sqlalchemy as sa

from venturi.ledger.intake import DAMAGED, NOT_ROUTED
from venturi.ledger.lists import matching, of_instances
from venturi.ledger.port import BY_HAND, Filter, State, Verb
from venturi.ledger.rows import chunks
from venturi.ledger.tables import deliveries, inline, instances, renditions
from venturi.ledger.work import thaw

_HELD = deliveries.c.state == inline(State.HELD.value)
_PENDING = deliveries.c.state == inline(State.PENDING.value)
_BY_HAND = deliveries.c.status == BY_HAND
_HERE = instances.c.state.in_(["received", "decided"])
_ALL = deliveries.join(instances).join(renditions, renditions.c.id == deliveries.c.rendition_id)


def act(connection: sa.Connection, verb: Verb, which: Filter, now: float) -> int:
    """Do it; how many deliveries (and instances without one) are concerned. See the port."""
    done: Callable[[sa.Connection, Filter, float], int] = {
        Verb.RETRY: _retry,
        Verb.RESEND: _resend,
        Verb.HOLD: _hold,
        Verb.RELEASE: _release,
        Verb.DROP: _drop,
        Verb.REDECIDE: _redecide,
    }[verb]
    return done(connection, which, now)


def under_way(connection: sa.Connection, which: Filter, now: float) -> int:
    """Count what is being delivered at this moment; see the port."""
    leased = sa.and_(sa.or_(_PENDING, _HELD), deliveries.c.lease_until > now)
    query = sa.select(sa.func.count()).select_from(_ALL).where(*matching(which), leased)
    return connection.execute(query).scalar_one()


def _retry(connection: sa.Connection, which: Filter, now: float) -> int:
    """Held and waiting deliveries are due now, and held instances undecided again.

    Where it is the rendition that is damaged, its instance is decided anew, which makes it again. What a rule holds
    rather than send as received, or a person, is sent only when its number is named.
    """
    of_a_kind = sa.true() if which.ids else ~sa.or_(_by_rule(), _BY_HAND)
    waiting = sa.or_(_PENDING, sa.and_(_HELD, of_a_kind))
    damaged = _damaged()
    changed = _decide_anew(connection, which, damaged)
    return (
        changed
        + _make_due(connection, which, now, sa.and_(waiting, ~damaged))
        + _decide_held(connection, which)
    )


def _resend(connection: sa.Connection, which: Filter, now: float) -> int:
    """Delivered ones, too, where the bytes are still here. What a person gave up or holds only by its number."""
    given_up = deliveries.c.state == inline(State.DROPPED.value)
    held = sa.and_(_HELD, sa.or_(_by_rule(), _BY_HAND))
    of_a_kind = sa.true() if which.ids else ~sa.or_(given_up, held)
    return _make_due(connection, which, now, sa.and_(instances.c.state == "decided", of_a_kind))


def _hold(connection: sa.Connection, which: Filter, now: float) -> int:
    """What waits is held; what is on its way at this moment arrives, or is held then."""
    words = "held by a person: venturi queue release lets it go on"
    return _change(
        connection, which, _PENDING, {"state": State.HELD.value, "status": BY_HAND, "detail": words}
    )


def _release(connection: sa.Connection, which: Filter, now: float) -> int:
    """What is held goes on, whatever holds it: what a rule holds, as received."""
    damaged = _damaged()
    return _decide_anew(connection, which, damaged) + _make_due(
        connection, which, now, sa.and_(_HELD, ~damaged)
    )


def _drop(connection: sa.Connection, which: Filter, now: float) -> int:
    """What waits or is held is given up, and held instances that have no delivery; retention then takes the bytes."""
    free = sa.or_(_HELD, sa.and_(_PENDING, deliveries.c.lease_until <= now))
    words = {"detail": "given up by a person", "done_at": now, "lease_owner": None, "lease_until": 0.0}
    changed = _change(connection, which, free, {"state": State.DROPPED.value, **words})
    given_up = {"state": "decided", "held": "", "decided_at": now}
    return changed + _held_instances(connection, which, given_up)


def _redecide(connection: sa.Connection, which: Filter, now: float) -> int:
    """Instances of what waits or is held are decided anew, by the rules as they are now; what arrived stays so.

    What a person holds stays held, unless its number is named. What is on its way arrives as it was decided.
    """
    held = sa.true() if which.ids else ~_BY_HAND
    free = sa.and_(sa.or_(sa.and_(_HELD, held), _PENDING), deliveries.c.lease_until <= now)
    chosen = list(
        connection.execute(
            sa.select(deliveries.c.id, deliveries.c.instance_id)
            .select_from(_ALL)
            .where(*matching(which), free, instances.c.state == inline("decided"))
            .order_by(deliveries.c.id)
            .limit(which.limit)
        )
    )
    for ids in chunks(row.instance_id for row in chosen):
        _undecide(connection, ids)
        # The judgement takes up what is held; what it does not mention is no longer sent there.
        numbers = [row.id for row in chosen if row.instance_id in set(ids)]
        others = sa.or_(sa.and_(_HELD, ~_BY_HAND), sa.and_(_PENDING, deliveries.c.lease_until <= now))
        connection.execute(
            deliveries.update()
            .where(deliveries.c.instance_id.in_(ids), sa.or_(deliveries.c.id.in_(numbers), others))
            .values(
                state=State.HELD.value,
                status=NOT_ROUTED,
                detail="decided anew, and the rules no longer send it there: release or drop it",
            )
        )
    return len(chosen) + _decide_held(connection, which)


def _damaged() -> sa.ColumnElement[bool]:
    return sa.and_(_HELD, deliveries.c.status == DAMAGED, renditions.c.reason == inline(""))


def _by_rule() -> sa.ColumnElement[bool]:
    return sa.and_(renditions.c.state == inline("failed"), deliveries.c.status == renditions.c.reason)


def _decide_anew(connection: sa.Connection, which: Filter, condition: sa.ColumnElement[bool]) -> int:
    """Have renditions made again, for their deliveries; how many of these."""
    chosen = connection.execute(
        sa.select(deliveries.c.instance_id)
        .select_from(_ALL)
        .where(*matching(which), condition, instances.c.state == inline("decided"))
        .order_by(deliveries.c.id)
        .limit(which.limit)
    )
    ids = list(chosen.scalars())
    for some in chunks(ids):
        _undecide(connection, some)
    return len(ids)


def _undecide(connection: sa.Connection, ids: list[str]) -> None:
    connection.execute(
        instances.update().where(instances.c.id.in_(ids)).values(state="received", held="", tries=0)
    )


def _decide_held(connection: sa.Connection, which: Filter) -> int:
    """Have instances that wait for a person decided anew."""
    return _held_instances(connection, which, {"held": "", "tries": 0})


def _held_instances(connection: sa.Connection, which: Filter, values: dict[str, object]) -> int:
    """Change instances that wait for a person, where the filter can mean any; how many."""
    if which.ids or which.destination or which.state not in {"", "held"}:
        return 0  # an instance that no route matched has no delivery to be found by
    chosen = (
        sa.select(instances.c.id)
        .where(instances.c.held != inline(""), _HERE, *of_instances(which))
        .order_by(instances.c.id)
        .limit(which.limit)
    )
    return connection.execute(instances.update().where(instances.c.id.in_(chosen)).values(values)).rowcount


def _make_due(connection: sa.Connection, which: Filter, now: float, condition: sa.ColumnElement[bool]) -> int:
    """Make the oldest matching deliveries due now whose bytes are here. A lease that somebody holds stays theirs."""
    condition = sa.and_(condition, _HERE)
    thaw(connection, deliveries.c.id.in_(_chosen(which, condition)))
    values = {"state": State.PENDING.value, "due_at": now, "tries": 0, "done_at": None}
    return _change(connection, which, condition, values)


def _change(
    connection: sa.Connection, which: Filter, condition: sa.ColumnElement[bool], values: dict[str, object]
) -> int:
    chosen = deliveries.c.id.in_(_chosen(which, condition))
    return connection.execute(deliveries.update().where(chosen).values(values)).rowcount


def _chosen(which: Filter, condition: sa.ColumnElement[bool]) -> sa.Select[tuple[int]]:
    return (
        sa.select(deliveries.c.id)
        .select_from(_ALL)
        .where(*matching(which), condition)
        .order_by(deliveries.c.id)
        .limit(which.limit)
    )
