"""HTJ2K Lossless (ISO/IEC 15444-15, PS3.5 8.2.14): OpenJPH encodes, OpenJPEG proves.

imagecodecs' own HTJ2K decoder is not used: it swallows errors and returns garbage. The encoder signals the
bits of the container, 8 or 16, whatever Bits Stored is; the pixels are exact.
"""

from typing import cast

import imagecodecs
from openjpeg.utils import decode as openjpeg_decode

from venturi.dataset.syntaxes import HTJ2K_LOSSLESS
from venturi.model import Reason
from venturi.transcode.codecs import codestream as headers
from venturi.transcode.codecs.jpeg_2000 import transformed
from venturi.transcode.frames import Frame
from venturi.transcode.image import Image
from venturi.transcode.refusal import Refused


class HTJ2KLossless:
    """One tile, the 5-3 wavelet, and RCT for RGB."""

    transfer_syntax = HTJ2K_LOSSLESS
    libraries = "imagecodecs/openjph, pylibjpeg-openjpeg"
    keeps_unused_bits = False
    """They would survive in the container's bits, but a reader need not expect them above Bits Stored."""

    def refusal(self, image: Image) -> Refused | None:
        """Containers of more than 16 bits are left alone."""
        if image.bits_allocated > 16:
            return Refused(Reason.BITS, f"BitsAllocated {image.bits_allocated}; lossless to 16 here")
        return None

    def photometric(self, image: Image) -> str:
        """RGB goes through RCT (PS3.3 C.7.6.3.1.2)."""
        return "YBR_RCT" if transformed(image) else image.photometric

    def planar(self, image: Image) -> int | None:
        """Give colour by pixel, as decoders do."""
        return None if image.samples == 1 else 0

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

    def decode(self, codestream: bytes, image: Image) -> Frame:
        """Decode to the container's type, which follows from the precision."""
        return cast("Frame", openjpeg_decode(codestream, j2k_format=0))
