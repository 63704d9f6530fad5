"""One share's work, in the lead or in a worker that helps it. A refusal is in the ``Done``; OSError is raised."""

from collections.abc import Iterator

from venturi.dataset.contents import let_go
from venturi.dataset.encapsulate import Fragment, OffsetTooLarge, item_length, write_item
from venturi.errors import Malformed
from venturi.model import Reason
from venturi.transcode.dataset_file import DatasetFile
from venturi.transcode.encode import UnusedBits, encode_frame
from venturi.transcode.plan import Plan
from venturi.transcode.prove import prove_frames
from venturi.transcode.prove_header import failed
from venturi.transcode.refusal import Refused, reason_of
from venturi.transcode.shares import Done, Share


def encode_share(plan: Plan, share: Share) -> Done:
    """Write the share's frames to its part: as items (PS3.5 A.4), or as native bytes."""
    written = 0
    try:
        with share.part.open("xb") as out:
            for index in range(share.first, share.last):
                encoded = encode_frame(plan, index)
                written += write_item(out, encoded) if plan.encapsulated else out.write(encoded)
                plan.original.pixels.forget(index)
    except UnusedBits:
        return Done(share.number, written_bytes=written, unused_bits=True)
    except OffsetTooLarge as error:
        return Done(share.number, Reason.TOO_LARGE, str(error), written)
    except (Refused, Malformed, MemoryError) as error:
        return Done(share.number, *reason_of(error), written)
    finally:
        let_go(plan.original.file.data)
    return Done(share.number, written_bytes=written)


def prove_share(plan: Plan, result: DatasetFile, share: Share) -> Done:
    """Prove the share's frames from the final file."""
    try:
        measured = prove_frames(plan, result, enumerate(_fragments(plan, result, share), share.first))
    except (Refused, Malformed, MemoryError) as error:
        return Done(share.number, *reason_of(error))
    finally:
        let_go(plan.original.file.data)
        let_go(result.data)
    return Done(
        share.number,
        max_error=measured.max_error,
        squares=measured.squares,
        samples=measured.samples,
    )


def _fragments(plan: Plan, result: DatasetFile, share: Share) -> Iterator[Fragment]:
    """Find the share's frames, of which the lead has found that they follow each other without a gap."""
    position = share.start
    for _ in range(share.first, share.last):
        if plan.encapsulated:
            length = item_length(result.data[position : position + 8])
            position += 8
        else:
            length = plan.image.frame_bytes
        yield Fragment(position, length)
        position += length
    if position != share.end:
        raise failed(f"frames {share.first} to {share.last - 1} are not where the offset table says")
