"""The proof of a rendition: taken from the final file, by another decoder, against the original's bytes.

It holds when the file meta names the right instance in the target syntax; every element that may not change
is byte for byte the original's; those that may are exactly what they should be; every entry of the offset table hits
an item; every frame's own header is right; and every frame, decoded, gives back the native bytes it came from -
or, lossy, samples none of which is further off than the rule allows. A converted header is compared with what it was
made from, a decoded frame with what another decoder made of it. Anything else raises ``Refused`` with
``proof-failed`` (``error-beyond-bound``; ``too-large``, where memory ran out).

Bits that are neither pixels nor elements (a codestream's padding, a comment marker) are not compared.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from venturi.dataset import encapsulate
from venturi.dataset.encapsulate import Fragment
from venturi.dataset.scan import PIXEL_DATA, Buffer, Element, name
from venturi.errors import Malformed
from venturi.model import Lossy, Reason
from venturi.transcode.attributes import may_change
from venturi.transcode.dataset_file import DatasetFile
from venturi.transcode.frames import Frame, pixels, rebuild, unused_bits_are_clean
from venturi.transcode.plan import Plan
from venturi.transcode.refusal import Refused, blame

_CHUNK_BYTES = 1 << 20
_EXTENDED = (0x7FE00001, 0x7FE00002)


@dataclass(frozen=True, slots=True)
class Proven:
    """What the final file is."""

    sha256: str
    """Of its dataset."""
    size_bytes: int
    """Of its dataset."""
    pixel_bytes: int
    """Of its Pixel Data value: offset table, items, delimiter."""
    lossy: Lossy | None = None


def prove(plan: Plan, result: DatasetFile) -> Proven:
    """Prove a rendition. With ``prove: none`` the pixels are left out, and nothing else. Raises Refused, OSError."""
    try:
        found = result.elements()
        fragments, pixel_bytes = _fragments(plan, result, found)
        _same_instance(plan, result)
        _same_elements(plan, result.data, found)
    except Malformed as error:
        raise _failed(f"the rendition: {error}") from error
    measured = _Measured()
    for index, fragment in enumerate(fragments):
        codestream = bytes(result.data[fragment.offset : fragment.offset + fragment.length])
        with blame(Reason.PROOF_FAILED, f"frame {index}"):
            problem = plan.encoder.check(codestream, plan.image, plan.options)
        if problem:
            raise _failed(f"frame {index}: {problem}")
        if plan.wishes.prove != "none":
            _same_pixels(plan, index, codestream, measured)
        plan.original.pixels.forget(index)
        result.forget(fragment.offset, fragment.offset + fragment.length)
    lossy = measured.lossy(plan, pixel_bytes) if plan.derivation else None
    _changed_as_wanted(plan, lossy, result.data, found)
    return Proven(result.sha256, result.size_bytes, pixel_bytes, lossy)


def _failed(detail: str) -> Refused:
    return Refused(Reason.PROOF_FAILED, detail)


def _fragments(plan: Plan, result: DatasetFile, found: Sequence[Element]) -> tuple[Sequence[Fragment], int]:
    by_tag = {element.tag: element for element in found}
    pixel_data = by_tag.get(PIXEL_DATA)
    if pixel_data is None or pixel_data.vr != plan.pixel_data_vr:
        raise _failed(f"there is no Pixel Data of VR {plan.pixel_data_vr}")
    size = pixel_data.end - pixel_data.value
    if plan.encapsulated:
        tables = [by_tag[tag] for tag in _EXTENDED if tag in by_tag]
        if len(tables) != (2 if plan.extended else 0):
            raise _failed("an extended offset table is missing, or there for no reason")
        extended = (tables[0], tables[1]) if plan.extended else None
        return encapsulate.frames(result.data, pixel_data, plan.image.frames, extended), size
    expected = plan.image.pixel_bytes
    if pixel_data.length != expected + expected % 2:
        raise _failed(f"Pixel Data has {pixel_data.length} bytes, not {expected}")
    length = plan.image.frame_bytes
    return [Fragment(pixel_data.value + index * length, length) for index in range(plan.image.frames)], size


def _same_instance(plan: Plan, result: DatasetFile) -> None:
    wanted = plan.meta()
    if result.meta.transfer_syntax != wanted.transfer_syntax:
        raise _failed("the file meta group names another transfer syntax")
    if result.meta != wanted:
        raise _failed("the file meta group names another instance, or other senders")


def _same_elements(plan: Plan, after: Buffer, found: Sequence[Element]) -> None:
    """Every element that may not change is there, and byte for byte the same."""
    fault = plan.original.conversion_fault()
    if fault:
        raise _failed(f"the header, converted: {fault}")
    before, changing = plan.original.header, may_change(plan.encoder)
    kept = [element for element in plan.original.elements if element.tag not in changing]
    written = [element for element in found if element.tag not in changing]
    if [element.tag for element in kept] != [element.tag for element in written]:
        raise _failed("an element was lost or added")
    for old, new in zip(kept, written, strict=True):
        if not _same_bytes(before, old, after, new):
            raise _failed(f"{name(old.tag)} differs")


def _same_bytes(before: Buffer, old: Element, after: Buffer, new: Element) -> bool:
    size = old.end - old.start
    if size != new.end - new.start:
        return False
    return all(
        before[old.start + at : min(old.start + at + _CHUNK_BYTES, old.end)]
        == after[new.start + at : min(new.start + at + _CHUNK_BYTES, new.end)]
        for at in range(0, size, _CHUNK_BYTES)
    )


def _changed_as_wanted(plan: Plan, lossy: Lossy | None, after: Buffer, found: Sequence[Element]) -> None:
    """Each element that may change, Pixel Data and its offset tables aside, is exactly what it should be now."""
    wanted = plan.changes(lossy)
    before = plan.original.header
    own = {PIXEL_DATA, *(_EXTENDED if plan.extended else ())}
    was = {e.tag: bytes(before[e.start : e.end]) for e in plan.original.elements if e.tag != PIXEL_DATA}
    now = {e.tag: bytes(after[e.start : e.end]) for e in found if e.tag not in own}
    for tag in may_change(plan.encoder) - own:
        if now.get(tag) != wanted.get(tag, was.get(tag)):
            raise _failed(f"{name(tag)} is not what it should be")


class _Measured:
    """What was lost, over all frames."""

    def __init__(self) -> None:
        self.max_error = 0
        self.squares = 0
        self.samples = 0

    def lossy(self, plan: Plan, pixel_bytes: int) -> Lossy:
        psnr = None
        if self.squares:
            peak = (1 << plan.image.bits_stored) - 1
            psnr = round(10 * math.log10(peak**2 * self.samples / self.squares), 2)
        uid = plan.derivation.sop_instance_uid if plan.derivation else ""
        return Lossy(uid, plan.image.pixel_bytes / pixel_bytes, self.max_error, psnr)


def _same_pixels(plan: Plan, index: int, codestream: bytes, measured: _Measured) -> None:
    image = plan.image
    with blame(Reason.PROOF_FAILED, f"frame {index}"):
        decoded = plan.encoder.decode(codestream, image)
        native = rebuild(decoded, image)
    original = plan.original.pixels.again(index)
    if plan.encoder.lossy:
        _within_bound(plan, index, original, decoded, measured)
        return
    same = native == original
    if not same.all():
        wrong, first = int(np.count_nonzero(~same)), int(same.argmin())
        raise _failed(f"frame {index}: {wrong} of {image.frame_bytes} bytes differ, first at {first}")


def _within_bound(
    plan: Plan, index: int, original: NDArray[np.uint8], decoded: Frame, measured: _Measured
) -> None:
    """Measure every sample's error in stored values. Raises Refused beyond the rule's bound."""
    image, bound = plan.image, plan.wishes.lossy_max_error
    if not unused_bits_are_clean(decoded, image):
        detail = f"frame {index}: a decoded value does not fit {image.bits_stored} bits"
        raise Refused(Reason.ERROR_BOUND, detail)
    error = np.abs(decoded.astype(np.int64) - pixels(original, image))
    largest = int(error.max())
    if bound is None or largest > bound:
        raise Refused(Reason.ERROR_BOUND, f"frame {index}: an error of {largest}; {bound:g} allowed")
    measured.max_error = max(measured.max_error, largest)
    measured.squares += int(np.square(error).sum())
    measured.samples += error.size
