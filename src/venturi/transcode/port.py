"""What the transcode room offers: proven outcomes, a crew of workers that makes them, and which codecs there are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from venturi.model import Acceptance, Instance, Judgement, Outcome, Target
from venturi.transcode.shares import Done, Share, Spread


class WorkerDied(Exception):
    """A worker ended over an object, or took too long (then it ``hung``) and was ended."""

    def __init__(self, how: str, *, hung: bool = False) -> None:
        super().__init__(how)
        self.hung = hung


class Transcoder(Protocol):
    """Makes one target from one Part 10 file, or a share of it."""

    def transcode(self, source: Path, target: Target, output: Path, spread: Spread | None = None) -> Outcome:
        """Write the rendition to ``output`` (a Part 10 file, not yet synced) and prove it.

        With ``spread`` others do shares of a large object; the outcome and the bytes are the same. Never raises for
        what is in the source: an object that can't be transcoded gives an ``Outcome`` with a ``Reason``, and then
        there is no file at ``output``. OSError passes through (a full disk is not the object's fault).
        """

    def share(self, share: Share) -> Done:
        """Do a share of what another process transcodes. Raises OSError.

        What was opened for it is kept for the next share of the same, until ``let_go``.
        """

    def let_go(self) -> None:
        """Close what is kept."""


@dataclass(frozen=True, slots=True)
class Judge:
    """A job: decide for an instance of the spool, and make what its destinations should get."""

    instance: Instance
    deaths: str = ""
    """How it has ended who worked at it before, in words: then it is not encoded."""
    only: tuple[str, ...] = ()
    """The destinations it is decided anew for; empty: all."""
    acceptances: tuple[Acceptance, ...] = ()
    """What is known of its SOP class."""

    @property
    def name(self) -> str:
        """For the log."""
        return self.instance.id

    @property
    def size_bytes(self) -> int:
        """Of the dataset."""
        return self.instance.size_bytes


@dataclass(frozen=True, slots=True)
class Compress:
    """A job: make of one Part 10 file another one, whatever becomes of it: a rendition, or the same bytes again."""

    name: str
    """For the log: no path, which may name a patient."""
    source: str
    output: str
    """A file that does not exist yet, in a folder that does; its name ends in ``.part``."""
    size_bytes: int
    """Of the source."""
    target: Target | None = None
    """None: what the rules of the configuration say for ``destination``."""
    destination: str = ""


@dataclass(frozen=True, slots=True)
class Compressed:
    """The answer to ``Compress``. ``output`` is there, not synced, unless ``outcome.hold``."""

    name: str
    """The job's."""
    outcome: Outcome
    rule: str = ""
    """Which rule decided, where rules did."""


Job = Judge | Compress
Answer = Judgement | Compressed


class Crew(Protocol):
    """Workers, one a core, each with a thread of this process that waits for it.

    The frames of one large object are spread over those that have nothing else to do. A job that ends its worker is
    tried once more, alone, and then passed on as received (reason ``worker-died``).

    Whoever makes one gives ``finish(job, answer)``, called from those threads: with the answer, or with what the
    worker raised (Damaged, SpoolFull, SpoolFailed, OSError), or with WorkerDied where not even passing it on worked.
    """

    def room(self) -> int:
        """How many more jobs it takes before ``put`` blocks. Raises RuntimeError as that does."""

    def put(self, job: Job) -> None:
        """Give it a job. Raises RuntimeError where it is broken: workers can't be started, or ``finish`` raised."""

    def take_back(self) -> list[Job]:
        """Have back the jobs nobody has begun."""

    def close(self) -> None:
        """Wait until the jobs it has are done, and end the workers. Raises RuntimeError as ``put`` does."""


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
