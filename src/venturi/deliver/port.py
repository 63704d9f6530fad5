"""What a destination is: something that takes renditions, and says for each how that ended."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from venturi.model import Envelope, Instance, Outcome


@dataclass(frozen=True, slots=True)
class Parcel:
    """One rendition to hand over, and the original to fall back on."""

    delivery: int
    instance: Instance
    outcome: Outcome
    rendition: Path
    """A Part 10 file; the same as ``original`` where nothing was transcoded."""
    original: Path
    study: str = ""
    """Its Study Instance UID, where it has one."""

    @property
    def envelope(self) -> Envelope:
        """How the object came."""
        return self.instance.envelope


class Ending(StrEnum):
    """How handing over a parcel ended."""

    DELIVERED = "delivered"
    LATER = "later"
    """Trying again can help."""
    REFUSED = "refused"
    """Trying again will not help unless something changes: held after a few tries."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a destination answered for one parcel."""

    delivery: int
    ending: Ending
    status: str = ""
    """The peer's status as four hexadecimal digits, or a word of ours (``refused``, ``no-context``, ``conflict``)."""
    detail: str = ""
    """In words, without PHI."""
    sent_original: bool = False
    duration_s: float = 0.0
    member: str = ""
    """Of a group: which one took it."""
    place: str = ""
    """Where it is in a folder, relative to that."""
    there: bool = True
    """Whether the destination was there at all; where it was not, another one of a group may be."""
    takes_another: bool = False
    """Refused, but it takes the object in an uncompressed syntax: another rendition can be made."""


class Destination(Protocol):
    """Takes parcels. One thread uses one destination object."""

    def deliver(self, parcels: Sequence[Parcel]) -> Iterator[Receipt]:
        """Hand over each, yielding exactly one receipt for each parcel as soon as it is certain, in any order."""

    def probe(self) -> str:
        """Ask whether it would take anything at all: why not, in words without PHI; empty where it would."""

    def rest(self) -> None:
        """There is nothing to hand over for a while: release what is kept for more."""

    def close(self) -> None:
        """Release what is held open."""
