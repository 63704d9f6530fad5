"""Which presentation contexts are accepted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom._uid_dict import UID_dictionary

from venturi.config.schema import Accept
from venturi.dataset.syntaxes import BY_UID, lookup
from venturi.receive.contexts import COMMITMENT_PUSH, VERIFICATION, choose, is_storage

CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
JPEG_LS = "1.2.840.10008.1.2.4.80"
syntaxes = st.lists(st.sampled_from([*BY_UID, "1.2.3.4.5", "1.2.840.113619.5.2"]), min_size=1, unique=True)


@given(syntaxes)
def test_a_storage_context_is_always_accepted_in_a_proposed_syntax(proposed: list[str]) -> None:
    assert choose(CT, proposed) in proposed


@given(syntaxes)
def test_the_senders_first_compressed_syntax_wins(proposed: list[str]) -> None:
    compressed = [uid for uid in proposed if not lookup(uid).native]
    if compressed:
        assert choose(CT, proposed) == compressed[0]


@given(syntaxes)
def test_without_a_compressed_one_explicit_wins_before_implicit(proposed: list[str]) -> None:
    native = [uid for uid in proposed if lookup(uid).native]
    if not native:
        return
    expected = next((uid for uid in (EXPLICIT, IMPLICIT) if uid in native), native[0])
    assert choose(CT, native) == expected


@pytest.mark.parametrize(
    ("uid", "storage"),
    [
        (CT, True),
        ("1.2.840.10008.5.1.1.29", True),
        ("1.2.840.10008.5.1.4.38.1", True),
        ("1.2.840.10008.5.1.4.1.1.9.1.1", True),
        ("1.2.840.113619.4.27", True),
        ("1.2.840.10008.5.1.4.1.1.999", True),
        (VERIFICATION, False),
        ("1.2.840.10008.1.20.1", False),
        ("1.2.840.10008.1.3.10", False),
        ("1.2.840.10008.5.1.4.1.2.2.1", False),
        ("1.2.840.10008.5.1.4.31", False),
        ("1.2.840.10008.3.1.2.3.3", False),
        (EXPLICIT, False),
    ],
)
def test_storage_is_told_from_other_services(uid: str, storage: bool) -> None:
    assert is_storage(uid) is storage


def test_everything_the_dictionary_calls_storage_is_taken_but_commitment_and_dicomdir() -> None:
    named = {
        uid for uid, entry in UID_dictionary.items() if entry[1] == "SOP Class" and "Storage" in entry[0]
    }
    assert {uid for uid in named if not is_storage(uid)} == {
        "1.2.840.10008.1.20.1",
        "1.2.840.10008.1.20.2",
        "1.2.840.10008.1.3.10",
    }


def test_a_peer_s_own_order_and_choice_of_syntaxes_counts() -> None:
    accept = Accept(transfer_syntaxes=(IMPLICIT, JPEG_LS))
    assert choose(CT, [JPEG_LS, EXPLICIT, IMPLICIT], accept) == IMPLICIT
    assert choose(CT, [EXPLICIT, JPEG_LS], accept) == JPEG_LS
    assert choose(CT, [EXPLICIT], accept) is None
    assert choose(VERIFICATION, [EXPLICIT], accept) == EXPLICIT


def test_a_peer_may_be_held_to_some_classes() -> None:
    accept = Accept(sop_classes=(CT,))
    assert choose(CT, [EXPLICIT], accept) == EXPLICIT
    assert choose("1.2.840.10008.5.1.4.1.1.4", [EXPLICIT], accept) is None
    assert choose("1.2.840.113619.4.27", [EXPLICIT], accept) is None
    assert (
        choose("1.2.840.10008.5.1.4.31", [EXPLICIT], Accept(sop_classes=("1.2.840.10008.5.1.4.31",))) is None
    )


def test_storage_commitment_push_is_negotiated_and_pull_is_not() -> None:
    assert choose(COMMITMENT_PUSH, [EXPLICIT, IMPLICIT], Accept(sop_classes=(CT,))) == EXPLICIT
    assert choose("1.2.840.10008.1.20.2", [EXPLICIT]) is None


def test_verification_is_accepted_in_a_native_syntax_only() -> None:
    assert choose(VERIFICATION, ["1.2.840.10008.1.2.4.80", IMPLICIT]) == IMPLICIT
    assert choose(VERIFICATION, ["1.2.840.10008.1.2.4.80"]) is None
