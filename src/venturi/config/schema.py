"""The shape of the YAML file, as frozen pydantic models. Loading and line numbers are in ``load.py``.

The loader hands every scalar over as text; the types here convert. Names with a unit (``after_s``) are written
without it in the file (``after: 7d``), where the value has one.
"""

import os
from enum import StrEnum
from pathlib import Path
from time import struct_time
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, InstanceOf, Tag

from venturi.config.base import Model
from venturi.config.rule_text import When, rule_fields
from venturi.config.values import (
    AeTitle,
    AeTitles,
    Duration,
    ExistingFile,
    Flag,
    FolderMode,
    Fraction,
    Host,
    HostPort,
    Listen,
    Mode,
    Name,
    Names,
    Network,
    Networks,
    PathOf,
    Port,
    Rate,
    RateOf,
    Size,
    SopClasses,
    Syntaxes,
    Whole,
    Windows,
)
from venturi.model import OnFailure, Target
from venturi.rules.condition import Condition

__all__ = [
    "Accept", "Config", "Console", "Destination", "DicomDestination", "FolderDestination", "GroupDestination",
    "HostPort", "Limits", "Model", "Network", "Node", "OnConflict", "Peer", "Retain", "Route", "Rule", "RuleOfFile",
    "Tls",
]  # fmt: skip


class Limits(Model):
    """What one node takes at once."""

    associations: Whole = Field(default=32, ge=1, le=10_000)
    """Admitted associations of this node at once."""
    min_free: Fraction = Field(default=0.1, ge=0.0, lt=1.0)
    """Fraction of space and inodes that must stay free, or else new associations are rejected (2/3/1)."""
    pdu_bytes: Size = Field(default=131072, alias="pdu", ge=4096, le=1 << 24)
    """Largest P-DATA-TF PDU accepted, advertised in negotiation (PS3.8 D.1)."""
    object_bytes: Size = Field(default=4 << 30, alias="object", ge=1)
    """Largest dataset accepted."""
    timeout_s: Duration = Field(default=30.0, alias="timeout", gt=0.0)
    """For each phase of an association."""


class Retain(Model):
    """How long originals and history are kept."""

    original: Literal["until-delivered", "until-committed"] = "until-delivered"
    """Until-committed: and until a destination has it for good, with nothing lost (see ``commit``)."""
    after_s: Duration = Field(default=7 * 86400.0, alias="after")
    """How long after the last delivery the bytes stay, seconds."""
    rows_s: Duration = Field(default=400 * 86400.0, alias="rows")
    """How long history stays after the bytes went, seconds."""


class Tls(Model):
    """Certificates of the node (PEM files). With them, whoever connects must have one, too."""

    certificate: ExistingFile
    """The node's, and those between it and its root."""
    key: ExistingFile
    ca: ExistingFile
    """Who has signed its peers' certificates."""


class Node(Model):
    """The node itself."""

    ae_title: AeTitles = Field(default=("VENTURI",), min_length=1)
    listen: Listen = HostPort("127.0.0.1", 11112)
    data: PathOf = Field(default=Path("venturi-data"), validate_default=True)
    """Absolute after loading."""
    tls: Tls | None = None
    limits: Limits = Limits()
    retain: Retain = Retain()
    commitment_s: Duration = Field(default=86400.0, alias="commitment", ge=1.0, le=30 * 86400.0)
    """How long storage commitment may take: until what is asked of us counts as failed where it is not safe by then,
    and until a destination that has not answered is asked again."""
    receivers: Whole = Field(default=2, ge=1, le=64)
    workers: Whole = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=1024)


class Console(Model):
    """The status page and metrics."""

    listen: Listen = HostPort("127.0.0.1", 8080)


class Accept(Model):
    """What a peer may send, once it is let in."""

    sop_classes: SopClasses = ()
    """UIDs; none: everything of the Storage Service Class, private and retired too."""
    transfer_syntaxes: Syntaxes = ()
    """UIDs, the preferred first; none: all, as the sender compresses, then explicit before implicit."""
    associations: Whole | None = Field(default=None, ge=1, le=10_000)
    """At once, of this peer; none: as many as the node takes."""
    user_identity: Literal["ignored", "required"] = "ignored"
    """Whether it must say who its user is (PS3.7 D.3.3.7). That is a claim; a certificate is a proof."""
    deny: When | None = None
    """Which objects are refused, with 0124."""
    unreadable: Literal["keep", "refuse"] = "keep"
    """What becomes of an object whose header can't be read, or lacks a UID that every object has: C000, or not."""


class Peer(Model):
    """Another AE: who may send to us, and where we may send."""

    ae_title: AeTitles = Field(min_length=1)
    """One or several; "*" is any."""
    hosts: Networks = ()
    """From where it may send."""
    certificate: ExistingFile | None = None
    """The one it must show (PEM); without this, any that ``node.tls``'s ``ca`` has signed."""
    accept: Accept = Accept()
    host: Host | None = None
    """Where it listens; it may send from there too."""
    port: Port = 104
    tls: Flag = False
    """Whether it is called by TLS, with ``node.tls``. It must show ``certificate``, or one for ``host``."""


class Rule(Model):
    """What a destination gets, if the conditions hold."""

    name: str
    when: When
    target: InstanceOf[Target]
    on_failure: OnFailure = OnFailure.KEEP


class Route(Model):
    """Where instances go, if the conditions hold."""

    when: When = Condition()
    to: Names
    """Names of destinations; none discards."""


class OnConflict(StrEnum):
    """What happens to a file whose name other bytes already have."""

    KEEP_BOTH = "keep-both"
    REPLACE = "replace"
    HOLD = "hold"


class Pacing(Model):
    """When and how fast a destination gets what is for it."""

    rate: RateOf = Rate()
    """At most."""
    between: Windows = ()
    """Only then, each day; none: always."""

    def open_at(self, local: struct_time) -> bool:
        """Whether it gets anything at that local time."""
        minute = local.tm_hour * 60 + local.tm_min
        return not self.between or any(window.holds(minute) for window in self.between)


class FolderDestination(Pacing):
    """Files under a folder."""

    folder: PathOf
    """Absolute after loading."""
    path: str = "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm"
    on_conflict: OnConflict = OnConflict.KEEP_BOTH
    file_mode: Mode = 0o600
    folder_mode: FolderMode = 0o700
    """Of folders that are made."""
    min_free: Fraction = Field(default=0.0, ge=0.0, lt=1.0)
    """Fraction of space that must stay free, or else files wait."""
    commit: Flag = True
    """Whether a file there is stored for good: looked at again when somebody asks for storage commitment."""
    mount: PathOf | None = None
    """Where something must be mounted, or else files wait: an archive that is not there is not made anew here."""


class DicomDestination(Pacing):
    """A peer that takes C-STORE."""

    dicom: str
    """The peer's name."""
    calling_ae: AeTitle | None = None
    """The AE title we call ourselves; the node's first by default."""
    associations: Whole = Field(default=1, ge=1, le=32)
    """At once."""
    commit: Flag = False
    """Whether it is asked for storage commitment of what it took (PS3.4 J)."""


class GroupDestination(Model):
    """Several destinations of which each object goes to one; a study stays together as long as that one is there.

    When and how fast is said of each of them.
    """

    first_of: Names = ()
    """The first that works."""
    spread: Names = ()
    """Evenly, by study."""

    @property
    def members(self) -> tuple[str, ...]:
        """Names of destinations."""
        return self.first_of or self.spread


def _kind(value: Any) -> str | None:
    if isinstance(value, FolderDestination) or (isinstance(value, dict) and "folder" in value):
        return "<folder>"
    if isinstance(value, DicomDestination) or (isinstance(value, dict) and "dicom" in value):
        return "<dicom>"
    group = isinstance(value, dict) and ("first_of" in value or "spread" in value)
    return "<group>" if group or isinstance(value, GroupDestination) else None


Destination = FolderDestination | DicomDestination | GroupDestination
_Destination = Annotated[
    Annotated[FolderDestination, Tag("<folder>")]
    | Annotated[DicomDestination, Tag("<dicom>")]
    | Annotated[GroupDestination, Tag("<group>")],
    Discriminator(
        _kind,
        custom_error_type="in_words",
        custom_error_message="a destination is {folder: PATH}, {dicom: PEER}, {first_of: [NAME]} or {spread: [NAME]}",
    ),
]
RuleOfFile = Annotated[Rule, BeforeValidator(rule_fields)]
"""A rule with the keys of ``rule_text``."""


class Config(Model):
    """The whole file."""

    node: Node = Node()
    console: Annotated[Console | None, BeforeValidator(lambda v: None if v == "off" else v)] = Console()
    """None where the file says ``console: off``."""
    peers: dict[Name, Peer]
    rules: tuple[RuleOfFile, ...] = ()
    destinations: dict[Name, _Destination]
    routes: tuple[Route, ...] = ()
    path: Path = Path()
    """Of the file."""
    digest: str = ""
    """SHA-256 of the file's bytes, 16 hexadecimal digits: recorded with each decision."""
    warnings: tuple[str, ...] = ()
    """What is probably not meant, each ``file:line:column: message``."""

    not_in_file: ClassVar[frozenset[str]] = frozenset(("path", "digest", "warnings"))

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The members of those destinations that are groups."""
        found = self.destinations.items()
        return {name: wanted.members for name, wanted in found if isinstance(wanted, GroupDestination)}
