"""What is asked of a run over a folder tree, what becomes of each file, and the report.

Every file of the tree ends in exactly one of three ways: it is in the output transcoded; it is in the output byte for
byte, with a reason (``model.Reason``, or ``Left`` where it is no image file and was copied on request); or there is
nothing of it in the output (``Left``).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from venturi.model import Reason, Target


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done."""

    source: Path
    """A folder, or one file."""
    output: Path
    """A folder, which may exist."""
    words: str
    """What was asked for, as on the command line: the journal keeps it."""
    digest: str
    """Names the same: a run goes on with what another one began only if both have the same."""
    target: Target | None = None
    """None: what the rules of a configuration say for ``destination``."""
    destination: str = ""
    copy_other: bool = False
    """Whether files that are no image files are copied."""
    overwrite: bool = False
    """Whether files are replaced that are there and not ours."""


class Left(StrEnum):
    """Why there is nothing of a file in the output: the closed list. A detail in words stands beside it."""

    NOT_DICOM = "not-dicom"
    NO_FILE_META = "no-file-meta"
    """It looks like a dataset without a file meta group (PS3.10 7.1)."""
    DICOMDIR = "dicomdir"
    """It says the transfer syntax of each file it names (0004,1512): that may have changed."""
    LINK_TO_FOLDER = "link-to-folder"
    SPECIAL_FILE = "special-file"
    JOURNAL = "journal"
    """A run's own notes, in a tree that a run has written."""
    UNREADABLE = "unreadable"
    CONFLICT = "conflict"
    """Something that is not ours has its place in the output."""
    HELD = "held"
    """The rule wants a person to decide (``beyond: hold``, ``on_failure: hold``)."""
    FAILED = "failed"
    """It could not be written, not even as it is."""


OTHER_FILES = frozenset((Left.NOT_DICOM, Left.NO_FILE_META, Left.DICOMDIR))
"""What ``copy_other`` copies."""
TROUBLES = frozenset((Left.NO_FILE_META, Left.UNREADABLE, Left.CONFLICT, Left.HELD, Left.FAILED))
"""Of these a person should know: exit code 1."""
FAULTS = frozenset(
    (
        *(Reason.MALFORMED, Reason.IMAGE_ATTRIBUTES, Reason.LENGTH, Reason.FRAMES, Reason.CODESTREAM),
        *(Reason.DECODER_FAILED, Reason.ENCODER_FAILED, Reason.PROOF_FAILED, Reason.TOO_LARGE),
        Reason.WORKER_DIED,
    )
)
"""Reasons for passing an image on that are somebody's fault, the image's or ours: exit code 1.

The others say what a rule asked for or chose, what there is already, or that such an image can't be had in the syntax.
"""

NAMES_SHOWN = 5
"""Of the files with one reason, so many are named."""


@dataclass(slots=True)
class Sum:
    """Files that ended alike, and their lengths in bytes before and after."""

    files: int = 0
    before: int = 0
    after: int = 0
    names: list[str] = field(default_factory=list)
    """The first few."""

    def add(self, name: str, before: int, after: int) -> None:
        """Count one."""
        self.files += 1
        self.before += before
        self.after += after
        if len(self.names) < NAMES_SHOWN:
            self.names.append(name)


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of one file that was not simply transcoded."""

    path: str
    """Relative to the source; bytes that are not UTF-8 as surrogate escapes (PEP 383)."""
    reason: str
    """A ``Reason`` or a ``Left``."""
    detail: str = ""
    copied: bool = True
    """Whether the same bytes are in the output."""


class Progress(Protocol):
    """How far it is, while it runs; figures may be a second old."""

    @property
    def files(self) -> int:
        """Files that are done, in whatever way."""

    @property
    def bytes(self) -> int:
        """Their bytes."""

    @property
    def found_files(self) -> int:
        """Files that were found so far."""

    @property
    def found_bytes(self) -> int:
        """Their bytes."""

    @property
    def found_all(self) -> bool:
        """Whether there are no more to be found."""

    @property
    def fresh_bytes(self) -> int:
        """Of ``bytes``, what this run has read, and not one before it."""

    @property
    def written_before(self) -> int:
        """Bytes of the files that are in the output now, as they were."""

    @property
    def written_after(self) -> int:
        """Bytes of the same, as they are."""


class Report(Progress, Protocol):
    """What has become of the tree; of all of it, also what an earlier run has done."""

    @property
    def transcoded(self) -> dict[tuple[str, str, str], Sum]:
        """By transfer syntax before and after (UIDs), and ``model.Proof``."""

    @property
    def passed_on(self) -> dict[str, Sum]:
        """In the output byte for byte, by ``model.Reason``, or by ``Left`` where copied on request."""

    @property
    def left_out(self) -> dict[Left, Sum]:
        """Not in the output."""

    @property
    def done_before(self) -> int:
        """Files that an earlier run has done."""

    @property
    def seconds(self) -> float:
        """How long this run took."""

    @property
    def interrupted(self) -> bool:
        """Whether it was asked to stop before all was done."""

    @property
    def stopped(self) -> str:
        """Why it could not go on, in words: a full disk. Empty where it could."""

    def endings(self) -> Iterator[Ending]:
        """Each file that was passed on or left out. Nothing where nobody asked for them to be kept."""


class Run(Protocol):
    """One run. It can be started once."""

    @property
    def report(self) -> Report:
        """The report, from the beginning on."""

    def run(self) -> None:
        """Do it all. What stands in the way later is in the report.

        Raises ConfigError (the output holds something else), Temporary (another run is at work there), Permanent (it
        can't be written).
        """

    def stop(self) -> None:
        """Ask it to finish what it has in hand and return. For a signal handler."""
