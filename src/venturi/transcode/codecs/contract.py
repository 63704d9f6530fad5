"""What a codec is: the contract for ours and for those other packages add (entry point group ``venturi.codecs``).

Two kinds. An ``Encoder`` makes codestreams of one transfer syntax from native frames and has one pinned decoder that
proves them. A ``Decoder`` reads what arrives compressed: it says what a codestream claims before anything is
decoded, decodes it, and decodes it once more with another library, where there is one, for the proof.

Whatever the libraries raise is caught by the engine and becomes ``encoder-failed``, ``decoder-failed`` or
``proof-failed``. A codec has no state, no threads, no clock and no random values: the same frame and options give the
same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from venturi.transcode.frames import Frame
from venturi.transcode.image import Image
from venturi.transcode.refusal import Refused


@dataclass(frozen=True, slots=True)
class Options:
    """What a rule may ask of an encoder, by pydicom's names where it has one. An encoder names those it takes."""

    jls_error: int = 0
    """JPEG-LS NEAR: the largest difference of any sample (ISO/IEC 14495-1)."""
    j2k_cr: tuple[float, ...] = ()
    """Compression ratio for each quality layer, from high to low."""
    j2k_psnr: tuple[float, ...] = ()
    """Peak signal to noise ratio for each quality layer, dB, from low to high."""
    jpeg_quality: int = 0
    """libjpeg's scale, 1 to 100."""
    use_mct: bool = True
    """Whether RGB goes through the component transform, RCT or ICT."""


OPTIONS = frozenset(field.name for field in fields(Options))


class Encoder(Protocol):
    """One transfer syntax, one library that encodes, one decoder that proves."""

    @property
    def transfer_syntax(self) -> str:
        """The UID."""

    @property
    def name(self) -> str:
        """What a rule's ``codec:`` calls it: the name of the package that encodes, or of what several share."""

    @property
    def libraries(self) -> str:
        """Which library encodes, and which proves: ``pyjpegls/charls, imagecodecs/charls``.

        Where the two change places with the image, the encoder says so.
        """

    @property
    def lossy(self) -> bool:
        """Whether pixels may change."""

    @property
    def method(self) -> str:
        """Defined term for Lossy Image Compression Method (PS3.3 C.7.6.1.1.5.1), or empty if it is lossless."""

    @property
    def takes(self) -> frozenset[str]:
        """The fields of ``Options`` that mean something here."""

    @property
    def keeps_unused_bits(self) -> bool:
        """Whether the codestream can carry all allocated bits (``image.depth``) and readers cope with that."""

    def refusal(self, image: Image, options: Options) -> Refused | None:
        """Why such an image is not for this codec, from its attributes alone, or None."""

    def photometric(self, image: Image, options: Options) -> str:
        """Photometric Interpretation of the result (PS3.5 8.2)."""

    def planar(self, image: Image) -> int | None:
        """Planar Configuration of the result; None with one sample."""

    def encode(self, frame: Frame, image: Image, options: Options) -> bytes:
        """Make the codestream of one frame. Raises Refused for what this frame's values forbid, or anything."""

    def check(self, codestream: bytes, image: Image, options: Options) -> str:
        """Say what the codestream's *own* header says that it should not, in words; empty where all is well.

        Dimensions, components, precision, sign, losslessness or the bound. Called before any decoder sees it.
        """

    def decode(self, codestream: bytes, image: Image) -> Frame:
        """Decode a frame, by the pinned decoder, after ``check``, to what ``frames.pixels`` gives.

        No falling back to a second decoder: it might hide what the first one found.
        """


@dataclass(frozen=True, slots=True)
class Coded:
    """What the codestream of one frame says of itself."""

    rows: int
    columns: int
    samples: int
    bits: int
    """Of a sample."""
    signed: bool | None
    """None: the coding knows no sign."""
    lossless: bool
    """By its own header: reversible and not quantised, NEAR 0, SOF3."""
    transform: str = ""
    """``RCT`` or ``ICT`` where the decoder undoes one; ``YBR`` or ``RGB`` where a marker says what the components
    are (JFIF, Adobe); empty where nothing is said."""


class Decoder(Protocol):
    """Reads the codestreams of one or several transfer syntaxes."""

    @property
    def transfer_syntaxes(self) -> frozenset[str]:
        """Their UIDs."""

    @property
    def libraries(self) -> str:
        """Which library decodes, and which decodes again for the proof."""

    def starts(self, fragment: bytes) -> bool:
        """Whether a frame begins with these bytes (the first 16 of a fragment, or fewer)."""

    def inspect(self, codestream: bytes, image: Image) -> Coded:
        """Read the codestream's header. Raises Malformed; allocates nothing the header asks for."""

    def decode(self, codestream: bytes, image: Image) -> NDArray[np.integer[Any]]:
        """Decode after ``inspect``: (rows, columns) or (rows, columns, samples), values as coded.

        Components as they are, without colour conversion, but RCT or ICT undone.
        """

    def decode_again(self, codestream: bytes, image: Image) -> NDArray[np.integer[Any]]:
        """The same by another library where there is one, else by the same."""


Codecs = Sequence[Encoder | Decoder]
