"""What a ledger is: the facts about instances, renditions and deliveries, and who is working on what.

Work is claimed by lease: a claim belongs to its ``owner`` until ``lease_s`` seconds have passed without a renewal;
then anybody may claim it again. Every method is one transaction. Times are seconds since 1970-01-01 UTC.
Losing the ledger loses no image: it is made anew from the spool.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from venturi.ledger.commitment_port import COMMITTED, Commitment, Commitments, Copy, Kept, Uncommitted
from venturi.model import Acceptance, Decision, Instance, Judgement, Lossy, OnFailure, Outcome, Reason, Target

__all__ = [
    "BY_HAND", "COMMITTED", "NOT_FAILURES", "Attempt", "Claim", "Commitment", "Commitments", "Copy", "DeliveryRow",
    "Doorbell", "Entry", "Filter", "InstanceRow", "Job", "Kept", "Ledger", "Role", "State", "StudyRow", "Totals",
    "Uncommitted", "Verb", "failed", "holds",
]  # fmt: skip

NOT_FAILURES = frozenset((Reason.ASKED, Reason.SAME_SYNTAX, Reason.NO_PIXEL_DATA, Reason.NO_SAVING))
"""Reasons that fulfil a rule: it asked for this, or for what is there already; there is no image to encode; or its
own ``min_saving`` chose the original. Every other reason means that the target can't be made of this image: also what
its ``from`` does not take, and lossy input. Whoever wants such objects to pass while
``on_failure: hold`` holds the others writes a rule for them."""


def failed(outcome: Outcome) -> bool:
    """Whether a rule's target could not be made. Of what may not lose so much, its ``beyond`` may want the original."""
    if outcome.hold:
        return True
    if outcome.reason in (Reason.ERROR_BOUND, Reason.NEVER_LOSSY):
        return ("lossy_beyond", "as-received") not in outcome.target.parameters
    return outcome.reason is not None and outcome.reason not in NOT_FAILURES


def holds(decision: Decision, outcome: Outcome) -> bool:
    """Whether a delivery waits for a person: by ``on_failure: hold``, or by ``lossy: {beyond: hold}``."""
    return outcome.hold or (decision.on_failure is OnFailure.HOLD and failed(outcome))


class Role(StrEnum):
    """Who can be woken by the doorbell."""

    TRANSCODE = "transcode"
    DELIVER = "deliver"


class Doorbell(Protocol):
    """Wakes a role at once. A ring may be lost: whoever waits also looks by itself now and then."""

    def ring(self, role: Role) -> None:
        """Wake the role; never blocks, never raises."""

    def wait(self, timeout_s: float) -> bool:
        """Sleep until rung (True) or until the time has passed (False). Only for the role it was made for."""

    def close(self) -> None:
        """Free its socket."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An instance to decide and transcode, and how often that was begun before (by roles that died over it)."""

    instance: Instance
    tries: int
    """1 at the first claim."""
    only: tuple[str, ...] = ()
    """The destinations it is decided anew for, because they take another rendition; empty: all."""


@dataclass(frozen=True, slots=True)
class Job:
    """A delivery to make."""

    id: int
    instance: Instance
    destination: str
    rule: str
    target: Target
    """Which rendition; where ``outcome.transcoded`` is False, the original."""
    outcome: Outcome
    tries: int
    """Attempts made before this one."""
    study_instance_uid: str = ""


class Verb(StrEnum):
    """What a person may do with deliveries, and with instances that wait for one."""

    RETRY = "retry"
    """Held and waiting ones are due now, and held instances are decided anew."""
    RESEND = "resend"
    """Make them pending again, delivered ones too, where the bytes are still here."""
    HOLD = "hold"
    """What waits waits for a person."""
    RELEASE = "release"
    """What is held goes on, whatever holds it."""
    DROP = "drop"
    """What waits or is held is given up, and so are held instances."""
    REDECIDE = "redecide"
    """Instances of what waits or is held are decided anew, by the rules as they are now."""


BY_HAND = "by-hand"
"""The status of what a person holds."""
ANEW = "decided-anew"
"""The status of what is held while its instance is decided anew for it."""
TRUSTED_S = 86400.0
"""How long what a peer accepted counts in decisions. It may have been configured anew, and is asked again then."""


class State(StrEnum):
    """A delivery's state."""

    PENDING = "pending"
    DELIVERED = "delivered"
    COMMITTED = "committed"
    HELD = "held"
    DROPPED = "dropped"
    """Given up, by a person."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one attempt to deliver ended."""

    delivery: int
    state: State
    """DELIVERED, HELD, or PENDING for "later"."""
    at: float
    duration_s: float
    status: str = ""
    """The peer's status as four hexadecimal digits, or a word of ours such as ``refused`` or ``no-context``."""
    detail: str = ""
    """In words, without PHI: where it is now, or what went wrong and what to do."""
    due_at: float = 0.0
    """For PENDING: not before."""
    sent_original: bool = False
    """The original went instead of the transcoded rendition, because the destination does not take the latter."""
    member: str = ""
    """Of a group: which one has it."""
    place: str = ""
    """Where it is in a folder, relative to that."""
    commit_due_at: float | None = None
    """When to ask the destination whether it has it for good; None: never."""
    anew: bool = False
    """HELD, and the instance is to be decided anew for this destination at once: it takes another rendition."""


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery as lists show it."""

    id: int
    instance_id: str
    sop_instance_uid: str
    sop_class_uid: str
    study_instance_uid: str
    modality: str
    peer: str
    received_at: float
    destination: str
    rule: str
    state: State
    tries: int
    due_at: float
    status: str
    detail: str
    transfer_syntax: str
    """Of the rendition."""
    source_syntax: str
    """As received."""
    size_before: int
    size_after: int
    reason: str
    """Why it is as received; empty when transcoded."""
    proof: str
    reason_detail: str = ""
    """The reason in words, or what is to be said of a rendition."""
    sent_original: bool = False
    """The original went instead of the rendition: the destination does not take the latter."""
    lossy: Lossy | None = None
    """What was lost, and under which SOP Instance UID."""
    instead: str = ""
    """Why it gets another rendition than the rule says, in words; empty where it gets that."""


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """An instance as lists show it."""

    instance: Instance
    state: str
    """received, decided, removable or gone."""
    held: str
    """Why it waits for a person, or empty."""
    conflict: bool
    """Another instance has the same SOP Instance UID and other bytes."""
    modality: str
    study_instance_uid: str


@dataclass(frozen=True, slots=True)
class Filter:
    """Which deliveries or instances are meant; an empty field means any."""

    ids: tuple[int, ...] = ()
    """Of deliveries."""
    destination: str = ""
    state: str = ""
    study_instance_uid: str = ""
    sop_instance_uid: str = ""
    """As received, or of a lossy rendition: for deliveries, of that one; for instances, of any."""
    conflict: bool = False
    """Only those whose SOP Instance UID another instance has with other bytes."""
    received_before: float | None = None
    received_after: float | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """What a person did, as the journal has it."""

    at: float
    who: str
    verb: str
    which: Filter
    changed: int


@dataclass(frozen=True, slots=True)
class StudyRow:
    """What became of a study's instances; the Study Instance UID is empty for those that are not decided yet."""

    study_instance_uid: str
    received: int
    """Receipts: an instance that came twice counts twice."""
    first_at: float
    last_at: float
    waiting: int
    """Not decided yet, and not held."""
    held: int
    """Waiting for a person before they are decided."""
    discarded: int
    """Decided, and for no destination: a route says so, or a person."""
    gone: int
    """Whose bytes have been removed, as retention asks."""
    conflicts: int
    """Whose SOP Instance UID another one has with other bytes."""
    transcoded: int
    """Of which a rendition was made, or several."""
    deliveries: dict[tuple[str, str], int]
    """By (destination, state)."""


@dataclass(frozen=True, slots=True)
class Totals:
    """The node at a glance."""

    instances: dict[str, int]
    """By state; "held" counts instances that wait for a person."""
    deliveries: dict[tuple[str, str], int]
    """By (destination, state)."""
    renditions: dict[tuple[str, str, str], int]
    """By (transfer syntax UID, reason, proof); the reason is empty for transcoded ones."""
    bytes_received: int
    bytes_before: int
    """Pixel Data bytes of what was transcoded, as received."""
    bytes_after: int
    oldest_pending_at: float | None
    oldest_kept_at: float | None = None
    """When the oldest of what was decided upon, and is in the spool still, was decided upon."""
    conflicts: int = 0
    """Instances whose SOP Instance UID another one has with other bytes."""
    commitments: dict[tuple[str, str], int] = field(default_factory=dict)
    """Requests for storage commitment by (destination that was asked, state); the destination is empty for those of
    peers."""


class Ledger(Protocol):
    """The facts. Safe to use from several threads and processes."""

    @property
    def commitments(self) -> Commitments:
        """What is known of storage commitment."""

    def add(self, instances: Sequence[Instance]) -> int:
        """Record receipts, ignoring ids that are known; how many were new. Flags same UID with other bytes."""

    def known(self, instance_ids: Sequence[str]) -> set[str]:
        """Which of these have been recorded."""

    def claim_instances(self, owner: str, limit: int, lease_s: float) -> list[Claim]:
        """Undecided instances that nobody holds, oldest first."""

    def put_back(self, instance_id: str, owner: str, wait_s: float) -> None:
        """Give back a claim that came to nothing through no fault of the instance: the try does not count.

        Nobody can claim it before ``wait_s`` seconds have passed. Nothing happens if the lease was lost.
        """

    def renew(self, owner: str, lease_s: float) -> None:
        """Extend all leases of an owner, on instances and on deliveries."""

    def release(self, owner: str) -> int:
        """Free all leases of an owner that has ended (or whose name begins with ``owner``); how many."""

    def owners(self) -> list[str]:
        """Everybody who holds a lease, run out or not."""

    def judge(self, judgement: Judgement, owner: str) -> bool:
        """Record decisions, renditions and deliveries, all or nothing.

        False, and nothing recorded, if the owner's lease was lost to another meanwhile or it was judged already.
        """

    def judge_all(self, judgements: Sequence[Judgement], owner: str) -> set[str]:
        """Do so for several in one transaction, which costs little more than for one; the ids that were recorded."""

    def claim_deliveries(self, destination: str, owner: str, limit: int, lease_s: float) -> list[Job]:
        """Pending deliveries to a destination that are due and that nobody holds, oldest first."""

    def next_due(self, destination: str) -> float | None:
        """When the next pending delivery to a destination is due, or None."""

    def record(self, attempts: Sequence[Attempt], owner: str) -> None:
        """Record how attempts ended, free their leases, and undecide instances for those that are ``anew``."""

    def deliveries(self, which: Filter) -> list[DeliveryRow]:
        """Deliveries, newest first."""

    def held_instances(self, limit: int = 100) -> list[InstanceRow]:
        """Instances that wait for a person (``no-route``, damaged)."""

    def instances(self, which: Filter) -> list[InstanceRow]:
        """Instances, newest first; only the UIDs, ``state`` and ``limit`` of the filter count."""

    def attempts(self, delivery: int) -> list[Attempt]:
        """All attempts of a delivery, oldest first."""

    def jobs(self, which: Filter) -> list[Job]:
        """Deliveries whose bytes are here, oldest first, with all that is needed to make them; nothing is claimed."""

    def act(self, verb: Verb, which: Filter, who: str, *, dry: bool = False) -> int:
        """Do what a person wants, and journal it; how many are concerned. ``dry``: only say how many."""

    def under_way(self, which: Filter) -> int:
        """How many deliveries are on their way at this moment: ``DROP`` and ``REDECIDE`` leave them as they are."""

    def studies(self, study_instance_uid: str = "") -> list[StudyRow]:
        """What became of each study, or of one, the latest first. Reads everything: for a person, not for a loop."""

    def here(self, after: str, limit: int, study_instance_uid: str = "") -> list[Instance]:
        """Instances whose bytes should be in the spool, from the first id after ``after`` on."""

    def journal(self, limit: int = 100) -> list[Entry]:
        """What persons did, newest first."""

    def member_of(self, destination: str, studies: Sequence[str]) -> dict[str, str]:
        """Which member of a group has got objects of these studies, by study."""

    def stick(self, destination: str, members: Mapping[str, str]) -> None:
        """Remember which member of a group gets a study, by study."""

    def learn(self, acceptances: Sequence[Acceptance]) -> None:
        """Remember what peers accepted: of each destination, SOP class and transfer syntax the last."""

    def learnt(self, since: float) -> list[Acceptance]:
        """What peers accepted and refused, as far as that was learnt since then."""

    def strand(self, destinations: Sequence[str]) -> int:
        """Hold pending deliveries to any destination but these, as ``no-destination``; how many.

        Those held so before whose destination is among these become pending again.
        """

    def rewind(self) -> int:
        """Make due now what waits longer than anything may: a clock that was wrong has set it. How many."""

    def hold_instance(self, instance_id: str, reason: str) -> None:
        """Set an instance aside for a person."""

    def removable(
        self, settled_before: float, limit: int, *, committed: bool = False
    ) -> list[tuple[Instance, list[Target]]]:
        """Mark and return instances all of whose deliveries were done before then, with their transcoded targets.

        None of which a destination is still asked whether it has it for good. ``committed``: and only such of which
        one has said so, of a copy that has lost nothing; or whose deliveries a person or a route has given up.
        """

    def gone(self, instance_ids: Sequence[str]) -> None:
        """Their bytes have been removed; the rows stay as history."""

    def prune(self, gone_before: float, limit: int) -> int:
        """Forget history of instances whose bytes went before then; how many."""

    def totals(self) -> Totals:
        """Counts for status and metrics."""

    def close(self) -> None:
        """Free its connections."""
