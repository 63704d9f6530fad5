"""JPEG 2000 and HTJ2K that arrive (PS3.5 A.4.4): our own header reader first, then OpenJPEG.

Bare codestreams only: a JP2 box reaches code that no DICOM object needs (CVE-2025-54874). A codestream whose tile-parts
do not fit its bytes was cut, and is Malformed. OpenJPEG is asked nothing before the header's dimensions are
those of the image: 146 bytes can claim 1.8 GB.
"""

from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from openjpeg.utils import decode as openjpeg_decode

from venturi.dataset import syntaxes
from venturi.errors import Malformed
from venturi.transcode.codecs import codestream as headers
from venturi.transcode.codecs.contract import Coded
from venturi.transcode.image import Image

_J2K = 0
_MOST_BITS = 16
_MOST_DECOMPOSITIONS = 32


class JPEG2000Decoder:
    """JPEG 2000: pylibjpeg-openjpeg decodes, imagecodecs decodes again; OpenJPEG of two releases."""

    transfer_syntaxes = frozenset((syntaxes.JPEG_2000_LOSSLESS, syntaxes.JPEG_2000))
    libraries = "pylibjpeg-openjpeg, imagecodecs/openjpeg"
    high_throughput = False

    def starts(self, fragment: bytes) -> bool:
        """SOC and SIZ."""
        return fragment[:4] == headers.SOC_SIZ

    def inspect(self, codestream: bytes, image: Image) -> Coded:
        """Read the headers; whether they fit ``image`` is for the caller to compare. Raises Malformed."""
        header = headers.read(codestream)
        if header.high_throughput is not self.high_throughput:
            raise Malformed("the block coder is not that of the transfer syntax")
        if header.bits > _MOST_BITS:
            raise Malformed(f"{header.bits} bits a sample; {_MOST_BITS} at most are known to be exact")
        if header.decompositions > _MOST_DECOMPOSITIONS or not header.layers:
            raise Malformed(f"{header.decompositions} decompositions, {header.layers} layers")
        if header.tail.strip(b"\0") and header.tail.strip(b"\xff"):
            raise Malformed(f"{len(header.tail)} bytes that are no padding follow EOC")
        return Coded(
            rows=header.rows,
            columns=header.columns,
            samples=header.samples,
            bits=header.bits,
            signed=header.signed,
            lossless=header.reversible and not header.quantised,
            transform=("RCT" if header.reversible else "ICT") if header.transform else "",
        )

    def decode(self, codestream: bytes, image: Image) -> NDArray[np.integer[Any]]:
        """Decode by pylibjpeg-openjpeg. Raises Malformed, RuntimeError, ValueError."""
        coded = self._fitting(codestream, image)
        samples = openjpeg_decode(codestream, j2k_format=_J2K, reshape=False)  # or it reads the header again
        return _as_coded(samples.view(_type(coded)).reshape(_shape(coded)), coded)

    def decode_again(self, codestream: bytes, image: Image) -> NDArray[np.integer[Any]]:
        """Decode by imagecodecs. Raises Malformed, RuntimeError, ValueError.

        The 9-7 wavelet is reckoned in floating point, and the standard fixes no last digit: there the two may differ
        by one, and what is given is what ``decode`` gives.
        """
        coded = self._fitting(codestream, image)
        again = _as_coded(imagecodecs.jpeg2k_decode(codestream), coded)
        if coded.lossless:
            return again
        first = self.decode(codestream, image)
        apart = int(np.abs(np.subtract(first, again, dtype=np.int32)).max())
        if apart > 1:
            raise ValueError(f"two decoders differ by {apart}")
        return first

    def _fitting(self, codestream: bytes, image: Image) -> Coded:
        coded = self.inspect(codestream, image)
        if (coded.rows, coded.columns, coded.samples) != (image.rows, image.columns, image.samples):
            raise Malformed(
                f"{coded.rows} x {coded.columns} x {coded.samples} in the codestream, not {image}"
            )
        return coded


class HTJ2KDecoder(JPEG2000Decoder):
    """HTJ2K: pylibjpeg-openjpeg alone, since imagecodecs' HTJ2K decoder swallows errors."""

    transfer_syntaxes = frozenset((syntaxes.HTJ2K_LOSSLESS, syntaxes.HTJ2K_LOSSLESS_RPCL, syntaxes.HTJ2K))
    libraries = "pylibjpeg-openjpeg, pylibjpeg-openjpeg"
    high_throughput = True

    def decode_again(self, codestream: bytes, image: Image) -> NDArray[np.integer[Any]]:
        """The same again."""
        return self.decode(codestream, image)


def _shape(coded: Coded) -> tuple[int, ...]:
    return (coded.rows, coded.columns) + ((coded.samples,) if coded.samples > 1 else ())


def _type(coded: Coded) -> np.dtype[Any]:
    return np.dtype(f"<{'i' if coded.signed else 'u'}{1 if coded.bits <= 8 else 2}")


def _as_coded(decoded: NDArray[np.integer[Any]], coded: Coded) -> NDArray[np.integer[Any]]:
    """What the header promised. Raises ValueError where shape, type or a value's range differ."""
    shape, wanted = _shape(coded), _type(coded)
    if decoded.shape != shape or decoded.dtype != wanted:
        raise ValueError(f"decoded to {decoded.shape} of {decoded.dtype}, not {shape} of {wanted}")
    least = -(1 << (coded.bits - 1)) if coded.signed else 0
    if int(decoded.min()) < least or int(decoded.max()) > least + (1 << coded.bits) - 1:
        raise ValueError(f"decoded to values beyond {coded.bits} bits")
    return decoded
