"""Header transcoder: an explicit VR little endian dataset into implicit VR little endian (PS3.5 A.1).

For: renditions for peers that take nothing else. Only headers are written anew; the bytes of values are kept, those of
native Pixel Data too. What is not the same afterwards:

- VRs are not written: who reads it has them of the dictionary (PS3.5 7.1.3), and private elements are UN to who does
  not know theirs. An element whose VR makes the same bytes mean something else than the dictionary's is refused;
- Group Length (gggg,0000) is left out at every level: it is retired, and would be wrong (PS3.5 7.2);
- sequences and items have undefined lengths, whatever they had (PS3.5 7.5.1): so private ones can be told from values,
  and each byte is written as soon as it is known. The content of UN is implicit VR little endian already (PS3.5 6.2.2,
  CP-246), and stays byte for byte.

Guarantees: the output is deterministic and in the order of the source; the work is linear, nesting is at most
``DEEPEST``, and memory does not grow with what is written. Fails with ``Malformed``, which gives tag and offset, where
a value has an odd length (PS3.5 7.1.1), Pixel Data is compressed, or the source lies about its structure; and with
the OSError of the output.
"""

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import BinaryIO

from venturi.dataset.contents import let_go
from venturi.dataset.dictionary import vr_of
from venturi.dataset.explicit import MOST_WALKS, check_group_length
from venturi.dataset.scan import DEEPEST, EXPLICIT_LE, IMPLICIT_LE, Buffer, Element, items, name, scan
from venturi.errors import Malformed

_UNDEFINED = 0xFFFFFFFF
_CHUNK_BYTES = 1 << 20
_TEXT = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT")
)
_ONE_TEXT = frozenset(("LT", "ST", "UR", "UT"))
"""In which a backslash separates nothing (PS3.5 6.2)."""
_BYTES = frozenset(("OB", "OD", "OF", "OL", "OV", "OW"))
_WORDS = {"US": "OW", "SS": "OW", "UL": "OL", "SL": "OL", "FL": "OF", "FD": "OD", "UV": "OV", "SV": "OV"}
"""Bytes that are the same words."""
_PIXEL_REPRESENTATION = 0x00280103
_SIGNED = b"\1\0"
_HEADER = struct.Struct("<HHL").pack
_ITEM = _HEADER(0xFFFE, 0xE000, _UNDEFINED)
_ITEM_END = _HEADER(0xFFFE, 0xE00D, 0)
_SEQUENCE_END = _HEADER(0xFFFE, 0xE0DD, 0)


def implicit(out: BinaryIO, buffer: Buffer, elements: Sequence[Element]) -> None:
    """Write top-level ``elements`` of ``buffer``, scanned as explicit VR little endian, to ``out``.

    Raises Malformed, OSError.
    """
    walk_bytes = MOST_WALKS * sum(element.end - element.start for element in elements)
    conversion = _Conversion(out, buffer, walk_bytes)
    representation = next((each for each in elements if each.tag == _PIXEL_REPRESENTATION), None)
    conversion.level(elements, 0, signed=representation is not None and conversion.is_signed(representation))


class _Conversion:
    """One dataset on its way."""

    def __init__(self, out: BinaryIO, buffer: Buffer, walk_bytes: int) -> None:
        self._out = out
        self._buffer = buffer
        self._walk_bytes = walk_bytes

    def is_signed(self, representation: Element) -> bool:
        """Whether a Pixel Representation says that."""
        return bytes(self._buffer[representation.value : representation.end]) == _SIGNED

    def level(self, elements: Iterable[Element], depth: int, *, signed: bool) -> None:
        """Write one level; ``signed``: whether stored values are, by the level around it."""
        for element in elements:
            if element.tag & 0xFFFF == 0:
                check_group_length(element)
                continue
            if element.tag == _PIXEL_REPRESENTATION:
                signed = self.is_signed(element)
            known = known_vr(element.tag)
            if not (_means_the_same(element, known) and self._value_stays(element, known, signed=signed)):
                raise Malformed(
                    f"{name(element.tag)} at offset {element.start} has VR {element.vr}; "
                    f"who reads it in implicit VR takes it for {known}"
                )
            if element.vr == "SQ":
                self._sequence(element, depth, signed=signed)
            elif element.length is None and element.vr != "UN":
                raise Malformed(f"{name(element.tag)} at offset {element.start} is compressed")
            else:
                if element.vr == "UN" and known == "SQ" and element.length:
                    self._check_content(element, depth)
                self._value(element)

    def _value_stays(self, element: Element, known: str, *, signed: bool) -> bool:
        """Whether this value means the same, where others of its VR would not.

        Who takes for US what was written as SS sees other numbers, if some are negative. The other way round, what was
        meant is what Pixel Representation says: US is written by many who never look.
        """
        if element.vr == "SS" and known.startswith("US or SS"):
            return signed or not any(b & 0x80 for b in self._buffer[element.value + 1 : element.end : 2])
        if element.vr in _TEXT and known and (element.vr in _ONE_TEXT) != (known in _ONE_TEXT):
            return b"\\" not in bytes(self._buffer[element.value : element.end])
        return True

    def _sequence(self, element: Element, depth: int, *, signed: bool) -> None:
        self._descend(element, depth)
        self._out.write(_HEADER(element.tag >> 16, element.tag & 0xFFFF, _UNDEFINED))
        for first, last, encoding in items(self._buffer, element, EXPLICIT_LE):
            self._out.write(_ITEM)
            self.level(scan(self._buffer, first, last, encoding), depth + 1, signed=signed)
            self._out.write(_ITEM_END)
        self._out.write(_SEQUENCE_END)

    def _check_content(self, element: Element, depth: int) -> None:
        """Check that the value of UN, which readers are to take for a sequence now, is one. Raises Malformed."""
        self._descend(element, depth)
        for first, last, encoding in items(self._buffer, element, IMPLICIT_LE):
            for inner in scan(self._buffer, first, last, encoding):
                if inner.length is None or known_vr(inner.tag) == "SQ":
                    self._check_content(inner, depth + 1)

    def _descend(self, element: Element, depth: int) -> None:
        if depth == DEEPEST:
            raise Malformed(f"sequences are nested deeper than {DEEPEST} at offset {element.start}")
        # The scan walks what has undefined length once more at each depth.
        self._walk_bytes -= element.end - element.start if element.length is None else 0
        if self._walk_bytes < 0:
            raise Malformed(f"too much is nested in {name(element.tag)} at offset {element.start}")

    def _value(self, element: Element) -> None:
        length = _UNDEFINED if element.length is None else element.length
        if element.length is not None and length % 2:
            raise Malformed(
                f"{name(element.tag)} at offset {element.start} has {length} bytes: an odd length"
            )
        self._out.write(_HEADER(element.tag >> 16, element.tag & 0xFFFF, length))
        copy(self._out, self._buffer, element.value, element.end)


def copy(out: BinaryIO, buffer: Buffer, start: int, end: int) -> None:
    """Copy bytes of a buffer, and keep no more of them in memory than some. Raises the OSError of ``out``."""
    with memoryview(buffer) as view:
        for position in range(start, end, _CHUNK_BYTES):
            with view[position : min(position + _CHUNK_BYTES, end)] as piece:
                out.write(piece)
            if position > start and position // _CHUNK_BYTES % 16 == 0:
                let_go(buffer)


@lru_cache(maxsize=8192)
def known_vr(tag: int) -> str:
    """What a reader of implicit VR takes an element for, several as in ``US or SS``; empty where it can't know."""
    if tag >> 16 & 1:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else ""  # private creators: PS3.5 7.8.1
    try:
        return vr_of(tag)
    except KeyError:
        return ""


def _means_the_same(element: Element, known: str) -> bool:
    """Whether the bytes of a value mean to a reader of implicit VR what they mean under the VR that is written.

    Bytes are bytes, and numbers words as long; text is text. Of what values may differ, see ``_value_stays``.
    """
    vr, choices = element.vr, known.split(" or ")
    if vr == "UN":
        return element.length is not None or known in ("", "SQ")
    if not known or vr in choices:
        return True
    return any(
        (vr in _TEXT and choice in _TEXT) or (choice in _BYTES and (vr in _BYTES or _WORDS.get(vr) == choice))
        for choice in choices
    )
