"""What a destination is known to take changes what it gets, no more than it must, and never in silence."""

import pytest

from venturi.dataset.syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_LS_LOSSLESS,
    RLE_LOSSLESS,
)
from venturi.ledger.port import holds
from venturi.model import AS_RECEIVED, Acceptance, Decision, OnFailure, Outcome, Reason, Target
from venturi.rules.fit import Takes, fit, known_of, settle

JPEG_LS = Target(JPEG_LS_LOSSLESS, min_saving=0.1)
LOSSY = Target(JPEG_2000, (("j2k_cr", (10.0,)),))
TO_EXPLICIT, TO_IMPLICIT = Target(EXPLICIT_VR_LITTLE_ENDIAN), Target(IMPLICIT_VR_LITTLE_ENDIAN)
NOTHING = {RLE_LOSSLESS: False, JPEG_LS_LOSSLESS: False, JPEG_2000: False, JPEG_2000_LOSSLESS: False}
EXPLICIT = {**NOTHING, EXPLICIT_VR_LITTLE_ENDIAN: True, IMPLICIT_VR_LITTLE_ENDIAN: True}
IMPLICIT = {**EXPLICIT, EXPLICIT_VR_LITTLE_ENDIAN: False}


def decision(target: Target, on_failure: OnFailure = OnFailure.KEEP) -> Decision:
    return Decision("pacs", "a rule", target, on_failure)


@pytest.mark.parametrize(
    ("target", "source", "takes", "becomes"),
    [
        (JPEG_LS, RLE_LOSSLESS, {}, JPEG_LS),
        (JPEG_LS, RLE_LOSSLESS, {JPEG_LS_LOSSLESS: True, RLE_LOSSLESS: False}, JPEG_LS),
        (JPEG_LS, RLE_LOSSLESS, {JPEG_LS_LOSSLESS: False}, JPEG_LS),  # it may take the original
        (JPEG_LS, RLE_LOSSLESS, NOTHING, JPEG_LS),  # there is nothing better
        (JPEG_LS, RLE_LOSSLESS, {JPEG_LS_LOSSLESS: False, RLE_LOSSLESS: True}, AS_RECEIVED),
        (JPEG_LS, RLE_LOSSLESS, EXPLICIT, TO_EXPLICIT),
        (JPEG_LS, RLE_LOSSLESS, IMPLICIT, TO_IMPLICIT),
        (JPEG_LS, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT, TO_IMPLICIT),
        (JPEG_LS, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT, AS_RECEIVED),
        (AS_RECEIVED, RLE_LOSSLESS, EXPLICIT, TO_EXPLICIT),
        (AS_RECEIVED, RLE_LOSSLESS, {**EXPLICIT, RLE_LOSSLESS: True}, AS_RECEIVED),
        (AS_RECEIVED, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT, TO_IMPLICIT),
        (AS_RECEIVED, IMPLICIT_VR_LITTLE_ENDIAN, IMPLICIT, AS_RECEIVED),
        (TO_EXPLICIT, RLE_LOSSLESS, IMPLICIT, TO_IMPLICIT),
        (LOSSY, RLE_LOSSLESS, EXPLICIT, TO_EXPLICIT),
    ],
)
def test_a_target_is_changed_where_it_must_be(
    target: Target, source: str, takes: Takes, becomes: Target
) -> None:
    fitted = fit(decision(target), source, takes)
    assert fitted.target == becomes
    assert bool(fitted.instead) == (becomes != target)
    assert (fitted.destination, fitted.rule) == ("pacs", "a rule")


def test_why_is_said() -> None:
    assert fit(decision(JPEG_LS), RLE_LOSSLESS, EXPLICIT).instead == (
        "it takes no JPEGLSLossless and no RLELossless of this SOP class: ExplicitVRLittleEndian instead"
    )
    assert fit(decision(LOSSY), EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT).instead == (
        "it takes no JPEG2000 of this SOP class: ExplicitVRLittleEndian as received instead; "
        "not lossy, as the rule asks"
    )


def failing(*targets: Target, as_: str = "") -> tuple[list[Target], object]:
    """A maker that can't make these."""
    asked: list[Target] = []

    def make(target: Target) -> Outcome:
        asked.append(target)
        if target in targets or target.transfer_syntax is None:
            reason = Reason.DECODER_FAILED if target.transfer_syntax else Reason.ASKED
            return Outcome(target, RLE_LOSSLESS, 1, "a", reason)
        return Outcome(target, as_ or target.transfer_syntax, 1, "b")

    return asked, make


def settled(
    one: Decision, takes: Takes, *fail: Target, as_: str = ""
) -> tuple[Decision, list[Target], Outcome]:
    asked, make = failing(*fail, as_=as_)
    (made,), (outcome,) = settle([one], RLE_LOSSLESS, {"pacs": takes}, make, holds)  # type: ignore[arg-type]
    return made, asked, outcome


def test_what_cannot_be_made_goes_uncompressed_where_the_original_is_refused() -> None:
    takes = {**EXPLICIT, JPEG_LS_LOSSLESS: True}
    made, asked, outcome = settled(decision(JPEG_LS), takes, JPEG_LS)
    assert (made.target, outcome.transfer_syntax) == (TO_EXPLICIT, EXPLICIT_VR_LITTLE_ENDIAN)
    assert made.instead.startswith("decoder-failed, and it takes no RLELossless")
    assert asked == [JPEG_LS, TO_EXPLICIT]


def test_what_cannot_be_made_at_all_keeps_its_reason() -> None:
    made, asked, outcome = settled(decision(TO_EXPLICIT), EXPLICIT, TO_EXPLICIT)
    assert (made, asked) == (decision(TO_EXPLICIT), [TO_EXPLICIT])
    assert outcome.reason is Reason.DECODER_FAILED


def test_what_a_rule_holds_is_held() -> None:
    takes = {**EXPLICIT, JPEG_LS_LOSSLESS: True}
    made, asked, _ = settled(decision(JPEG_LS, OnFailure.HOLD), takes, JPEG_LS)
    assert (made.target, asked) == (JPEG_LS, [JPEG_LS])


def test_a_lossy_target_that_became_lossless_is_looked_at_as_what_it_became() -> None:
    made, _, outcome = settled(decision(LOSSY), {**EXPLICIT, JPEG_2000: True}, as_=JPEG_2000_LOSSLESS)
    assert made.target == TO_EXPLICIT
    assert made.instead.endswith("not lossy, as the rule asks")
    assert outcome.target == TO_EXPLICIT


def test_each_target_is_made_once() -> None:
    asked, make = failing()
    decisions = [decision(JPEG_LS), Decision("x", "r", JPEG_LS), Decision("y", "r", AS_RECEIVED)]
    made, outcomes = settle(decisions, RLE_LOSSLESS, {}, make, holds)  # type: ignore[arg-type]
    assert list(made) == decisions
    assert [outcome.target for outcome in outcomes] == asked == [JPEG_LS, AS_RECEIVED]


def test_a_group_takes_what_every_member_known_takes() -> None:
    def said(member: str, syntax: str, accepted: bool) -> Acceptance:
        return Acceptance(member, "1.2", syntax, accepted, 1.0)

    known = known_of(
        [said("a", "1", True), said("b", "1", False), said("a", "2", True), said("c", "3", False)],
        {"group": ("a", "b"), "other": ("c",)},
    )
    assert known == {
        "a": {"1": True, "2": True},
        "b": {"1": False},
        "c": {"3": False},
        "group": {"1": False, "2": True},
        "other": {"3": False},
    }
