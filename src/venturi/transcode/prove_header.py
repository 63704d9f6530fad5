"""The proof of everything in a rendition but its pixels: taken from the final file.

The file meta group names the right instance in the target syntax; every element that may not change is byte for byte
the original's; those that may are exactly what they should be; every entry of the offset table hits an item.

The final dataset is not scanned whole. It must be, byte for byte and to its end, these elements one behind the other,
by ascending tag: the original's that stay, those that change, and Pixel Data with its offset tables. A scan would find
just these and accept them, for what it says of an element depends on that element's bytes and on the tag before: the
first are whole elements that it found in the original; each of the second is scanned by itself here, as is each of the
last, where it lies. The order is made here, by sorting, and not by what wrote the file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

from venturi.dataset import encapsulate
from venturi.dataset.encapsulate import Fragment
from venturi.dataset.scan import MOST_ELEMENTS, PIXEL_DATA, Buffer, Element, name, scan
from venturi.errors import Malformed
from venturi.model import Lossy, Reason
from venturi.transcode.attributes import may_change
from venturi.transcode.dataset_file import DatasetFile
from venturi.transcode.lossy import LOSSY_RATIO
from venturi.transcode.plan import Plan
from venturi.transcode.refusal import Refused

_CHUNK_BYTES = 1 << 20
_EXTENDED = (0x7FE00001, 0x7FE00002)


@dataclass(frozen=True, slots=True)
class Read:
    """What was found in the final file."""

    fragments: Sequence[Fragment]
    """One a frame."""
    pixel_bytes: int
    """Of the Pixel Data value: offset table, items, delimiter."""
    elements: Mapping[int, Element]
    """By tag, those that are not yet known before the frames are made: Pixel Data, offset tables, what was lost."""


def read(plan: Plan, result: DatasetFile) -> Read:
    """Read the final file; prove all but the frames, and what a lossy rendition says that it lost. Raises Refused."""
    try:
        _same_instance(plan, result)
        found = _same_elements(plan, result)
        fragments, pixel_bytes = _fragments(plan, result, found)
    except Malformed as error:
        raise failed(f"the rendition: {error}") from error
    return Read(fragments, pixel_bytes, found)


def failed(detail: str) -> Refused:
    """The refusal that says so."""
    return Refused(Reason.PROOF_FAILED, detail)


def _fragments(
    plan: Plan, result: DatasetFile, found: Mapping[int, Element]
) -> tuple[Sequence[Fragment], int]:
    pixel_data = found[PIXEL_DATA]
    if pixel_data.vr != plan.pixel_data_vr:
        raise failed(f"there is no Pixel Data of VR {plan.pixel_data_vr}")
    size = pixel_data.end - pixel_data.value
    if plan.encapsulated:
        extended = (found[_EXTENDED[0]], found[_EXTENDED[1]]) if plan.extended else None
        return encapsulate.frames(result.data, pixel_data, plan.image.frames, extended), size
    expected = plan.image.pixel_bytes
    if pixel_data.length != expected + expected % 2:
        raise failed(f"Pixel Data has {pixel_data.length} bytes, not {expected}")
    length = plan.image.frame_bytes
    return [Fragment(pixel_data.value + index * length, length) for index in range(plan.image.frames)], size


def _same_instance(plan: Plan, result: DatasetFile) -> None:
    wanted = plan.meta()
    if result.meta.transfer_syntax != wanted.transfer_syntax:
        raise failed("the file meta group names another transfer syntax")
    if result.meta != wanted:
        raise failed("the file meta group names another instance, or other senders")


def _same_elements(plan: Plan, result: DatasetFile) -> dict[int, Element]:
    """Every element is there that should be, in its place, and byte for byte what it should be; and nothing else is.

    Gives those that can't be compared yet: each is one whole element of its tag.
    """
    fault = plan.original.conversion_fault()
    if fault:
        raise failed(f"the header, converted: {fault}")
    found: dict[int, Element] = {}
    position = result.offset
    for tag, source, start, end in _expected(plan):
        if source is None:
            element = next(scan(result.data, position), None)
            if element is None or element.tag != tag:
                raise failed(f"{name(tag)} is not where it should be")
            found[tag] = element
            position = element.end
        elif _same_bytes(source, start, end, result.data, position):
            position += end - start
        else:
            raise failed(f"{name(tag)}, or what follows it, is not what it should be")
    if position != len(result.data):
        raise failed("something follows the last element")
    return found


_Piece = tuple[int, Buffer | None, int, int]
"""One element, or several that follow each other in the original too: the tag of the first, and where to find the bytes
that the final file must have. None for an element that is known only when the frames are."""


def _expected(plan: Plan) -> list[_Piece]:
    """List what the final dataset must consist of. Raises Refused, Malformed."""
    wanted, header = plan.changes(), plan.original.header
    later = {PIXEL_DATA, *(_EXTENDED if plan.extended else ()), *((LOSSY_RATIO,) if plan.derivation else ())}
    aside = wanted.keys() | later
    if not aside <= may_change(plan.encoder):
        raise failed("an element would change that may not")
    new = {tag: element for tag, element in wanted.items() if element is not None and tag not in later}
    for tag, encoded in new.items():
        if [element.tag for element in scan(encoded)] != [tag]:
            raise failed(f"what {name(tag)} becomes is not one element of that tag")
    pieces: list[_Piece] = [(tag, None, 0, 0) for tag in later]
    pieces += [(tag, encoded, 0, len(encoded)) for tag, encoded in new.items()]
    pieces += [
        (tag, header, start, end) for tag, _, start, _, _, end in plan.original.elements if tag not in aside
    ]
    if len(pieces) > MOST_ELEMENTS:
        raise failed(f"{len(pieces)} elements; {MOST_ELEMENTS} at most")
    pieces.sort(key=itemgetter(0))
    return _joined(pieces, header)


def _joined(pieces: list[_Piece], header: Buffer) -> list[_Piece]:
    """Make one piece of those that follow each other here and in ``header``, so that they are compared at once."""
    joined: list[_Piece] = []
    first, reached = 0, -1
    for index, (_, source, start, end) in enumerate(pieces):
        if source is not header or start != reached:
            joined += _run(pieces, first, index)
            first = index
        reached = end if source is header else -1
    return joined + _run(pieces, first, len(pieces))


def _run(pieces: list[_Piece], first: int, end: int) -> list[_Piece]:
    """The pieces from ``first`` on, which are one."""
    return [(*pieces[first][:3], pieces[end - 1][3])] if first < end else []


def _same_bytes(before: Buffer, start: int, end: int, after: Buffer, position: int) -> bool:
    return all(
        before[at : min(at + _CHUNK_BYTES, end)]
        == after[position + at - start : position + min(at + _CHUNK_BYTES, end) - start]
        for at in range(start, end, _CHUNK_BYTES)
    )


def changed_as_wanted(plan: Plan, result: DatasetFile, found: Read, lossy: Lossy | None) -> None:
    """What a lossy rendition says that it lost is what was measured; the rest ``read`` has proven."""
    if lossy is None:
        return
    wanted, said = plan.changes(lossy), found.elements[LOSSY_RATIO]
    if result.data[said.start : said.end] != wanted[LOSSY_RATIO]:
        raise failed(f"{name(LOSSY_RATIO)} is not what it should be")
    if wanted != {**plan.changes(), LOSSY_RATIO: wanted[LOSSY_RATIO]}:
        raise failed("more than the ratio depends on what was lost")
