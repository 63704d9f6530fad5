"""JPEG-LS Lossless (ISO/IEC 14495-1, PS3.5 8.2.3): pyjpegls encodes, imagecodecs proves; both by CharLS.

There is no second JPEG-LS library to prove with; what is compared are pixels, so an error would have to be
made twice and to cancel out.

JPEG-LS knows no sign: signed samples are coded as the 16 (8) bits of their container, because some decoders
do not extend the sign of fewer. Up to 8 bits in a 16-bit container are coded with 9, or decoders would take
them for bytes; fewer than 8 in an 8-bit container with 8, because some decoders refuse 4.
"""

import struct
from typing import cast

import imagecodecs
import jpeg_ls

from venturi.dataset.syntaxes import JPEG_LS_LOSSLESS
from venturi.model import Reason
from venturi.transcode.frames import Frame, container
from venturi.transcode.image import Image
from venturi.transcode.refusal import Refused

_ILV_NONE, _ILV_SAMPLE = 0, 2
_SOF55, _LSE, _SOS = 0xFFF7, 0xFFF8, 0xFFDA


class JPEGLSLossless:
    """One scan, NEAR 0, colour interleaved by sample, no colour transform."""

    transfer_syntax = JPEG_LS_LOSSLESS
    libraries = "pyjpegls/charls, imagecodecs/charls"
    keeps_unused_bits = False

    def refusal(self, image: Image) -> Refused | None:
        """JPEG-LS has 2 to 16 bits a sample."""
        if image.bits_allocated > 16:
            return Refused(Reason.BITS, f"BitsAllocated {image.bits_allocated}; JPEG-LS has 16 bits at most")
        return None

    def photometric(self, image: Image) -> str:
        """Nothing is transformed."""
        return image.photometric

    def planar(self, image: Image) -> int | None:
        """Interleaved by sample: colour by pixel."""
        return None if image.samples == 1 else 0

    def encode(self, frame: Frame, image: Image) -> bytes:
        """Encode the bytes of the container, sign and all, with ``precision`` bits."""
        return bytes(
            jpeg_ls.encode_buffer(
                frame.tobytes(),
                rows=image.rows,
                columns=image.columns,
                samples_per_pixel=image.samples,
                bits_stored=precision(image),
                lossy_error=0,
                interleave_mode=_interleave(image),
            )
        )

    def check(self, codestream: bytes, image: Image) -> str:
        """Check frame header, preset parameters and scan header (ISO/IEC 14495-1 C.2.2 to C.2.4)."""
        try:
            return _check(codestream, image)
        except struct.error:
            return "the JPEG-LS header is truncated"

    def decode(self, codestream: bytes, image: Image) -> Frame:
        """Decode unsigned samples, whose bits are the container's."""
        return cast("Frame", imagecodecs.jpegls_decode(codestream).view(container(image)))


def precision(image: Image) -> int:
    """Bits of a sample in the codestream."""
    if image.signed or image.bits_allocated == 8:
        return image.bits_allocated
    return max(image.bits_stored, 9)


def _interleave(image: Image) -> int:
    return _ILV_NONE if image.samples == 1 else _ILV_SAMPLE


def _check(codestream: bytes, image: Image) -> str:
    if codestream[:2] != b"\xff\xd8" or codestream.rstrip(b"\0")[-2:] != b"\xff\xd9":
        return "no SOI and EOI around the codestream"
    marker, length, bits, rows, columns, components = struct.unpack_from(">HHBHHB", codestream, 2)
    if marker != _SOF55 or length != 8 + 3 * image.samples:
        return f"marker {marker:04x} with {length} bytes, not one JPEG-LS frame header"
    if (rows, columns, components) != (image.rows, image.columns, image.samples):
        return f"{rows} x {columns} x {components} in the codestream, not {image}"
    if bits != precision(image):
        return f"precision {bits}, not {precision(image)}"
    start = 4 + length
    (marker,) = struct.unpack_from(">H", codestream, start)
    if marker == _LSE:
        length, kind, largest = struct.unpack_from(">HBH", codestream, start + 2)
        if (length, kind) != (13, 1) or largest not in (0, (1 << bits) - 1):
            return f"preset parameters of {length} bytes, type {kind}, MAXVAL {largest}"
        start += 2 + length
    marker, _, components = struct.unpack_from(">HHB", codestream, start)
    near, interleave, transform = struct.unpack_from(">BBB", codestream, start + 5 + 2 * image.samples)
    if marker != _SOS or components != image.samples:
        return f"marker {marker:04x} for {components} components, not one scan of {image.samples}"
    if (near, interleave, transform) != (0, _interleave(image), 0):
        return f"NEAR {near}, interleave mode {interleave}, point transform {transform}"
    return ""
