"""Header transcoder: implicit VR little endian and explicit VR big endian datasets into explicit VR little endian.

For: renditions of objects that came in those syntaxes. Only headers are written anew; the bytes of values are
kept, but swapped where the source is big endian and the VR has words. What is not the same afterwards:

- Group Length (gggg,0000) is left out at every level: it is retired, and would be wrong (PS3.5 7.2);
- sequences and items have defined lengths, whatever they had (PS3.5 7.5.1);
- an element of implicit VR that the dictionary does not know, private ones among them, is UN; so is one whose
  value is too long for the 16-bit length of its VR (PS3.5 6.2.2). The content of a UN of undefined length
  stays implicit VR little endian, byte for byte (PS3.5 6.2.2, CP-246).

Guarantees: the output is deterministic and in the order of the source; the work is linear, nesting is at most
``DEEPEST``, and memory is that of the output, at most ``most_bytes``, whatever the bytes are. Fails with
``Malformed``, which gives tag and offset, where a value has an odd length (PS3.5 7.1.1), is not a whole number of
words that must be swapped, or the source lies about its structure; with ``TooLong`` beyond ``most_bytes``.
"""

import struct
from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from io import BytesIO

from venturi.dataset.dictionary import vr_of
from venturi.dataset.scan import DEEPEST, Buffer, Element, Encoding, items, name, scan
from venturi.dataset.signs import DECIDING, LUT_DESCRIPTOR, VOI_LUT_SEQUENCE, Signs
from venturi.errors import Malformed, Permanent

MOST_WALKS = 16
"""The scan walks what has undefined length once more at each depth: more walks than this, on average over all
bytes, are refused. Real images have a few."""

_US_OR_SS = "US or SS"
_LONG = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
_LONGEST_SHORT = 0xFFFE
_LONGEST_DECIDING = 64
"""Of a value that decides on signs, bytes; a DS has 16."""
_UNDEFINED = 0xFFFFFFFF
_WORD_BYTES = {
    **dict.fromkeys(("AT", "OW", "SS", "US"), 2),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
_ARRAY_TYPE = {2: "H", 4: "I", 8: "Q"}
_CHUNK_BYTES = 1 << 20
_ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0)


class TooLong(Permanent):
    """What would be written is longer than the caller allows."""


def explicit(
    buffer: Buffer, elements: Sequence[Element], encoding: Encoding, most_bytes: int = 256 << 20
) -> bytes:
    """Write top-level ``elements`` of ``buffer``, scanned with ``encoding``, in explicit VR little endian.

    Leave Pixel Data out: its bytes are another module's. Raises Malformed or TooLong; ValueError where ``encoding``
    is neither implicit VR nor big endian, so that nothing is to be converted.
    """
    if not (encoding.implicit_vr or encoding.big_endian):
        raise ValueError("explicit VR little endian needs no conversion")
    with memoryview(buffer) as view:
        conversion = _Conversion(view, encoding, most_bytes)
        conversion.walk_bytes = MOST_WALKS * sum(element.end - element.start for element in elements)
        conversion.level(elements, 0)
        return conversion.out.getvalue()


class _Undecided:
    """Offsets of VRs that are US or SS: of stored values, and of what a VOI LUT maps."""

    def __init__(self) -> None:
        self.stored, self.mapped = array("Q"), array("Q")

    def extend(self, others: "_Undecided") -> None:
        """Take on those of a level further in."""
        self.stored.extend(others.stored)
        self.mapped.extend(others.mapped)


class _Conversion:
    """One dataset on its way; ``out`` always stands at its end."""

    def __init__(self, view: memoryview, encoding: Encoding, most_bytes: int) -> None:
        self.out = BytesIO()
        self.walk_bytes = 0
        self._view = view
        self._encoding = encoding
        self._most_bytes = most_bytes

    def level(self, elements: Iterable[Element], depth: int, *, of_voi: bool = False) -> "_Undecided":
        """Write one level. Gives those VRs that a level further out decides.

        What decides "US or SS" (see ``signs.py``) may stand behind it, in this level or in the nearest around it that
        has it: so US is written first, and SS in its place when the level is complete. ``of_voi``: it is an item of a
        VOI LUT Sequence.
        """
        signs, waiting = Signs(), _Undecided()
        for element in elements:
            if element.tag & 0xFFFF == 0:
                check_group_length(element)
                continue
            if element.tag in DECIDING:
                value_end = min(element.end, element.value + _LONGEST_DECIDING)
                signs.see(element.tag, bytes(self._view[element.value : value_end]))
            vr = element.vr or _implicit_vr(element.tag)
            if vr == "SQ":
                waiting.extend(self._sequence(element, depth))
            elif element.length is None:
                self._undefined(element, vr)
            else:
                if vr == _US_OR_SS:
                    vr = "US"
                    if element.length <= _LONGEST_SHORT:
                        mapped = of_voi and element.tag == LUT_DESCRIPTOR
                        (waiting.mapped if mapped else waiting.stored).append(self.out.tell() + 4)
                self._value(element, vr, element.length)
        for signed, positions in ((signs.stored, waiting.stored), (signs.mapped, waiting.mapped)):
            if signed:
                for position in positions:
                    self._rewrite(position, b"SS")
            if signed is not None:
                del positions[:]
        return waiting

    def _sequence(self, element: Element, depth: int) -> "_Undecided":
        if depth == DEEPEST:
            raise Malformed(f"sequences are nested deeper than {DEEPEST} at offset {element.start}")
        if element.length is None:
            self.walk_bytes -= element.end - element.start
            if self.walk_bytes < 0:
                raise Malformed(f"too much is nested in {name(element.tag)} at offset {element.start}")
        waiting, of_voi = _Undecided(), element.tag == VOI_LUT_SEQUENCE
        self._header(element.tag, "SQ", 0)
        start = self.out.tell()
        for first, last, encoding in items(self._view, element, self._encoding):
            self._room(len(_ITEM))
            self.out.write(_ITEM)
            item = self.out.tell()
            inner = scan(self._view, first, last, encoding)
            waiting.extend(self.level(inner, depth + 1, of_voi=of_voi))
            self._close(item)
        self._close(start)
        return waiting

    def _undefined(self, element: Element, vr: str) -> None:
        if vr != "UN" or self._encoding.big_endian:
            what = f"{name(element.tag)} at offset {element.start}"
            raise Malformed(f"{what} may not have an undefined length with VR {vr}")
        self._header(element.tag, "UN", _UNDEFINED)
        self._copy(element.value, element.end, 1)

    def _value(self, element: Element, vr: str, length: int) -> None:
        what = f"{name(element.tag)} at offset {element.start} has {length} bytes"
        if length % 2:
            raise Malformed(f"{what}: an odd length")
        word_bytes = _WORD_BYTES.get(vr, 1) if self._encoding.big_endian else 1
        if length % word_bytes:
            raise Malformed(f"{what}: no whole number of values of VR {vr}")
        # In big endian no value is that long: it came with a 16-bit length.
        self._header(element.tag, "UN" if vr not in _LONG and length > _LONGEST_SHORT else vr, length)
        self._copy(element.value, element.end, word_bytes)

    def _header(self, tag: int, vr: str, length: int) -> None:
        head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode("ascii"))
        head += struct.pack("<HL", 0, length) if vr in _LONG else struct.pack("<H", length)
        self._room(len(head))
        self.out.write(head)

    def _copy(self, start: int, end: int, word_bytes: int) -> None:
        self._room(end - start)
        for position in range(start, end, _CHUNK_BYTES):
            with self._view[position : min(position + _CHUNK_BYTES, end)] as piece:
                if word_bytes == 1:
                    self.out.write(piece)
                else:
                    words = array(_ARRAY_TYPE[word_bytes])
                    words.frombytes(piece)
                    words.byteswap()
                    self.out.write(words)

    def _close(self, start: int) -> None:
        """Fill in the length, in the four bytes before ``start``, of the sequence or item that ends here."""
        length = self.out.tell() - start
        if length >= _UNDEFINED:
            raise TooLong(f"a sequence would have {length} bytes; its length field has 32 bits")
        self._rewrite(start - 4, struct.pack("<L", length))

    def _rewrite(self, position: int, new: bytes) -> None:
        end = self.out.tell()
        self.out.seek(position)
        self.out.write(new)
        self.out.seek(end)

    def _room(self, size_bytes: int) -> None:
        if self.out.tell() + size_bytes > self._most_bytes:
            raise TooLong(f"in explicit VR the header would have more than {self._most_bytes} bytes")


def check_group_length(element: Element) -> None:
    """What is left out must be a group length and nothing else (PS3.5 7.2). Raises Malformed."""
    if element.length != 4 or element.vr not in ("", "UL", "UN"):
        raise Malformed(f"{name(element.tag)} at offset {element.start} is no group length of one UL value")


@lru_cache(maxsize=8192)
def _implicit_vr(tag: int) -> str:
    """The VR of an element in implicit VR: the dictionary's, where it leaves a choice that of PS3.5 A.1.

    A.1 gives OW for Pixel Data, Overlay Data, Waveform Data, palettes and LUT Data (US or OW: only OW can hold 2^16
    entries). The same for retired Curve Data and Audio Sample Data: in little endian their bytes do not differ.
    """
    if tag >> 16 & 1:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"  # private creators: PS3.5 7.8.1
    try:
        vr = vr_of(tag)
    except KeyError:
        return "UN"
    return "OW" if " or " in vr and vr != _US_OR_SS else vr
