"""What the ledger knows of storage commitment (PS3.4 J): what peers asked of us, and what we ask of destinations.

A request of a peer: open until all its instances are judged, answered until the peer has been told, then reported.
What was answered a while ago is open again before anybody is told. A request of ours: asked until the peer reports,
then done; or refused. Every method is one transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from venturi.model import CommitmentRequest, CommitmentResult, Instance, Outcome, Reference

COMMITTED = 0
"""The reason of what did not fail."""


@dataclass(frozen=True, slots=True)
class Commitment:
    """A request."""

    id: int
    transaction_uid: str
    destination: str
    """Which was asked by us; empty where we were asked."""
    peer: str
    """Who asked, or was asked."""
    calling_ae: str
    """The AE title of who asked us, and under which it is told."""
    called_ae: str
    """Ours, as it called us."""
    state: str
    """open, answered or reported; asked, done or refused."""
    at: float
    until: float
    """When what is not certain by then counts as failed."""
    tries: int
    """To tell the peer."""
    detail: str
    """What went wrong the last time, in words without PHI."""
    references: tuple[tuple[int, Reference, int | None], ...] = ()
    """Our number for each, and its Failure Reason; None: not certain yet."""

    @property
    def result(self) -> CommitmentResult:
        """What the peer is told: only of what is certain."""
        committed = tuple(each for _, each, reason in self.references if reason == COMMITTED)
        failed = tuple((each, reason) for _, each, reason in self.references if reason)
        return CommitmentResult(self.transaction_uid, committed, failed)


@dataclass(frozen=True, slots=True)
class Copy:
    """One delivery of an instance: what may be a copy that is stored for good."""

    delivery: int
    destination: str
    member: str
    """Which one of a group has it."""
    place: str
    """Where it is in a folder, relative to that."""
    state: str
    outcome: Outcome
    sent_original: bool

    @property
    def lossless(self) -> bool:
        """Whether all of the original is in it."""
        return self.sent_original or self.outcome.lossy is None


@dataclass(frozen=True, slots=True)
class Kept:
    """A receipt of an instance that somebody asks for, and its copies."""

    instance: Instance
    state: str
    held: str
    conflict: bool
    copies: tuple[Copy, ...]


@dataclass(frozen=True, slots=True)
class Uncommitted:
    """A delivery whose destination is to be asked, or looked at, whether it has it for good."""

    copy: Copy
    instance: Instance
    reference: Reference
    """What was sent."""
    conflict: bool = False
    """Whether other bytes came under its UID, too."""


class Commitments(Protocol):
    """Part of a ledger."""

    def requested(
        self, request: CommitmentRequest, peer: str, calling_ae: str, called_ae: str, until: float
    ) -> bool:
        """Record what a peer asks. The same again is judged anew and told again; other instances under its UID: False.

        Raises Temporary where too many of its requests are open.
        """

    def to_judge(self, limit: int) -> list[Commitment]:
        """Requests of peers that are open and due, the oldest first."""

    def kept(self, sop_instance_uids: Sequence[str]) -> dict[str, list[Kept]]:
        """Every receipt of each of these instances, oldest first, with its deliveries."""

    def judged(self, commitment: int, reasons: Mapping[int, int], due_at: float) -> bool:
        """Record Failure Reasons (0: none) by our numbers; whether all are there now. Else it is due again then."""

    def claim_report(self, peer: str, calling_ae: str, owner: str, lease_s: float) -> Commitment | None:
        """An answered request of a peer to tell it about: on an association that it has open itself."""

    def claim_reports(
        self, owner: str, answered_before: float, lease_s: float, limit: int
    ) -> list[Commitment]:
        """Answered requests that are due and were answered before then, one a peer and AE title."""

    def told(
        self,
        commitment: int,
        owner: str,
        failure: str = "",
        due_at: float | None = None,
        *,
        off: bool = False,
    ) -> None:
        """Record, for who has claimed it, that a peer has been told; or why not, and when to try again.

        None: when the peer is here. ``off``: nobody is there, so that its other requests have time until then, too.
        """

    def uncommitted(self, destination: str, limit: int, off: Sequence[str] = ()) -> list[Uncommitted]:
        """Delivered there, due to be asked about, and not asked about at this moment; oldest first.

        Not what those members of a group have that are ``off``.
        """

    def next_uncommitted(self, destination: str) -> float | None:
        """When the next of them is due, or None."""

    def asked(
        self, request: CommitmentRequest, destination: str, peer: str, numbers: Sequence[int], until: float
    ) -> int:
        """Record, before asking, what is asked of a peer, and of which deliveries, in order; its number.

        They are due again at ``until``.
        """

    def refused(self, commitment: int, detail: str, due_at: float) -> None:
        """The peer did not take the request: its deliveries are due again then."""

    def reported(self, result: CommitmentResult, peer: str, retry_at: float) -> int | None:
        """Record what a peer reports, also of a request that has expired; how many deliveries, or None: unknown.

        It counts for what was delivered before it was asked, and of instances that came with one content.
        What failed is delivered again at ``retry_at``, a few times, and then held.
        """

    def verified(self, ended: Mapping[int, str], looked_at: float, retry_at: float) -> None:
        """Record of deliveries that they are stored for good (empty), or why not; then as in ``reported``.

        It counts for what was delivered before ``looked_at``.
        """

    def put_off(self, numbers: Sequence[int], due_at: float | None) -> None:
        """Nothing can be found out about these now: not before then, or (None) never."""

    def want(self, destinations: Sequence[str]) -> int:
        """From now on just these are asked: also about what they got before, if it is here; others no longer.

        How many deliveries to others waited for an answer, and wait for none now.
        """

    def one(self, commitment: int) -> Commitment | None:
        """A request by its number, whole."""

    def recent(self, limit: int) -> list[Commitment]:
        """Requests, newest first, whole."""
