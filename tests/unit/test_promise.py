"""What is said of an instance that somebody wants stored for good, from what the ledger knows of it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venturi.deliver.promise import Keeping, Verdict, judge
from venturi.ledger.port import COMMITTED, Copy, Kept
from venturi.model import AS_RECEIVED, Envelope, Instance, Lossy, Outcome, Reference

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT = "1.2.840.10008.1.2.1"
REFERENCE = Reference(CT, "1.2.3")
LOSSLESS = Outcome(AS_RECEIVED, EXPLICIT, 100, "a" * 64)
LOSSY = replace(LOSSLESS, lossy=Lossy("2.25.1", 10.0, 3, 50.0))
FOLDER, PACS, VIEWER, GROUP = "folder", "pacs", "viewer", "group"
KEEPING = {FOLDER: Keeping.AS_FILE, PACS: Keeping.BY_PEER, VIEWER: Keeping.NOT, GROUP: Keeping.OPEN}


def keeping(copy: Copy) -> Keeping:
    return KEEPING[copy.destination]


def copy(destination: str, state: str, outcome: Outcome = LOSSLESS, *, sent_original: bool = False) -> Copy:
    place = "a/b.dcm" if destination == FOLDER else ""
    return Copy(1, destination, "", place, state, outcome, sent_original)


def kept(*copies: Copy, sha256: str = "a", peer: str = "ct", sop_class: str = CT, **more: Any) -> Kept:
    envelope = Envelope(sop_class, "1.2.3", EXPLICIT, "CT1", "VENTURI", peer, "127.0.0.1", 1.0)
    instance = Instance("0" * 32, sha256 * 64, 100, envelope)
    facts = {"state": "decided", "held": "", "conflict": False, **more}
    return Kept(instance, copies=copies, **facts)


def said(*receipts: Kept, peer: str = "ct") -> list[int | None]:
    return [verdict.reason for verdict in judge(REFERENCE, receipts, peer, keeping)]


def test_a_file_is_to_be_looked_at() -> None:
    file = copy(FOLDER, "delivered")
    assert judge(REFERENCE, [kept(file)], "ct", keeping) == [Verdict(COMMITTED, ((file,),))]
    assert judge(REFERENCE, [kept(replace(file, state="committed"))], "ct", keeping)[0].files


@pytest.mark.parametrize(
    ("receipt", "reason"),
    [
        (kept(copy(PACS, "committed")), COMMITTED),
        (kept(copy(PACS, "delivered")), None),
        (kept(copy(PACS, "pending")), None),
        (kept(copy(PACS, "held")), None),
        (kept(copy(FOLDER, "pending")), None),
        (kept(copy(FOLDER, "delivered"), copy(PACS, "delivered")), None),
        (kept(copy(FOLDER, "delivered"), copy(PACS, "committed")), COMMITTED),
        (kept(copy(FOLDER, "delivered"), copy(VIEWER, "pending")), COMMITTED),
        (kept(copy(FOLDER, "delivered"), copy(PACS, "dropped")), COMMITTED),
        (kept(copy(FOLDER, "dropped")), 0x0110),
        (kept(copy(VIEWER, "delivered")), 0x0110),
        (kept(), 0x0110),
        (kept(copy(PACS, "committed", LOSSY)), 0x0110),
        (kept(copy(FOLDER, "delivered", LOSSY)), 0x0110),
        (kept(copy(PACS, "committed", LOSSY, sent_original=True)), COMMITTED),
        (kept(copy(PACS, "committed", LOSSY), copy(FOLDER, "delivered")), COMMITTED),
        (kept(state="received"), None),
        (kept(copy(FOLDER, "delivered"), state="received"), None),
        (kept(copy(FOLDER, "delivered"), held="damaged"), None),
        (kept(copy(FOLDER, "delivered"), state="gone"), COMMITTED),
        (kept(copy(PACS, "committed"), conflict=True), 0x0110),
        (kept(copy(FOLDER, "delivered"), conflict=True), COMMITTED),
        (kept(copy(FOLDER, "delivered"), sop_class=MR), 0x0119),
        (kept(copy(GROUP, "pending")), None),
        (kept(copy(FOLDER, "delivered"), copy(GROUP, "pending")), None),
        (kept(copy(GROUP, "delivered")), None),
    ],
)
def test_what_one_receipt_means(receipt: Kept, reason: int | None) -> None:
    assert said(receipt) == [reason]


def test_what_never_came_is_not_known() -> None:
    assert said() == [0x0112]


def test_of_the_same_bytes_one_safe_receipt_is_enough_if_its_files_are_there() -> None:
    safe, waits = kept(copy(FOLDER, "delivered")), kept(copy(FOLDER, "pending"))
    (verdict,) = judge(REFERENCE, [safe, waits], "ct", keeping)
    assert verdict.files, "to be looked at, and if they are not there, it waits for the other"
    assert verdict.reason is None
    assert said(safe, kept(copy(FOLDER, "dropped"))) == [COMMITTED]
    assert said(safe, waits, kept(copy(FOLDER, "dropped"))) == [None]


@pytest.mark.parametrize("newer", ["pending", "held", "delivered"])
def test_a_peers_word_counts_for_the_newest_receipt_alone(newer: str) -> None:
    """That it lost the image is why it came again."""
    old = kept(copy(PACS, "committed"))
    assert said(old, kept(copy(PACS, newer))) == [None]
    assert said(old, kept(copy(PACS, "dropped"))) == [0x0110]
    assert said(kept(copy(PACS, newer)), old) == [None]
    assert said(kept(copy(PACS, "dropped")), old) == [COMMITTED]


@pytest.mark.parametrize("newer", ["pending", "held", "delivered"])
def test_whoever_sent_the_newest_receipt(newer: str) -> None:
    """A peer that has lost an image and got it again from somebody else has said nothing of that yet."""
    old, others = kept(copy(PACS, "committed")), kept(copy(PACS, newer), peer="workstation")
    assert said(old, others) == [None]
    assert said(old, replace(others, copies=(copy(PACS, "committed"),))) == [COMMITTED]
    assert said(old, replace(others, copies=(copy(PACS, "dropped"),))) == [0x0110]
    assert said(others, old) == [COMMITTED]
    assert said(kept(copy(FOLDER, "delivered")), others) == [COMMITTED], "a file is read again"


def test_what_was_a_folder_and_is_a_peer_now_has_promised_nothing() -> None:
    assert said(kept(replace(copy(PACS, "committed"), place="a/b.dcm"))) == [0x0110]


def test_a_lossy_copy_under_the_same_uid_leaves_a_peers_word_open() -> None:
    same = replace(LOSSLESS, lossy=Lossy("1.2.3", 10.0, 3, 50.0))
    assert said(kept(copy(PACS, "committed"), copy(VIEWER, "delivered", same))) == [0x0110]
    assert said(kept(copy(FOLDER, "delivered"), copy(VIEWER, "delivered", same))) == [COMMITTED]


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("peer", ["ct", "mr"])
def test_so_does_one_of_another_receipt(peer: str, order: int) -> None:
    same_uid = replace(LOSSLESS, lossy=Lossy("1.2.3", 10.0, 3, 50.0))
    whole, small = kept(copy(PACS, "committed")), kept(copy(PACS, "committed", same_uid), peer=peer)
    assert said(*[small, whole][::order]) == [0x0110]


def test_what_another_peer_sent_again_is_waited_for_until_it_is_decided() -> None:
    first = kept(copy(PACS, "committed"))
    assert said(first, kept(peer="mr", state="received")) == [None]
    assert said(first, kept(peer="mr", state="received", held="no-route")) == [COMMITTED], "it goes nowhere"
    assert said(kept(peer="mr", state="received"), first) == [COMMITTED]
    assert said(kept(copy(FOLDER, "delivered")), kept(peer="mr", state="received")) == [COMMITTED]


def test_of_other_bytes_each_must_be_safe() -> None:
    first, second = kept(copy(FOLDER, "delivered")), kept(copy(FOLDER, "pending"), sha256="b")
    assert said(first, second) == [COMMITTED, None]


def test_receipts_of_who_asks_are_meant_if_there_are_any() -> None:
    mine, others = kept(copy(FOLDER, "delivered")), kept(copy(FOLDER, "pending"), sha256="b", peer="mr")
    assert said(mine, others) == [COMMITTED]
    assert said(mine, others, peer="workstation") == [COMMITTED, None]


copies = st.builds(
    copy,
    st.sampled_from(sorted(KEEPING)),
    st.sampled_from(["pending", "delivered", "committed", "held", "dropped"]),
    st.sampled_from([LOSSLESS, LOSSY]),
    sent_original=st.booleans(),
)
receipts = st.builds(
    lambda made, sha256, conflict, state: kept(*made, sha256=sha256, conflict=conflict, state=state),
    st.lists(copies, max_size=3),
    st.sampled_from("ab"),
    st.booleans(),
    st.sampled_from(["received", "decided", "removable", "gone"]),
)


@given(st.lists(receipts, max_size=4))
def test_yes_is_never_said_without_a_lossless_copy_that_is_kept_for_good(found: list[Kept]) -> None:
    for verdict, sha256 in zip(
        judge(REFERENCE, found, "ct", keeping),
        dict.fromkeys(each.instance.sha256 for each in found),
        strict=bool(found),
    ):
        if verdict.reason != COMMITTED:
            continue
        good = [
            one
            for each in found
            if each.instance.sha256 == sha256 and each.state != "received"
            for one in each.copies
            if one.lossless
            and (one.destination, one.state)
            in {(FOLDER, "delivered"), (FOLDER, "committed"), (PACS, "committed")}
        ]
        assert good
        looked = [one for files in verdict.files for one in files]
        assert any(one.destination == PACS for one in good) or looked, "a file is never believed unseen"


@given(receipts)
def test_another_copy_that_is_not_there_yet_never_makes_it_safe(receipt: Kept) -> None:
    more = replace(receipt, copies=(*receipt.copies, copy(FOLDER, "pending")))
    assert said(more) != [COMMITTED]
