"""The proof of a rendition: taken from the final file, by another decoder, against the original's bytes.

It holds when the file meta names the same instance in the target syntax; every element that may not change
is byte for byte the original's; Photometric Interpretation and Planar Configuration are what the
codestreams need; every entry of the offset table hits an item; every frame's own header is right; and every
frame, decoded, gives back the native bytes it came from. Anything else raises ``Refused`` with
``proof-failed`` (or ``too-large``, where memory ran out).

Bits that are neither pixels nor elements (a codestream's padding, a comment marker) are not compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from venturi.dataset import encapsulate
from venturi.dataset.scan import PIXEL_DATA, Buffer, Element, name
from venturi.dataset.splice import Changes
from venturi.errors import Malformed
from venturi.model import Reason
from venturi.transcode.attributes import MAY_CHANGE, changes
from venturi.transcode.codecs import Codec
from venturi.transcode.dataset_file import DatasetFile, digest, open_dataset
from venturi.transcode.frames import native, rebuild
from venturi.transcode.image import Image
from venturi.transcode.refusal import Refused

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Proven:
    """What the final file is."""

    sha256: str
    """Of its dataset."""
    size_bytes: int
    """Of its dataset."""
    pixel_bytes: int
    """Of its Pixel Data value: offset table, items, delimiter."""


def prove(
    original: DatasetFile, elements: Sequence[Element], image: Image, codec: Codec, path: Path
) -> Proven:
    """Prove the rendition at ``path``. Raises Refused, OSError."""
    try:
        result = open_dataset(path)
        found = result.elements()
        _same_instance(original, result, codec)
        _same_elements(original.data, elements, result.data, found)
        wanted = changes(image, codec, frozenset(element.tag for element in elements))
        _changed_as_wanted(original.data, elements, result.data, found, wanted)
        pixel_data = next((element for element in found if element.tag == PIXEL_DATA), None)
        if pixel_data is None or pixel_data.vr != "OB":
            raise _failed("there is no Pixel Data of VR OB")
        fragments = encapsulate.frames(result.data, pixel_data, image.frames)
    except Malformed as error:
        raise _failed(f"the rendition: {error}") from error
    for index, fragment in enumerate(fragments):
        codestream = bytes(result.data[fragment.offset : fragment.offset + fragment.length])
        _same_pixels(original.data, image, index, codec, codestream)
        original.forget(image.offset_of(index), image.offset_of(index + 1))
        result.forget(fragment.offset, fragment.offset + fragment.length)
    return Proven(digest(path, result.offset), result.size_bytes, pixel_data.end - pixel_data.value)


def _failed(detail: str) -> Refused:
    return Refused(Reason.PROOF_FAILED, detail)


def _same_instance(original: DatasetFile, result: DatasetFile, codec: Codec) -> None:
    before, after = original.meta, result.meta
    if after.transfer_syntax != codec.transfer_syntax:
        raise _failed("the file meta group names another transfer syntax")
    if (after.sop_class_uid, after.sop_instance_uid) != (before.sop_class_uid, before.sop_instance_uid):
        raise _failed("the file meta group names another instance")


def _same_elements(
    before: Buffer, elements: Sequence[Element], after: Buffer, found: Sequence[Element]
) -> None:
    """Every element that may not change is there, and byte for byte the same."""
    kept = [element for element in elements if element.tag not in MAY_CHANGE]
    written = [element for element in found if element.tag not in MAY_CHANGE]
    if [element.tag for element in kept] != [element.tag for element in written]:
        raise _failed("an element was lost or added")
    for old, new in zip(kept, written, strict=True):
        if not _same_bytes(before, old, after, new):
            raise _failed(f"{name(old.tag)} differs")


def _same_bytes(before: Buffer, old: Element, after: Buffer, new: Element) -> bool:
    size = old.end - old.start
    if size != new.end - new.start:
        return False
    if size <= _CHUNK_BYTES:
        return before[old.start : old.end] == after[new.start : new.end]
    return all(
        before[old.start + at : min(old.start + at + _CHUNK_BYTES, old.end)]
        == after[new.start + at : min(new.start + at + _CHUNK_BYTES, new.end)]
        for at in range(0, size, _CHUNK_BYTES)
    )


def _changed_as_wanted(
    before: Buffer, elements: Sequence[Element], after: Buffer, found: Sequence[Element], wanted: Changes
) -> None:
    """Each element that may change, Pixel Data aside, is exactly what it should be now, or as it was."""
    was = {element.tag: bytes(before[element.start : element.end]) for element in elements if _small(element)}
    now = {element.tag: bytes(after[element.start : element.end]) for element in found if _small(element)}
    for tag in MAY_CHANGE - {PIXEL_DATA}:
        if now.get(tag) != wanted.get(tag, was.get(tag)):
            raise _failed(f"{name(tag)} is not what the codestreams need")


def _small(element: Element) -> bool:
    return element.tag in MAY_CHANGE and element.tag != PIXEL_DATA


def _same_pixels(before: Buffer, image: Image, index: int, codec: Codec, codestream: bytes) -> None:
    problem = codec.check(codestream, image)
    if problem:
        raise _failed(f"frame {index}: {problem}")
    try:
        decoded = rebuild(codec.decode(codestream, image), image)
    except MemoryError as error:
        detail = f"no memory to decode a frame of {image.frame_bytes} bytes"
        raise Refused(Reason.TOO_LARGE, detail) from error
    except Exception as error:  # whatever a decoder raises means that the frame is not proven
        raise _failed(f"frame {index}: {type(error).__name__}: {error}"[:200]) from error
    same = decoded == native(before, image, index)
    if not same.all():
        wrong, first = int(np.count_nonzero(~same)), int(same.argmin())
        raise _failed(f"frame {index}: {wrong} of {image.frame_bytes} bytes differ, first at {first}")
