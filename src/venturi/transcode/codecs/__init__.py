"""The codecs, one file each: how native frames become codestreams of one transfer syntax, and back.

To add a codec: copy the file that is nearest to it, change what differs, add one line to ``CODECS``. It must

- say in ``refusal`` which images it can't do, from the attributes alone, with a ``Reason`` and figures;
- set ``keeps_unused_bits`` only if the codestream has room for all allocated bits;
- encode one frame (an array as ``frames.pixels`` gives it) without threads, clock or random values;
- check in ``check`` the codestream's *own* header: dimensions, components, precision, sign, losslessness;
- decode with one pinned decoder, of another library than the encoder's where there is one, and give the
  container's type back. No falling back to a second decoder: it might hide what the first one found.

Whatever the libraries raise is caught by the engine and becomes ``encoder-failed`` or ``proof-failed``.
Codec packages are imported here and nowhere else. Then run tests/conformance/test_codecs.py: it takes every
line of the registry.
"""

from typing import Protocol

from venturi.transcode.codecs.htj2k import HTJ2KLossless
from venturi.transcode.codecs.jpeg_2000 import JPEG2000Lossless
from venturi.transcode.codecs.jpeg_ls import JPEGLSLossless
from venturi.transcode.codecs.rle import RLELossless
from venturi.transcode.frames import Frame
from venturi.transcode.image import Image
from venturi.transcode.refusal import Refused


class Codec(Protocol):
    """One transfer syntax, one encoder, one decoder that proves it."""

    @property
    def transfer_syntax(self) -> str:
        """The UID."""

    @property
    def libraries(self) -> str:
        """Which library encodes, and which proves."""

    @property
    def keeps_unused_bits(self) -> bool:
        """Whether bits above Bits Stored survive, whatever they hold."""

    def refusal(self, image: Image) -> Refused | None:
        """Why such an image is not for this codec, or None."""

    def photometric(self, image: Image) -> str:
        """Photometric Interpretation of the result (PS3.5 8.2)."""

    def planar(self, image: Image) -> int | None:
        """Planar Configuration of the result; None with one sample."""

    def encode(self, frame: Frame, image: Image) -> bytes:
        """Make the codestream of one frame. Raises what the library raises."""

    def check(self, codestream: bytes, image: Image) -> str:
        """Say what the codestream's own header says that it should not, in words; empty where all is well."""

    def decode(self, codestream: bytes, image: Image) -> Frame:
        """Decode a frame, by the pinned decoder, after ``check``. Raises what the library raises."""


CODECS: tuple[Codec, ...] = (
    RLELossless(),
    JPEGLSLossless(),
    JPEG2000Lossless(),
    HTJ2KLossless(),
)
BY_SYNTAX = {codec.transfer_syntax: codec for codec in CODECS}
