"""The marker segments that JPEG (ISO/IEC 10918-1 B) and JPEG-LS (ISO/IEC 14495-1 C) codestreams are made of.

Read by ourselves, so that no codec vouches for itself, and before any decoder allocates what a header claims.
Accepts one sequential frame, whole from SOI to EOI: what is hierarchical, has two frames, takes its height from
DNL, codes a component twice or not at all, or ends before EOI, raises Malformed. Memory and time are those of
finding markers, whatever the codestream says.
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from venturi.errors import Malformed
from venturi.transcode.image import Image

SOF0, SOF1, SOF3, SOF55 = 0xC0, 0xC1, 0xC3, 0xF7
APP0, APP8, APP14 = 0xE0, 0xE8, 0xEE
DHT, DQT, DRI, LSE = 0xC4, 0xDB, 0xDD, 0xF8
_SOI, _EOI, _SOS, _DNL = 0xD8, 0xD9, 0xDA, 0xDC
_NOT_FRAMES = (DHT, 0xC8, 0xCC)  # and JPG, DAC: among the numbers of SOFn
_RESTARTS = range(0xD0, 0xD8)
_ALONE = (0x00, 0x01, _SOI, *_RESTARTS)

_FOLLOWING = np.arange(256)
JPEG_ENDS = (_FOLLOWING > 0) & (_FOLLOWING < 0xFF) & (_FOLLOWING & 0xF8 != 0xD0)
"""Which bytes behind FF end coded data: not 00, which is stuffed there, nor a restart marker's (B.1.1.5)."""
JPEG_LS_ENDS = JPEG_ENDS & (_FOLLOWING >= 0x80)
"""In JPEG-LS a bit 0 is stuffed behind FF (14495-1 C.1)."""

_CHUNK_BYTES = 1 << 16
_MOST_SEGMENTS = 4096


@dataclass(frozen=True, slots=True)
class Segment:
    """A marker segment of another kind than frame or scan header."""

    marker: int
    body: bytes
    """Its parameters, without the length."""


@dataclass(frozen=True, slots=True)
class Component:
    """A component of the frame."""

    name: int
    horizontal: int
    vertical: int
    """Sampling factors."""


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan header and where the scan's coded data lies."""

    names: tuple[int, ...]
    """Of its components."""
    tables: tuple[int, ...]
    """What its components select: TdTa (10918-1 B.2.3), Tm (14495-1 C.2.3)."""
    before: int
    """How many of the other segments come before it."""
    parameters: tuple[int, int, int]
    """Ss, Se, AhAl (10918-1 B.2.3); NEAR, ILV, point transform (14495-1 C.2.3)."""
    start: int
    end: int
    restarts: NDArray[np.intp]
    """Where in it restart markers are."""


@dataclass(frozen=True, slots=True)
class Codestream:
    """What the headers say."""

    process: int
    """Last byte of the frame header's marker: SOF0, SOF1, ..."""
    bits: int
    rows: int
    columns: int
    components: tuple[Component, ...]
    scans: tuple[Scan, ...]
    others: tuple[Segment, ...]

    @property
    def subsampled(self) -> bool:
        """Whether components differ in their number of samples."""
        return len({(each.horizontal, each.vertical) for each in self.components}) > 1

    def bodies(self, marker: int) -> list[bytes]:
        """Give the parameters of all segments of one marker, in their order."""
        return [segment.body for segment in self.others if segment.marker == marker]


def read(codestream: bytes, ends: NDArray[np.bool_]) -> Codestream:
    """Read all marker segments; ``ends`` is one of the tables above. Raises Malformed.

    Bytes 00 and FF behind EOI are padding.
    """
    try:
        return _read(codestream, ends)
    except (struct.error, IndexError) as error:
        raise Malformed("a marker segment of the codestream is truncated") from error


def _read(codestream: bytes, ends: NDArray[np.bool_]) -> Codestream:
    if codestream[:2] != b"\xff\xd8":
        raise Malformed("the codestream does not begin with SOI (FFD8)")
    position, frame = 2, b""
    process, scans, others = 0, list[Scan](), list[Segment]()
    for _ in range(_MOST_SEGMENTS):
        position, marker = _marker(codestream, position)
        if marker == _EOI:
            if codestream[position:].strip(b"\0\xff"):
                raise Malformed("something other than padding follows EOI")
            return _checked(process, frame, scans, others)
        (length,) = struct.unpack_from(">H", codestream, position)
        body = codestream[position + 2 : position + length]
        position += length
        if length < 2 or position > len(codestream):
            raise Malformed(f"marker FF{marker:02X} has {length} bytes, which are not there")
        if marker == _SOS:
            if not frame:
                raise Malformed("a scan begins before the frame header")
            end, restarts = _coded_data(codestream, position, ends)
            scans.append(_scan(body, len(others), position, end, restarts))
            position = end
        elif (0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES) or marker == SOF55:
            if frame:
                raise Malformed("there are two frame headers")
            process, frame = marker, body
        elif marker == _DNL:
            raise Malformed("the number of lines is defined behind the scan (DNL)")
        else:
            others.append(Segment(marker, body))
    raise Malformed(f"more than {_MOST_SEGMENTS} marker segments")


def _marker(codestream: bytes, position: int) -> tuple[int, int]:
    """Give the position behind a marker, and its last byte; fill bytes FF may precede it (B.1.1.2)."""
    if position >= len(codestream):
        raise Malformed("the codestream ends without EOI (FFD9)")
    if codestream[position] != 0xFF:
        raise Malformed(f"no marker at offset {position}")
    while codestream[position] == 0xFF:
        position += 1
    if codestream[position] in _ALONE:
        raise Malformed(f"marker FF{codestream[position]:02X} at offset {position - 1} is out of place")
    return position + 1, codestream[position]


def _coded_data(codestream: bytes, start: int, ends: NDArray[np.bool_]) -> tuple[int, NDArray[np.intp]]:
    """Find where coded data ends, and the restart markers in it."""
    data = np.frombuffer(codestream, np.uint8)
    restarts: list[NDArray[np.intp]] = []
    for position in range(start, len(data) - 1, _CHUNK_BYTES):
        chunk = data[position : position + _CHUNK_BYTES + 1]
        marked = np.flatnonzero(chunk[:-1] == 0xFF)
        following = chunk[marked + 1]
        found = marked[ends[following]]
        before = marked[following & 0xF8 == 0xD0]
        restarts.append(position + (before[before < found[0]] if found.size else before))
        if found.size:
            end = position + int(found[0])
            while end > start and codestream[end - 1] == 0xFF:
                end -= 1  # a fill byte before the marker
            return end, np.concatenate(restarts)
    raise Malformed("the codestream ends without EOI (FFD9)")


def _scan(body: bytes, before: int, start: int, end: int, restarts: NDArray[np.intp]) -> Scan:
    count = body[0]
    if len(body) != 4 + 2 * count:
        raise Malformed(f"a scan header of {len(body)} bytes for {count} components")
    first, second, third = body[1 + 2 * count :]
    names, tables = tuple(body[1 : 1 + 2 * count : 2]), tuple(body[2 : 2 + 2 * count : 2])
    return Scan(names, tables, before, (first, second, third), start, end, restarts)


def _checked(process: int, frame: bytes, scans: list[Scan], others: list[Segment]) -> Codestream:
    if not scans:
        raise Malformed("there is no scan")
    bits, rows, columns, count = struct.unpack_from(">BHHB", frame)
    if len(frame) != 6 + 3 * count:
        raise Malformed(f"a frame header of {len(frame)} bytes for {count} components")
    if not rows or not columns:
        raise Malformed(f"the frame is {rows} x {columns}")
    components = tuple(
        Component(frame[at], frame[at + 1] >> 4, frame[at + 1] & 15) for at in range(6, len(frame), 3)
    )
    names = [component.name for component in components]
    coded = [name for scan in scans for name in scan.names]
    if len(set(names)) != len(names) or sorted(coded) != sorted(names):
        raise Malformed(f"the frame has {len(names)} components; its scans code {len(coded)}")
    return Codestream(process, bits, rows, columns, components, tuple(scans), tuple(others))


def precision(image: Image) -> int:
    """Bits of a sample in the lossless codestreams we make, JPEG or JPEG-LS.

    The container's for signed samples and bytes; of 16-bit containers never so few that a decoder takes them for
    bytes.
    """
    if image.signed or image.bits_allocated == 8:
        return image.bits_allocated
    return max(image.depth, 9)
