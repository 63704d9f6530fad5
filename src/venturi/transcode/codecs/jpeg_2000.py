"""JPEG 2000 Lossless (ISO/IEC 15444-1, PS3.5 8.2.4): imagecodecs encodes, pylibjpeg-openjpeg proves.

Both have OpenJPEG inside, of different releases and behind different bindings; there is no other free JPEG
2000 library here. The encoder is imagecodecs' because it takes fewer resolutions for small images, where a
fixed six fail, and because pylibjpeg-openjpeg's encoder can't be in two threads.
"""

from typing import cast

import imagecodecs
from openjpeg.utils import decode as openjpeg_decode

from venturi.dataset.syntaxes import JPEG_2000_LOSSLESS
from venturi.model import Reason
from venturi.transcode.codecs import codestream as headers
from venturi.transcode.frames import Frame
from venturi.transcode.image import Image
from venturi.transcode.refusal import Refused

_MOST_RESOLUTIONS = 6


class JPEG2000Lossless:
    """One tile, one layer, the 5-3 wavelet, and RCT for RGB."""

    transfer_syntax = JPEG_2000_LOSSLESS
    libraries = "imagecodecs/openjpeg, pylibjpeg-openjpeg"
    keeps_unused_bits = False

    def refusal(self, image: Image) -> Refused | None:
        """Above 23 bits OpenJPEG is not lossless; containers of more than 16 are left alone."""
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
        """Make a bare codestream: no JP2 boxes (PS3.5 A.4.4)."""
        return bytes(
            imagecodecs.jpeg2k_encode(
                frame,
                level=0,
                codecformat="J2K",
                planar=False if image.samples > 1 else None,
                bitspersample=precision(image),
                resolutions=min(_MOST_RESOLUTIONS, min(image.rows, image.columns).bit_length()),
                reversible=True,
                mct=transformed(image),
            )
        )

    def check(self, codestream: bytes, image: Image) -> str:
        """As ``codestream.check`` does."""
        wanted = headers.Wanted(precision(image), transformed(image), high_throughput=False)
        return headers.check(codestream, image, wanted)

    def decode(self, codestream: bytes, image: Image) -> Frame:
        """Decode to the container's type, which follows from the precision."""
        return cast("Frame", openjpeg_decode(codestream, j2k_format=0))


def precision(image: Image) -> int:
    """Bits Stored, but never so few that a decoder takes 16-bit containers for bytes."""
    return max(image.bits_stored, 9) if image.bits_allocated == 16 else image.bits_stored


def transformed(image: Image) -> bool:
    """Whether the component transform applies."""
    return image.photometric == "RGB"
