"""What the console shows: the same figures for the page, the metrics and ``venturi status``."""

from dataclasses import dataclass

from venturi.ledger.port import StudyRow, Totals
from venturi.model import Instance, Proof, Reason

_PROVEN = {
    Proof.PIXELS: "transcoded and proven",
    Proof.BOUND: "lossy, every error within its bound",
    Proof.NONE: "transcoded, not proven",
}


def done(reason: str, proof: str) -> str:
    """What was done to make a rendition, from its reason and its proof: transcoded, or as received and why."""
    if not reason:
        return _PROVEN[Proof(proof)]
    return "as received" if reason == Reason.ASKED else f"as received: {reason}"


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Everything received, accounted for."""

    studies: list[StudyRow]
    missing: list[Instance]
    """The ledger has them, and their bytes are not in the spool as they should be."""
    unrecorded: list[str]
    """Ids of what is in the spool, set aside as damaged or not, and not in the ledger."""

    @property
    def unaccounted(self) -> int:
        """How many: this must be 0."""
        return len(self.missing) + len(self.unrecorded)


@dataclass(frozen=True, slots=True)
class Glance:
    """The node at a glance."""

    totals: Totals
    free_fraction: float
    """Of the spool's space or inodes, whichever is scarcer."""

    @property
    def waiting(self) -> int:
        """Deliveries that will be tried."""
        return sum(count for (_, state), count in self.totals.deliveries.items() if state == "pending")

    @property
    def held(self) -> int:
        """What waits for a person: deliveries and instances."""
        deliveries = sum(count for (_, state), count in self.totals.deliveries.items() if state == "held")
        return deliveries + self.totals.instances.get("held", 0)
