"""Uncompressed little endian as a target: decompression (PS3.5 8.1.1, A.1, A.2). Native bytes are the codestream."""

import numpy as np

from venturi.dataset.syntaxes import EXPLICIT_VR_LITTLE_ENDIAN
from venturi.transcode.codecs.contract import Options
from venturi.transcode.frames import Frame, pixels, rebuild
from venturi.transcode.image import Image
from venturi.transcode.refusal import Refused


class Native:
    """Frames as they are."""

    name = "native"
    libraries = ""
    lossy = False
    method = ""
    takes: frozenset[str] = frozenset()
    keeps_unused_bits = True

    def __init__(self, transfer_syntax: str = EXPLICIT_VR_LITTLE_ENDIAN) -> None:
        """Frames are the same with explicit and implicit VR."""
        self.transfer_syntax = transfer_syntax

    def refusal(self, image: Image, options: Options) -> Refused | None:
        """Everything that can be described can be written."""
        return None

    def photometric(self, image: Image, options: Options) -> str:
        """What the pixels are."""
        return image.photometric

    def planar(self, image: Image) -> int | None:
        """As the bytes are laid out."""
        return image.planar

    def encode(self, frame: Frame, image: Image, options: Options) -> bytes:
        """Lay the samples out."""
        return rebuild(frame, image).tobytes()

    def check(self, codestream: bytes, image: Image, options: Options) -> str:
        """Native bytes have no header; their number must be right."""
        if len(codestream) != image.frame_bytes:
            return f"{len(codestream)} bytes, not {image.frame_bytes}"
        return ""

    def decode(self, codestream: bytes, image: Image) -> Frame:
        """Take the samples back."""
        return pixels(np.frombuffer(codestream, np.uint8), image)
