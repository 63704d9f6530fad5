"""Compare a dataset in implicit VR little endian with the explicit one it was made from: the proof of ``implicit``.

It shares no code with the transcoder but the scan: it walks both sides. Difference is told in words, without any
value; nothing is raised, and nothing is changed.
"""

from collections.abc import Iterable

from venturi.dataset.contents import let_go
from venturi.dataset.scan import DEEPEST, EXPLICIT_LE, IMPLICIT_LE, Buffer, Element, items, name, scan
from venturi.errors import Malformed

_CHUNK_BYTES = 1 << 20


def agrees_implicit(
    buffer: Buffer, elements: Iterable[Element], implicit_buffer: Buffer, implicit_elements: Iterable[Element]
) -> str:
    """Say what differs between source and result, or nothing ("") where all is the same.

    The same tags in the same nesting, but for group lengths (gggg,0000), which the result must not have, and values
    of the same length and bytes; sequences are told by their undefined length. ``elements`` were scanned from
    ``buffer`` as explicit VR little endian, the others in implicit.
    """
    try:
        return _level(buffer, elements, implicit_buffer, implicit_elements, 0)
    except Malformed as fault:
        return str(fault)


def _level(
    buffer: Buffer, source: Iterable[Element], other: Buffer, result: Iterable[Element], depth: int
) -> str:
    """Compare the elements of one level, pair by pair."""
    ours = iter(result)
    for theirs in source:
        if theirs.tag % 0x10000 == 0:
            continue
        our = next(ours, None)
        if our is None:
            return f"{name(theirs.tag)} is missing"
        if our.tag != theirs.tag:
            return f"{name(our.tag)} stands where {name(theirs.tag)} must be"
        if theirs.vr == "SQ":
            difference = _sequence(buffer, theirs, other, our, depth)
        else:
            difference = _value(buffer, theirs, other, our)
        if difference:
            return difference
    extra = next(ours, None)
    return "" if extra is None else f"{name(extra.tag)} is not in the source"


def _value(buffer: Buffer, theirs: Element, other: Buffer, our: Element) -> str:
    size = theirs.end - theirs.value  # of a UN of undefined length: with its items and delimiters
    if our.length != theirs.length or our.end - our.value != size:
        return f"{name(our.tag)} has another length"
    for done in range(0, size, _CHUNK_BYTES):
        count = min(_CHUNK_BYTES, size - done)
        before = buffer[theirs.value + done : theirs.value + done + count]
        if before != other[our.value + done : our.value + done + count]:
            return f"{name(our.tag)} has another value"
        if done and done // _CHUNK_BYTES % 16 == 0:
            let_go(buffer)
            let_go(other)
    return ""


def _sequence(buffer: Buffer, theirs: Element, other: Buffer, our: Element, depth: int) -> str:
    if our.length is not None:
        return f"{name(our.tag)} is not to be known as a sequence"
    if depth == DEEPEST:
        return f"{name(our.tag)} is nested deeper than {DEEPEST}"
    results = items(other, our, IMPLICIT_LE)
    for item in items(buffer, theirs, EXPLICIT_LE):
        made = next(results, None)
        if made is None:
            return f"{name(our.tag)} has too few items"
        difference = _level(buffer, scan(buffer, *item), other, scan(other, *made), depth + 1)
        if difference:
            return f"in {name(our.tag)}: {difference}"
    return "" if next(results, None) is None else f"{name(our.tag)} has too many items"
