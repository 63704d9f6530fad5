"""What the Image Pixel module says of the pixels (PS3.3 C.7.6.3), checked before anything is decoded or encoded.

``describe`` either gives an ``Image`` whose figures are such as codecs can work with, or raises ``Refused``
with the guard that stopped it: an image that is described wrongly would be encoded wrongly, and silently.
Whether the figures fit the bytes that are there is checked in ``original``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from venturi.dataset.scan import Buffer, Element
from venturi.model import Reason
from venturi.transcode.refusal import Refused

SAMPLES_PER_PIXEL = 0x00280002
PHOTOMETRIC_INTERPRETATION = 0x00280004
PLANAR_CONFIGURATION = 0x00280006
NUMBER_OF_FRAMES = 0x00280008
ROWS = 0x00280010
COLUMNS = 0x00280011
BITS_ALLOCATED = 0x00280100
BITS_STORED = 0x00280101
HIGH_BIT = 0x00280102
PIXEL_REPRESENTATION = 0x00280103
FLOAT_PIXEL_DATA = (0x7FE00008, 0x7FE00009)
DIGITAL_SIGNATURES = 0xFFFAFFFA

MOST_FRAMES = 1 << 22
"""More are refused: their offset table alone would cost more memory than a worker should take."""

_NATIVE = {1: ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"), 3: ("RGB", "YBR_FULL")}
_ENCAPSULATED = {1: _NATIVE[1], 3: (*_NATIVE[3], "YBR_FULL_422", "YBR_RCT", "YBR_ICT")}
_COUNT = re.compile(rb"[ ]*\+?[0-9]{1,10}[ \0]*")


@dataclass(frozen=True, slots=True)
class Image:
    """Native pixels: ``frames`` frames of ``rows`` x ``columns`` pixels of ``samples`` samples."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    """8, 16, 32 or 64."""
    bits_stored: int
    """High Bit is one less."""
    signed: bool
    photometric: str
    planar: int | None
    """Planar Configuration; None where there is one sample, for which it means nothing."""
    frames: int
    depth: int
    """Bits of a sample that carry data: Bits Stored, or Bits Allocated where the unused bits hold something."""

    @property
    def frame_bytes(self) -> int:
        """Length of one native frame."""
        return self.rows * self.columns * self.samples * (self.bits_allocated // 8)

    @property
    def pixel_bytes(self) -> int:
        """Length of all frames, without a pad byte."""
        return self.frame_bytes * self.frames

    def __str__(self) -> str:
        sign = "signed" if self.signed else "unsigned"
        return (
            f"{self.frames} x {self.rows} x {self.columns} x {self.samples}, "
            f"{self.bits_stored} in {self.bits_allocated} bits {sign}"
        )


def describe(attributes: "Values", encapsulated: bool) -> Image:
    """Check the attributes against each other. Raises Refused.

    Photometric Interpretation is as it stands there; of native Pixel Data, only what codecs can take is let through.
    """
    image = _image(attributes, encapsulated)
    if image.frames > MOST_FRAMES:
        raise Refused(Reason.TOO_LARGE, f"{image.frames} frames; {MOST_FRAMES} at most")
    return image


class Values:
    """Values of top-level elements in explicit VR little endian, each checked for its VR and length."""

    def __init__(self, buffer: Buffer, elements: Sequence[Element]) -> None:
        """``elements`` are a whole dataset, scanned from ``buffer``."""
        self._buffer = buffer
        self._by_tag = {element.tag: element for element in elements}

    def __contains__(self, tag: int) -> bool:
        """Whether the element is there, even if it is empty."""
        return tag in self._by_tag

    def _bytes(self, tag: int, vr: str, keyword: str) -> bytes | None:
        element = self._by_tag.get(tag)
        if element is None:
            return None
        if element.vr != vr or element.length is None or element.length > 64:
            raise Refused(Reason.IMAGE_ATTRIBUTES, f"{keyword} is not one {vr} value")
        return bytes(self._buffer[element.value : element.value + element.length])

    def number(self, tag: int, keyword: str) -> int:
        """Read a value of VR US that must be there."""
        value = self._bytes(tag, "US", keyword)
        if value is None or len(value) != 2:
            raise Refused(Reason.IMAGE_ATTRIBUTES, f"{keyword} is not there or not one number")
        return int.from_bytes(value, "little")

    def code(self, tag: int, keyword: str) -> str:
        """Read a value of VR CS, or nothing."""
        value = self._bytes(tag, "CS", keyword)
        return "" if value is None else value.decode("latin-1").strip(" \0")

    def text(self, tag: int) -> bytes:
        """Read a value as it stands; empty where it is absent or has no defined length."""
        element = self._by_tag.get(tag)
        if element is None or element.length is None:
            return b""
        return bytes(self._buffer[element.value : element.value + min(element.length, 1024)])

    def frames(self) -> int:
        """Read Number of Frames: 1 where it is absent or empty; the length tells if that is true."""
        value = self._bytes(NUMBER_OF_FRAMES, "IS", "NumberOfFrames")
        if value is None or not value.strip(b" \0"):
            return 1
        if not _COUNT.fullmatch(value) or int(value.strip(b" \0")) == 0:
            raise Refused(Reason.IMAGE_ATTRIBUTES, "NumberOfFrames is not a positive integer")
        return int(value.strip(b" \0"))


def _image(attributes: Values, encapsulated: bool) -> Image:
    allocated = attributes.number(BITS_ALLOCATED, "BitsAllocated")
    if allocated == 1:
        raise Refused(Reason.SEGMENTATION_BITS, "BitsAllocated is 1")
    if allocated not in (8, 16, 32, 64):
        raise Refused(Reason.IMAGE_ATTRIBUTES, f"BitsAllocated is {allocated}")
    rows, columns = attributes.number(ROWS, "Rows"), attributes.number(COLUMNS, "Columns")
    if not rows or not columns:
        raise Refused(Reason.IMAGE_ATTRIBUTES, f"Rows x Columns is {rows} x {columns}")
    samples = attributes.number(SAMPLES_PER_PIXEL, "SamplesPerPixel")
    photometric = attributes.code(PHOTOMETRIC_INTERPRETATION, "PhotometricInterpretation")
    if photometric not in (_ENCAPSULATED if encapsulated else _NATIVE).get(samples, ()):
        # The value is the object's own text: only a well-known one is repeated.
        known = photometric if photometric in _NAMED else "another"
        raise Refused(Reason.PHOTOMETRIC, f"PhotometricInterpretation is {known} with {samples} samples")
    stored = attributes.number(BITS_STORED, "BitsStored")
    if not 1 <= stored <= allocated:
        raise Refused(Reason.IMAGE_ATTRIBUTES, f"BitsStored is {stored} of {allocated} allocated")
    high_bit = attributes.number(HIGH_BIT, "HighBit")
    if high_bit != stored - 1:
        raise Refused(Reason.HIGH_BIT, f"HighBit is {high_bit} with BitsStored {stored}")
    signed = attributes.number(PIXEL_REPRESENTATION, "PixelRepresentation")
    if signed > 1:
        raise Refused(Reason.IMAGE_ATTRIBUTES, f"PixelRepresentation is {signed}")
    planar = None
    if samples > 1:  # of no meaning for most codestreams, and left out by some who write them
        absent = encapsulated and PLANAR_CONFIGURATION not in attributes
        planar = 0 if absent else attributes.number(PLANAR_CONFIGURATION, "PlanarConfiguration")
    if planar not in (None, 0, 1):
        raise Refused(Reason.IMAGE_ATTRIBUTES, f"PlanarConfiguration is {planar}")
    return Image(
        rows=rows,
        columns=columns,
        samples=samples,
        bits_allocated=allocated,
        bits_stored=stored,
        signed=bool(signed),
        photometric=photometric,
        planar=planar,
        frames=attributes.frames(),
        depth=stored,
    )


_NAMED = frozenset(
    (
        *("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422"),
        *("YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "HSV", "ARGB", "CMYK", "XYB"),
    )
)
