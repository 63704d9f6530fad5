"""What the console shows: the same figures for the page, the metrics and ``venturi status``."""

from dataclasses import dataclass

from venturi.ledger.port import Totals
from venturi.model import Reason


def done(reason: str) -> str:
    """What was done to make a rendition, from its reason: transcoded, or as received and why."""
    if not reason:
        return "transcoded and proven"
    return "as received" if reason == Reason.ASKED else f"as received: {reason}"


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
