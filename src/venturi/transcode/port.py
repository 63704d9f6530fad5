"""What the transcode room offers: one object, several targets, proven outcomes; and which codecs it has."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from venturi.model import Outcome, Target


class Transcoder(Protocol):
    """Makes one target from one Part 10 file."""

    def transcode(self, source: Path, target: Target, output: Path) -> Outcome:
        """Write the rendition to ``output`` (a Part 10 file, not yet synced) and prove it.

        Never raises for what is in the source: an object that can't be transcoded gives an ``Outcome`` with a
        ``Reason``, and then there is no file at ``output``. OSError passes through (a full disk is not the
        object's fault).
        """


@dataclass(frozen=True, slots=True)
class CodecRow:
    """One way to make, or to read, one transfer syntax."""

    transfer_syntax: str
    """The UID."""
    encodes: bool
    """False: it reads what arrives so."""
    name: str = ""
    """What a rule's ``codec:`` calls it, where it encodes."""
    libraries: str = ""
    """Which one encodes and which proves, or which decodes and which decodes again: the package before each ``/``.

    Empty for what is uncompressed.
    """
    lossy: bool = False
    takes: tuple[str, ...] = ()
    """A rule's keys that are the encoder's own."""
    package: str = ""
    """Which other package adds it, by the entry point ``venturi.codecs``; empty for ours."""
