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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from venturi.dataset.encapsulate import Fragment
from venturi.model import Lossy, Reason
from venturi.transcode import prove_header
from venturi.transcode.dataset_file import DatasetFile
from venturi.transcode.frames import Frame, pixels, rebuild, unused_bits_are_clean
from venturi.transcode.plan import Plan
from venturi.transcode.refusal import Refused, blame


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


Frames = Callable[[Plan, DatasetFile, Sequence[Fragment]], "Measured"]
"""Proves all frames of a final file. Raises Refused, OSError."""


def prove(plan: Plan, result: DatasetFile, frames: Frames | None = None) -> Proven:
    """Prove a rendition. With ``prove: none`` the pixels are left out, and nothing else. Raises Refused, OSError."""
    found = prove_header.read(plan, result)
    if frames is None:
        measured = prove_frames(plan, result, enumerate(found.fragments))
    else:
        measured = frames(plan, result, found.fragments)
    lossy = measured.lossy(plan, found.pixel_bytes) if plan.derivation else None
    prove_header.changed_as_wanted(plan, result, found, lossy)
    return Proven(result.sha256, result.size_bytes, found.pixel_bytes, lossy)


def prove_frames(plan: Plan, result: DatasetFile, fragments: Iterable[tuple[int, Fragment]]) -> "Measured":
    """Prove frames of a final file, each with its number. Raises Refused, OSError."""
    measured = Measured()
    for index, fragment in fragments:
        codestream = bytes(result.data[fragment.offset : fragment.offset + fragment.length])
        with blame(Reason.PROOF_FAILED, f"frame {index}"):
            problem = plan.encoder.check(codestream, plan.image, plan.options)
        if problem:
            raise prove_header.failed(f"frame {index}: {problem}")
        if plan.wishes.prove != "none":
            _same_pixels(plan, index, codestream, measured)
        plan.original.pixels.forget(index)
        result.forget(fragment.offset, fragment.offset + fragment.length)
    return measured


class Measured:
    """What was lost, over all frames."""

    def __init__(self) -> None:
        self.max_error = 0
        self.squares = 0
        self.samples = 0

    def add(self, max_error: int, squares: int, samples: int) -> None:
        """Add what was lost in some of them."""
        self.max_error = max(self.max_error, max_error)
        self.squares += squares
        self.samples += samples

    def lossy(self, plan: Plan, pixel_bytes: int) -> Lossy:
        """Put it in the units of the outcome."""
        psnr = None
        if self.squares:
            peak = (1 << plan.image.bits_stored) - 1
            psnr = round(10 * math.log10(peak**2 * self.samples / self.squares), 2)
        uid = plan.derivation.sop_instance_uid if plan.derivation else ""
        return Lossy(uid, plan.image.pixel_bytes / pixel_bytes, self.max_error, psnr)


def _same_pixels(plan: Plan, index: int, codestream: bytes, measured: Measured) -> None:
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
        raise prove_header.failed(
            f"frame {index}: {wrong} of {image.frame_bytes} bytes differ, first at {first}"
        )


def _within_bound(
    plan: Plan, index: int, original: NDArray[np.uint8], decoded: Frame, measured: Measured
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
    measured.add(largest, int(np.square(error).sum()), error.size)
