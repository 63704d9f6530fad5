"""RLE Lossless (PS3.5 Annex G): imagecodecs' PackBits encodes, ten times as fast as others; pylibjpeg-rle proves.

pylibjpeg-rle stops where a plane is full, as the standard's decoder does (G.3.2). So imagecodecs' PackBits decoder
looks at each segment too: it must have exactly the bytes of its plane. Where a rule names pylibjpeg-rle or pydicom,
that one encodes, and imagecodecs alone proves.

Exact for 8, 16, 32 and 64 allocated bits, whatever is stored in them: it codes the bytes of the container, and up to
15 of them a pixel. Planar Configuration stays as it was: both values are valid (PS3.5 8.2.2) and say how the decoded
frame is to be laid out.

Two kinds of images are valid, and DCMTK reads them, but GDCM 3.0.21 does not, not even from DCMTK's own files: it mixes
up the bytes of colour of more than 8 bits a sample, and builds of it that check themselves end over fewer than 8 bits
in a byte.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from rle.rle import decode_frame
from rle.utils import encode_pixel_data

from venturi.dataset.syntaxes import RLE_LOSSLESS
from venturi.errors import Malformed
from venturi.model import Reason
from venturi.transcode.codecs.contract import Coded, Options
from venturi.transcode.frames import Frame, container, shape
from venturi.transcode.image import Image
from venturi.transcode.refusal import Refused

_MOST_SEGMENTS = 15
_HEADER = struct.Struct("<16L")


@dataclass(frozen=True, slots=True)
class RLELossless:
    """Segments of PackBits, one for each byte of a sample, the most significant first."""

    name: str
    libraries: str
    code: Callable[[Frame, Image], bytes]
    """Encodes a frame."""
    prove: Callable[[bytes, Image], NDArray[np.integer[Any]]]
    """Decodes it to unsigned samples."""
    transfer_syntax: str = RLE_LOSSLESS
    lossy: bool = False
    method: str = ""
    takes: frozenset[str] = frozenset()
    keeps_unused_bits: bool = True

    def refusal(self, image: Image, options: Options) -> Refused | None:
        """More than 15 segments can't be written (PS3.5 G.3.1)."""
        segments = _segments(image)
        if segments > _MOST_SEGMENTS:
            return Refused(Reason.BITS, f"{segments} segments a frame; RLE has {_MOST_SEGMENTS}")
        return None

    def photometric(self, image: Image, options: Options) -> str:
        """Nothing is transformed."""
        return image.photometric

    def planar(self, image: Image) -> int | None:
        """As it was."""
        return image.planar

    def encode(self, frame: Frame, image: Image, options: Options) -> bytes:
        """Encode from colour by pixel, which the encoders take."""
        return self.code(frame, image)

    def check(self, codestream: bytes, image: Image, options: Options) -> str:
        """Check the RLE header (PS3.5 G.5): as many segments as there should be, in order, inside."""
        try:
            _bounds(codestream, image)
        except Malformed as error:
            return str(error)
        return ""

    def decode(self, codestream: bytes, image: Image) -> Frame:
        """Decode the planes. Raises ValueError where a segment has not exactly the bytes of a plane."""
        return self.prove(codestream, image).view(container(image))


def _encode_imagecodecs(frame: Frame, image: Image) -> bytes:
    """Each row is coded for itself (PS3.5 G.3.1)."""
    width = frame.itemsize
    samples = frame.view(f"<u{width}").reshape(image.rows, image.columns, image.samples)
    planes = (
        samples[..., sample] >> 8 * byte if byte else samples[..., sample]
        for sample in range(image.samples)
        for byte in reversed(range(width))
    )
    # Always a copy: numpy calls a view of one pixel contiguous whatever its strides are, imagecodecs does not.
    return _joined(
        bytes(imagecodecs.packbits_encode(plane.astype(np.uint8, order="C"), axis=-1)) for plane in planes
    )


def _joined(segments: Iterable[bytes]) -> bytes:
    """A frame of segments, each padded to even length (PS3.5 G.3.1, G.5)."""
    padded = [segment + bytes(len(segment) % 2) for segment in segments]
    offsets = accumulate(map(len, padded[:-1]), initial=_HEADER.size)
    header = struct.pack(f"<{1 + len(padded)}L", len(padded), *offsets).ljust(_HEADER.size, b"\0")
    return b"".join((header, *padded))


def _encode_pylibjpeg(frame: Frame, image: Image) -> bytes:
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


def _encode_pydicom(frame: Frame, image: Image) -> bytes:
    """Encode by pydicom's own encoder, in Python: some hundred times slower.

    One plane of bytes at a time: pydicom takes no more kinds of images than PS3.5 Table 8.2.2-1 has.
    """
    from pydicom.pixels.encoders.base import RLELosslessEncoder  # noqa: PLC0415  # all of it, for who asks for it

    width = image.bits_allocated // 8
    planes = np.frombuffer(frame.tobytes(), np.uint8).reshape(-1, image.samples, width)
    return _joined(
        RLELosslessEncoder.encode(
            planes[:, sample, byte].tobytes(),
            encoding_plugin="pydicom",
            rows=image.rows,
            columns=image.columns,
            samples_per_pixel=1,
            bits_allocated=8,
            bits_stored=8,
            pixel_representation=0,
            photometric_interpretation="MONOCHROME2",
            number_of_frames=1,
        )[_HEADER.size :]
        for sample in range(image.samples)
        for byte in reversed(range(width))
    )


class RLEDecoder:
    """RLE from anybody: header and segments as Annex G has them, each with exactly the bytes of its plane."""

    transfer_syntaxes = frozenset({RLE_LOSSLESS})
    libraries = "imagecodecs/packbits, pylibjpeg-rle"

    def starts(self, fragment: bytes) -> bool:
        """A header begins with 1 to 15 segments, the first at 64."""
        if len(fragment) < 8:
            return False
        count, first = struct.unpack_from("<2L", fragment)
        return bool(1 <= count <= _MOST_SEGMENTS and first == _HEADER.size)

    def inspect(self, codestream: bytes, image: Image) -> Coded:
        """Check the header, which has no dimensions of its own. Raises Malformed."""
        _bounds(codestream, image)
        return Coded(
            rows=image.rows,
            columns=image.columns,
            samples=image.samples,
            bits=image.bits_allocated,
            signed=None,
            lossless=True,
        )

    def decode(self, codestream: bytes, image: Image) -> NDArray[np.integer[Any]]:
        """Decode to unsigned samples of Bits Allocated. Raises on segments of other lengths than a plane's."""
        return _decode_packbits(codestream, image)

    def decode_again(self, codestream: bytes, image: Image) -> NDArray[np.integer[Any]]:
        """Decode by pylibjpeg-rle. Raises on segments of fewer bytes than a plane's."""
        return _decode_pylibjpeg(codestream, image)


def _segments(image: Image) -> int:
    return image.samples * image.bits_allocated // 8


def _unsigned(image: Image) -> np.dtype[Any]:
    return np.dtype(f"<u{image.bits_allocated // 8}")


def _bounds(codestream: bytes, image: Image) -> list[int]:
    """Where segments begin, and where the last one ends (PS3.5 G.5). Raises Malformed."""
    if len(codestream) < _HEADER.size:
        raise Malformed(f"{len(codestream)} bytes are too few for an RLE header")
    count, *offsets = _HEADER.unpack_from(codestream)
    if count != _segments(image) or count > _MOST_SEGMENTS:
        raise Malformed(f"{count} segments, not {_segments(image)}")
    bounds = [*offsets[:count], len(codestream)]
    if bounds[0] != _HEADER.size or any(offsets[count:]):
        raise Malformed("segment offsets do not begin behind the header, or there are too many")
    if any(start >= end for start, end in pairwise(bounds)):
        raise Malformed("segment offsets do not ascend within the frame")
    return bounds


def _planes(codestream: bytes, image: Image) -> Iterator[NDArray[np.uint8]]:
    """Decode the segments, one after the other into the same array. Raises unless each has the bytes of a plane."""
    bounds, size = _bounds(codestream, image), image.rows * image.columns
    plane = np.empty(size, np.uint8)
    for index, (start, end) in enumerate(pairwise(bounds)):
        try:
            length = len(imagecodecs.packbits_decode(codestream[start:end], out=plane.data))
        except RuntimeError as error:
            raise ValueError(f"segment {index} has not {size} bytes: {error}") from error
        if length != size:
            raise ValueError(f"segment {index} has {length} bytes, not {size}")
        yield plane


def _decode_packbits(codestream: bytes, image: Image) -> NDArray[np.integer[Any]]:
    width = image.bits_allocated // 8
    pixels = np.empty((image.rows * image.columns, image.samples, width), np.uint8)
    for index, plane in enumerate(_planes(codestream, image)):
        sample, byte = divmod(index, width)
        pixels[:, sample, width - 1 - byte] = plane
    return pixels.reshape(-1).view(_unsigned(image)).reshape(shape(image))


def _decode_pylibjpeg(codestream: bytes, image: Image) -> NDArray[np.integer[Any]]:
    try:
        planes = decode_frame(codestream, image.rows * image.columns, image.bits_allocated, "<")
    except BaseException as error:
        # A panic of Rust is no Exception; it would end the worker. It comes where a segment is too long.
        if type(error).__name__ == "PanicException":
            raise ValueError("pylibjpeg-rle gave up on the frame") from error
        raise
    samples = np.frombuffer(planes, _unsigned(image)).reshape(image.samples, -1)
    pixels = np.empty(samples.T.shape, samples.dtype)
    for sample, values in enumerate(samples):  # three times as fast as to copy the transposed array
        pixels[:, sample] = values
    return pixels.reshape(shape(image))


def _decode_both(codestream: bytes, image: Image) -> NDArray[np.integer[Any]]:
    """Decode by pylibjpeg-rle, and see that no segment has more or fewer bytes than it should."""
    for _ in _planes(codestream, image):
        pass
    return _decode_pylibjpeg(codestream, image)


RLE_CODECS = (
    RLELossless("imagecodecs", "imagecodecs/packbits, pylibjpeg-rle", _encode_imagecodecs, _decode_both),
    RLELossless("pylibjpeg-rle", "pylibjpeg-rle, imagecodecs/packbits", _encode_pylibjpeg, _decode_packbits),
    RLELossless("pydicom", "pydicom, imagecodecs/packbits", _encode_pydicom, _decode_packbits),
    RLEDecoder(),
)
