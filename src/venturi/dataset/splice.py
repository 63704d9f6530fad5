"""Write a dataset that differs from its source in a few named elements and in nothing else.

For: renditions. Every other element is copied byte for byte from the source buffer, in stretches; Pixel
Data is streamed by the caller. Explicit VR little endian only (PS3.5 A.2, A.4). Fails with the OSError of
the output; what the source says has been checked by the scan.
"""

import struct
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO

from venturi.dataset.scan import PIXEL_DATA, Buffer, Element, tag_of

_LONG = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
_CHUNK_BYTES = 1 << 20

Changes = Mapping[int, bytes | None]
"""By tag: the whole encoded element that takes its place (or is inserted), or None to leave it out."""


def encode_element(tag: int, vr: str, value: bytes) -> bytes:
    """One element in explicit VR little endian, padded to even length (PS3.5 6.2, 7.1.2)."""
    if len(value) % 2:
        value += b"\0" if vr in ("UI", "OB", "UN") else b" "
    return encode_header(tag, vr, len(value)) + value


def encode_header(tag: int, vr: str, length: int) -> bytes:
    """Make an element's header in explicit VR little endian (PS3.5 7.1.2)."""
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode("ascii"))
    return head + (struct.pack("<HL", 0, length) if vr in _LONG else struct.pack("<H", length))


def splice(
    out: BinaryIO,
    source: Buffer,
    elements: Sequence[Element],
    changes: Changes,
    write_pixel_data: Callable[[BinaryIO], None] | None = None,
) -> None:
    """Write the dataset of ``elements``, scanned from ``source``, with the changes made, to ``out``.

    ``write_pixel_data`` writes the whole Pixel Data element, header included, where the source has one;
    without it Pixel Data is an element like any other.
    """
    streamed = {PIXEL_DATA} if write_pixel_data else set()
    done = 0
    with memoryview(source) as view:
        for tag in sorted(changes.keys() | streamed):
            upto = bisect_left(elements, tag, done, key=tag_of)
            _copy(out, view, elements[done:upto])
            out.write(changes.get(tag) or b"")
            there = upto < len(elements) and elements[upto].tag == tag
            if there and tag in streamed and write_pixel_data:
                write_pixel_data(out)
            done = upto + there
        _copy(out, view, elements[done:])


def _copy(out: BinaryIO, view: memoryview, elements: Sequence[Element]) -> None:
    """Copy elements, which follow each other without a gap."""
    start, end = (elements[0].start, elements[-1].end) if elements else (0, 0)
    for position in range(start, end, _CHUNK_BYTES):
        with view[position : min(position + _CHUNK_BYTES, end)] as piece:
            out.write(piece)
