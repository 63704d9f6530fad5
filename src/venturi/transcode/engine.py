"""The transcoder: one object, one target, a proven rendition or the reason why the original goes on.

Today it encodes native Pixel Data of explicit VR little endian datasets, without loss. A frame at a time
goes from the memory map of the source through the codec to the output, so memory does not grow with the
number of frames. The same source and target give the same bytes. The source is opened read-only; an output
that can't be proven is removed.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from venturi.dataset import part10
from venturi.dataset.encapsulate import FrameWriter, OffsetTooLarge
from venturi.dataset.scan import PIXEL_DATA, Element, encoding_of, scan
from venturi.dataset.splice import splice
from venturi.dataset.syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, Family, lookup
from venturi.errors import Malformed
from venturi.model import Outcome, Proof, Reason, Target
from venturi.transcode.attributes import changes
from venturi.transcode.codecs import BY_SYNTAX, Codec
from venturi.transcode.dataset_file import DatasetFile, digest, open_dataset
from venturi.transcode.frames import Frame, native, pixels, unused_bits_are_clean
from venturi.transcode.image import FLOAT_PIXEL_DATA, Image, describe
from venturi.transcode.prove import prove
from venturi.transcode.refusal import Refused


class Engine:
    """A ``transcode.port.Transcoder``. It keeps nothing between calls; one thread uses it at a time."""

    def __init__(self, codecs: Mapping[str, Codec] = BY_SYNTAX) -> None:
        """``codecs`` by the UID of their transfer syntax."""
        self._codecs = codecs

    def transcode(self, source: Path, target: Target, output: Path) -> Outcome:
        """Write and prove the rendition: see ``transcode.port``. ``output`` must not exist yet."""
        try:
            original = open_dataset(source)
        except Malformed as error:
            size_bytes = source.stat().st_size
            return Outcome(target, "", size_bytes, digest(source, 0), Reason.MALFORMED, str(error))
        try:
            return self._transcode(original, target, output)
        except Refused as refused:
            reason, detail = refused.reason, refused.detail
        except Malformed as error:
            reason, detail = Reason.MALFORMED, str(error)
        return Outcome(
            target=target,
            transfer_syntax=original.meta.transfer_syntax,
            size_bytes=original.size_bytes,
            sha256=digest(source, original.offset),
            reason=reason,
            detail=detail,
        )

    def _transcode(self, original: DatasetFile, target: Target, output: Path) -> Outcome:
        codec = self._codec(original, target)
        elements = original.elements()
        image = describe(original.data, elements)
        refused = codec.refusal(image)
        if refused:
            raise refused
        with output.open("xb") as out:
            try:
                _write(out, original, elements, image, codec, target=target)
                out.close()
                proven = prove(original, elements, image, codec, output)
            except BaseException:
                output.unlink(missing_ok=True)
                raise
        return Outcome(
            target=target,
            transfer_syntax=codec.transfer_syntax,
            size_bytes=proven.size_bytes,
            sha256=proven.sha256,
            proof=Proof.PIXELS,
            codec=codec.libraries,
            frames=image.frames,
            pixel_bytes_before=image.pixel_bytes,
            pixel_bytes_after=proven.pixel_bytes,
        )

    def _codec(self, original: DatasetFile, target: Target) -> Codec:
        """Find the codec, if target and source syntax are such as can be done. Raises Refused."""
        if target.transfer_syntax is None:
            raise Refused(Reason.ASKED)
        if target.transfer_syntax == original.meta.transfer_syntax:
            raise Refused(Reason.SAME_SYNTAX)
        codec = self._codecs.get(target.transfer_syntax)
        if codec is None:
            raise Refused(Reason.UNSUPPORTED_TARGET, f"no encoder for {lookup(target.transfer_syntax)}")
        if target.parameters:
            named = ", ".join(parameter for parameter, _ in target.parameters)
            raise Refused(Reason.UNSUPPORTED_TARGET, f"{lookup(target.transfer_syntax)} takes no {named}")
        syntax = lookup(original.meta.transfer_syntax)
        if syntax.family is Family.UNKNOWN:
            raise Refused(Reason.UNSUPPORTED_INPUT_SYNTAX, "the transfer syntax is private or not known")
        if not syntax.native:
            raise Refused(Reason.NOT_NATIVE, str(syntax))
        if syntax.uid != EXPLICIT_VR_LITTLE_ENDIAN:
            if not syntax.deflated and not _has_pixel_data(original):
                raise Refused(Reason.NO_PIXEL_DATA)
            raise Refused(Reason.UNSUPPORTED_INPUT_SYNTAX, str(syntax))
        return codec


def _has_pixel_data(original: DatasetFile) -> bool:
    """Whether a dataset in another native syntax is an image at all, so that lists name the real reason."""
    encoding = encoding_of(lookup(original.meta.transfer_syntax))
    tags = {element.tag for element in scan(original.data, original.offset, encoding=encoding)}
    return bool(tags & {PIXEL_DATA, *FLOAT_PIXEL_DATA})


def _write(
    out: BinaryIO,
    original: DatasetFile,
    elements: list[Element],
    image: Image,
    codec: Codec,
    *,
    target: Target,
) -> None:
    """Write the whole Part 10 file. Raises Refused, Malformed, OSError."""
    meta = replace(
        original.meta,
        transfer_syntax=codec.transfer_syntax,
        source_address="",
        sending_address="",
        receiving_address="",
        private_creator="",
        private_information=b"",
    )
    present = frozenset(element.tag for element in elements)

    def write_pixel_data(stream: BinaryIO) -> None:
        writer = FrameWriter(stream, image.frames)
        for index in range(image.frames):
            frame = pixels(native(original.data, image, index), image)
            try:
                writer.add(_encode(codec, frame, image, index))
            except OffsetTooLarge as error:
                raise Refused(Reason.TOO_LARGE, str(error)) from error
            original.forget(image.offset_of(index), image.offset_of(index + 1))
            _require_saving(target, image, writer.size_bytes, index)
        writer.finish()

    out.write(part10.encode(meta))
    splice(out, original.data, elements, changes(image, codec, present), write_pixel_data)


def _encode(codec: Codec, frame: Frame, image: Image, index: int) -> bytes:
    if not codec.keeps_unused_bits and not unused_bits_are_clean(frame, image):
        raise Refused(
            Reason.UNUSED_BITS,
            f"frame {index}: bits above BitsStored {image.bits_stored} of {image.bits_allocated} hold data",
        )
    try:
        return codec.encode(frame, image)
    except MemoryError as error:
        detail = f"no memory to encode a frame of {image.frame_bytes} bytes"
        raise Refused(Reason.TOO_LARGE, detail) from error
    except Exception as error:  # whatever an encoder raises, the original is there to go on
        detail = f"frame {index}: {type(error).__name__}: {error}"[:200]
        raise Refused(Reason.ENCODER_FAILED, detail) from error


def _require_saving(target: Target, image: Image, size_bytes: int, index: int) -> None:
    """Stop as soon as the saving asked for can't be reached. A target that asks for none may even grow."""
    most = image.pixel_bytes * (1.0 - target.min_saving)
    if target.min_saving > 0 and size_bytes > most:
        raise Refused(
            Reason.NO_SAVING,
            f"{size_bytes} bytes after frame {index + 1} of {image.frames}; {image.pixel_bytes} before, "
            f"{target.min_saving:.0%} was to be saved",
        )
