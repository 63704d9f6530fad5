"""Which fragments of encapsulated Pixel Data make up which frame, whoever wrote it (PS3.5 A.4).

Offset tables are optional and often wrong, a frame may have several fragments, and Number of Frames may lie; a frame
put together wrongly may still decode. So the codestreams decide: a frame begins where a fragment begins like a
codestream, the first fragment must, and there must be as many beginnings as frames. What else is known must not
contradict: a table that is sound in itself must name the same beginnings. A table that is not (another count,
entries that hit no item) is passed over.

Guarantees: the work is linear in the number of fragments, at most ``MOST_FRAGMENTS``; memory is about 20 bytes a
fragment. Fails with ``FramesUnclear``, which says what contradicts what.
"""

import struct
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence

from venturi.dataset.contents import STEPS, let_go
from venturi.dataset.scan import Buffer, Element
from venturi.errors import Malformed

MOST_FRAGMENTS = 1 << 22
"""More are refused: images have one or a few for each frame."""

_ITEM = struct.Struct("<HHL")
_ITEM_TAG = (0xFFFE, 0xE000)
_DELIMITER = (0xFFFE, 0xE0DD)
_START_BYTES = 16

Part = tuple[int, int]
"""Of one fragment's bytes: offset in the buffer, and length."""


class FramesUnclear(Malformed):
    """Which fragments are which frame can't be told for certain."""


class FrameParts:
    """The fragments of each frame: ``parts[5]`` are those of the sixth, in order."""

    def __init__(self, offsets: "array[int]", lengths: "array[int]", firsts: Sequence[int]) -> None:
        self._offsets = offsets
        self._lengths = lengths
        self._firsts = array("I", (*firsts, len(offsets)))

    def __len__(self) -> int:
        return len(self._firsts) - 1

    def __getitem__(self, index: int) -> tuple[Part, ...]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        own = slice(self._firsts[index], self._firsts[index + 1])
        return tuple(zip(self._offsets[own], self._lengths[own], strict=True))

    def __iter__(self) -> Iterator[tuple[Part, ...]]:
        return (self[index] for index in range(len(self)))


def find(
    buffer: Buffer,
    pixel_data: Element,
    frames: int,
    extended: tuple[Element, Element] | None,
    starts: Callable[[bytes], bool],
) -> FrameParts:
    """Find the fragments of ``frames`` frames. Raises FramesUnclear.

    ``pixel_data`` was scanned in explicit VR little endian and has an undefined length. ``extended`` are Extended
    Offset Table and Extended Offset Table Lengths (7FE0,0001/0002), where there are any. ``starts`` tells whether a
    codestream begins with the bytes given: the first 16 of a fragment, or all of a shorter one.
    """
    if pixel_data.length is not None:
        raise FramesUnclear("Pixel Data has a defined length: it is not encapsulated")
    table, offsets, lengths = _fragments(buffer, pixel_data)
    begun = array("I")
    for index, offset in enumerate(offsets):
        if starts(bytes(buffer[offset : offset + min(lengths[index], _START_BYTES)])):
            begun.append(index)
        if index % STEPS == 0:
            let_go(buffer)
    if not begun or begun[0] != 0:
        raise FramesUnclear("the first fragment begins no codestream of this transfer syntax")
    if len(begun) != frames:
        raise FramesUnclear(
            f"codestreams begin in {len(begun)} of {len(offsets)} fragments; Number of Frames is {frames}"
        )
    origin = offsets[0] - 8
    for what, firsts in (
        ("basic", _basic(buffer, table, frames, origin, offsets)),
        ("extended", _extended(buffer, extended, frames, origin, offsets, lengths)),
    ):
        if firsts is not None and firsts != begun:
            frame = next(index for index in range(frames) if firsts[index] != begun[index])
            raise FramesUnclear(
                f"by the {what} offset table frame {frame} begins in fragment {firsts[frame]}, "
                f"by its codestream in fragment {begun[frame]}"
            )
    return FrameParts(offsets, lengths, begun)


def join(buffer: Buffer, parts: Sequence[Part]) -> bytes:
    """Put one frame together; a pad byte at its end stays."""
    return b"".join(bytes(buffer[offset : offset + length]) for offset, length in parts)


def _fragments(buffer: Buffer, pixel_data: Element) -> "tuple[Part, array[int], array[int]]":
    """Where the basic offset table and the fragments are. Empty ones at the end belong to no frame: left out."""
    found = _items(buffer, pixel_data)
    table = next(found, None)
    if table is None:
        raise FramesUnclear("Pixel Data has no item for the basic offset table")
    offsets, lengths = array("Q"), array("I")
    empty: int | None = None
    for index, (offset, length) in enumerate(found):
        if index == MOST_FRAGMENTS:
            raise FramesUnclear(f"Pixel Data has more than {MOST_FRAGMENTS} fragments")
        if length == 0:
            empty = index if empty is None else empty
            continue
        if empty is not None:
            raise FramesUnclear(f"fragment {empty} is empty")
        if length % 2:
            raise FramesUnclear(f"fragment {index} has {length} bytes: an odd length")
        offsets.append(offset)
        lengths.append(length)
        if index % STEPS == 0:
            let_go(buffer)
    if not offsets:
        raise FramesUnclear("Pixel Data has no fragments")
    return table, offsets, lengths


def _items(buffer: Buffer, pixel_data: Element) -> Iterator[Part]:
    """Walk all items up to the delimiter, which must end the element."""
    position = pixel_data.value
    while position + 8 <= pixel_data.end:
        group, element, length = _ITEM.unpack_from(buffer, position)
        if (group, element) == _DELIMITER and position + 8 == pixel_data.end:
            return
        if (group, element) != _ITEM_TAG or length > pixel_data.end - position - 8:
            break
        yield position + 8, length
        position += 8 + length
    raise FramesUnclear(f"no item that fits at offset {position} in Pixel Data")


def _basic(
    buffer: Buffer, table: Part, frames: int, origin: int, offsets: "array[int]"
) -> "array[int] | None":
    """Say in which fragment each frame begins by the basic offset table; None where it is empty or unsound."""
    offset, length = table
    if length != 4 * frames:
        return None
    return _firsts(_numbers("<L", buffer, offset, length), origin, offsets)


def _extended(
    buffer: Buffer,
    extended: tuple[Element, Element] | None,
    frames: int,
    origin: int,
    offsets: "array[int]",
    lengths: "array[int]",
) -> "array[int] | None":
    """The same by the extended one (PS3.3 C.7.6.3.1.8): a frame is one fragment, with or without its pad byte."""
    if extended is None or any(element.length != 8 * frames for element in extended):
        return None
    entries, sizes = (_numbers("<Q", buffer, element.value, 8 * frames) for element in extended)
    firsts = _firsts(entries, origin, offsets)
    if firsts is None or any(
        lengths[first] - size not in (0, 1) for first, size in zip(firsts, sizes, strict=True)
    ):
        return None
    return firsts


def _numbers(form: str, buffer: Buffer, offset: int, length: int) -> Iterator[int]:
    return (number for (number,) in struct.iter_unpack(form, bytes(buffer[offset : offset + length])))


def _firsts(entries: Iterable[int], origin: int, offsets: "array[int]") -> "array[int] | None":
    """Turn offsets of item tags into numbers of fragments; None unless all hit one, ascending from the first."""
    firsts = array("I")
    for entry in entries:
        index = bisect_left(offsets, origin + entry + 8, firsts[-1] + 1 if firsts else 0)
        if index == len(offsets) or offsets[index] != origin + entry + 8 or (not firsts and index):
            return None
        firsts.append(index)
    return firsts
