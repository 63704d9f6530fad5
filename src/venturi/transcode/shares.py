"""Shares of one large object: some of its frames, encoded or proven by whichever worker has time.

The worker that has the object in hand (the lead) plans, asks its crew to ``spread`` the shares, does some of them
itself when it is told so, and puts together what came of them. A share's worker opens source and rendition
itself and plans the same: what can't be told from these is in the share. Encoded frames come back as a file of items
(PS3.5 A.4), native ones as they are; what was measured comes back as numbers. Nobody sends pixels to anybody.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from venturi.model import Reason, Target

SHARE_BYTES = 8 << 20
"""Native bytes of a share, or one frame where that is more."""
LEAST_SHARES = 4
"""An object of fewer is not spread."""


class Phase(StrEnum):
    """What is to be done with the frames."""

    ENCODE = "encode"
    PROVE = "prove"


@dataclass(frozen=True, slots=True)
class Share:
    """Frames ``first`` up to, not with, ``last`` of one rendition."""

    number: int
    phase: Phase
    source: str
    target: Target
    rendition: str
    """The file that is being made: to be proven from, or beside which the part goes (``part``)."""
    first: int
    last: int
    size_bytes: int
    """Of these frames, native."""
    depth: int
    """See ``Image.depth``."""
    extended: bool = False
    lossless_instead: bool = False
    """The lossy target was refused, and its rule says ``beyond: lossless``."""


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a share."""

    number: int
    refused: Reason | None = None
    detail: str = ""
    unused_bits: bool = False
    """Frames must be encoded with all allocated bits: see ``Plan``."""
    max_error: int = 0
    squares: int = 0
    samples: int = 0
    """Of a lossy rendition: what was measured."""


class Spread(Protocol):
    """Has shares done, some by the caller itself."""

    def __call__(self, shares: tuple[Share, ...]) -> tuple[Done, ...]:
        """Give what became of each, in order, once all are done."""
