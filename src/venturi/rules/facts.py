"""What rules may look at: the dataset's attributes, the facts of the association, and the destination."""

from dataclasses import dataclass
from typing import Protocol

from venturi.model import Envelope


class Header(Protocol):
    """The attributes of one object. ``venturi.dataset.facts`` reads them from a file."""

    def values(self, path: tuple[str, ...]) -> tuple[str, ...] | None:
        """The values at a path, as text with padding trimmed; None where the attribute is absent.

        Each step of ``path`` is a tag of eight lower-case hexadecimal digits, ``00080060``; all steps but the
        last are sequences, whose every item is looked into. A step ``gggg00ee:CREATOR`` is private: its block
        is found by its private creator (PS3.5 7.8.1). An attribute that is present and empty gives ``()``; of
        a sequence, the number of items as text.
        """


@dataclass(frozen=True, slots=True)
class Facts:
    """All that one question to the rules may look at."""

    header: Header
    envelope: Envelope
    size_bytes: int
    destination: str = ""
    """Empty while routes are asked."""
