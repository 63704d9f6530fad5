"""What a destination is known to take, as an input of the decision.

A rule's target is left as it is where nothing is known against it. Where the destination is known not to take it, it
gets the original, if it is known to take that; and where it takes neither, the best uncompressed syntax that it takes:
explicit VR before implicit. The decision says so (``Decision.instead``): nothing that a rule asks for is left undone
in silence.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from venturi.dataset.syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, lookup
from venturi.model import AS_RECEIVED, Acceptance, Decision, Outcome, Reason, Target

UNCOMPRESSED = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
"""The best first."""

Takes = Mapping[str, bool]
"""By transfer syntax UID, for one SOP class; what is not there is not known."""
Known = Mapping[str, Takes]
"""By destination."""
NOTHING: Known = MappingProxyType({})


def known_of(acceptances: Iterable[Acceptance], groups: Mapping[str, Sequence[str]]) -> Known:
    """Sort what is known of one SOP class. ``groups``: the members of those destinations that are groups.

    Any member may get what a group gets: it takes what one is known to take, and none is known to refuse.
    """
    known: dict[str, dict[str, bool]] = {}
    groups_of: dict[str, list[str]] = {}
    for group, members in groups.items():
        for member in members:
            groups_of.setdefault(member, []).append(group)
    for each in acceptances:
        for name in (each.destination, *groups_of.get(each.destination, ())):
            takes = known.setdefault(name, {})
            takes[each.transfer_syntax] = takes.get(each.transfer_syntax, True) and each.accepted
    return known


def fit(decision: Decision, source: str, takes: Takes) -> Decision:
    """Give the decision, with another target where the destination is known not to take that of the rule.

    ``source``: the transfer syntax as received.
    """
    wanted = decision.target.transfer_syntax or source
    if takes.get(wanted, True) or source not in takes:
        return decision
    if takes[source]:
        words = f"it takes no {lookup(wanted)} of this SOP class: {lookup(source)} as received instead"
        return replace(decision, target=AS_RECEIVED, instead=words + _not_lossy(decision))
    return _uncompressed(decision, takes, _neither(wanted, source))


def settle(
    decisions: Iterable[Decision],
    source: str,
    known: Known,
    make: Callable[[Target], Outcome],
    holds: Callable[[Decision, Outcome], bool],
) -> tuple[tuple[Decision, ...], tuple[Outcome, ...]]:
    """Make every target once: the decisions, and an outcome for each of their targets.

    Not all becomes what a target says: what can't be made goes as received, and some lossy targets become lossless.
    Where a destination is known to take neither that nor the original, it too gets the best uncompressed syntax,
    unless it ``holds``.
    """
    made: dict[Target, Outcome] = {}

    def outcome_of(target: Target) -> Outcome:
        if target not in made:
            made[target] = make(target)
        return made[target]

    settled = []
    for decision in decisions:
        outcome, takes = outcome_of(decision.target), known.get(decision.destination, {})
        became = outcome.transfer_syntax if outcome.transcoded else source
        if not (takes.get(became, True) or takes.get(source, True) or holds(decision, outcome)):
            why = "" if outcome.reason in (None, Reason.ASKED) else f"{outcome.reason}, and "
            decision = _uncompressed(decision, takes, why + _neither(became, source))  # noqa: PLW2901  # it takes its place
            outcome_of(decision.target)
        settled.append(decision)
    return tuple(settled), tuple(made[target] for target in dict.fromkeys(each.target for each in settled))


def _neither(wanted: str, source: str) -> str:
    syntaxes = dict.fromkeys((str(lookup(wanted)), str(lookup(source))))
    return f"it takes no {' and no '.join(syntaxes)} of this SOP class"


def _not_lossy(decision: Decision) -> str:
    wanted = decision.target.transfer_syntax
    return "; not lossy, as the rule asks" if wanted and lookup(wanted).lossy else ""


def _uncompressed(decision: Decision, takes: Takes, why: str) -> Decision:
    """Give the decision with the best uncompressed syntax that is known to be taken; without one, as it is."""
    uid = next((uid for uid in UNCOMPRESSED if takes.get(uid)), None)
    if uid is None or decision.target == Target(uid):
        return decision
    words = f"{why}: {lookup(uid)} instead{_not_lossy(decision)}"
    return replace(decision, target=Target(uid), instead=words)
