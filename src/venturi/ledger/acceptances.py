"""What destinations' peers accepted, by SOP class and transfer syntax: the last answer to each."""

from collections.abc import Sequence
from dataclasses import asdict

import sqlalchemy as sa

from venturi.ledger.tables import acceptances
from venturi.model import Acceptance

_KEY = ("destination", "sop_class_uid", "transfer_syntax")


def learn(connection: sa.Connection, new: Sequence[Acceptance]) -> None:
    """Remember; see the port."""
    for acceptance in new:
        values = asdict(acceptance)
        same = [acceptances.c[name] == values[name] for name in _KEY]
        if not connection.execute(acceptances.update().where(*same).values(values)).rowcount:
            connection.execute(acceptances.insert().values(values))


def learnt(connection: sa.Connection, since: float) -> list[Acceptance]:
    """List them; see the port."""
    query = (
        sa.select(acceptances).where(acceptances.c.at >= since).order_by(*(acceptances.c[n] for n in _KEY))
    )
    return [Acceptance(**row) for row in connection.execute(query).mappings()]


def forget(connection: sa.Connection, before: float) -> None:
    """Forget what is older."""
    connection.execute(acceptances.delete().where(acceptances.c.at < before))
