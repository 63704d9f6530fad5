"""The ledger over a SQL database: each method of the port is one transaction around a function of this room.

    intake.py     add, known, claim_instances, put_back, hold_instance
    work.py       renew, release, rewind, owners, judge, judge_all
    queue.py      claim_deliveries, next_due, record, jobs, strand, rewind
    verbs.py      act
    retention.py  removable, gone, prune
    lists.py      what people ask
    studies.py    studies, here
    groups.py     member_of, stick
    acceptances.py  learn, learnt

and ``commitments.py`` for what is known of storage commitment.

Every method raises Temporary where the database is locked or full, Permanent where it is damaged.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence

from venturi.ledger import acceptances as accepted
from venturi.ledger import commitments, groups, intake, lists, queue, retention, studies, verbs, work
from venturi.ledger.commitments import SqlCommitments
from venturi.ledger.database import Database, open_database
from venturi.ledger.port import (
    Attempt,
    Claim,
    DeliveryRow,
    Entry,
    Filter,
    InstanceRow,
    Job,
    StudyRow,
    Totals,
    Verb,
)
from venturi.ledger.tables import journal
from venturi.model import Acceptance, Instance, Judgement, Target


def open_ledger(url: str, migrate: bool) -> "SqlLedger":
    """Open ``sqlite:////path/ledger.db``; with ``migrate``, make it or bring it up to this version.

    Raises LedgerNewer where a newer Venturi wrote it; Permanent where it is missing or older and ``migrate`` is
    False; Temporary where it is locked.
    """
    return SqlLedger(open_database(url, migrate))


class SqlLedger:
    """See ``venturi.ledger.port.Ledger`` for what each method does. Safe for several threads and processes."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self.commitments = SqlCommitments(database, clock)
        """What is known of storage commitment."""

    def add(self, instances: Sequence[Instance]) -> int:
        """Record receipts; see the port."""
        with self._database.write() as connection:
            return intake.add(connection, instances)

    def known(self, instance_ids: Sequence[str]) -> set[str]:
        """Say which have been recorded; see the port."""
        with self._database.read() as connection:
            return intake.known(connection, instance_ids)

    def claim_instances(self, owner: str, limit: int, lease_s: float) -> list[Claim]:
        """Claim undecided instances; see the port. Looks without the write lock first: most looks find nothing."""
        with self._database.read() as connection:
            if connection.execute(intake.UNDECIDED, {"now": self._clock(), "limit": 1}).first() is None:
                return []
        with self._database.write() as connection:
            return intake.claim(connection, owner, limit, self._clock(), lease_s)

    def put_back(self, instance_id: str, owner: str, wait_s: float) -> None:
        """Give back a claim; see the port."""
        with self._database.write() as connection:
            intake.put_back(connection, instance_id, owner, self._clock() + wait_s)

    def renew(self, owner: str, lease_s: float) -> None:
        """Extend an owner's leases; see the port."""
        with self._database.write() as connection:
            work.renew(connection, owner, self._clock() + lease_s)

    def release(self, owner: str) -> int:
        """Free leases; see the port."""
        with self._database.write() as connection:
            return work.release(connection, owner)

    def owners(self) -> list[str]:
        """Name who holds leases; see the port."""
        with self._database.read() as connection:
            return work.owners(connection)

    def judge(self, judgement: Judgement, owner: str) -> bool:
        """Record a judgement; see the port. Raises ValueError where a decision has no outcome."""
        return bool(self.judge_all([judgement], owner))

    def judge_all(self, judgements: Sequence[Judgement], owner: str) -> set[str]:
        """Record judgements; see the port. Raises ValueError where a decision has no outcome."""
        with self._database.write() as connection:
            return work.judge(connection, judgements, owner, self._clock())

    def claim_deliveries(self, destination: str, owner: str, limit: int, lease_s: float) -> list[Job]:
        """Claim due deliveries; see the port."""
        with self._database.read() as connection:
            if (
                connection.execute(
                    queue.DUE, {"destination": destination, "now": self._clock(), "limit": 1}
                ).first()
                is None
            ):
                return []
        with self._database.write() as connection:
            return queue.claim(connection, destination, owner, limit, self._clock(), lease_s)

    def next_due(self, destination: str) -> float | None:
        """Say when there is something to claim; see the port."""
        with self._database.read() as connection:
            return queue.next_due(connection, destination)

    def record(self, attempts: Sequence[Attempt], owner: str) -> None:
        """Record attempts; see the port."""
        with self._database.write() as connection:
            queue.record(connection, attempts, owner)

    def deliveries(self, which: Filter) -> list[DeliveryRow]:
        """List deliveries; see the port."""
        with self._database.read() as connection:
            return lists.list_deliveries(connection, which)

    def held_instances(self, limit: int = 100) -> list[InstanceRow]:
        """List instances that wait for a person; see the port."""
        return self.instances(Filter(state="held", limit=limit))

    def instances(self, which: Filter) -> list[InstanceRow]:
        """List instances; see the port. The state "held" means those that wait for a person."""
        with self._database.read() as connection:
            return lists.list_instances(connection, which)

    def attempts(self, delivery: int) -> list[Attempt]:
        """List a delivery's attempts; see the port."""
        with self._database.read() as connection:
            return lists.list_attempts(connection, delivery)

    def jobs(self, which: Filter) -> list[Job]:
        """Find deliveries; see the port."""
        with self._database.read() as connection:
            return queue.jobs(connection, which)

    def act(self, verb: Verb, which: Filter, who: str, *, dry: bool = False) -> int:
        """Do what a person wants; see the port. ``which.limit`` counts."""
        with self._database.write() as connection:
            changed = verbs.act(connection, verb, which, self._clock())
            if dry:
                connection.rollback()
            else:
                what = json.dumps({"which": dataclasses.asdict(which), "changed": changed})
                connection.execute(
                    journal.insert().values(at=self._clock(), who=who, verb=verb.value, what=what)
                )
            return changed

    def under_way(self, which: Filter) -> int:
        """Count what is being delivered; see the port."""
        with self._database.read() as connection:
            return verbs.under_way(connection, which, self._clock())

    def studies(self, study_instance_uid: str = "") -> list[StudyRow]:
        """Say what became of each study; see the port."""
        with self._database.read() as connection:
            return studies.list_studies(connection, study_instance_uid)

    def here(self, after: str, limit: int, study_instance_uid: str = "") -> list[Instance]:
        """List instances that should be in the spool; see the port."""
        with self._database.read() as connection:
            return studies.here(connection, after, limit, study_instance_uid)

    def journal(self, limit: int = 100) -> list[Entry]:
        """List what persons did; see the port."""
        with self._database.read() as connection:
            return lists.list_journal(connection, limit)

    def member_of(self, destination: str, studies: Sequence[str]) -> dict[str, str]:
        """Look up members of a group; see the port."""
        with self._database.read() as connection:
            return groups.member_of(connection, destination, studies)

    def stick(self, destination: str, members: Mapping[str, str]) -> None:
        """Remember members of a group; see the port."""
        with self._database.write() as connection:
            groups.stick(connection, destination, members, self._clock())

    def learn(self, acceptances: Sequence[Acceptance]) -> None:
        """Remember what peers accepted; see the port."""
        with self._database.write() as connection:
            accepted.learn(connection, acceptances)

    def learnt(self, since: float) -> list[Acceptance]:
        """Say what peers accepted; see the port."""
        with self._database.read() as connection:
            return accepted.learnt(connection, since)

    def strand(self, destinations: Sequence[str]) -> int:
        """Hold deliveries that nobody will make; see the port."""
        with self._database.write() as connection:
            return queue.strand(connection, destinations, self._clock())

    def rewind(self) -> int:
        """Put times right; see the port."""
        with self._database.write() as connection:
            rooms = (queue, work, commitments)
            return sum(room.rewind(connection, self._clock()) for room in rooms)

    def hold_instance(self, instance_id: str, reason: str) -> None:
        """Set an instance aside; see the port."""
        with self._database.write() as connection:
            intake.hold(connection, instance_id, reason)

    def removable(
        self, settled_before: float, limit: int, *, committed: bool = False
    ) -> list[tuple[Instance, list[Target]]]:
        """Mark and return what may go; see the port."""
        with self._database.write() as connection:
            return retention.removable(connection, settled_before, limit, committed=committed)

    def gone(self, instance_ids: Sequence[str]) -> None:
        """Note that bytes are no longer here; see the port."""
        with self._database.write() as connection:
            retention.gone(connection, instance_ids, self._clock())

    def prune(self, gone_before: float, limit: int) -> int:
        """Forget old history; see the port."""
        with self._database.write() as connection:
            return retention.prune(connection, gone_before, limit)

    def totals(self) -> Totals:
        """Count everything; see the port."""
        with self._database.read() as connection:
            return lists.totals(connection)

    def close(self) -> None:
        """Free all connections."""
        self._database.close()
