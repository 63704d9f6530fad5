"""What a destination's peer accepts: told to whoever remembers it, when it is new or some time has passed."""

import time
from collections.abc import Callable, Collection, Sequence

from venturi.errors import Permanent, Temporary
from venturi.log import get_logger
from venturi.model import Acceptance

log = get_logger()

AGAIN_S = 300.0
"""How often what has not changed is told: by far more often than it is forgotten (``ledger.port.TRUSTED_S``)."""
MOST_TOLD = 4096
"""What was told is known of so many: senders may invent SOP classes."""

Learn = Callable[[Sequence[Acceptance]], None]
Pair = tuple[str, str]
"""SOP class UID and transfer syntax UID."""


class Acceptances:
    """What one destination object was told by the peer, and has told."""

    def __init__(self, destination: str, learn: Learn, clock: Callable[[], float] = time.time) -> None:
        self._destination = destination
        self._learn = learn
        self._clock = clock
        self._told: dict[Pair, Acceptance] = {}

    def hear(self, proposed: Collection[Pair], accepted: Collection[Pair]) -> None:
        """Take note of how a negotiation ended. Never raises: what could not be told is told the next time."""
        now = self._clock()
        heard = [Acceptance(self._destination, *pair, pair in accepted, now) for pair in proposed]
        new = [each for each in heard if self._is_news(each)]
        if not new:
            return
        try:
            self._learn(new)
        except (Temporary, Permanent) as error:
            log.warning("not remembered what a peer accepts", destination=self._destination, error=str(error))
            return
        if len(self._told) > MOST_TOLD:
            self._told.clear()
        self._told |= {(each.sop_class_uid, each.transfer_syntax): each for each in new}

    def _is_news(self, heard: Acceptance) -> bool:
        told = self._told.get((heard.sop_class_uid, heard.transfer_syntax))
        return told is None or told.accepted != heard.accepted or abs(heard.at - told.at) >= AGAIN_S
