"""The proof of everything in a rendition but its pixels: taken from the final file.

The file meta names the right instance in the target syntax; every element that may not change is byte for byte the
original's; those that may are exactly what they should be; every entry of the offset table hits an item.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from venturi.dataset import encapsulate
from venturi.dataset.encapsulate import Fragment
from venturi.dataset.scan import PIXEL_DATA, Buffer, Element, name
from venturi.errors import Malformed
from venturi.model import Lossy, Reason
from venturi.transcode.attributes import may_change
from venturi.transcode.dataset_file import DatasetFile
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
    elements: Sequence[Element]


def read(plan: Plan, result: DatasetFile) -> Read:
    """Read the final file and prove what may not change. Raises Refused."""
    try:
        found = result.elements()
        fragments, pixel_bytes = _fragments(plan, result, found)
        _same_instance(plan, result)
        _same_elements(plan, result.data, found)
    except Malformed as error:
        raise failed(f"the rendition: {error}") from error
    return Read(fragments, pixel_bytes, found)


def failed(detail: str) -> Refused:
    """The refusal that says so."""
    return Refused(Reason.PROOF_FAILED, detail)


def _fragments(plan: Plan, result: DatasetFile, found: Sequence[Element]) -> tuple[Sequence[Fragment], int]:
    by_tag = {element.tag: element for element in found}
    pixel_data = by_tag.get(PIXEL_DATA)
    if pixel_data is None or pixel_data.vr != plan.pixel_data_vr:
        raise failed(f"there is no Pixel Data of VR {plan.pixel_data_vr}")
    size = pixel_data.end - pixel_data.value
    if plan.encapsulated:
        tables = [by_tag[tag] for tag in _EXTENDED if tag in by_tag]
        if len(tables) != (2 if plan.extended else 0):
            raise failed("an extended offset table is missing, or there for no reason")
        extended = (tables[0], tables[1]) if plan.extended else None
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


def _same_elements(plan: Plan, after: Buffer, found: Sequence[Element]) -> None:
    """Every element that may not change is there, and byte for byte the same."""
    fault = plan.original.conversion_fault()
    if fault:
        raise failed(f"the header, converted: {fault}")
    before, changing = plan.original.header, may_change(plan.encoder)
    kept = [element for element in plan.original.elements if element.tag not in changing]
    written = [element for element in found if element.tag not in changing]
    if [element.tag for element in kept] != [element.tag for element in written]:
        raise failed("an element was lost or added")
    for old, new in zip(kept, written, strict=True):
        if not _same_bytes(before, old, after, new):
            raise failed(f"{name(old.tag)} differs")


def _same_bytes(before: Buffer, old: Element, after: Buffer, new: Element) -> bool:
    size = old.end - old.start
    if size != new.end - new.start:
        return False
    return all(
        before[old.start + at : min(old.start + at + _CHUNK_BYTES, old.end)]
        == after[new.start + at : min(new.start + at + _CHUNK_BYTES, new.end)]
        for at in range(0, size, _CHUNK_BYTES)
    )


def changed_as_wanted(plan: Plan, result: DatasetFile, found: Read, lossy: Lossy | None) -> None:
    """Each element that may change, Pixel Data and its offset tables aside, is exactly what it should be now."""
    wanted = plan.changes(lossy)
    before = plan.original.header
    own = {PIXEL_DATA, *(_EXTENDED if plan.extended else ())}
    was = {e.tag: bytes(before[e.start : e.end]) for e in plan.original.elements if e.tag != PIXEL_DATA}
    now = {e.tag: bytes(result.data[e.start : e.end]) for e in found.elements if e.tag not in own}
    for tag in may_change(plan.encoder) - own:
        if now.get(tag) != wanted.get(tag, was.get(tag)):
            raise failed(f"{name(tag)} is not what it should be")
