"""HTJ2K Lossless (ISO/IEC 15444-15, PS3.5 8.2.14): OpenJPH encodes, OpenJPEG proves.

imagecodecs' own HTJ2K decoder is not used: it swallows errors and returns garbage. The encoder signals the
bits of the container, 8 or 16, whatever Bits Stored is; the pixels are exact.
"""

import imagecodecs

from venturi.dataset.syntaxes import HTJ2K_LOSSLESS
from venturi.transcode.codecs import codestream as headers
from venturi.transcode.codecs.jpeg_2000 import JPEG2000Lossless, transformed
from venturi.transcode.frames import Frame
from venturi.transcode.image import Image


class HTJ2KLossless(JPEG2000Lossless):
    """JPEG 2000 with another block coder: what is taken, how it is described and who proves it are the same."""

    transfer_syntax = HTJ2K_LOSSLESS
    libraries = "imagecodecs/openjph, pylibjpeg-openjpeg"
    keeps_unused_bits = False
    """They would survive in the container's bits, but a reader need not expect them above Bits Stored."""

    def encode(self, frame: Frame, image: Image) -> bytes:
        """Make a bare codestream; the five decompositions are the library's default."""
        return bytes(
            imagecodecs.htj2k_encode(
                frame,
                level=0,
                rgb=transformed(image),
                planar=False if image.samples > 1 else None,
                reversible=True,
            )
        )

    def check(self, codestream: bytes, image: Image) -> str:
        """As ``codestream.check`` does."""
        wanted = headers.Wanted(image.bits_allocated, transformed(image), high_throughput=True)
        return headers.check(codestream, image, wanted)
