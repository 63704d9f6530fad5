"""The transcoder: one object, one target, a proven rendition or the reason why the original goes on.

A frame at a time goes from the memory map of the source, decoded where it came compressed, through the encoder to
the output, so memory does not grow with the number of frames; those of a large object are spread over several
processes (``spreading.py``). The same source and target give the same bytes. The source is opened read-only; an output
that can't be proven is removed.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from venturi.dataset import part10
from venturi.dataset.contents import FEW_BYTES
from venturi.dataset.encapsulate import OffsetTooLarge
from venturi.dataset.splice import splice
from venturi.dataset.syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    Family,
    Syntax,
    lookup,
)
from venturi.errors import Malformed
from venturi.model import Outcome, Proof, Reason, Target
from venturi.transcode import sandbox
from venturi.transcode.codecs import Registry, registry
from venturi.transcode.codecs.contract import Decoder, Encoder, Options
from venturi.transcode.dataset_file import DatasetFile, digest, open_dataset
from venturi.transcode.encode import UnusedBits, write_pixel_data
from venturi.transcode.helper import Kept
from venturi.transcode.image import Image
from venturi.transcode.lossy import LOSSLESS_SIBLING, LOSSY_RATIO, derive, forbidden
from venturi.transcode.original import Original, open_original
from venturi.transcode.plan import Plan
from venturi.transcode.prove import Frames, Proven, prove
from venturi.transcode.recast import can_recast, recast, takes
from venturi.transcode.refusal import Refused, blame, reason_of
from venturi.transcode.shares import Done, Share, Spread
from venturi.transcode.spreading import Spreading
from venturi.transcode.wishes import Wishes, wishes


class Engine:
    """A ``transcode.port.Transcoder``. It keeps nothing between calls, shares aside; one thread uses it at a time."""

    def __init__(self, codecs: Registry | None = None) -> None:
        """``codecs``: by default ours, and those that other packages add. Raises ConfigError for a broken one."""
        self._codecs = codecs or registry()
        self._kept: Kept | None = None

    def transcode(self, source: Path, target: Target, output: Path, spread: Spread | None = None) -> Outcome:
        """Write and prove the rendition: see ``transcode.port``. ``output`` must not exist yet."""
        try:
            received = open_dataset(source)
        except Malformed as error:
            size_bytes = source.stat().st_size
            return Outcome(target, "", size_bytes, digest(source, 0), Reason.MALFORMED, str(error))
        hold = False
        make = self._implicit if target.transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN else self._transcode
        try:
            return make(received, target, output, spread)
        except (Refused, Malformed, MemoryError) as error:
            reason, detail = reason_of(error)
            if reason in (Reason.ERROR_BOUND, Reason.NEVER_LOSSY):
                hold = wishes(target).lossy_beyond == "hold"
        return Outcome(
            target=target,
            transfer_syntax=received.meta.transfer_syntax,
            size_bytes=received.size_bytes,
            sha256=received.sha256,
            reason=reason,
            detail=detail,
            hold=hold,
        )

    def share(self, share: Share) -> Done:
        """Do a share: see ``transcode.port``."""
        try:
            if self._kept is None or not self._kept.serves(share):
                self._kept = None  # before another is opened
                self._kept = Kept.of(share, self._plan_of(share))
        except (Refused, Malformed, MemoryError) as error:
            return Done(share.number, *reason_of(error))
        return self._kept.do(share)

    def let_go(self) -> None:
        """Close what is kept for shares."""
        self._kept = None

    def _plan_of(self, share: Share) -> Plan:
        """Plan as the lead has, but for what is no frame's business. Raises Refused, Malformed, OSError."""
        received, wished = open_dataset(Path(share.source)), wishes(share.target)
        original, encoders = self._open(received, share.target, wished, Path(share.rendition).parent)
        if share.lossless_instead:
            wished, encoders = self._lossless(original, wished, encoders, "")
        image = replace(original.image, depth=share.depth)
        encoder = _first_that_can(encoders, image, wished.options)
        return Plan(original, image, share.target, wished, encoder, extended=False)

    def _open(
        self, received: DatasetFile, target: Target, wished: Wishes, scratch: Path
    ) -> tuple[Original, Sequence[Encoder]]:
        """Open the object and find encoders, if it is such as can and may be transcoded. Raises Refused, Malformed."""
        encoders, decoder = self._codecs_for(received, target, wished)
        original = open_original(received, decoder, scratch, wished.as_rgb)
        # Not before: a report without pixels is nothing that ``from`` means, and must not be held for it.
        if original.syntax.native and not takes(wished, original.syntax):
            raise Refused(Reason.NOT_NATIVE, f"the rule does not take {original.syntax}")
        sandbox.make_room(original.image.frame_bytes)  # header and first codestream agree on it
        if target.transfer_syntax == original.syntax.uid and not original.turned_rgb:
            raise Refused(Reason.SAME_SYNTAX)
        if not original.lossless and target.transfer_syntax != EXPLICIT_VR_LITTLE_ENDIAN:
            raise Refused(Reason.LOSSY_INPUT, f"the codestreams of this {original.syntax} are lossy")
        return original, encoders

    def _transcode(
        self, received: DatasetFile, target: Target, output: Path, spread: Spread | None
    ) -> Outcome:
        wished = wishes(target)
        try:
            original, encoders = self._open(received, target, wished, output.parent)
        except Refused as refused:
            if not can_recast(refused, received, target):
                raise
            return recast(received, target, output)
        spreading = Spreading(spread, output) if spread else None
        try:
            return _make(original, target, wished, encoders, output, spreading)
        except Refused as refused:
            if (
                refused.reason not in (Reason.ERROR_BOUND, Reason.NEVER_LOSSY)
                or wished.lossy_beyond != "lossless"
            ):
                raise
            why = f"without loss, because of {refused.reason}: {refused.detail}"
            lossless, siblings = self._lossless(original, wished, encoders, why)
            spreading = Spreading(spread, output, lossless_instead=True) if spread else None
            outcome = _make(original, target, lossless, siblings, output, spreading)
            return replace(outcome, detail=why)

    def _implicit(
        self, received: DatasetFile, target: Target, output: Path, spread: Spread | None
    ) -> Outcome:
        """Make implicit VR of explicit VR, and that before of what came in another syntax."""
        syntax, wished = lookup(received.meta.transfer_syntax), wishes(target)
        if syntax.uid == IMPLICIT_VR_LITTLE_ENDIAN and not wished.as_rgb:
            raise Refused(Reason.SAME_SYNTAX)
        if syntax.uid == EXPLICIT_VR_LITTLE_ENDIAN and not wished.as_rgb:
            return recast(received, target, output)
        first = self._transcode(
            received, replace(target, transfer_syntax=EXPLICIT_VR_LITTLE_ENDIAN), output, spread
        )
        made = output.with_name(f"{output.stem}-implicit.part")
        try:
            second = recast(open_dataset(output), Target(target.transfer_syntax), made)
            made.replace(output)
        except BaseException:
            output.unlink(missing_ok=True)
            raise
        return replace(
            first,
            target=target,
            transfer_syntax=second.transfer_syntax,
            size_bytes=second.size_bytes,
            sha256=second.sha256,
        )

    def _lossless(
        self, original: Original, wished: Wishes, encoders: Sequence[Encoder], why: str
    ) -> tuple[Wishes, Sequence[Encoder]]:
        """What is wished where the lossy target was refused, and what encodes the same without loss."""
        lossless = replace(wished, options=Options(use_mct=wished.options.use_mct), lossy_max_error=None)
        return lossless, self._siblings(original, encoders[0], why)

    def _siblings(self, original: Original, encoder: Encoder, why: str) -> Sequence[Encoder]:
        """Find what encodes the same without loss. Raises Refused where it came so."""
        uid = LOSSLESS_SIBLING.get(encoder.transfer_syntax, "")
        if uid == original.syntax.uid:
            raise Refused(Reason.SAME_SYNTAX, why)
        return self._encoders_for(uid, "", Options())

    def _codecs_for(
        self, received: DatasetFile, target: Target, wished: Wishes
    ) -> tuple[Sequence[Encoder], Decoder | None]:
        """Find encoders and decoder, if the syntaxes are such as can and may be done. Raises Refused."""
        if target.transfer_syntax is None:
            raise Refused(Reason.ASKED)
        if target.transfer_syntax == received.meta.transfer_syntax and not wished.as_rgb:
            raise Refused(Reason.SAME_SYNTAX)
        encoders = self._encoders_for(target.transfer_syntax, wished.codec, wished.options)
        syntax = lookup(received.meta.transfer_syntax)
        decoder = self._codecs.decoder(syntax.uid)
        if syntax.native:
            return encoders, None
        if decoder is None:
            if syntax.family is Family.UNKNOWN:
                words = "the transfer syntax is private or not known"
                raise Refused(Reason.UNSUPPORTED_INPUT_SYNTAX, words)
            raise Refused(Reason.UNSUPPORTED_INPUT_SYNTAX, f"no decoder for {syntax}")
        _may_be_decoded(syntax, target.transfer_syntax == EXPLICIT_VR_LITTLE_ENDIAN, wished)
        return encoders, decoder

    def _encoders_for(self, transfer_syntax: str, name: str, options: Options) -> Sequence[Encoder]:
        """Find those that know every option: the one a rule names, or all. Raises Refused where there is none."""
        found = [e for e in self._codecs.encoders().get(transfer_syntax, ()) if name in ("", e.name)]
        if not found:
            words = f"no encoder{f' named {name}' if name else ''} for {lookup(transfer_syntax)}"
            raise Refused(Reason.UNSUPPORTED_TARGET, words)
        asked = {n for n in Options.__slots__ if getattr(options, n) != getattr(Options(), n)}
        knowing = [encoder for encoder in found if asked <= encoder.takes]
        if not knowing:
            ignored = ", ".join(sorted(asked - found[0].takes))
            words = f"{lookup(transfer_syntax)} by {found[0].name} takes no {ignored}"
            raise Refused(Reason.UNSUPPORTED_TARGET, words)
        return knowing


def _may_be_decoded(syntax: Syntax, decompression: bool, wished: Wishes) -> None:
    """Whether the rule takes what came compressed. Raises Refused."""
    taken = wished.taken or (("lossless", syntax.uid) if decompression else ("uncompressed",))
    if "lossless" not in taken and syntax.uid not in taken:
        raise Refused(Reason.NOT_NATIVE, str(syntax))
    if syntax.lossy and not (decompression and syntax.uid in taken):
        raise Refused(Reason.LOSSY_INPUT, str(syntax))


def _make(
    original: Original,
    target: Target,
    wished: Wishes,
    encoders: Sequence[Encoder],
    output: Path,
    spreading: Spreading | None,
) -> Outcome:
    """Write and prove one rendition with the first encoder that can, again where it needs other bits or another table.

    Encoders for one syntax are all lossy or all lossless.
    """
    derivation = None
    if encoders[0].lossy:
        refused = forbidden(original, wished)
        if refused:
            raise refused
        derivation = derive(original, target, wished)
    image = original.image
    extended = wished.offset_table == "extended"
    while True:
        encoder = _first_that_can(encoders, image, wished.options)
        plan = Plan(original, image, target, wished, encoder, extended, derivation)
        try:
            if spreading and spreading.suits(plan):
                proven = _spread_and_proven(plan, output, spreading)
            else:
                proven = _written_and_proven(plan, output, write_pixel_data)
        except UnusedBits:
            image = replace(image, depth=image.bits_allocated)
        except OffsetTooLarge as error:
            if extended:  # a frame of 4 GiB
                raise Refused(Reason.TOO_LARGE, str(error)) from error
            extended = True
        else:
            return _outcome(plan, proven)


def _first_that_can(encoders: Sequence[Encoder], image: Image, options: Options) -> Encoder:
    """Find the first encoder that does not refuse the image. Raises the first one's Refused."""
    refusals = []
    for encoder in encoders:
        with blame(Reason.ENCODER_FAILED, encoder.name):
            refused = encoder.refusal(image, options)
        if refused is None:
            return encoder
        refusals.append(refused)
    raise refusals[0]


def _spread_and_proven(plan: Plan, output: Path, spreading: Spreading) -> Proven:
    """Have others encode and prove. The parts are the same with either table, and are not made again for the other."""
    parts = spreading.encode(plan)
    try:
        try:
            parts.check(plan)
        except OffsetTooLarge:
            if plan.extended:
                raise
            plan = replace(plan, extended=True)
            parts.check(plan)
        return _written_and_proven(plan, output, parts.write_pixel_data, spreading.prove)
    finally:
        parts.remove()


def _written_and_proven(
    plan: Plan, output: Path, write: Callable[[BinaryIO, Plan], int], prove_all: Frames | None = None
) -> Proven:
    """Write the whole Part 10 file, Pixel Data by ``write``, and prove it. A small one is written in one go.

    Raises Refused, Malformed, OSError, UnusedBits, OffsetTooLarge.
    """
    whole = BytesIO()
    bytes_each = (plan.image.pixel_bytes, plan.original.received.size_bytes)
    small = prove_all is None and max(bytes_each) <= FEW_BYTES  # parts are copied from file to file
    pixel_bytes = _write(whole, plan, write) if small else 0
    with output.open("xb") as out:
        try:
            if small:
                out.write(whole.getbuffer())
            else:
                pixel_bytes = _write(out, plan, write)
            out.close()
            if plan.derivation:
                _write_ratio(output, plan.image.pixel_bytes / pixel_bytes)
            return prove(plan, open_dataset(output), prove_all)
        except BaseException:
            output.unlink(missing_ok=True)
            raise


def _write(out: BinaryIO, plan: Plan, write: Callable[[BinaryIO, Plan], int]) -> int:
    """Write the whole Part 10 file; tell how long Pixel Data became."""
    sizes: list[int] = []

    def write_element(stream: BinaryIO) -> None:
        sizes.append(write(stream, plan))

    out.write(part10.encode(plan.meta()))
    splice(out, plan.original.header, plan.original.elements, plan.changes(), write_element)
    return sizes[0]


def _outcome(plan: Plan, proven: Proven) -> Outcome:
    proof = Proof.BOUND if plan.encoder.lossy else Proof.PIXELS
    return Outcome(
        target=plan.target,
        transfer_syntax=plan.encoder.transfer_syntax,
        size_bytes=proven.size_bytes,
        sha256=proven.sha256,
        proof=Proof.NONE if plan.wishes.prove == "none" else proof,
        codec="; ".join(filter(None, (plan.original.pixels.libraries, plan.encoder.libraries))),
        frames=plan.image.frames,
        pixel_bytes_before=plan.original.pixel_bytes,
        pixel_bytes_after=proven.pixel_bytes,
        lossy=proven.lossy,
    )


def _write_ratio(path: Path, ratio: float) -> None:
    """Overwrite the 16 spaces of Lossy Image Compression Ratio, now that it is known."""
    blank = next(element for element in open_dataset(path).elements() if element.tag == LOSSY_RATIO)
    with path.open("r+b") as file:
        file.seek(blank.value)
        file.write(f"{ratio:.3f}".ljust(16).encode())
