"""Which member of a group of destinations gets a study."""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from venturi.ledger.rows import chunks
from venturi.ledger.tables import memberships


def member_of(connection: sa.Connection, destination: str, studies: Sequence[str]) -> dict[str, str]:
    """Look up members by study; see the port."""
    found: dict[str, str] = {}
    for some in chunks(studies):
        query = sa.select(memberships.c.study_instance_uid, memberships.c.member).where(
            memberships.c.destination == destination, memberships.c.study_instance_uid.in_(some)
        )
        found.update({row[0]: row[1] for row in connection.execute(query)})
    return found


def stick(connection: sa.Connection, destination: str, members: Mapping[str, str], now: float) -> None:
    """Remember members by study; see the port."""
    for study, member in members.items():
        values = {"member": member, "at": now}
        mine = (memberships.c.destination == destination, memberships.c.study_instance_uid == study)
        if not connection.execute(memberships.update().where(*mine).values(values)).rowcount:
            connection.execute(
                memberships.insert().values(destination=destination, study_instance_uid=study, **values)
            )


def forget(connection: sa.Connection, before: float) -> None:
    """Forget what is older."""
    connection.execute(memberships.delete().where(memberships.c.at < before))
