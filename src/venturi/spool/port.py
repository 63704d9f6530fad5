"""What a spool is: instances and renditions at rest, safe before they are spoken of.

A spool object is a Part 10 file: the received dataset bytes verbatim behind a file meta group that carries
the ``Envelope``. Only ids made by the spool name anything in it.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from venturi.model import Envelope, Instance, Target

Known = Callable[[Sequence[str]], Collection[str]]
"""Which of these ids are recorded already."""


def nothing_known(_: Sequence[str]) -> Collection[str]:
    """Answer for a ledger that is empty, or not asked."""
    return ()


class Draft(Protocol):
    """An object that is being received. Exactly one of ``commit`` and ``discard`` ends it; both close it."""

    @property
    def path(self) -> Path:
        """A Part 10 file of what was written so far, for who must look into it before it is committed."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append dataset bytes. Raises SpoolFull, SpoolFailed."""

    def commit(self) -> Instance:
        """Make it durable (data, name and folder synced) and return what it is.

        When it returns, the object survives loss of power, and 0000 may be sent. When it raises SpoolFull or
        SpoolFailed, nothing is left.
        """

    def discard(self) -> None:
        """Remove every trace. Never raises for a draft that is gone already."""


class RenditionDraft(Protocol):
    """A rendition that is being written, by whoever holds it, to ``path``: a Part 10 file."""

    @property
    def path(self) -> Path:
        """A temporary file of our own that does not exist yet."""

    def commit(self) -> None:
        """Sync it and give it its name, replacing an earlier rendition of the same instance and target."""

    def discard(self) -> None:
        """Remove it if it is there."""


class Intake(Protocol):
    """One receiver's own part of the spool, locked by it while it lives. A thread may create many drafts."""

    def create(self, envelope: Envelope) -> Draft:
        """Begin a draft. Raises SpoolFull, SpoolFailed."""

    def sweep(self, known: Known = nothing_known) -> Iterator[Instance]:
        """At start: remove what was never committed and yield what was (names and sizes checked).

        What is ``known`` is passed over without opening its file, so that a large spool delays no start.
        """

    def close(self) -> None:
        """Give the folder free for the next receiver."""


class Spool(Protocol):
    """The whole spool, as every other role sees it."""

    def intake(self) -> Intake:
        """Take a receiver's own part of it: the first that no living process holds."""

    def materialise(self, instance: Instance) -> Path:
        """Give a local Part 10 file of the original. Raises Damaged: missing, or not as long as it was."""

    def draft_rendition(self, instance: Instance, target: Target) -> RenditionDraft:
        """Give a place to write the rendition of an instance for a target."""

    def abandon_renditions(self, instance: Instance) -> None:
        """Remove what a process that died over an instance has left of its drafts; renditions stay."""

    def materialise_rendition(self, instance: Instance, target: Target) -> Path:
        """Give a local Part 10 file of a committed rendition. Raises Damaged where it is missing."""

    def delete(self, instance: Instance) -> None:
        """Unlink the original and all its renditions and sync the folders; what is gone is no error."""

    def delete_rendition(self, instance: Instance, target: Target) -> None:
        """Unlink one rendition; no error where there is none."""

    def quarantine(self, instance: Instance) -> None:
        """Move the original to ``corrupt/``; it is never deleted."""

    def iterate(self) -> Iterator[Instance]:
        """Every committed instance, from the files themselves, oldest first within each receiver's part."""

    def strays(self, known: Known) -> Iterator[str]:
        """Ids of originals that are not known, those set aside as damaged too; nothing is opened or moved."""

    def adopt(self, record: Callable[[Sequence[Instance]], int], known: Known = nothing_known) -> int:
        """Give ``record`` what receivers have committed that ended since: they may not have recorded it themselves.

        Each receiver's part once, in batches; if ``record`` raises, that part again next time. The sum of what
        ``record`` returns.
        """

    def try_out(self) -> None:
        """Write and sync something of no meaning, as an object would be. Raises SpoolFull, SpoolFailed."""

    def free_fraction(self) -> float:
        """Of the space and of the inodes under the spool, whichever is scarcer: 0.0 to 1.0."""
