"""Compare a dataset in explicit VR little endian with the one it was made from: the proof of ``explicit``.

It shares no code with the transcoder but the scan: it walks both sides, and swaps by the VR that the explicit
side *says*. Difference is told in words, without any value; nothing is raised, and nothing is changed.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from venturi.dataset.dictionary import vr_of
from venturi.dataset.scan import DEEPEST, EXPLICIT_LE, Buffer, Element, Encoding, items, name, scan
from venturi.errors import Malformed

_BITS, _SIGNED, _INTERCEPT, _SLOPE, _LUT = 0x00280101, 0x00280103, 0x00281052, 0x00281053, 0x00283000
_OF_VOI_LUT = 0x00283010, 0x00283002
_WORDS = ((2, "AT OW SS US"), (4, "FL OF OL SL UL"), (8, "FD OD OV SV UV"))
_WORD_BYTES = {vr: size for size, vrs in _WORDS for vr in vrs.split()}
_CHUNK_BYTES = 1 << 20


def agrees(
    buffer: Buffer,
    elements: Sequence[Element],
    encoding: Encoding,
    explicit_buffer: Buffer,
    explicit_elements: Sequence[Element],
) -> str:
    """Say what differs between source and result, or nothing ("") where all is the same.

    The same tags in the same nesting, but for group lengths (gggg,0000), which the result must not have; the VR that
    the source or the dictionary gives; values of the same length and, once big endian words are swapped, the same
    bytes. ``elements`` were scanned from ``buffer`` with ``encoding``, the others in explicit VR little endian.
    """
    comparison = _Comparison(buffer, encoding, explicit_buffer)
    try:
        return comparison.level(
            elements, explicit_elements, comparison.signs(explicit_elements, _Signs(False, False)), 0
        )
    except Malformed as fault:
        return str(fault)


class _Signs(NamedTuple):
    """Whether stored values may be negative, and what a VOI LUT maps."""

    stored: bool
    mapped: bool


class _Comparison:
    def __init__(self, buffer: Buffer, encoding: Encoding, result: Buffer) -> None:
        self._buffer = buffer
        self._encoding = encoding
        self._result = result

    def signs(self, elements: Iterable[Element], outer: "_Signs") -> "_Signs":
        """What is signed by this level, or else by that around it (PS3.3 C.11.2.1.1)."""
        found: dict[int, bytes] = {}
        for element in elements:
            if element.tag in (_BITS, _SIGNED, _INTERCEPT, _SLOPE):
                found[element.tag] = bytes(self._result[element.value : min(element.end, element.value + 64)])
            elif element.tag == _LUT:
                found[_LUT] = b""
            elif element.tag > _LUT:
                break
        here = found.get(_SIGNED)
        stored = outer.stored if here is None else here == b"\1\0"
        mapped = outer.mapped if here is None else stored
        intercept, slope = (_finite(found.get(tag, b"")) for tag in (_INTERCEPT, _SLOPE))
        if _LUT in found:
            mapped = False
        elif intercept is not None:
            bits = min(32, int.from_bytes(found.get(_BITS, b"\x10\0")[:2], "little"))
            low = -(2**bits // 2) if here == b"\1\0" else 0
            slope = 1.0 if slope is None else slope
            mapped = any(value * slope + intercept < 0 for value in (low, low + 2**bits - 1))
        return _Signs(stored, mapped)

    def level(
        self,
        source: Iterable[Element],
        result: Iterable[Element],
        signs: "_Signs",
        depth: int,
        within: int = 0,
    ) -> str:
        """Compare the elements of one level, pair by pair; ``within``: an item of which sequence it is."""
        ours = iter(result)
        for theirs in source:
            if theirs.tag % 0x10000 == 0:
                continue
            our = next(ours, None)
            if our is None:
                return f"{name(theirs.tag)} is missing"
            if our.tag != theirs.tag:
                return f"{name(our.tag)} stands where {name(theirs.tag)} must be"
            signed = signs.mapped if (within, our.tag) == _OF_VOI_LUT else signs.stored
            if our.vr not in self._vrs(theirs, signed):
                return f"{name(our.tag)} has VR {our.vr}"
            difference = self._element(theirs, our, signs, depth)
            if difference:
                return difference
        extra = next(ours, None)
        return "" if extra is None else f"{name(extra.tag)} is not in the source"

    def _vrs(self, theirs: Element, signed: bool) -> tuple[str, ...]:
        """The VRs that are right for an element of the source."""
        if theirs.vr:
            return (theirs.vr,)
        vrs = _known(theirs.tag)
        if vrs == ("US", "SS"):
            vrs = ("SS",) if signed else ("US",)
        too_long = theirs.length is not None and theirs.length > 0xFFFE and not {"SQ", "OW"} & set(vrs)
        return (*vrs, "UN") if too_long else vrs

    def _element(self, theirs: Element, our: Element, signs: "_Signs", depth: int) -> str:
        if our.vr == "SQ":
            return self._sequence(theirs, our, signs, depth)
        if theirs.length != our.length:
            return f"{name(our.tag)} has {our.length} bytes, not {theirs.length}"
        size = theirs.end - theirs.value  # of a UN of undefined length: with its items and delimiters
        if size != our.end - our.value:
            return f"{name(our.tag)} has another size"
        step = _WORD_BYTES.get(our.vr, 1) if self._encoding.big_endian else 1
        for done in range(0, size, _CHUNK_BYTES):
            count = min(_CHUNK_BYTES, size - done)
            before = bytes(self._buffer[theirs.value + done : theirs.value + done + count])
            after = bytes(self._result[our.value + done : our.value + done + count])
            # Byte k of each word here is byte k from the other end there.
            if any(before[k::step] != after[step - 1 - k :: step] for k in range(step)):
                return f"{name(our.tag)} has another value"
        return ""

    def _sequence(self, theirs: Element, our: Element, signs: "_Signs", depth: int) -> str:
        if depth == DEEPEST:
            return f"{name(our.tag)} is nested deeper than {DEEPEST}"
        results = items(self._result, our, EXPLICIT_LE)
        for first, last, encoding in items(self._buffer, theirs, self._encoding):
            item = next(results, None)
            if item is None:
                return f"{name(our.tag)} has too few items"
            inner = self.signs(scan(self._result, *item), signs)
            source = scan(self._buffer, first, last, encoding)
            difference = self.level(source, scan(self._result, *item), inner, depth + 1, our.tag)
            if difference:
                return f"in {name(our.tag)}: {difference}"
        return "" if next(results, None) is None else f"{name(our.tag)} has too many items"


@lru_cache(maxsize=8192)
def _known(tag: int) -> tuple[str, ...]:
    """What an element of implicit VR is by the dictionary and PS3.5 A.1; UN where nobody knows."""
    if tag // 0x10000 % 2:
        return ("LO",) if tag % 0x10000 in range(0x10, 0x100) else ("UN",)
    try:
        vrs = tuple(vr_of(tag).split(" or "))
    except KeyError:
        return ("UN",)
    return ("OW",) if "OW" in vrs else vrs


def _finite(value: bytes) -> float | None:
    try:
        number = float(value.decode("ascii").strip(" \0"))
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None
