"""RLE Lossless (PS3.5 Annex G): pylibjpeg-rle encodes, imagecodecs' PackBits decoder proves.

Exact for 8, 16 and 32 allocated bits, whatever is stored in them: it codes the bytes of the container. Two
kinds of images are legal and yet refused, because GDCM reads the first with its colours mixed up, whoever wrote
it, and builds of it that check themselves end over the second: colour of more than 8 bits a sample, and fewer
than 8 bits in a byte. Planar
Configuration stays as it was: both values are valid (PS3.5 8.2.2) and say how the decoded frame is to be
laid out.
"""

import struct
from typing import cast

import imagecodecs
import numpy as np
from rle.utils import encode_pixel_data

from venturi.dataset.syntaxes import RLE_LOSSLESS
from venturi.model import Reason
from venturi.transcode.frames import Frame, container
from venturi.transcode.image import Image
from venturi.transcode.refusal import Refused

_MOST_SEGMENTS = 15
_HEADER = struct.Struct("<16L")


class RLELossless:
    """Segments of PackBits, one for each byte of a sample, the most significant first."""

    transfer_syntax = RLE_LOSSLESS
    libraries = "pylibjpeg-rle, imagecodecs/packbits"
    keeps_unused_bits = True

    def refusal(self, image: Image) -> Refused | None:
        """More than 15 segments can't be written (PS3.5 G.3.1); see above for the rest."""
        segments = _segments(image)
        if segments > _MOST_SEGMENTS:
            return Refused(Reason.BITS, f"{segments} segments a frame; RLE has {_MOST_SEGMENTS}")
        if image.samples > 1 and image.bits_allocated > 8:
            return Refused(
                Reason.BITS, f"colour with BitsAllocated {image.bits_allocated} is not read everywhere"
            )
        if image.bits_stored < image.bits_allocated == 8:
            return Refused(Reason.BITS, f"BitsStored {image.bits_stored} of 8 is not read everywhere")
        return None

    def photometric(self, image: Image) -> str:
        """Nothing is transformed."""
        return image.photometric

    def planar(self, image: Image) -> int | None:
        """As it was."""
        return image.planar

    def encode(self, frame: Frame, image: Image) -> bytes:
        """Encode from colour by pixel, which the encoder takes."""
        return bytes(
            encode_pixel_data(
                frame.tobytes(),
                rows=image.rows,
                columns=image.columns,
                samples_per_pixel=image.samples,
                bits_allocated=image.bits_allocated,
                byteorder="<",
            )
        )

    def check(self, codestream: bytes, image: Image) -> str:
        """Check the RLE header (PS3.5 G.5): as many segments as there should be, in order, inside."""
        if len(codestream) < _HEADER.size:
            return f"{len(codestream)} bytes are too few for an RLE header"
        count, *offsets = _HEADER.unpack_from(codestream)
        if count != _segments(image):
            return f"{count} segments, not {_segments(image)}"
        used, unused = offsets[:count], offsets[count:]
        if used[0] != _HEADER.size or any(unused):
            return "segment offsets do not begin behind the header, or there are too many"
        if any(a >= b for a, b in zip(used, [*used[1:], len(codestream)], strict=True)):
            return "segment offsets do not ascend within the frame"
        return ""

    def decode(self, codestream: bytes, image: Image) -> Frame:
        """Decode the planes. Raises ValueError where a segment has not exactly the bytes of a plane."""
        count, *offsets = _HEADER.unpack_from(codestream)
        width = image.bits_allocated // 8
        size = image.rows * image.columns
        planes = np.empty((size, image.samples, width), np.uint8)
        bounds = [*offsets[:count], len(codestream)]
        for index in range(count):
            segment = imagecodecs.packbits_decode(codestream[bounds[index] : bounds[index + 1]])
            if len(segment) != size:
                raise ValueError(f"segment {index} has {len(segment)} bytes, not {size}")
            sample, byte = divmod(index, width)
            planes[:, sample, width - 1 - byte] = np.frombuffer(segment, np.uint8)
        shape = (image.rows, image.columns) + ((image.samples,) if image.samples > 1 else ())
        return cast("Frame", planes.reshape(-1).view(container(image)).reshape(shape))


def _segments(image: Image) -> int:
    return image.samples * image.bits_allocated // 8
