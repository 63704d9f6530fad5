"""Frames of one object over the workers of a crew, as the lead sees it: cuts shares, and puts together what they gave.

What comes of it is what one process would have made: the same bytes, and of several refusals the one of the first
frame. The final file is proven whole all the same: header and offset table by the lead, each frame by whoever has
its share, in the place where the offset table says that it is.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from venturi.dataset.encapsulate import Fragment, FrameWriter, item_length
from venturi.transcode.dataset_file import DatasetFile
from venturi.transcode.encode import UnusedBits, begin_native, most_bytes, native_length, require_saving
from venturi.transcode.plan import Plan
from venturi.transcode.prove import Measured
from venturi.transcode.refusal import Refused
from venturi.transcode.share_work import encode_share, prove_share
from venturi.transcode.shares import (
    LEAST_SHARES,
    MOST_SHARES,
    SHARE_BYTES,
    Done,
    Phase,
    Request,
    Share,
    Spread,
)

_PIECE_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class Spreading:
    """One rendition's shares."""

    spread: Spread
    output: Path
    lossless_instead: bool = False

    def suits(self, plan: Plan) -> bool:
        """Whether an object is large enough, and others can open it: it is a file with a name."""
        original, image = plan.original, plan.image
        return (
            original.file is original.received
            and image.frames > 1
            and image.pixel_bytes >= LEAST_SHARES * SHARE_BYTES
        )

    def encode(self, plan: Plan) -> "Parts":
        """Have all frames encoded, as far as nothing is refused. Raises Refused (too large), OSError."""
        if not plan.encapsulated:
            native_length(plan)
        most = most_bytes(plan) if plan.encapsulated else float("inf")
        request = Request(self._shares(plan, Phase.ENCODE, ()), int(most) if most < float("inf") else 0)
        parts = Parts(plan.encapsulated, request.shares)
        try:
            parts.done = self.spread(request, lambda share: encode_share(plan, share))
        except BaseException:
            parts.remove()
            raise
        return parts

    def prove(self, plan: Plan, result: DatasetFile, fragments: Sequence[Fragment]) -> Measured:
        """Have all frames of the final file proven. Raises Refused, OSError."""
        request = Request(self._shares(plan, Phase.PROVE, fragments))
        measured = Measured()
        told = self.spread(request, lambda share: prove_share(plan, result, share))
        for done in told:
            _raise_refused(done)
            measured.add(done.max_error, done.squares, done.samples)
        _require_all(request.shares, told)
        return measured

    def _shares(self, plan: Plan, phase: Phase, fragments: Sequence[Fragment]) -> tuple[Share, ...]:
        image = plan.image
        each = max(1, SHARE_BYTES // image.frame_bytes, -(-image.frames // MOST_SHARES))
        header = 8 if plan.encapsulated else 0
        shares: list[Share] = []
        for first in range(0, image.frames, each):
            last = min(first + each, image.frames)
            start = fragments[first].offset - header if fragments else 0
            end = fragments[last - 1].offset + fragments[last - 1].length if fragments else 0
            shares.append(
                Share(
                    number=len(shares),
                    phase=phase,
                    source=str(plan.original.received.path),
                    target=plan.target,
                    rendition=str(self.output),
                    first=first,
                    last=last,
                    size_bytes=(last - first) * image.frame_bytes,
                    depth=image.depth,
                    lossless_instead=self.lossless_instead,
                    start=start,
                    end=end,
                )
            )
        return tuple(shares)


class Parts:
    """The encoded frames, in files; gone when they were written, or after ``remove``."""

    def __init__(self, encapsulated: bool, shares: tuple[Share, ...]) -> None:
        self._encapsulated = encapsulated
        self._shares = shares
        self.done: tuple[Done, ...] = ()

    def check(self, plan: Plan) -> None:
        """Find whatever would have stopped one process, in the order of the frames.

        Raises Refused, UnusedBits, OffsetTooLarge.
        """
        writer = FrameWriter(BytesIO(), plan.image.frames, plan.extended) if plan.encapsulated else None
        for share, done in zip(self._shares, self.done, strict=False):
            if writer:
                for index, length in enumerate(self._lengths(share, done), share.first):
                    writer.count(length)
                    require_saving(plan, writer.size_bytes, index)
            if done.unused_bits:
                raise UnusedBits
            _raise_refused(done)
        _require_all(self._shares, self.done)

    def write_pixel_data(self, out: BinaryIO, plan: Plan) -> int:
        """Write the element, as ``encode.write_pixel_data`` does."""
        if self._encapsulated:
            writer = FrameWriter(out, plan.image.frames, plan.extended)
            self._copy(out, writer.count)
            writer.finish()
            return writer.size_bytes
        length = begin_native(out, plan)
        self._copy(out, None)
        out.write(bytes(length - plan.image.pixel_bytes))
        return length

    def remove(self) -> None:
        """Remove what is left of them."""
        for share in self._shares:
            share.part.unlink(missing_ok=True)

    def _copy(self, out: BinaryIO, count: Callable[[int], None] | None) -> None:
        out.flush()
        for share, done in zip(self._shares, self.done, strict=True):
            if count:
                for length in self._lengths(share, done):
                    count(length)
            elif done.written_bytes != share.size_bytes:
                raise RuntimeError("a part is not as long as its frames")
            with share.part.open("rb") as part:
                _append(part.fileno(), out.fileno(), done.written_bytes)
            share.part.unlink()
        out.seek(0, os.SEEK_END)

    def _lengths(self, share: Share, done: Done) -> Iterator[int]:
        """Read the lengths of a part's items."""
        with share.part.open("rb") as part:
            position = 0
            while position < done.written_bytes:
                length = item_length(os.pread(part.fileno(), 8, position))
                yield length
                position += 8 + length
        if position != done.written_bytes:
            raise RuntimeError("a part does not end with an item")


def _raise_refused(done: Done) -> None:
    if done.refused:
        raise Refused(done.refused, done.detail)


def _require_all(shares: tuple[Share, ...], told: tuple[Done, ...]) -> None:
    """Each share was done, and none was refused: a crew that leaves some out makes no rendition."""
    if [done.number for done in told] != [share.number for share in shares]:
        raise RuntimeError("shares are missing, and none was refused")


def _append(source: int, out: int, size_bytes: int) -> None:
    """Copy a file to where another stands. Raises OSError."""
    while size_bytes > 0:
        copied = os.sendfile(out, source, None, min(size_bytes, _PIECE_BYTES))
        if not copied:
            raise RuntimeError("a part is shorter than it was")
        size_bytes -= copied
