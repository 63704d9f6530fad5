"""A codec that lives in another package: Deflated Image Frame Compression (PS3.5 8.2.16), by zlib.

A worked example. The package names ``codecs`` under the entry point group ``venturi.codecs``; once it is installed
beside Venturi, rules may say ``transfer_syntax: DeflatedImageFrameCompression``, and what arrives so can be
decompressed. Venturi encapsulates the frames, keeps the header right and proves every pixel.
"""

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from venturi.errors import Malformed
from venturi.model import Reason
from venturi.transcode.codecs.contract import Codecs, Coded, Options
from venturi.transcode.frames import Frame, container, pixels
from venturi.transcode.image import Image
from venturi.transcode.refusal import Refused

UID = "1.2.840.10008.1.2.8.1"


def inflated(codestream: bytes, image: Image) -> NDArray[np.uint8]:
    """Give the native bytes of a frame, never more than it should have."""
    decoder = zlib.decompressobj(-zlib.MAX_WBITS)
    data = decoder.decompress(codestream, image.frame_bytes + 1)
    if len(data) != image.frame_bytes or not decoder.eof:
        raise ValueError(f"{len(data)} bytes came out, {image.frame_bytes} wanted")
    return np.frombuffer(data, np.uint8)


class DeflatedFrames:
    """Each frame's native bytes, colour by pixel, as one RFC 1951 stream."""

    transfer_syntax = UID
    name = "zlib"
    libraries = "zlib, zlib"
    lossy = False
    method = ""
    takes: frozenset[str] = frozenset()
    keeps_unused_bits = True

    def refusal(self, image: Image, options: Options) -> Refused | None:
        if image.bits_allocated > 16:
            return Refused(Reason.BITS, f"BitsAllocated {image.bits_allocated}; 16 at most here")
        return None

    def photometric(self, image: Image, options: Options) -> str:
        return image.photometric

    def planar(self, image: Image) -> int | None:
        return None if image.samples == 1 else 0

    def encode(self, frame: Frame, image: Image, options: Options) -> bytes:
        encoder = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        return encoder.compress(np.ascontiguousarray(frame).tobytes()) + encoder.flush()

    def check(self, codestream: bytes, image: Image, options: Options) -> str:
        return "" if codestream else "an empty frame"

    def decode(self, codestream: bytes, image: Image) -> Frame:
        shape = (image.rows, image.columns) + ((image.samples,) if image.samples > 1 else ())
        frame: Frame = inflated(codestream, image).view(container(image)).reshape(shape)
        return frame


class DeflatedFramesDecoder:
    """What arrives so."""

    transfer_syntaxes = frozenset((UID,))
    libraries = "zlib"

    def starts(self, fragment: bytes) -> bool:
        return True

    def inspect(self, codestream: bytes, image: Image) -> Coded:
        if not codestream:
            raise Malformed("an empty frame")
        return Coded(
            image.rows, image.columns, image.samples, image.bits_allocated, image.signed, lossless=True
        )

    def decode(self, codestream: bytes, image: Image) -> NDArray[np.integer[Any]]:
        frame: NDArray[np.integer[Any]] = pixels(inflated(codestream, image), image)
        return frame

    def decode_again(self, codestream: bytes, image: Image) -> NDArray[np.integer[Any]]:
        return self.decode(codestream, image)


def codecs() -> Codecs:
    """What the entry point gives."""
    return [DeflatedFrames(), DeflatedFramesDecoder()]
