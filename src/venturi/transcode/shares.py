"""Shares of one large object: some of its frames, encoded or proven by whichever worker has time.

The worker that has the object in hand (the lead) plans, asks its crew to ``spread`` the shares, does some of them
itself when it is told so, and puts together what came of them. A share's worker opens source and rendition
itself and plans the same: what can't be told from these is in the share. Encoded frames come back as a file of items
(PS3.5 A.4), native ones as they are; what was measured comes back as numbers. Nobody sends pixels to anybody.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from venturi.model import Reason, Target

SHARE_BYTES = 8 << 20
"""Native bytes of a share, or one frame where that is more."""
LEAST_SHARES = 4
"""An object of fewer is not spread."""
MOST_SHARES = 4096
"""An object of more has longer ones."""
MOST_SHARE_BYTES = 1 << 40
"""No share is longer; poll(2) can't wait as long as one might take."""


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
    lossless_instead: bool = False
    """The lossy target was refused, and its rule says ``beyond: lossless``."""
    start: int = 0
    end: int = 0
    """Where in the rendition these frames' items, or native bytes, begin and end, once it is to be proven."""

    @property
    def part(self) -> Path:
        """Where the encoded frames go."""
        rendition = Path(self.rendition)
        return rendition.with_name(f"{rendition.stem}.{self.number}.part")


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a share."""

    number: int
    refused: Reason | None = None
    detail: str = ""
    written_bytes: int = 0
    """Length of the part. Of a share that was refused, it has the frames before that one."""
    unused_bits: bool = False
    """Frames must be encoded with all allocated bits: see ``Plan``."""
    max_error: int = 0
    squares: int = 0
    samples: int = 0
    """Of a lossy rendition: what was measured."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a lead asks its crew."""

    shares: tuple[Share, ...]
    """In order, numbered from 0; of one phase of one rendition."""
    most_bytes: int = 0
    """Where the parts together are longer, no more need be done; 0: however long they get."""


class Spread(Protocol):
    """Has shares done, some by the caller itself."""

    def __call__(self, request: Request, do: Callable[[Share], Done]) -> tuple[Done, ...]:
        """Give what became of the shares, in order; ``do`` does one here. Raises OSError, from wherever it came.

        They are begun in order, and no more after one that was refused: those that are missing come after it.
        """
