"""Whether an instance that somebody asks for is stored for good: pure, from what the ledger knows of it (PS3.4 J.1).

Yes only where every destination that is to keep it for good, and gets all of it, has it: a folder whose file was read
again, or a peer that has committed itself. Never for what lies in the spool alone, nor where only a lossy derivative is
kept. Of an instance that came with several contents, each must be safe, for nobody knows which one is meant; a peer
that committed itself to such a one said nothing about which it has.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from venturi.dataset.commitment import CLASS_INSTANCE_CONFLICT, NO_SUCH_INSTANCE, PROCESSING_FAILURE
from venturi.ledger.port import COMMITTED, Copy, Kept, State
from venturi.model import Reference


class Keeping(Enum):
    """How a destination keeps what it gets."""

    NOT = auto()
    """Not for good, or nobody knows."""
    AS_FILE = auto()
    BY_PEER = auto()
    """Which says so, when it is asked."""
    OPEN = auto()
    """It is for one of a group, some of whom keep it: which one is not known yet."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be said of an instance; ``reason`` is None while it may still become safe."""

    reason: int | None
    files: tuple[tuple[Copy, ...], ...] = ()
    """It is safe, if of one of these sets all files hold what they should."""
    why: str = ""
    """In words, without PHI."""
    by_peer: bool = False
    """Whether it rests on a peer's word."""


_ANY = ""
"""Any destination: what came again is not decided yet."""
_WAITS = Verdict(None, why="it is not yet everywhere where it is kept")


def judge(
    reference: Reference, kept: Sequence[Kept], peer: str, keeping: Callable[[Copy], Keeping]
) -> list[Verdict]:
    """One verdict for each content that may be meant: all must be safe. ``kept`` are all receipts of the instance.

    Those of the peer that asks are meant, if there are any.
    """
    meant = [each for each in kept if each.instance.envelope.peer == peer] or kept
    if not meant:
        return [Verdict(NO_SUCH_INSTANCE, why="it never came")]
    if any(each.instance.envelope.sop_class_uid != reference.sop_class_uid for each in meant):
        return [Verdict(CLASS_INSTANCE_CONFLICT, why="it came as of another SOP class")]
    contents: dict[str, list[Verdict]] = {each.instance.sha256: [] for each in meant}
    since: dict[str, dict[str, str]] = defaultdict(dict)
    unclear = any(each.conflict or _lossy_under_its_uid(each) for each in kept)
    for each in reversed(kept):
        again = since[each.instance.sha256]
        if meant is kept or each.instance.envelope.peer == peer:
            contents[each.instance.sha256].append(_receipt(each, keeping, again, unclear=unclear))
        if each.state == "received" and not each.held:
            again.setdefault(_ANY, State.PENDING)
        for copy in each.copies:
            if copy.lossless:
                again.setdefault(copy.destination, copy.state)
    return [_together(verdicts[::-1]) for verdicts in contents.values()]


def _together(verdicts: Sequence[Verdict]) -> Verdict:
    """Of several receipts of the same bytes, oldest first, one that is safe is enough.

    But what a peer said of an earlier one is no answer any more: that it lost it is the usual reason for another.
    """
    good = [v for v in verdicts if v.reason == COMMITTED and (not v.by_peer or v is verdicts[-1])]
    files = tuple(one for verdict in good for one in verdict.files)
    waits = next((verdict for verdict in verdicts if verdict.reason is None), None)
    if files:
        return Verdict(COMMITTED if waits is None else None, files, "" if waits is None else waits.why)
    return waits if waits is not None else verdicts[-1]


def _receipt(
    kept: Kept, keeping: Callable[[Copy], Keeping], again: Mapping[str, str], *, unclear: bool
) -> Verdict:
    """``again``: destinations that were to get the same bytes later, whoever sent them, and the last delivery's state.

    What such a one said before is no answer any more. ``unclear``: whether something else has its UID, too, in any
    receipt of it.
    """
    if kept.held or kept.state == "received":
        return _WAITS
    lasting = [
        (copy, how)
        for copy in kept.copies
        if copy.state != State.DROPPED and copy.lossless and (how := keeping(copy)) is not Keeping.NOT
    ]
    if not lasting:
        lossy = any(not copy.lossless for copy in kept.copies)
        why = (
            "only a lossy derivative of it is kept" if lossy else "it goes nowhere where it is kept for good"
        )
        return Verdict(PROCESSING_FAILURE, why=why)
    by_peer = any(how is Keeping.BY_PEER for _, how in lasting)
    if by_peer and unclear:
        return Verdict(PROCESSING_FAILURE, why="other bytes have its UID, too: which a peer has is not known")
    if any(how is Keeping.BY_PEER and copy.place for copy, how in lasting):
        return Verdict(PROCESSING_FAILURE, why="its destination was a folder then, and is a peer now")
    done = {Keeping.AS_FILE: (State.DELIVERED, State.COMMITTED), Keeping.BY_PEER: (State.COMMITTED,)}
    if any(copy.state not in done.get(how, ()) for copy, how in lasting):
        return _WAITS
    asked = [copy.destination for copy, how in lasting if how is Keeping.BY_PEER]
    later = {again.get(name, State.COMMITTED) for name in (*asked, *((_ANY,) if asked else ()))}
    if State.DROPPED in later:
        return Verdict(PROCESSING_FAILURE, why="it came again, and was given up")
    if later - {State.COMMITTED}:
        return _WAITS
    files = tuple(copy for copy, how in lasting if how is Keeping.AS_FILE)
    return Verdict(COMMITTED, (files,), by_peer=by_peer)


def _lossy_under_its_uid(kept: Kept) -> bool:
    """Whether a lossy copy of it goes somewhere under the UID of the original (``uid: keep``)."""
    uid = kept.instance.envelope.sop_instance_uid
    lost = [copy.outcome.lossy for copy in kept.copies if not copy.lossless]
    return any(lossy is not None and lossy.sop_instance_uid == uid for lossy in lost)
