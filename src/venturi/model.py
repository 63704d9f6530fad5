"""The words every room speaks, as frozen dataclasses. No I/O here, and nothing but the standard library.

Instance   one receipt of one object (a resend is a new receipt)
Decision   what one destination should get of it, and which rule said so
Rendition  the instance in one target encoding: as received, or transcoded
Delivery   one rendition to one destination
Outcome    what became of one attempt to make a rendition
"""

import hashlib
import json
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Envelope:
    """Under which facts an object arrived. Spool files carry it in their file meta group (PS3.10 7.1)."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    calling_ae: str
    called_ae: str
    peer: str
    """The peer's name in the configuration."""
    address: str
    """The sender's IP address, as text."""
    received_at: float
    """When its first byte arrived: seconds since 1970-01-01 UTC."""
    certificate: str = ""
    """SHA-256 of the certificate that the sender has shown, 64 hexadecimal digits; empty: none. The spool alone keeps
    it."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One receipt of one object: its bytes are in the spool under ``id``."""

    id: str
    """Ours: 32 hexadecimal digits, ordered by time of receipt; nothing of it comes from the network."""
    sha256: str
    """Of the dataset bytes as received (without the file meta group), 64 hexadecimal digits."""
    size_bytes: int
    """Of the dataset as received."""
    envelope: Envelope


Scalar = str | int | float | bool
Parameters = tuple[tuple[str, Scalar | tuple[float, ...] | tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Target:
    """An encoding to make: two decisions with equal targets share one rendition."""

    transfer_syntax: str | None = None
    """The UID; None is "as received"."""
    parameters: Parameters = ()
    """What the rule says beside the syntax, sorted by name, defaults left out: see ``transcode.wishes``."""
    min_saving: float = 0.0
    """The fraction of the original's pixel bytes that must be saved, or else the original is passed on."""

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that name this target in spool names: equal targets, equal digests."""
        text = json.dumps([self.transfer_syntax, self.parameters, self.min_saving])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


AS_RECEIVED = Target()


class OnFailure(StrEnum):
    """What a rule wants when its target can't be made."""

    KEEP = "keep"
    """Pass the object on as received."""
    HOLD = "hold"
    """Hold the delivery until a person decides."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What one destination should get of an instance."""

    destination: str
    rule: str
    """The name of the rule that won."""
    target: Target
    on_failure: OnFailure = OnFailure.KEEP
    instead: str = ""
    """Why the target is another than the rule's, in words: the destination is known not to take what it asks for."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What a destination's peer answered to a presentation context of one transfer syntax (PS3.8 9.3.3.2)."""

    destination: str
    sop_class_uid: str
    transfer_syntax: str
    accepted: bool
    at: float
    """When it answered: seconds since 1970-01-01 UTC."""


class Reason(StrEnum):
    """Why an object was passed on as received: the closed list. A detail in words stands beside it."""

    ASKED = "as-received"
    """The rule asked for it."""
    SAME_SYNTAX = "already-in-target-syntax"
    NO_PIXEL_DATA = "no-pixel-data"
    FLOAT_PIXEL_DATA = "float-pixel-data"
    NOT_NATIVE = "compressed-input"
    """The rule's ``from`` does not take what the pixels came in."""
    LOSSY_INPUT = "lossy-input"
    """It is lossy-compressed, and that is never encoded again."""
    UNSUPPORTED_INPUT_SYNTAX = "unsupported-input-syntax"
    UNSUPPORTED_TARGET = "unsupported-target"
    SIGNED_OBJECT = "digitally-signed"
    SEGMENTATION_BITS = "single-bit-pixels"
    MALFORMED = "malformed-dataset"
    IMAGE_ATTRIBUTES = "unusable-image-attributes"
    LENGTH = "pixel-data-length"
    HIGH_BIT = "high-bit"
    UNUSED_BITS = "unused-bits-carry-data"
    BITS = "bit-depth-not-for-codec"
    PHOTOMETRIC = "photometric-not-for-codec"
    DIMENSIONS = "dimensions-not-for-codec"
    TOO_LARGE = "too-large"
    FRAMES = "frames-not-found"
    """Which fragments are which frame can't be told for certain."""
    CODESTREAM = "codestream-and-header-differ"
    DECODER_FAILED = "decoder-failed"
    NEVER_LOSSY = "never-lossy"
    """Its kind, or what is in it, forbids any loss."""
    ERROR_BOUND = "error-beyond-bound"
    """A lossy encoding would have changed a sample by more than the rule allows."""
    ENCODER_FAILED = "encoder-failed"
    PROOF_FAILED = "proof-failed"
    NO_SAVING = "saving-too-small"
    WORKER_DIED = "worker-died"


class Proof(StrEnum):
    """How a rendition is known to be right."""

    ORIGINAL = "original"
    """It is the received bytes."""
    PIXELS = "pixels"
    """Every frame was taken back from the final bytes, decoded by a pinned decoder, and equals the original."""
    BOUND = "bound"
    """Lossy: the same, and no sample of any frame differs by more than the rule's ``max_error``."""
    NONE = "none"
    """The rule says ``prove: none``: no pixel was decoded again."""


@dataclass(frozen=True, slots=True)
class Lossy:
    """What a lossy rendition lost, as measured on every sample, and who it is now."""

    sop_instance_uid: str
    """New, or the original's where the rule keeps it."""
    ratio: float
    """Native pixel bytes to encoded pixel bytes."""
    max_error: int
    """The largest difference of any sample, in stored values."""
    psnr_db: float | None
    """Peak signal to noise ratio over all samples, the peak being 2^BitsStored - 1; None where nothing differs."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of making one target from one instance."""

    target: Target
    transfer_syntax: str
    """The UID of what is there now."""
    size_bytes: int
    """Of its dataset."""
    sha256: str
    """Of its dataset."""
    reason: Reason | None = None
    """None: transcoded. Otherwise the original stands, and this is why."""
    detail: str = ""
    """The reason in words, with figures, without PHI."""
    proof: Proof = Proof.ORIGINAL
    codec: str = ""
    """Which library encoded, and which proved: ``imagecodecs/openjph, openjpeg``."""
    frames: int = 0
    pixel_bytes_before: int = 0
    """Of the Pixel Data as received."""
    pixel_bytes_after: int = 0
    hold: bool = False
    """With a reason: the rule wants a person to decide (``lossy: {beyond: hold}``)."""
    lossy: "Lossy | None" = None
    """What was lost, where the rendition is lossy."""

    @property
    def transcoded(self) -> bool:
        """Whether there is a file of its own for this target."""
        return self.reason is None


@dataclass(frozen=True, slots=True)
class HeaderSummary:
    """The few header facts the ledger keeps for lists: UIDs and codes, nothing that names a person."""

    study_instance_uid: str = ""
    series_instance_uid: str = ""
    modality: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """All that was decided and made of one instance, recorded in one transaction.

    ``outcomes`` holds one entry for each distinct target of ``decisions``. With no decisions, ``held`` says why the
    instance waits for a person (``no-route``), or is empty where a route discards it on purpose (``to: []``).
    """

    instance: Instance
    decisions: tuple[Decision, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    held: str = ""
    summary: HeaderSummary = field(default_factory=HeaderSummary)
    config_digest: str = ""
    only: tuple[str, ...] = ()
    """The destinations it was decided anew for; empty: all."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A SOP instance, as storage commitment names it (PS3.3 Table C.14-1)."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """An N-ACTION of Storage Commitment: who stores these for good? (PS3.4 Table J.3-1)."""

    transaction_uid: str
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class CommitmentResult:
    """An N-EVENT-REPORT of Storage Commitment: what became of a request (PS3.4 Table J.3-2)."""

    transaction_uid: str
    committed: tuple[Reference, ...] = ()
    failed: tuple[tuple[Reference, int], ...] = ()
    """With their Failure Reason (PS3.3 C.14.1.1)."""
