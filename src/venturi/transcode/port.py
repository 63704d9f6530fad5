"""What the transcode room offers: one object, several targets, proven outcomes."""

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
