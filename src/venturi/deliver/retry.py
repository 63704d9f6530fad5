"""When a delivery is tried again, and when it is held: one policy, pure.

What may succeed later is tried for ever, ever more rarely; nothing expires. What a destination refuses is
tried a few times, since peers are restarted and reconfigured, and then held for a person.
"""

from dataclasses import dataclass

from venturi.deliver.port import Ending
from venturi.ledger.port import State

HOPELESS = frozenset(("conflict", "damaged"))
"""Statuses of ours that no repetition changes: held at once."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Doubling delays with jitter, up to a ceiling."""

    first_s: float = 5.0
    ceiling_s: float = 900.0
    refused_tries: int = 3
    """How often a destination may refuse with the same status before the delivery is held."""

    def delay_s(self, tries: int, chance: float) -> float:
        """How long to wait after the ``tries``-th try (from 1) failed; ``chance`` from 0 to 1 spreads the waits.

        At least half of, and at most, ``first_s`` doubled with each try and cut off at ``ceiling_s``.
        """
        doublings = min(max(tries, 1) - 1, 64)  # 2**64 seconds is beyond any ceiling, and no float overflows
        return min(self.ceiling_s, self.first_s * 2.0**doublings) * (0.5 + chance / 2)

    def state(self, ending: Ending, status: str, refused_before: int) -> State:
        """What a delivery becomes; ``refused_before`` counts the same refusal in the tries just before."""
        if ending is Ending.DELIVERED:
            return State.DELIVERED
        if ending is Ending.LATER:
            return State.PENDING
        if status in HOPELESS or refused_before + 1 >= self.refused_tries:
            return State.HELD
        return State.PENDING
