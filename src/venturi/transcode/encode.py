"""Frames of a plan as the encoder makes them, and the Pixel Data element of these frames."""

from typing import BinaryIO

from venturi.dataset.encapsulate import FrameWriter
from venturi.dataset.scan import PIXEL_DATA
from venturi.dataset.splice import encode_header
from venturi.model import Reason
from venturi.transcode.frames import pixels, unused_bits_are_clean
from venturi.transcode.plan import Plan
from venturi.transcode.refusal import Refused, blame

_MOST_NATIVE = 0xFFFFFFFE


class UnusedBits(Exception):
    """Bits above Bits Stored hold data, and the encoder can carry them if it is told."""


def encode_frame(plan: Plan, index: int) -> bytes:
    """Make one frame's codestream. Raises Refused, Malformed, UnusedBits."""
    image = plan.image
    frame = pixels(plan.original.pixels.frame(index), image)
    if plan.encapsulated and image.depth < image.bits_allocated and not unused_bits_are_clean(frame, image):
        if plan.encoder.keeps_unused_bits and not plan.encoder.lossy:
            raise UnusedBits
        words = (
            f"frame {index}: bits above BitsStored {image.bits_stored} of {image.bits_allocated} hold data"
        )
        raise Refused(Reason.UNUSED_BITS, words)
    with blame(Reason.ENCODER_FAILED, f"frame {index}"):
        return plan.encoder.encode(frame, image, plan.options)


def write_pixel_data(out: BinaryIO, plan: Plan) -> int:
    """Encode every frame into the element; tell how long its value is.

    Raises Refused, Malformed, OSError, UnusedBits, OffsetTooLarge.
    """
    frames = range(plan.image.frames)
    if plan.encapsulated:
        writer = FrameWriter(out, len(frames), plan.extended)
        for index in frames:
            writer.add(encode_frame(plan, index))
            plan.original.pixels.forget(index)
            require_saving(plan, writer.size_bytes, index)
        writer.finish()
        return writer.size_bytes
    length = begin_native(out, plan)
    for index in frames:
        out.write(encode_frame(plan, index))
        plan.original.pixels.forget(index)
    out.write(bytes(length - plan.image.pixel_bytes))
    return length


def native_length(plan: Plan) -> int:
    """Tell the length of native Pixel Data, padded. Raises Refused where its field can't say it."""
    length = plan.image.pixel_bytes + plan.image.pixel_bytes % 2
    if length > _MOST_NATIVE:
        raise Refused(Reason.TOO_LARGE, f"{length} bytes of native Pixel Data; {_MOST_NATIVE} at most")
    return length


def begin_native(out: BinaryIO, plan: Plan) -> int:
    """Write the header of native Pixel Data; tell its length."""
    length = native_length(plan)
    out.write(encode_header(PIXEL_DATA, plan.pixel_data_vr, length))
    return length


def most_bytes(plan: Plan) -> float:
    """How long Pixel Data may become for the saving asked for. A target that asks for none may even grow."""
    saving = plan.target.min_saving
    return plan.original.pixel_bytes * (1.0 - saving) if saving > 0 else float("inf")


def require_saving(plan: Plan, size_bytes: int, index: int) -> None:
    """Stop as soon as the saving asked for can't be reached. Raises Refused."""
    if size_bytes > most_bytes(plan):
        raise Refused(
            Reason.NO_SAVING,
            f"{size_bytes} bytes after frame {index + 1} of {plan.image.frames}; {plan.original.pixel_bytes} "
            f"before, {plan.target.min_saving:.0%} was to be saved",
        )
