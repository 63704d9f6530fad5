"""Write a dataset that differs from its source in a few named elements and in nothing else.

For: renditions. Every other element is copied byte for byte from the source buffer, in stretches; Pixel
Data is streamed by the caller. Explicit VR little endian only (PS3.5 A.2, A.4). Fails with the OSError of
the output; what the source says has been checked by the scan.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO

from venturi.dataset.scan import PIXEL_DATA, Buffer, Element

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
    inserted = sorted(tag for tag, new in changes.items() if new is not None)
    run_start = run_end = 0
    with memoryview(source) as view:
        for element in elements:
            due = _until(inserted, element.tag)
            if due or element.tag in changes or (element.tag == PIXEL_DATA and write_pixel_data):
                _copy(out, view, run_start, run_end)
                run_start = run_end = element.start
                _write(out, changes, due)
            if element.tag == PIXEL_DATA and write_pixel_data:
                write_pixel_data(out)
                run_start = run_end = element.end
            elif element.tag in changes:
                run_start = run_end = element.end
            else:
                run_start = run_start if run_end == element.start else element.start
                run_end = element.end
        _copy(out, view, run_start, run_end)
        _write(out, changes, inserted)


def _until(inserted: list[int], tag: int) -> list[int]:
    """Take from the sorted tags those up to ``tag``."""
    due = [candidate for candidate in inserted if candidate <= tag]
    del inserted[: len(due)]
    return due


def _write(out: BinaryIO, changes: Changes, tags: Sequence[int]) -> None:
    for tag in tags:
        out.write(changes[tag] or b"")


def _copy(out: BinaryIO, view: memoryview, start: int, end: int) -> None:
    for position in range(start, end, _CHUNK_BYTES):
        with view[position : min(position + _CHUNK_BYTES, end)] as piece:
            out.write(piece)
