"""JPEG encoders, lossless and baseline (ISO/IEC 10918-1, PS3.5 8.2.1), by imagecodecs.

Lossless, libjpeg-turbo encodes and liblj92 proves. Samples are coded as they are, colour without a transform, signed
ones as the bits of their container; where unused bits carry data, all allocated bits are coded. Baseline is encoded
and measured by libjpeg-turbo, there being no other library; RGB goes through YCbCr with all its chrominance (4:4:4),
which is called YBR_FULL_422 all the same: PS3.5 Table 8.2.1-1 has that and RGB only, and PS3.3 C.7.6.3.1.2 lets the
sampling of the codestream differ.

Builds of GDCM 3.0.21 that check themselves end over lossless JPEG of fewer than 8 bits in a byte, as they do with RLE.
"""

import imagecodecs
import numpy as np

from venturi.dataset.syntaxes import JPEG_BASELINE, JPEG_LOSSLESS_SV1
from venturi.errors import Malformed
from venturi.model import Reason
from venturi.transcode.codecs import jpeg_markers as markers
from venturi.transcode.codecs.contract import Options
from venturi.transcode.codecs.jpeg_decoder import LJ92, TURBO, JPEGDecoder, huffman_tables, read, transform
from venturi.transcode.codecs.jpeg_markers import SOF0, SOF3
from venturi.transcode.frames import Frame, container
from venturi.transcode.image import Image
from venturi.transcode.refusal import Refused


class JPEGLosslessSV1:
    """Process 14, selection value 1: each sample predicted by its left neighbour."""

    transfer_syntax = JPEG_LOSSLESS_SV1
    name = "imagecodecs"
    libraries = f"{TURBO}, {LJ92}"
    lossy = False
    method = ""
    takes: frozenset[str] = frozenset()
    keeps_unused_bits = True

    def refusal(self, image: Image, options: Options) -> Refused | None:
        """Lossless JPEG has 2 to 16 bits a sample."""
        if image.bits_allocated > 16:
            return Refused(Reason.BITS, f"BitsAllocated {image.bits_allocated}; JPEG has 16 bits at most")
        return None

    def photometric(self, image: Image, options: Options) -> str:
        """Nothing is transformed."""
        return image.photometric

    def planar(self, image: Image) -> int | None:
        """Give colour by pixel."""
        return None if image.samples == 1 else 0

    def encode(self, frame: Frame, image: Image, options: Options) -> bytes:
        """Encode the bytes of the container, sign and all. RGB is marked as such (Adobe), YBR_FULL is not marked.

        Told that it is YCbCr, libjpeg-turbo would code with two Huffman tables, and select the first for all.
        """
        space = "unknown" if image.photometric == "YBR_FULL" else _space(image)
        return bytes(
            imagecodecs.jpeg8_encode(
                np.ascontiguousarray(frame).view(f"<u{frame.itemsize}"),
                lossless=True,
                predictor=1,
                bitspersample=markers.precision(image),
                colorspace=space,
                outcolorspace=space,
            )
        )

    def check(self, codestream: bytes, image: Image, options: Options) -> str:
        """Check frame and scan header (ISO/IEC 10918-1 B.2.2, B.2.3, H.1).

        There must be one Huffman table: liblj92 does not look at which one a scan selects.
        """
        try:
            coded = read(codestream)
            tables = huffman_tables(coded, coded.scans[0])
        except Malformed as error:
            return str(error)
        colour = "RGB" if image.photometric == "RGB" else ""
        fault = _fault(coded, image, SOF3, markers.precision(image), (1, 0, 0), colour)
        return fault or ("" if tables == [0] else f"{len(tables)} Huffman tables, not one")

    def decode(self, codestream: bytes, image: Image) -> Frame:
        """Decode unsigned samples, whose bits are the container's."""
        return imagecodecs.ljpeg_decode(codestream).view(container(image))


class JPEGBaseline:
    """Process 1: 8-bit samples, Huffman coding, quantised as ``jpeg_quality`` says."""

    transfer_syntax = JPEG_BASELINE
    name = "imagecodecs"
    libraries = f"{TURBO}, {TURBO}"
    lossy = True
    method = "ISO_10918_1"
    takes = frozenset({"jpeg_quality"})
    keeps_unused_bits = False

    def refusal(self, image: Image, options: Options) -> Refused | None:
        """8 bits, unsigned, intensities or colours (PS3.5 Table 8.2.1-1)."""
        if (image.bits_allocated, image.bits_stored, image.signed) != (8, 8, False):
            return Refused(Reason.BITS, f"{image}; JPEG baseline has 8 bits unsigned")
        if image.photometric == "PALETTE COLOR":
            return Refused(Reason.PHOTOMETRIC, "PALETTE COLOR has indices, which must not change")
        if not 1 <= options.jpeg_quality <= 100:
            return Refused(Reason.UNSUPPORTED_TARGET, f"jpeg_quality {options.jpeg_quality}; 1 to 100")
        return None

    def photometric(self, image: Image, options: Options) -> str:
        """Colour becomes YBR_FULL_422, whatever its sampling: see above."""
        return image.photometric if image.samples == 1 else "YBR_FULL_422"

    def planar(self, image: Image) -> int | None:
        """Give colour by pixel."""
        return None if image.samples == 1 else 0

    def encode(self, frame: Frame, image: Image, options: Options) -> bytes:
        """Encode; RGB is converted, YBR_FULL is taken as it is."""
        return bytes(
            imagecodecs.jpeg8_encode(
                np.ascontiguousarray(frame),
                level=options.jpeg_quality,
                subsampling=None if image.samples == 1 else "444",
                optimize=True,
                colorspace=_space(image),
                outcolorspace=_space(image) and "ycbcr",
            )
        )

    def check(self, codestream: bytes, image: Image, options: Options) -> str:
        """Check frame header, scan header, and that colour is marked as what it is."""
        try:
            return _fault(read(codestream), image, SOF0, 8, (0, 63, 0), "YBR")
        except Malformed as error:
            return str(error)

    def decode(self, codestream: bytes, image: Image) -> Frame:
        """Decode to the colours that were encoded, RGB or YBR_FULL."""
        space = _space(image)
        return imagecodecs.jpeg8_decode(codestream, colorspace=space and "ycbcr", outcolorspace=space)


def _space(image: Image) -> str | None:
    """Name the colour space of native pixels for imagecodecs."""
    if image.samples == 1:
        return None
    return "rgb" if image.photometric == "RGB" else "ycbcr"


def _fault(
    coded: markers.Codestream,
    image: Image,
    process: int,
    bits: int,
    scan: tuple[int, int, int],
    colour: str,
) -> str:
    """Say what is not as wanted, or nothing."""
    if (coded.rows, coded.columns, len(coded.components)) != (image.rows, image.columns, image.samples):
        return f"{coded.rows} x {coded.columns} x {len(coded.components)} in the codestream, not {image}"
    if (coded.process, coded.bits) != (process, bits):
        return f"frame header FF{coded.process:02X} with {coded.bits} bits, not FF{process:02X} with {bits}"
    if coded.subsampled or len(coded.scans) != 1 or coded.scans[0].parameters != scan:
        return f"{len(coded.scans)} scans, the first with Ss, Se, AhAl {coded.scans[0].parameters}"
    if image.samples == 3 and transform(coded) != colour:
        return f"its markers call the components {transform(coded) or 'nothing'}, not {colour}"
    return ""


JPEG_CODECS = (JPEGLosslessSV1(), JPEGBaseline(), JPEGDecoder())
