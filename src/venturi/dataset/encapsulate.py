"""Pixel Data in its encapsulated form: items of fragments behind a basic offset table (PS3.5 A.4).

``FrameWriter`` streams frames, one fragment each, and writes the offset table when all lengths are known;
``frames`` takes them back through that table from the final bytes.

An extended offset table is never written: it would be needed where an offset passes 2^32-1, but native
Pixel Data is shorter than that (its length field has 32 bits), so only a rendition that is larger than its
original could get there; ``FrameWriter`` refuses it with ``OffsetTooLarge``.
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO

from venturi.dataset.scan import Buffer, Element
from venturi.errors import Malformed, Permanent

_ITEM = struct.Struct("<HHL")
_ITEM_TAG = (0xFFFE, 0xE000)
_HEADER = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
_END = _ITEM.pack(0xFFFE, 0xE0DD, 0)
_MOST = 0xFFFFFFFE


class OffsetTooLarge(Permanent):
    """The frames together are larger than a basic offset table, or native Pixel Data, can be."""


class FrameWriter:
    """Writes a Pixel Data element, header included, frame by frame."""

    def __init__(self, out: BinaryIO, frames: int) -> None:
        """``out`` must be seekable; ``frames`` is how many will be added."""
        self._out = out
        self._frames = frames
        self._offsets: list[int] = []
        self._next = 0
        out.write(_HEADER + _ITEM.pack(*_ITEM_TAG, 4 * frames))
        self._table = out.tell()
        out.write(bytes(4 * frames))

    @property
    def size_bytes(self) -> int:
        """Of the element's value as it would be if it ended now: offset table, items and the delimiter."""
        return 8 + 4 * self._frames + self._next + 8

    def add(self, frame: bytes) -> None:
        """Write one frame as one fragment, padded to even length. Raises OffsetTooLarge."""
        padded = len(frame) + len(frame) % 2
        if self._next > _MOST or padded > _MOST:
            raise OffsetTooLarge(f"frame {len(self._offsets)} would be at offset {self._next} in Pixel Data")
        self._offsets.append(self._next)
        self._out.write(_ITEM.pack(*_ITEM_TAG, padded))
        self._out.write(frame)
        self._out.write(bytes(padded - len(frame)))
        self._next += 8 + padded

    def finish(self) -> None:
        """Write the delimiter and fill in the offset table. Raises ValueError unless all were added."""
        if len(self._offsets) != self._frames:
            raise ValueError(f"{len(self._offsets)} of {self._frames} frames were added")
        self._out.write(_END)
        end = self._out.tell()
        self._out.seek(self._table)
        self._out.write(struct.pack(f"<{self._frames}L", *self._offsets))
        self._out.seek(end)


@dataclass(frozen=True, slots=True)
class Fragment:
    """Where a frame's only fragment is: offset and length of its bytes in the buffer."""

    offset: int
    length: int


def frames(buffer: Buffer, pixel_data: Element, count: int) -> list[Fragment]:
    """Find ``count`` frames, each being one fragment, through the basic offset table.

    Raises Malformed unless every entry of the table hits an item tag, and the items follow each other
    without a gap from behind the table to the delimiter at the end of the element.
    """
    if pixel_data.length is not None:
        raise Malformed("Pixel Data has a defined length: it is not encapsulated")
    table_length = _item(buffer, pixel_data.value, pixel_data.end)
    if table_length != 4 * count:
        raise Malformed(f"the basic offset table has {table_length} bytes; {count} frames need {4 * count}")
    table = struct.unpack_from(f"<{count}L", buffer, pixel_data.value + 8)
    first = expected = pixel_data.value + 8 + table_length
    found = []
    for index, entry in enumerate(table):
        if first + entry != expected:
            raise Malformed(f"entry {index} of the basic offset table is {entry}, not {expected - first}")
        length = _item(buffer, expected, pixel_data.end)
        found.append(Fragment(expected + 8, length))
        expected += 8 + length
    if expected != pixel_data.end - 8:
        raise Malformed(f"{pixel_data.end - 8 - expected} bytes follow the last frame's fragment")
    return found


def _item(buffer: Buffer, position: int, end: int) -> int:
    """Read the length of the item whose tag is at ``position``."""
    if position + 8 > end:
        raise Malformed(f"no item at offset {position}: Pixel Data ends at {end}")
    group, element, length = _ITEM.unpack_from(buffer, position)
    if (group, element) != _ITEM_TAG or length % 2 or position + 8 + length > end:
        raise Malformed(f"no item with an even length that fits at offset {position}")
    return int(length)
