"""What may lose pixels, what never may, and what is written about it (PS3.3 C.7.6.1.1.5, C.12.4).

Nothing here depends on the clock or on chance: the same source and the same target give the same image, with the same
UID, so that a retry or a rebuild makes no second one.
"""

import struct
import uuid
from dataclasses import dataclass

from venturi.dataset.scan import EXPLICIT_LE, Element, items, name
from venturi.dataset.splice import encode_element
from venturi.dataset.syntaxes import (
    HTJ2K,
    HTJ2K_LOSSLESS,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    JPEG_LS_NEAR_LOSSLESS,
    lookup,
)
from venturi.model import Lossy, Reason, Target
from venturi.transcode.codecs.contract import Encoder
from venturi.transcode.image import Values
from venturi.transcode.original import Original
from venturi.transcode.refusal import Refused
from venturi.transcode.wishes import Wishes

LOSSLESS_SIBLING = {
    JPEG_BASELINE: JPEG_LOSSLESS_SV1,
    JPEG_LS_NEAR_LOSSLESS: JPEG_LS_LOSSLESS,
    JPEG_2000: JPEG_2000_LOSSLESS,
    HTJ2K: HTJ2K_LOSSLESS,
}
"""What a lossy syntax becomes where the rule says ``beyond: lossless``."""

SOP_CLASS_UID, SOP_INSTANCE_UID, MODALITY, IMAGE_TYPE = 0x00080016, 0x00080018, 0x00080060, 0x00080008
DERIVATION_DESCRIPTION, SOURCE_IMAGE_SEQUENCE, DERIVATION_CODE_SEQUENCE = 0x00082111, 0x00082112, 0x00089215
PIXEL_PADDING_VALUE = 0x00280120
RED_PALETTE_DESCRIPTOR = 0x00281101
LOSSY_IMAGE_COMPRESSION, LOSSY_RATIO, LOSSY_METHOD = 0x00282110, 0x00282112, 0x00282114
SMALLEST_AND_LARGEST = (0x00280106, 0x00280107, 0x00280108, 0x00280109, 0x00280110, 0x00280111)

CHANGED = frozenset(
    (
        *(
            IMAGE_TYPE,
            SOP_INSTANCE_UID,
            DERIVATION_DESCRIPTION,
            SOURCE_IMAGE_SEQUENCE,
            DERIVATION_CODE_SEQUENCE,
        ),
        *(LOSSY_IMAGE_COMPRESSION, LOSSY_RATIO, LOSSY_METHOD, *SMALLEST_AND_LARGEST),
    )
)
"""What a lossy rendition may change beside what every rendition may."""

_LOSSY_COMPRESSION = b"113040"
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_NEVER = {
    **dict.fromkeys((f"{_STORAGE}66.4", f"{_STORAGE}66.7"), "a segmentation"),
    f"{_STORAGE}481.2": "a dose",
    f"{_STORAGE}30": "a parametric map",
    **dict.fromkeys((f"{_STORAGE}128", f"{_STORAGE}128.1", f"{_STORAGE}130"), "PET"),
    f"{_STORAGE}20": "nuclear medicine",
}
_NEVER_MODALITIES = {"SEG": "a segmentation", "RTDOSE": "a dose", "PT": "PET", "NM": "nuclear medicine"}
_MAMMOGRAPHY = frozenset(_STORAGE + end for end in ("1.2", "1.2.1", "13.1.3", "13.1.4", "13.1.5"))


def forbidden(original: Original, wishes: Wishes) -> Refused | None:
    """Say why this object may not lose anything, whatever a rule wants; None where it may."""
    values = original.values
    # One value by the standard; any that some sender added counts, and so does one in small letters.
    modalities = {text.strip() for text in values.code(MODALITY, "Modality").upper().split("\\")}
    # The file meta group and the dataset may differ in what they say; either is enough.
    own_class = values.text(SOP_CLASS_UID).strip(b" \0").decode("latin-1")
    classes = {original.file.meta.sop_class_uid, own_class}
    kinds = [_NEVER[uid] for uid in sorted(classes & _NEVER.keys())]
    kinds += [_NEVER_MODALITIES[modality] for modality in sorted(modalities & _NEVER_MODALITIES.keys())]
    if kinds:
        return Refused(Reason.NEVER_LOSSY, f"it is {kinds[0]}")
    if (classes & _MAMMOGRAPHY or "MG" in modalities) and "MG" not in wishes.lossy_also:
        return Refused(Reason.NEVER_LOSSY, "it is mammography, which the rule must name: lossy: {also: [MG]}")
    if original.image.photometric == "PALETTE COLOR":
        return Refused(Reason.NEVER_LOSSY, "its values are indices of a palette")
    if RED_PALETTE_DESCRIPTOR in values:  # some of a grey image's values, then: a supplemental one (C.7.6.19)
        return Refused(Reason.NEVER_LOSSY, "it has a palette: some of its values are indices")
    if PIXEL_PADDING_VALUE in values:
        return Refused(Reason.NEVER_LOSSY, "it has a Pixel Padding Value, which must stay exact")
    if _embedded_overlay(values, original.elements):
        return Refused(Reason.NEVER_LOSSY, "it has an overlay in the unused bits")
    history = {LOSSY_RATIO, LOSSY_METHOD} & {element.tag for element in original.elements if element.length}
    if (
        history
        or _derived_lossy(original)
        # Whatever is not the standard's word for "never" may mean that it has (C.7.6.1.1.5).
        or values.code(LOSSY_IMAGE_COMPRESSION, "LossyImageCompression") not in ("", "00")
        or original.syntax.lossy
    ):
        return Refused(Reason.NEVER_LOSSY, "it has lost something before")
    for element in original.elements:
        if element.tag in (SOURCE_IMAGE_SEQUENCE, DERIVATION_CODE_SEQUENCE) and element.vr != "SQ":
            words = f"{name(element.tag)} has VR {element.vr}: nothing can be appended to it"
            return Refused(Reason.NEVER_LOSSY, words)
    return None


def _derived_lossy(original: Original) -> bool:
    """Whether Derivation Code Sequence names (113040, DCM, Lossy Compression); some forget the attribute."""
    return any(
        _LOSSY_COMPRESSION in bytes(original.header[element.start : element.end])
        for element in original.elements
        if element.tag == DERIVATION_CODE_SEQUENCE
    )


def _embedded_overlay(values: Values, elements: list[Element]) -> bool:
    """Overlay planes without data of their own are in the pixels (PS3.3 C.9.2, retired)."""
    groups = {element.tag >> 16 for element in elements if element.tag >> 24 == 0x60}
    return any(group << 16 | 0x0010 in values and group << 16 | 0x3000 not in values for group in groups)


@dataclass(frozen=True, slots=True)
class Derivation:
    """The new identity of a lossy rendition."""

    source_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    """The source's, where the rule keeps it."""
    words: str
    """For Derivation Description."""


def derive(original: Original, target: Target, wishes: Wishes) -> Derivation:
    """Name the rendition: 2.25 and the UUID of version 5 over the source's UID, its SHA-256 and the target."""
    meta = original.file.meta
    uid = meta.sop_instance_uid
    if not (uid + meta.sop_class_uid).isascii():
        raise Refused(
            Reason.IMAGE_ATTRIBUTES, "its SOP Class or Instance UID is none: it can't be referred to"
        )
    if wishes.lossy_uid == "new":
        # A digest of the dataset, not only its UID: two images under one UID must not become one.
        text = f"{uid} {original.received.sha256} {target.digest}"
        uid = f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, text).int}"
    options = ", ".join(
        f"{name} {'/'.join(map(str, value)) if isinstance(value, tuple) else value}"
        for name, value in target.parameters
        if name in ("jls_error", "j2k_cr", "j2k_psnr", "jpeg_quality")
    )
    words = f"Lossy compression: {lookup(target.transfer_syntax or '')}, {options}"
    return Derivation(meta.sop_instance_uid, meta.sop_class_uid, uid, words)


def bookkeeping(
    original: Original, encoder: Encoder, derivation: Derivation, lossy: Lossy | None
) -> dict[int, bytes | None]:
    """Make the elements of PS3.3 C.7.6.1.1.5, Image Type, derivation and source; by tag, as ``splice`` takes them.

    Without ``lossy``, Lossy Image Compression Ratio is 16 spaces, to be overwritten in place when it is measured.
    """
    values = original.values
    ratio = f"{lossy.ratio:.3f}" if lossy else ""
    changes: dict[int, bytes | None] = {
        IMAGE_TYPE: _element(IMAGE_TYPE, "CS", _image_type(values.text(IMAGE_TYPE))),
        DERIVATION_DESCRIPTION: _element(
            DERIVATION_DESCRIPTION, "ST", _description(values.text(DERIVATION_DESCRIPTION), derivation.words)
        ),
        DERIVATION_CODE_SEQUENCE: _appended(
            original, DERIVATION_CODE_SEQUENCE, _code(_LOSSY_COMPRESSION.decode(), "Lossy Compression")
        ),
        LOSSY_IMAGE_COMPRESSION: _element(LOSSY_IMAGE_COMPRESSION, "CS", b"01"),
        LOSSY_RATIO: _element(LOSSY_RATIO, "DS", ratio.ljust(16).encode()),
        LOSSY_METHOD: _element(LOSSY_METHOD, "CS", encoder.method.encode()),
        **dict.fromkeys(SMALLEST_AND_LARGEST),
    }
    if derivation.sop_instance_uid != derivation.source_uid:
        changes[SOP_INSTANCE_UID] = _element(SOP_INSTANCE_UID, "UI", derivation.sop_instance_uid.encode())
        changes[SOURCE_IMAGE_SEQUENCE] = _appended(
            original,
            SOURCE_IMAGE_SEQUENCE,
            _element(0x00081150, "UI", derivation.sop_class_uid.encode())
            + _element(0x00081155, "UI", derivation.source_uid.encode())
            + _sequence(0x0040A170, _item(_code("121320", "Uncompressed predecessor"))),
        )
    return changes


def _image_type(value: bytes) -> bytes:
    _, *rest = value.strip(b" \0").split(b"\\")
    return b"\\".join((b"DERIVED", *(rest or [b"PRIMARY"])))


def _description(before: bytes, words: str) -> bytes:
    """Append to what is there, as far as ST goes (1024 characters)."""
    before = before.rstrip(b" \0")
    whole = before + b"; " + words.encode() if before else words.encode()
    return whole if len(whole) <= 1024 else words.encode()


def _element(tag: int, vr: str, value: bytes) -> bytes:
    return encode_element(tag, vr, value)


def _item(content: bytes) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(content)) + content


def _sequence(tag: int, content: bytes) -> bytes:
    return _element(tag, "SQ", content)


def _code(value: str, meaning: str) -> bytes:
    """An item's content: a code of DICOM's own scheme (PS3.3 8.8, PS3.16 D)."""
    return (
        _element(0x00080100, "SH", value.encode())
        + _element(0x00080102, "SH", b"DCM")
        + _element(0x00080104, "LO", meaning.encode())
    )


def _appended(original: Original, tag: int, content: bytes) -> bytes:
    """A sequence with one more item; those that are there stay byte for byte, their delimiters aside."""
    found = next((element for element in original.elements if element.tag == tag), None)
    kept = b""
    if found is not None:  # of VR SQ: else ``forbidden``
        for start, end, _ in items(original.header, found, EXPLICIT_LE):
            kept += _item(bytes(original.header[start:end]))
    return _sequence(tag, kept + _item(content))
