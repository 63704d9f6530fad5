"""Pixel Data in its encapsulated form: items of fragments behind an offset table (PS3.5 A.4).

``FrameWriter`` streams frames, one fragment each, and fills in the offset table when all lengths are known;
``frames`` takes them back through that table from the final bytes.

The basic offset table has 32-bit entries: ``OffsetTooLarge`` says that a frame would begin beyond them, and the
caller starts anew with ``extended``. Then the basic table is empty, and the element is preceded by Extended Offset
Table and Extended Offset Table Lengths (7FE0,0001/0002), with 64-bit entries (PS3.3 C.7.6.3.1.8).
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO

from venturi.dataset.contents import STEPS, let_go
from venturi.dataset.scan import Buffer, Element, name
from venturi.errors import Malformed, Permanent

_ITEM = struct.Struct("<HHL")
_ITEM_TAG = (0xFFFE, 0xE000)
_HEADER = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
_EXTENDED = (0x0001, 0x0002)
_END = _ITEM.pack(0xFFFE, 0xE0DD, 0)
_MOST = 0xFFFFFFFE


class OffsetTooLarge(Permanent):
    """A frame's offset, or its own length, is larger than the field for it."""


class FrameWriter:
    """Writes a Pixel Data element, header included, frame by frame.

    With ``extended`` it writes Extended Offset Table and Extended Offset Table Lengths right before it: what the
    source had of these must be left out, as must anything else between (7FE0,0001) and (7FE0,0010). A length in that
    table is the one of the fragment, the pad byte of an odd codestream included: so a reader may take it from the
    table or from the item, and gets the same bytes.
    """

    def __init__(self, out: BinaryIO, frames: int, extended: bool = False) -> None:
        """``out`` must be seekable; ``frames`` is how many will be added. Raises OffsetTooLarge."""
        self._out = out
        self._frames = frames
        self._extended = extended
        self._offsets: list[int] = []
        self._lengths: list[int] = []
        self._next = 0
        self._tables: list[int] = []
        self._table_bytes = 0 if extended else 4 * frames
        if (8 if extended else 4) * frames > _MOST:
            raise OffsetTooLarge(f"an offset table for {frames} frames is too long")
        for element in _EXTENDED if extended else ():
            out.write(struct.pack("<HH2sHL", 0x7FE0, element, b"OV", 0, 8 * frames))
            self._reserve(8 * frames)
        out.write(_HEADER + _ITEM.pack(*_ITEM_TAG, self._table_bytes))
        if not extended:
            self._reserve(self._table_bytes)

    @property
    def size_bytes(self) -> int:
        """Of Pixel Data's value as it would be if it ended now: basic offset table, items and the delimiter."""
        return 8 + self._table_bytes + self._next + 8

    def add(self, frame: bytes) -> None:
        """Write one frame as one fragment, padded to even length. Raises OffsetTooLarge."""
        self.count(len(frame) + len(frame) % 2)
        write_item(self._out, frame)

    def count(self, length: int) -> None:
        """Take an item of such a length as written, by whoever writes it to ``out`` next. Raises OffsetTooLarge."""
        if length > _MOST or (self._next > _MOST and not self._extended):
            raise OffsetTooLarge(
                f"frame {len(self._offsets)} of {length} bytes would be at offset {self._next} in Pixel Data"
            )
        self._offsets.append(self._next)
        self._lengths.append(length)
        self._next += 8 + length

    def finish(self) -> None:
        """Write the delimiter and fill in the tables. Raises ValueError unless all frames were added."""
        if len(self._offsets) != self._frames:
            raise ValueError(f"{len(self._offsets)} of {self._frames} frames were added")
        self._out.write(_END)
        if self._offsets == [0] and not self._extended:
            return  # the table says so already
        end = self._out.tell()
        entry = "Q" if self._extended else "L"
        for table, entries in zip(self._tables, (self._offsets, self._lengths), strict=False):
            self._out.seek(table)
            self._out.write(struct.pack(f"<{self._frames}{entry}", *entries))
        self._out.seek(end)

    def _reserve(self, size_bytes: int) -> None:
        self._tables.append(self._out.tell())
        self._out.write(bytes(size_bytes))


def write_item(out: BinaryIO, frame: bytes) -> int:
    """Write one frame as an item, padded to even length; how many bytes that is. Raises OffsetTooLarge."""
    padding = len(frame) % 2
    if len(frame) + padding > _MOST:
        raise OffsetTooLarge(f"a frame of {len(frame)} bytes")
    out.write(_ITEM.pack(*_ITEM_TAG, len(frame) + padding))
    out.write(frame)
    out.write(bytes(padding))
    return 8 + len(frame) + padding


def item_length(header: bytes) -> int:
    """Read the length from the 8 bytes before an item's value. Raises Malformed."""
    return _item(header, 0, 8 + _MOST)


@dataclass(frozen=True, slots=True)
class Fragment:
    """Where a frame's only fragment is: offset and length of its bytes in the buffer."""

    offset: int
    length: int


def frames(
    buffer: Buffer, pixel_data: Element, count: int, extended: tuple[Element, Element] | None = None
) -> list[Fragment]:
    """Find ``count`` frames, each being one fragment, through the offset table that ``FrameWriter`` wrote.

    ``extended`` are Extended Offset Table and Extended Offset Table Lengths, where the dataset has them.
    Raises Malformed unless every entry of the table hits an item tag (and is that item's length), and the items
    follow each other without a gap from behind the basic offset table to the delimiter at the end of the element.
    """
    if pixel_data.length is not None:
        raise Malformed("Pixel Data has a defined length: it is not encapsulated")
    table_length = _item(buffer, pixel_data.value, pixel_data.end)
    table, lengths, what = _tables(buffer, pixel_data, table_length, count, extended)
    first = expected = pixel_data.value + 8 + table_length
    found = []
    for index, entry in enumerate(table):
        if first + entry != expected:
            raise Malformed(f"entry {index} of the {what} offset table is {entry}, not {expected - first}")
        length = _item(buffer, expected, pixel_data.end)
        if index % STEPS == 0:
            let_go(buffer)
        if lengths is not None and lengths[index] != length:
            raise Malformed(f"entry {index} of the offset table's lengths is {lengths[index]}, not {length}")
        found.append(Fragment(expected + 8, length))
        expected += 8 + length
    if expected != pixel_data.end - 8:
        raise Malformed(f"{pixel_data.end - 8 - expected} bytes follow the last frame's fragment")
    return found


def _tables(
    buffer: Buffer,
    pixel_data: Element,
    table_length: int,
    count: int,
    extended: tuple[Element, Element] | None,
) -> tuple[tuple[int, ...], tuple[int, ...] | None, str]:
    """Read the offsets, and the lengths if any, and tell which table they are from."""
    if extended is None:
        if table_length != 4 * count:
            raise Malformed(
                f"the basic offset table has {table_length} bytes; {count} frames need {4 * count}"
            )
        return struct.unpack_from(f"<{count}L", buffer, pixel_data.value + 8), None, "basic"
    if table_length:
        raise Malformed("there are a basic and an extended offset table")
    for element in extended:
        if (element.vr, element.length) != ("OV", 8 * count):
            raise Malformed(
                f"{name(element.tag)} has {element.length} bytes of VR {element.vr}; "
                f"{count} frames need {8 * count} of OV"
            )
    offsets, lengths = (struct.unpack_from(f"<{count}Q", buffer, element.value) for element in extended)
    return offsets, lengths, "extended"


def _item(buffer: Buffer, position: int, end: int) -> int:
    """Read the length of the item whose tag is at ``position``."""
    if position + 8 > end:
        raise Malformed(f"no item at offset {position}: Pixel Data ends at {end}")
    group, element, length = _ITEM.unpack_from(buffer, position)
    if (group, element) != _ITEM_TAG or length % 2 or position + 8 + length > end:
        raise Malformed(f"no item with an even length that fits at offset {position}")
    return int(length)
