"""HTJ2K (ISO/IEC 15444-15, PS3.5 8.2.14, 10.18): OpenJPH encodes, OpenJPEG proves.

imagecodecs' own HTJ2K decoder is not used: it swallows errors and returns garbage. The encoder signals the
bits of the container, 8 or 16, whatever Bits Stored is. OpenJPH's order of packets is RPCL in all three syntaxes.

OpenJPH knows a quantisation step, no ratio and no PSNR: for the lossy syntax the step is searched by bisection,
frame by frame, in a bounded number of encodes, so that what is asked for is reached and not more than necessary
is lost.
"""

import math
from collections.abc import Callable

import imagecodecs
import numpy as np

from venturi.dataset import syntaxes
from venturi.model import Reason
from venturi.transcode.codecs import codestream as headers
from venturi.transcode.codecs.contract import Codecs, Options
from venturi.transcode.codecs.jpeg_2000 import (
    JPEG2000Lossless,
    layers_refusal,
    require_stored_range,
    transformed,
)
from venturi.transcode.codecs.jpeg_2000_decoder import HTJ2KDecoder
from venturi.transcode.frames import Frame
from venturi.transcode.image import Image
from venturi.transcode.refusal import Refused

_DECOMPOSITIONS = 5
_BY_RESOLUTION = 1
_COARSEST_STEP = 1.0
_STEP_OCTAVES = 16.5
"""Steps go down from the coarsest by so many powers of two: for less than 0.00001 imagecodecs takes its default."""
_MOST_ENCODES = 12
_NEAR_DB = 0.1
_NEAR_RATIO = 0.01


class HTJ2KLossless(JPEG2000Lossless):
    """JPEG 2000 with another block coder: what is taken, how it is described and who proves it are the same."""

    transfer_syntax = syntaxes.HTJ2K_LOSSLESS
    libraries = "imagecodecs/openjph, pylibjpeg-openjpeg"
    rpcl = False

    def encode(self, frame: Frame, image: Image, options: Options) -> bytes:
        """Make a bare codestream of one tile-part."""
        return _encode(frame, image, options)

    def check(self, codestream: bytes, image: Image, options: Options) -> str:
        """As ``codestream.check`` does."""
        wanted = headers.Wanted(
            bits=image.bits_allocated,
            high_throughput=True,
            reversible=not self.lossy,
            transform=transformed(image, options),
            rpcl=self.rpcl,
        )
        return headers.check(codestream, image, wanted)


class HTJ2KLosslessRPCL(HTJ2KLossless):
    """For viewers that load by resolution (PS3.5 10.18): RPCL, TLM, and a thumbnail as the lowest resolution.

    TLM is there to find where a resolution ends, so each has a tile-part of its own; the standard does not ask it.
    """

    transfer_syntax = syntaxes.HTJ2K_LOSSLESS_RPCL
    rpcl = True

    def encode(self, frame: Frame, image: Image, options: Options) -> bytes:
        """Make a bare codestream of one tile-part for each resolution."""
        largest = max(image.rows, image.columns)
        enough = math.ceil(math.log2(largest / headers.THUMBNAIL)) if largest > headers.THUMBNAIL else 0
        return _encode(frame, image, options, decompositions=max(_DECOMPOSITIONS, enough), by_resolution=True)


class HTJ2K(HTJ2KLossless):
    """Lossy: the 9-7 wavelet, ICT for RGB; at least the one ratio, or at least the one PSNR, that is asked for.

    The ratio is that of Bits Stored to the codestream, and the peak 2^Bits Stored - 1, as in JPEG 2000.
    """

    transfer_syntax = syntaxes.HTJ2K
    lossy = True
    method = "ISO_15444_15"
    takes = frozenset(("use_mct", "j2k_cr", "j2k_psnr"))

    def refusal(self, image: Image, options: Options) -> Refused | None:
        """Also where anything but one ratio or one PSNR is asked for: there are no quality layers."""
        return super().refusal(image, options) or layers_refusal(options, 1)

    def encode(self, frame: Frame, image: Image, options: Options) -> bytes:
        """Search the step. Raises Refused where no step does, or the result would not fit Bits Stored."""

        def attempt(step: float) -> bytes:
            return _encode(frame, image, options, step=step, reversible=False)

        if options.j2k_cr:
            most_bytes = frame.size * image.bits_stored / 8 / options.j2k_cr[0]
            codestream = _finest_of_size(attempt, most_bytes)
        else:
            codestream = _coarsest_of_psnr(
                attempt, lambda result: psnr_db(self.decode(result, image), frame, image), options.j2k_psnr[0]
            )
        require_stored_range(self.decode(codestream, image), image)
        return codestream


def _encode(
    frame: Frame,
    image: Image,
    options: Options,
    *,
    step: float = 0,
    reversible: bool = True,
    decompositions: int = _DECOMPOSITIONS,
    by_resolution: bool = False,
) -> bytes:
    """``step`` is of the quantisation, over the container's range; 0 is the library's default."""
    return bytes(
        imagecodecs.htj2k_encode(
            frame,
            level=step,
            rgb=transformed(image, options),
            planar=False if image.samples > 1 else None,
            resolutions=decompositions,
            reversible=reversible,
            tlm=by_resolution,
            tilepart=_BY_RESOLUTION if by_resolution else None,
        )
    )


def psnr_db(decoded: Frame, frame: Frame, image: Image) -> float:
    """Peak signal to noise ratio, the peak being 2^Bits Stored - 1; infinite where nothing differs."""
    difference = np.subtract(decoded, frame, dtype=np.int32)
    mean = float(np.mean(np.square(difference, dtype=np.float64)))
    if not mean:
        return math.inf
    return 20 * math.log10((1 << image.bits_stored) - 1) - 10 * math.log10(mean)


def _step(fraction: float) -> float:
    """0 is the finest step, 1 the coarsest."""
    return _COARSEST_STEP * math.exp2(_STEP_OCTAVES * (fraction - 1))


def _finest_of_size(attempt: Callable[[float], bytes], most_bytes: float) -> bytes:
    """The largest codestream of at most so many bytes: the finest step that reaches the ratio."""
    best = attempt(_step(1))
    if len(best) > most_bytes:
        raise Refused(Reason.NO_SAVING, f"{len(best)} bytes at the coarsest step; {most_bytes:.0f} wanted")
    low, high = 0.0, 1.0
    for _ in range(_MOST_ENCODES - 1):
        if len(best) >= most_bytes * (1 - _NEAR_RATIO):
            break
        middle = (low + high) / 2
        codestream = attempt(_step(middle))
        if len(codestream) <= most_bytes:
            high = middle
            best = max(best, codestream, key=len)
        else:
            low = middle
    return best


def _coarsest_of_psnr(
    attempt: Callable[[float], bytes], measure: Callable[[bytes], float], least_db: float
) -> bytes:
    """The smallest codestream of at least so many dB: the coarsest step that reaches them."""
    best = attempt(_step(0))
    reached_db = measure(best)
    if reached_db < least_db:
        raise Refused(Reason.ERROR_BOUND, f"{reached_db:.1f} dB at the finest step; {least_db:.1f} wanted")
    low, high = 0.0, 1.0
    for _ in range(_MOST_ENCODES - 1):
        if reached_db <= least_db + _NEAR_DB:
            break
        middle = (low + high) / 2
        codestream = attempt(_step(middle))
        measured_db = measure(codestream)
        if measured_db >= least_db:
            low = middle
            if len(codestream) < len(best):
                best, reached_db = codestream, measured_db
        else:
            high = middle
    return best


HTJ2K_CODECS: Codecs = (HTJ2KLossless(), HTJ2KLosslessRPCL(), HTJ2K(), HTJ2KDecoder())
