"""JPEG-LS, lossless and near-lossless (ISO/IEC 14495-1, PS3.5 8.2.3): pyjpegls and imagecodecs, both by CharLS.

There is no second JPEG-LS library; what one binding encodes the other proves, and what is compared are pixels, so
an error would have to be made twice and to cancel out. imagecodecs has the faster encoder, but knows no precision other
than the container's 8 or 16 bits. Where that is the one wanted, both make the same codestream, and by default it
encodes; elsewhere pyjpegls does.

JPEG-LS knows no sign: signed samples are coded as the 16 (8) bits of their container, because some decoders
do not extend the sign of fewer. Up to 8 bits in a 16-bit container are coded with 9, or decoders would take
them for bytes; fewer than 8 in an 8-bit container with 8, because some decoders refuse 4. Where unused bits carry
data, all allocated bits are coded: DCMTK and GDCM give them back.

pyjpegls has too small a buffer for a few pixels of noise (4 x 4): then imagecodecs encodes, with the precision of the
container, and proves as well.
"""

from dataclasses import dataclass
from typing import Any, cast

import imagecodecs
import jpeg_ls
import numpy as np
from numpy.typing import NDArray

from venturi.dataset.syntaxes import JPEG_LS_LOSSLESS, JPEG_LS_NEAR_LOSSLESS
from venturi.errors import Malformed
from venturi.model import Reason
from venturi.transcode.codecs import jpeg_markers as markers
from venturi.transcode.codecs.contract import Coded, Options
from venturi.transcode.frames import Frame, container
from venturi.transcode.image import Image
from venturi.transcode.refusal import Refused

_ILV_NONE, _ILV_LINE, _ILV_SAMPLE = 0, 1, 2
_BUFFER_TOO_SMALL = "destination buffer is too small"
_MOST_NEAR = 255
_OTHER = {"pyjpegls": "imagecodecs", "imagecodecs": "pyjpegls"}


@dataclass(frozen=True, slots=True)
class JPEGLSLossless:
    """One scan, NEAR 0, colour interleaved by sample, no colour transform."""

    name: str = "charls"
    """Or the binding that encodes every image: ``pyjpegls`` or ``imagecodecs``."""
    transfer_syntax: str = JPEG_LS_LOSSLESS
    lossy: bool = False
    method: str = ""
    takes: frozenset[str] = frozenset()
    keeps_unused_bits: bool = True

    @property
    def libraries(self) -> str:
        """The one proves what the other encodes; by default, which is the one depends on the image."""
        first = self.name if self.name in _OTHER else "imagecodecs"
        return f"{first}/charls, {_OTHER[first]}/charls"

    def binding(self, image: Image) -> str:
        """Which one encodes such an image."""
        if self.name in _OTHER:
            return self.name
        return "imagecodecs" if markers.precision(image) == image.bits_allocated else "pyjpegls"

    def refusal(self, image: Image, options: Options) -> Refused | None:
        """JPEG-LS has 2 to 16 bits a sample."""
        if image.bits_allocated > 16:
            return Refused(Reason.BITS, f"BitsAllocated {image.bits_allocated}; JPEG-LS has 16 bits at most")
        return None

    def photometric(self, image: Image, options: Options) -> str:
        """Nothing is transformed."""
        return image.photometric

    def planar(self, image: Image) -> int | None:
        """Interleaved by sample: colour by pixel."""
        return None if image.samples == 1 else 0

    def encode(self, frame: Frame, image: Image, options: Options) -> bytes:
        """Encode the bytes of the container, sign and all."""
        return _encode(frame, image, 0, self.binding(image))

    def check(self, codestream: bytes, image: Image, options: Options) -> str:
        """Check frame header, preset parameters and scan header (ISO/IEC 14495-1 C.2.2 to C.2.4)."""
        return _check(codestream, image, 0)

    def decode(self, codestream: bytes, image: Image) -> Frame:
        """Decode unsigned samples, whose bits are the container's."""
        decode = _decode_imagecodecs if self.binding(image) == "pyjpegls" else _decode_pyjpegls
        return decode(codestream).view(container(image))


@dataclass(frozen=True, slots=True)
class JPEGLSNearLossless(JPEGLSLossless):
    """The same with NEAR: no sample differs by more than ``jls_error``, or the frame is refused.

    A decoded value can leave the range of Bits Stored by NEAR wherever that is less than what the precision
    allows: for signed samples it then wraps around, which is an error of the full range. ``encode`` raises
    Refused for frames with values so near to the ends.
    """

    transfer_syntax: str = JPEG_LS_NEAR_LOSSLESS
    lossy: bool = True
    method: str = "ISO_14495_1"
    takes: frozenset[str] = frozenset({"jls_error"})
    keeps_unused_bits: bool = False

    def refusal(self, image: Image, options: Options) -> Refused | None:
        """NEAR is 1 to 255 and half the largest value at most (ISO/IEC 14495-1 C.2.3)."""
        refused = JPEGLSLossless.refusal(self, image, options)
        if refused is not None:
            return refused
        if image.depth != image.bits_stored:
            return Refused(Reason.UNUSED_BITS, "bits above BitsStored carry data, which NEAR would change")
        most = min(_MOST_NEAR, ((1 << image.bits_stored) - 1) // 2)
        if not 1 <= options.jls_error <= most:
            detail = f"jls_error {options.jls_error}; 1 to {most} with BitsStored {image.bits_stored}"
            return Refused(Reason.BITS, detail)
        return None

    def encode(self, frame: Frame, image: Image, options: Options) -> bytes:
        """Encode with NEAR. Raises Refused unless the bound holds for every value of the frame."""
        return _encode(frame, image, options.jls_error, self.binding(image))

    def check(self, codestream: bytes, image: Image, options: Options) -> str:
        """As for lossless, but NEAR is ``jls_error``."""
        return _check(codestream, image, options.jls_error)


def _interleave(image: Image) -> int:
    return _ILV_NONE if image.samples == 1 else _ILV_SAMPLE


def _encode(frame: Frame, image: Image, near: int, binding: str) -> bytes:
    bits = markers.precision(image) if binding == "pyjpegls" else image.bits_allocated
    if near:
        _require_bound(frame, image, near, bits)
    if binding == "pyjpegls":
        try:
            return _encode_pyjpegls(frame, image, near)
        except RuntimeError as error:
            if _BUFFER_TOO_SMALL not in str(error):
                raise
            if near:
                _require_bound(frame, image, near, image.bits_allocated)
    return _without_spiff(
        bytes(imagecodecs.jpegls_encode(np.ascontiguousarray(frame).view(f"<u{frame.itemsize}"), level=near))
    )


def _encode_pyjpegls(frame: Frame, image: Image, near: int) -> bytes:
    return bytes(
        jpeg_ls.encode_buffer(
            frame.tobytes(),
            rows=image.rows,
            columns=image.columns,
            samples_per_pixel=image.samples,
            bits_stored=markers.precision(image),
            lossy_error=near,
            interleave_mode=_interleave(image),
        )
    )


def _require_bound(frame: Frame, image: Image, near: int, bits: int) -> None:
    """Raise Refused where a value could be decoded to one that Bits Stored can't hold.

    Decoders clamp to 0 and 2^bits - 1 (ISO/IEC 14495-1 A.4.5); nothing is clamped at the ends of signed values,
    nor at 2^BitsStored - 1 where ``bits`` are more.
    """
    low, high = 0, (1 << image.bits_stored) - 1
    if image.signed:
        half = 1 << (image.bits_stored - 1)
        low, high = near - half, half - 1 - near
    elif bits > image.bits_stored:
        high -= near
    if frame.min() < low or frame.max() > high:
        raise Refused(
            Reason.ERROR_BOUND,
            f"values within {near} of the ends of {image.bits_stored} bits would leave them",
        )


def _without_spiff(codestream: bytes) -> bytes:
    """Take away the SPIFF header that imagecodecs writes: APP8 segments behind SOI."""
    end = 2
    while codestream[end : end + 2] == b"\xff\xe8":
        end += 2 + int.from_bytes(codestream[end + 2 : end + 4], "big")
    return codestream[:2] + codestream[end:]


def _decode_imagecodecs(codestream: bytes) -> NDArray[np.integer[Any]]:
    return imagecodecs.jpegls_decode(codestream)


def _decode_pyjpegls(codestream: bytes) -> NDArray[np.integer[Any]]:
    decoded = jpeg_ls.decode(np.frombuffer(codestream, np.uint8))
    return cast("NDArray[np.integer[Any]]", np.ascontiguousarray(decoded))


def _check(codestream: bytes, image: Image, near: int) -> str:
    try:
        coded = _read(codestream)
    except Malformed as error:
        return str(error)
    if (coded.rows, coded.columns, len(coded.components)) != (image.rows, image.columns, image.samples):
        return f"{coded.rows} x {coded.columns} x {len(coded.components)} in the codestream, not {image}"
    if coded.bits not in (markers.precision(image), image.bits_allocated):
        return f"precision {coded.bits}, not {markers.precision(image)}"
    largest = (1 << coded.bits) - 1
    for body in coded.bodies(markers.LSE):
        if len(body) != 11 or int.from_bytes(body[1:3], "big") not in (0, largest):
            return f"preset parameters of {len(body)} bytes, with another MAXVAL than {largest}"
    if len(coded.scans) != 1 or coded.scans[0].parameters != (near, _interleave(image), 0):
        return f"{len(coded.scans)} scans; NEAR, ILV, Pt of the first: {coded.scans[0].parameters}"
    return ""


def _read(codestream: bytes) -> markers.Codestream:
    coded = markers.read(codestream, markers.JPEG_LS_ENDS)
    if coded.process != markers.SOF55:
        raise Malformed(f"the frame header is FF{coded.process:02X}, not that of JPEG-LS")
    if len(coded.components) not in (1, 3) or not 2 <= coded.bits <= 16:
        raise Malformed(f"{len(coded.components)} components of {coded.bits} bits")
    if any((each.horizontal, each.vertical) != (1, 1) for each in coded.components):
        raise Malformed("components are subsampled")
    if any(body[:1] != b"\x01" for body in coded.bodies(markers.LSE)):
        raise Malformed("there are mapping tables or extensions (LSE)")
    if any(body[:4] == b"mrfx" for body in coded.bodies(markers.APP8)):
        raise Malformed("a colour transform of no standard is announced (APP8)")
    for scan in coded.scans:
        near, interleave, transform = scan.parameters
        if interleave != _ILV_NONE and (interleave > _ILV_SAMPLE or len(scan.names) == 1):
            raise Malformed(f"interleave mode {interleave} for {len(scan.names)} components")
        if interleave == _ILV_NONE and len(scan.names) > 1:
            raise Malformed(f"{len(scan.names)} components in a scan without interleaving")
        if transform or near > min(_MOST_NEAR, ((1 << coded.bits) - 1) // 2):
            raise Malformed(f"NEAR {near}, point transform {transform}")
    return coded


class JPEGLSDecoder:
    """JPEG-LS from anybody: one or three components, one or several scans, every interleave mode."""

    transfer_syntaxes = frozenset({JPEG_LS_LOSSLESS, JPEG_LS_NEAR_LOSSLESS})
    libraries = "imagecodecs/charls, pyjpegls/charls"

    def starts(self, fragment: bytes) -> bool:
        """SOI, and another marker behind it."""
        return fragment[:3] == b"\xff\xd8\xff"

    def inspect(self, codestream: bytes, image: Image) -> Coded:
        """Read frame and scan headers (ISO/IEC 14495-1 C.2). Raises Malformed."""
        coded = _read(codestream)
        return Coded(
            rows=coded.rows,
            columns=coded.columns,
            samples=len(coded.components),
            bits=coded.bits,
            signed=None,
            lossless=all(scan.parameters[0] == 0 for scan in coded.scans),
        )

    def decode(self, codestream: bytes, image: Image) -> NDArray[np.integer[Any]]:
        """Decode to unsigned samples, 8 bits for precisions up to 8, else 16. Raises on truncation."""
        return _decode_imagecodecs(codestream)

    def decode_again(self, codestream: bytes, image: Image) -> NDArray[np.integer[Any]]:
        """Decode by the other binding."""
        return _decode_pyjpegls(codestream)


JPEG_LS_CODECS = (
    JPEGLSLossless(),
    JPEGLSLossless("pyjpegls"),
    JPEGLSLossless("imagecodecs"),
    JPEGLSNearLossless(),
    JPEGLSNearLossless("pyjpegls"),
    JPEGLSNearLossless("imagecodecs"),
    JPEGLSDecoder(),
)
