"""What is to be made of one original: decided once, then written by the engine and checked by the proof."""

from dataclasses import dataclass, replace
from functools import cached_property

from venturi.dataset.part10 import FileMeta
from venturi.dataset.splice import Changes
from venturi.model import Lossy, Target
from venturi.transcode.attributes import changes
from venturi.transcode.codecs.contract import Encoder, Options
from venturi.transcode.codecs.native import Native
from venturi.transcode.image import Image
from venturi.transcode.lossy import Derivation
from venturi.transcode.original import Original
from venturi.transcode.wishes import Wishes


def rendition_meta(before: FileMeta, transfer_syntax: str) -> FileMeta:
    """The file meta group of a rendition, made of the original's: another syntax, and no envelope."""
    return replace(
        before,
        transfer_syntax=transfer_syntax,
        source_address="",
        sending_address="",
        receiving_address="",
        private_creator="",
        private_information=b"",
    )


@dataclass(frozen=True)
class Plan:
    """One rendition of one original."""

    original: Original
    image: Image
    """What is encoded: the original's, but for ``depth``."""
    target: Target
    wishes: Wishes
    encoder: Encoder
    extended: bool
    """Whether it gets an extended offset table."""
    derivation: Derivation | None = None
    """Where it is lossy."""

    @property
    def options(self) -> Options:
        """The encoder's."""
        return self.wishes.options

    @property
    def encapsulated(self) -> bool:
        """Whether Pixel Data is to be encapsulated."""
        return not isinstance(self.encoder, Native)

    @property
    def pixel_data_vr(self) -> str:
        """OB where it is encapsulated or has 8 bits allocated, else OW (PS3.5 A.2, A.4)."""
        return "OB" if self.encapsulated or self.image.bits_allocated == 8 else "OW"

    def meta(self) -> FileMeta:
        """The file meta group of the rendition: no envelope, the target's syntax, the new UID of a lossy one."""
        meta = rendition_meta(self.original.received.meta, self.encoder.transfer_syntax)
        return replace(meta, sop_instance_uid=self.derivation.sop_instance_uid) if self.derivation else meta

    def changes(self, lossy: Lossy | None = None) -> Changes:
        """See ``attributes.changes``; without ``lossy``, what is written before it is measured."""
        return self._with(lossy) if lossy else self._before_measured

    @cached_property
    def _before_measured(self) -> Changes:
        return self._with(None)

    def _with(self, lossy: Lossy | None) -> Changes:
        return changes(self.original, self.image, self.encoder, self.options, self.derivation, lossy)
