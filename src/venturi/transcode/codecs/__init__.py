"""The codecs, one file each, behind one registry.

To add one here: copy the file that is nearest to it, change what differs, add a line to ``OURS``, and run
tests/conformance/test_codecs.py, which takes every line. To add one from another package: implement the
contract (``codecs.contract``) there, and name a function that gives the instances under the entry point group
``venturi.codecs``:

    [project.entry-points."venturi.codecs"]
    my-package = "my_package.codecs:codecs"

An encoder for a syntax that has one already is chosen by a rule's ``codec:``; ours stays the default. Codec packages
are imported here and nowhere else.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import cast

from venturi.dataset.syntaxes import IMPLICIT_VR_LITTLE_ENDIAN
from venturi.errors import ConfigError
from venturi.transcode.codecs.contract import Codecs, Decoder, Encoder
from venturi.transcode.codecs.htj2k import HTJ2K_CODECS
from venturi.transcode.codecs.jpeg import JPEG_CODECS
from venturi.transcode.codecs.jpeg_2000 import JPEG_2000_CODECS
from venturi.transcode.codecs.jpeg_ls import JPEG_LS_CODECS
from venturi.transcode.codecs.native import Native
from venturi.transcode.codecs.rle import RLE_CODECS

GROUP = "venturi.codecs"
OURS: Codecs = (
    *(Native(), Native(IMPLICIT_VR_LITTLE_ENDIAN)),
    *(*RLE_CODECS, *JPEG_LS_CODECS, *JPEG_2000_CODECS, *HTJ2K_CODECS, *JPEG_CODECS),
)
"""The first encoder of a syntax is its default."""


class Registry:
    """Encoders by transfer syntax and name, decoders by transfer syntax."""

    def __init__(self, codecs: Iterable[Encoder | Decoder]) -> None:
        """Raises ValueError where two encoders have one syntax and one name, or two decoders one syntax."""
        self._encoders: dict[str, dict[str, Encoder]] = {}
        self._decoders: dict[str, Decoder] = {}
        for codec in codecs:
            if hasattr(codec, "encode"):
                self._add_encoder(cast("Encoder", codec))
            else:
                self._add_decoder(codec)
        self._by_syntax = {uid: tuple(named.values()) for uid, named in self._encoders.items()}

    def _add_encoder(self, encoder: Encoder) -> None:
        named = self._encoders.setdefault(encoder.transfer_syntax, {})
        if named.setdefault(encoder.name, encoder) is not encoder:
            raise ValueError(f"two encoders for {encoder.transfer_syntax} have the name {encoder.name}")

    def _add_decoder(self, decoder: Decoder) -> None:
        for uid in decoder.transfer_syntaxes:
            if self._decoders.setdefault(uid, decoder) is not decoder:
                raise ValueError(f"two decoders for {uid}")

    def encoders(self) -> Mapping[str, tuple[Encoder, ...]]:
        """All encoders by transfer syntax, the default first."""
        return self._by_syntax

    def decoder(self, transfer_syntax: str) -> Decoder | None:
        """Find the decoder for what arrives in that syntax."""
        return self._decoders.get(transfer_syntax)

    def decoded(self) -> frozenset[str]:
        """The transfer syntaxes that have a decoder."""
        return frozenset(self._decoders)


@cache
def registry() -> Registry:
    """Ours and those of other packages. Raises ConfigError where one of those can't be loaded."""
    codecs = list(OURS)
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            codecs.extend(point.load()())
        except Exception as error:  # whatever another package raises: say whose fault it is
            words = f"entry point {point.name!r} of {GROUP} ({point.value}): {type(error).__name__}: {error}"
            raise ConfigError([f"{words}; repair or remove that package"]) from error
    try:
        return Registry(codecs)
    except ValueError as error:
        raise ConfigError([f"{error}: remove one of the packages that add codecs ({GROUP})"]) from error
