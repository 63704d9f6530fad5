"""JPEG 2000 (ISO/IEC 15444-1, PS3.5 8.2.4, A.4.4): two packages encode, each is proven by the other.

Both have OpenJPEG inside, of different releases and behind different bindings; there is no other free JPEG
2000 library here. imagecodecs takes fewer resolutions for small images; pylibjpeg-openjpeg has a fixed six, which
fail under 32 pixels a side, but knows compression ratios and quality layers. Its encoder crashes a process in which
two threads use it: a worker has one.

OpenJPEG reaches a ratio or a PSNR about, not exactly, and neither bounds the error of a pixel: the engine
measures that.
"""

import math

import imagecodecs
import numpy as np
from openjpeg.utils import decode as openjpeg_decode
from openjpeg.utils import encode_array as openjpeg_encode

from venturi.dataset import syntaxes
from venturi.model import Reason
from venturi.transcode.codecs import codestream as headers
from venturi.transcode.codecs.contract import Codecs, Options
from venturi.transcode.codecs.jpeg_2000_decoder import JPEG2000Decoder
from venturi.transcode.frames import Frame, container, shape
from venturi.transcode.image import Image
from venturi.transcode.refusal import Refused

_MOST_RESOLUTIONS = 6
_LEAST_SIDE = 1 << (_MOST_RESOLUTIONS - 1)
_MOST_LAYERS = 100
_UNSPECIFIED, _SRGB = 0, 1
_J2K = 0


class JPEG2000Lossless:
    """One tile, one layer, the 5-3 wavelet, and RCT for RGB. imagecodecs encodes: images of any size."""

    transfer_syntax = syntaxes.JPEG_2000_LOSSLESS
    name = "imagecodecs"
    libraries = "imagecodecs/openjpeg, pylibjpeg-openjpeg"
    lossy = False
    method = ""
    takes = frozenset(("use_mct",))
    keeps_unused_bits = False
    """They could be coded, but some readers take the codestream's precision for Bits Stored."""

    def refusal(self, image: Image, options: Options) -> Refused | None:
        """Above 23 bits OpenJPEG is not lossless; containers of more than 16 are left alone."""
        if image.bits_allocated > 16:
            return Refused(Reason.BITS, f"BitsAllocated {image.bits_allocated}; exact to 16 here")
        return None

    def photometric(self, image: Image, options: Options) -> str:
        """RGB becomes YBR_RCT, or YBR_ICT where it is lossy (PS3.5 8.2.4, PS3.3 C.7.6.3.1.2)."""
        if not transformed(image, options):
            return image.photometric
        return "YBR_ICT" if self.lossy else "YBR_RCT"

    def planar(self, image: Image) -> int | None:
        """Give colour by pixel, as decoders do."""
        return None if image.samples == 1 else 0

    def encode(self, frame: Frame, image: Image, options: Options) -> bytes:
        """Make a bare codestream: no JP2 boxes (PS3.5 A.4.4)."""
        return imagecodecs_encode(frame, image, options, psnr_db=0, reversible=True)

    def check(self, codestream: bytes, image: Image, options: Options) -> str:
        """As ``codestream.check`` does."""
        wanted = headers.Wanted(
            bits=precision(image),
            high_throughput=False,
            reversible=not self.lossy,
            transform=transformed(image, options),
            layers=max(1, len(options.j2k_cr), len(options.j2k_psnr)),
        )
        return headers.check(codestream, image, wanted)

    def decode(self, codestream: bytes, image: Image) -> Frame:
        """Decode by pylibjpeg-openjpeg. Raises RuntimeError, ValueError."""
        return fitting(openjpeg_decode(codestream, j2k_format=_J2K), image)


class JPEG2000LosslessByPylibjpeg(JPEG2000Lossless):
    """The same by pylibjpeg-openjpeg: six resolutions, so 32 pixels a side at least."""

    name = "pylibjpeg-openjpeg"
    libraries = "pylibjpeg-openjpeg, imagecodecs/openjpeg"

    def refusal(self, image: Image, options: Options) -> Refused | None:
        """Also where six resolutions do not fit, and one bit, of which OpenJPEG 2.5.2 may code noise wrongly."""
        if precision(image) == 1:
            return Refused(Reason.BITS, "BitsStored 1; pylibjpeg-openjpeg is not always exact then")
        if min(image.rows, image.columns) < _LEAST_SIDE:
            detail = f"{image.rows} x {image.columns}; pylibjpeg-openjpeg needs {_LEAST_SIDE} a side"
            return Refused(Reason.DIMENSIONS, detail)
        return super().refusal(image, options)

    def encode(self, frame: Frame, image: Image, options: Options) -> bytes:
        """Make a bare codestream, lossless unless the options name ratios or PSNRs."""
        scale = precision(image) / image.bits_stored
        return bytes(
            openjpeg_encode(
                np.require(frame, requirements=("C", "A")),
                bits_stored=precision(image),
                photometric_interpretation=_SRGB if transformed(image, options) else _UNSPECIFIED,
                use_mct=options.use_mct,
                compression_ratios=[ratio * scale for ratio in options.j2k_cr],
                signal_noise_ratios=[psnr_db + headroom_db(image) for psnr_db in options.j2k_psnr],
                codec_format=_J2K,
            )
        )

    def decode(self, codestream: bytes, image: Image) -> Frame:
        """Decode by imagecodecs. Raises RuntimeError, ValueError."""
        return fitting(imagecodecs.jpeg2k_decode(codestream), image)


class JPEG2000(JPEG2000LosslessByPylibjpeg):
    """Lossy: the 9-7 wavelet, ICT for RGB, one or several quality layers by ``j2k_cr`` or ``j2k_psnr``.

    The ratio is that of Bits Stored to the codestream, and the peak 2^Bits Stored - 1, as OpenJPEG has them.
    """

    transfer_syntax = syntaxes.JPEG_2000
    lossy = True
    method = "ISO_15444_1"
    takes = frozenset(("use_mct", "j2k_cr", "j2k_psnr"))

    def refusal(self, image: Image, options: Options) -> Refused | None:
        """Also where not just one of the two is asked for, or what OpenJPEG would take for lossless."""
        return super().refusal(image, options) or layers_refusal(options, _MOST_LAYERS)

    def encode(self, frame: Frame, image: Image, options: Options) -> bytes:
        """Make a bare codestream. Raises Refused where it would decode to more than Bits Stored."""
        codestream = super().encode(frame, image, options)
        if precision(image) > image.bits_stored:
            require_stored_range(self.decode(codestream, image), image)
        return codestream


class JPEG2000ByImagecodecs(JPEG2000Lossless):
    """Lossy by imagecodecs: one quality layer of one PSNR, images of any size."""

    transfer_syntax = syntaxes.JPEG_2000
    lossy = True
    method = "ISO_15444_1"
    takes = frozenset(("use_mct", "j2k_psnr"))

    def refusal(self, image: Image, options: Options) -> Refused | None:
        """Also where anything but one PSNR is asked for."""
        if options.j2k_cr:
            return Refused(Reason.UNSUPPORTED_TARGET, "imagecodecs takes no j2k_cr for JPEG 2000")
        return super().refusal(image, options) or layers_refusal(options, 1)

    def encode(self, frame: Frame, image: Image, options: Options) -> bytes:
        """Make a bare codestream. Raises Refused where it would decode to more than Bits Stored."""
        psnr_db = options.j2k_psnr[0] + headroom_db(image)
        codestream = imagecodecs_encode(frame, image, options, psnr_db=psnr_db, reversible=False)
        if precision(image) > image.bits_stored:
            require_stored_range(self.decode(codestream, image), image)
        return codestream


def imagecodecs_encode(
    frame: Frame, image: Image, options: Options, *, psnr_db: float, reversible: bool
) -> bytes:
    """Encode with as many resolutions as the image has room for; ``level`` is the PSNR, 0 for no loss."""
    return bytes(
        imagecodecs.jpeg2k_encode(
            frame,
            level=psnr_db,  # type: ignore[arg-type]  # float, whatever its stub says
            codecformat="J2K",
            planar=False if image.samples > 1 else None,
            bitspersample=precision(image),
            resolutions=min(_MOST_RESOLUTIONS, min(image.rows, image.columns).bit_length()),
            reversible=reversible,
            mct=transformed(image, options),
        )
    )


def precision(image: Image) -> int:
    """Bits Stored, but never so few that a decoder takes 16-bit containers for bytes."""
    return max(image.bits_stored, 9) if image.bits_allocated == 16 else image.bits_stored


def headroom_db(image: Image) -> float:
    """What to add to a PSNR, since OpenJPEG takes the precision's largest value for the peak."""
    return 20 * math.log10(((1 << precision(image)) - 1) / ((1 << image.bits_stored) - 1))


def transformed(image: Image, options: Options) -> bool:
    """Whether the component transform applies."""
    return image.photometric == "RGB" and options.use_mct


def layers_refusal(options: Options, most: int) -> Refused | None:
    """Refuse unless one of ``j2k_cr`` and ``j2k_psnr`` has 1 to ``most`` values in their order."""
    ratios, psnrs_db = options.j2k_cr, options.j2k_psnr
    if bool(ratios) is bool(psnrs_db):
        detail = "one of j2k_cr and j2k_psnr must be given, and not both"
    elif len(ratios or psnrs_db) > most:
        detail = f"{len(ratios or psnrs_db)} quality layers; {most} at most"
    elif list(ratios) != sorted(set(ratios), reverse=True) or list(psnrs_db) != sorted(set(psnrs_db)):
        detail = "j2k_cr must go from high to low, j2k_psnr from low to high"
    elif ratios and (ratios[-1] < 1 or ratios[0] == 1):
        detail = "j2k_cr of 1 would be lossless, and less means nothing"
    elif psnrs_db and psnrs_db[0] <= 0:
        detail = "j2k_psnr must be above 0 dB"
    else:
        return None
    return Refused(Reason.UNSUPPORTED_TARGET, detail)


def fitting(decoded: Frame, image: Image) -> Frame:
    """What ``frames.pixels`` gives. Raises ValueError where shape or type differ."""
    if decoded.shape != shape(image) or decoded.dtype != container(image):
        raise ValueError(
            f"decoded to {decoded.shape} of {decoded.dtype}, not {shape(image)} of {container(image)}"
        )
    return decoded


def require_stored_range(decoded: Frame, image: Image) -> None:
    """Raise Refused where a lossy codestream of more than Bits Stored decodes to values above (or below) them.

    A wavelet overshoots at edges. The decoder clips to the codestream's precision; a reader that masks what is above
    Bits Stored would show white as black.
    """
    low, high = int(decoded.min()), int(decoded.max())
    least = -(1 << (image.bits_stored - 1)) if image.signed else 0
    most = least + (1 << image.bits_stored) - 1
    if low < least or high > most:
        detail = f"it would decode to {low}..{high}; BitsStored is {image.bits_stored}"
        raise Refused(Reason.ERROR_BOUND, detail)


JPEG_2000_CODECS: Codecs = (
    JPEG2000Lossless(),
    JPEG2000LosslessByPylibjpeg(),
    JPEG2000(),
    JPEG2000ByImagecodecs(),
    JPEG2000Decoder(),
)
