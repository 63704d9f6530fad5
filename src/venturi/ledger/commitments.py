"""Storage commitment in the ledger: see ``commitment_port``."""

import sqlalchemy as sa

from venturi.ledger.commitment_port import Commitment
from venturi.ledger.commitment_rows import ANSWERED, DUE, OPEN, delete, whole
from venturi.ledger.commitments_of_ours import OfOurs
from venturi.ledger.commitments_of_peers import FRESH_S, OfPeers
from venturi.ledger.tables import commitments, deliveries

LONGEST_S = 31 * 86400.0
"""No answer may take as long (``node.commitment``): a time further ahead was set by a clock that was wrong."""
SOON_S = 3600.0
"""No wait until a request is judged or told again, and no lease of one, is as long."""


class SqlCommitments(OfPeers, OfOurs):
    """See ``venturi.ledger.commitment_port.Commitments`` for what each method does."""

    def one(self, commitment: int) -> Commitment | None:
        """Find a request; see the port."""
        with self._database.read() as connection:
            found = whole(connection, commitments.c.id == commitment, 1)
            return found[0] if found else None

    def recent(self, limit: int) -> list[Commitment]:
        """List requests; see the port."""
        with self._database.read() as connection:
            return whole(connection, sa.true(), limit, commitments.c.id.desc())


def forget(connection: sa.Connection, before: float) -> None:
    """Forget requests older than that, but for those that somebody waits for."""
    over = commitments.c.state.in_(["reported", "done", "refused"])
    delete(connection, sa.and_(commitments.c.at < before, sa.or_(over, commitments.c.until < before)))


def rewind(connection: sa.Connection, now: float) -> int:
    """Put right what a clock that was wrong has put off; how many rows."""
    late, soon = now + LONGEST_S, now + SOON_S
    leased = commitments.c.lease_owner.is_not(None)
    put_off = [
        (commitments, OPEN, commitments.c.due_at, soon, now),
        (commitments, ANSWERED, commitments.c.due_at, soon, now),
        (commitments, ANSWERED, commitments.c.answered_at, now + FRESH_S, 0.0),  # how long ago is not known
        (commitments, sa.or_(OPEN, ANSWERED), commitments.c.until, late, now),
        (commitments, leased, commitments.c.lease_until, soon, 0.0),
        (deliveries, DUE, deliveries.c.commit_due_at, late, now),
        (deliveries, DUE, deliveries.c.done_at, late, now),
    ]
    return sum(
        connection.execute(table.update().where(which, column > ahead).values({column: value})).rowcount
        for table, which, column, ahead, value in put_off
    )
