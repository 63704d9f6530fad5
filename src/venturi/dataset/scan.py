"""A strict scan of one level of a dataset: where its elements are, without reading their values (PS3.5 7).

For: rules that look at headers, splicing, the proof. It walks explicit VR little endian, explicit VR big
endian and implicit VR little endian, elements of undefined length included, and touches headers only: a
memory map of a large object is not read. Sequences of defined length are stepped over.

Guarantees: elements come in ascending order of tag, follow each other without a gap and fill the range
exactly; the work is linear in the number of bytes, nothing recurses, and no more than ``MOST_ELEMENTS`` come of
one level, whatever the bytes are, so that who keeps them all needs little memory. Fails with
``Malformed``, which says what is wrong at which offset, after yielding what comes before it.
"""

import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from mmap import mmap
from operator import attrgetter
from typing import NamedTuple

from venturi.dataset.contents import STEPS, let_go
from venturi.dataset.syntaxes import Syntax
from venturi.errors import Malformed

Buffer = bytes | bytearray | memoryview | mmap

PIXEL_DATA = 0x7FE00010
_ITEM = 0xFFFEE000
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD
DEEPEST = 64
"""Sequences nested deeper are refused."""
MOST_ELEMENTS = 1 << 16
"""More at one level are refused: real objects have hundreds, and private ones thousands."""

_UNDEFINED = 0xFFFFFFFF
_SHORT = {
    vr.encode(): vr
    for vr in (
        *("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO"),
        *("LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI", "UL", "US"),
    )
}
"""VRs whose length has 16 bits."""
_LONG = {
    vr.encode(): vr for vr in ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
}


@dataclass(frozen=True, slots=True)
class Encoding:
    """How element headers are written (PS3.5 7.1.2, 7.1.3, A.3)."""

    implicit_vr: bool = False
    big_endian: bool = False


EXPLICIT_LE = Encoding()
IMPLICIT_LE = Encoding(implicit_vr=True)
EXPLICIT_BE = Encoding(big_endian=True)

_EXPLICIT = {False: struct.Struct("<HH2sH").unpack_from, True: struct.Struct(">HH2sH").unpack_from}
"""Tag, VR and a length of 16 bits."""
_IMPLICIT = {False: struct.Struct("<HHL").unpack_from, True: struct.Struct(">HHL").unpack_from}
"""Tag and length: also of items and delimiters in explicit VR."""
_U32 = {False: struct.Struct("<L").unpack_from, True: struct.Struct(">L").unpack_from}
_NOT_IN_DATASETS = frozenset((0x0000, 0x0002, 0xFFFE, 0xFFFF))
"""Groups of commands, of the file meta group, and of items."""


def encoding_of(syntax: Syntax) -> Encoding:
    """How a syntax writes headers; encapsulated and unknown ones: explicit VR little endian (A.4)."""
    return Encoding(syntax.implicit_vr, syntax.big_endian)


class Element(NamedTuple):
    """Where an element is: offsets are of the buffer that was scanned."""

    tag: int
    vr: str
    """Two letters; empty in implicit VR, which has none."""
    start: int
    """Of its header."""
    value: int
    """Of its value."""
    length: int | None
    """Of the value as written; None where it is undefined."""
    end: int
    """Of the element with all its delimiters: the next one starts here."""


tag_of = attrgetter("tag")
"""For ``bisect``: the elements of a level ascend."""


def name(tag: int) -> str:
    """Write a tag as the standard prints it: ``(7fe0,0010)``."""
    return f"({tag >> 16:04x},{tag & 0xFFFF:04x})"


def scan(
    buffer: Buffer,
    start: int = 0,
    end: int | None = None,
    encoding: Encoding = EXPLICIT_LE,
    until: int = 1 << 32,
) -> Iterator[Element]:
    """Yield the elements of the dataset (or of the item) at ``start`` to ``end``. Raises Malformed.

    An element from the tag ``until`` on ends it; how long that is, is not looked at.
    """
    end = len(buffer) if end is None else end
    position, last, count = start, -1, 0
    unpack, explicit_vr = _EXPLICIT[encoding.big_endian], not encoding.implicit_vr
    vr_of, make = _SHORT.get, tuple.__new__
    while position < end:
        count += 1
        if explicit_vr and end - position >= 8 and count <= MOST_ELEMENTS:
            # Most elements, all checks at once: whatever is not plainly right, ``_header`` and what follows judge.
            group, low, letters, length = unpack(buffer, position)
            tag, vr, after = group << 16 | low, vr_of(letters), position + 8 + length
            if vr and last < tag < until and after <= end and group not in _NOT_IN_DATASETS:
                yield make(Element, (tag, vr, position, position + 8, length, after))
                position, last = after, tag
                continue
        if until <= _tag(buffer, position, end, encoding):
            return
        tag, vr, value, length = _header(buffer, position, end, encoding)
        if count > MOST_ELEMENTS:
            raise Malformed(f"more than {MOST_ELEMENTS} elements at one level, at offset {position}")
        if tag <= last:
            raise Malformed(
                f"{name(tag)} at offset {position} comes after {name(last)}: out of order or twice"
            )
        if tag >> 16 in (0x0000, 0x0002, 0xFFFE, 0xFFFF):
            raise Malformed(f"{name(tag)} at offset {position} may not be in a dataset")
        after = value + (length or 0)
        if length is None:
            after = _skip(buffer, value, end, [_opened(tag, vr, encoding, position)])
        yield Element(tag, vr, position, value, length, after)
        position, last = after, tag


def find(elements: Sequence[Element], tag: int) -> Element | None:
    """The element of that tag among all of a level, if it is there."""
    index = bisect_left(elements, tag, key=tag_of)
    return elements[index] if index < len(elements) and elements[index].tag == tag else None


def items(
    buffer: Buffer, element: Element, encoding: Encoding = EXPLICIT_LE
) -> Iterator[tuple[int, int, Encoding]]:
    """Yield start, end and encoding of the content of each item of a sequence. Raises Malformed.

    ``element`` comes from a scan with the same encoding. UN of undefined length holds implicit VR (PS3.5
    6.2.2).
    """
    if element.vr == "UN":
        encoding = IMPLICIT_LE
    position = element.value
    while position < element.end:
        tag, _, value, length = _header(buffer, position, element.end, encoding)
        if tag == _SEQUENCE_END and element.length is None:
            return
        if tag != _ITEM:
            raise Malformed(f"{name(tag)} at offset {position} where an item of {name(element.tag)} must be")
        if length is None:
            position = _skip(buffer, value, element.end, [(_Open.ITEM, encoding)])
            yield value, position - 8, encoding
        else:
            position = value + length
            yield value, position, encoding


def _tag(buffer: Buffer, position: int, end: int, encoding: Encoding) -> int:
    """The tag there, or 0 where there is none."""
    if end - position < 8:
        return 0
    group, element, _ = _IMPLICIT[encoding.big_endian](buffer, position)
    return int(group << 16 | element)


def _header(buffer: Buffer, position: int, end: int, encoding: Encoding) -> tuple[int, str, int, int | None]:
    """Tag, VR, offset of the value, and its length, which is known to fit."""
    if end - position < 8:
        raise Malformed(f"{end - position} bytes at offset {position} are too few for an element")
    big = encoding.big_endian
    group, element, length = _IMPLICIT[big](buffer, position)
    tag, vr, value = group << 16 | element, "", position + 8
    if not encoding.implicit_vr and group != 0xFFFE:
        _, _, letters, length = _EXPLICIT[big](buffer, position)
        if letters in _SHORT:
            vr = _SHORT[letters]
        elif letters in _LONG:
            vr = _LONG[letters]
            value += 4
            if value > end:
                raise Malformed(f"{name(tag)} at offset {position} is truncated in its header")
            (length,) = _U32[big](buffer, position + 8)
        else:
            # After a length that lies, tag and VR are six letters of some value, a name's perhaps: not told.
            raise Malformed(f"the element at offset {position} has no valid VR")
    if length == _UNDEFINED:
        return tag, vr, value, None
    if length > end - value:
        raise Malformed(f"{name(tag)} at offset {position} claims {length} bytes; {end - value} are left")
    return tag, vr, value, length


class _Open(Enum):
    """What of undefined length can be open during a walk."""

    SEQUENCE = auto()
    ITEM = auto()
    FRAGMENTS = auto()


def _opened(tag: int, vr: str, encoding: Encoding, position: int) -> tuple[_Open, Encoding]:
    """Tell what an element of undefined length opens, and how that is encoded."""
    if encoding.implicit_vr or vr == "SQ":
        return _Open.SEQUENCE, encoding
    if vr == "UN":
        return _Open.SEQUENCE, IMPLICIT_LE  # PS3.5 6.2.2 Note 4 (CP-246)
    if tag == PIXEL_DATA and vr in ("OB", "OW"):
        return _Open.FRAGMENTS, encoding
    raise Malformed(f"{name(tag)} at offset {position} may not have an undefined length with VR {vr}")


def _skip(buffer: Buffer, position: int, end: int, stack: list[tuple[_Open, Encoding]]) -> int:
    """Find the offset behind the delimiter of the stack's bottom; ``position`` is inside of its top."""
    fragments = 0
    while stack:
        if len(stack) > 2 * DEEPEST:
            raise Malformed(f"sequences are nested deeper than {DEEPEST} at offset {position}")
        kind, encoding = stack[-1]
        tag, vr, value, length = _header(buffer, position, end, encoding)
        if tag == (_ITEM_END if kind is _Open.ITEM else _SEQUENCE_END):
            if length != 0:
                raise Malformed(f"the delimiter {name(tag)} at offset {position} has a length")
            stack.pop()
            position = value
        elif kind is _Open.ITEM:
            if tag >> 16 == 0xFFFE:
                raise Malformed(f"{name(tag)} at offset {position} where an element must be")
            if length is None:
                stack.append(_opened(tag, vr, encoding, position))
            position = value + (length or 0)
        else:
            if tag != _ITEM:
                raise Malformed(f"{name(tag)} at offset {position} where an item must be")
            if length is None:
                if kind is _Open.FRAGMENTS:
                    raise Malformed(f"the fragment at offset {position} has no length")
                stack.append((_Open.ITEM, encoding))
            position = value + (length or 0)
            if kind is _Open.FRAGMENTS:
                fragments += 1
                if fragments % STEPS == 0:
                    let_go(buffer)
    return position
