"""What every ledger must know of storage commitment, through the port's own methods."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from conformance.test_ledger import COPY, DEFAULT_NOW, ORIGINAL, Clock, decided, ended, instance, judgement
from venturi.errors import Temporary
from venturi.ledger import commitments_of_peers as commitments
from venturi.ledger.database import open_database
from venturi.ledger.port import COMMITTED, Commitments, Filter, Ledger, State, Verb
from venturi.ledger.sql import SqlLedger
from venturi.model import CommitmentRequest, CommitmentResult, Instance, Outcome, Reason, Reference

CT = "1.2.840.10008.5.1.4.1.1.2"
UNTIL = DEFAULT_NOW + 3600
LATER = DEFAULT_NOW + 1e6
"""When somebody has looked: after everything."""
REQUEST = CommitmentRequest("1.9.1", (Reference(CT, "1.2.3.1"), Reference(CT, "1.2.3.2")))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    ledger = SqlLedger(open_database(f"sqlite:///{tmp_path / 'ledger.db'}", migrate=True), clock)
    yield ledger
    ledger.close()


@pytest.fixture
def known(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Commitments:
    monkeypatch.setattr(commitments, "SETTLE_S", 0.0)
    return ledger.commitments


def asked(known: Commitments, request: CommitmentRequest = REQUEST, peer: str = "ct") -> bool:
    return known.requested(request, peer, "CT1", "VENTURI", UNTIL)


def answered(known: Commitments, *reasons: int) -> None:
    (commitment,) = known.to_judge(10)
    numbers = [number for number, _, _ in commitment.references]
    assert known.judged(commitment.id, dict(zip(numbers, reasons, strict=True)), UNTIL)


def sent(
    ledger: Ledger, of: Instance, destination: str = "pacs", outcome: Outcome = ORIGINAL, **more: object
) -> int:
    """Have an instance delivered to who is asked about it; the delivery's number."""
    decided(ledger, of, destination, outcome=outcome)
    (job,) = ledger.claim_deliveries(destination, "d", 10, 60)
    more = {"commit_due_at": DEFAULT_NOW + 5, **more}
    ledger.record([ended(job, State.DELIVERED, status="0000", **more)], "d")
    return job.id


def state(ledger: Ledger, delivery: int) -> State:
    (row,) = ledger.deliveries(Filter(ids=(delivery,)))
    return row.state


# --- asked of us ---


def test_what_is_asked_is_judged_bit_by_bit_and_told_once(known: Commitments, clock: Clock) -> None:
    assert asked(known)
    (commitment,) = known.to_judge(10)
    assert (commitment.peer, commitment.calling_ae, commitment.called_ae) == ("ct", "CT1", "VENTURI")
    (first, reference, reason), (second, _, _) = commitment.references
    assert (reference, reason) == (REQUEST.references[0], None)

    assert not known.judged(commitment.id, {first: COMMITTED}, clock.now + 10)
    assert known.to_judge(10) == []
    assert known.claim_reports("d", clock.now, 60, 8) == []
    clock.now += 10
    (again,) = known.to_judge(10)
    assert [reason for _, _, reason in again.references] == [COMMITTED, None]
    assert known.judged(commitment.id, {second: 0x0112}, clock.now)

    (report,) = known.claim_reports("d", clock.now, 60, 8)
    assert report.result == CommitmentResult(
        "1.9.1", (REQUEST.references[0],), ((REQUEST.references[1], 0x0112),)
    )
    assert known.claim_reports("e", clock.now, 60, 8) == [], "somebody has it"
    known.told(commitment.id, "d")
    clock.now += 3600
    assert known.claim_reports("d", clock.now, 60, 8) == []
    assert [one.state for one in known.recent(10)] == ["reported"]
    assert known.one(commitment.id) == known.recent(1)[0]
    assert known.one(commitment.id + 1) is None


def test_who_is_here_is_told_first_and_only_its_own(known: Commitments, clock: Clock) -> None:
    asked(known)
    assert known.claim_report("ct", "CT1", "r", 60) is None, "it is not judged"
    answered(known, COMMITTED, COMMITTED)
    assert known.claim_reports("d", clock.now - 1, 60, 8) == [], "it is left to who is here for a moment"
    assert known.claim_report("mr", "CT1", "r", 60) is None
    assert known.claim_report("ct", "CT2", "r", 60) is None
    found = known.claim_report("ct", "CT1", "r", 60)
    assert found is not None
    assert known.claim_report("ct", "CT1", "s", 60) is None


def test_who_could_not_be_told_is_told_later_or_when_it_is_here(known: Commitments, clock: Clock) -> None:
    asked(known)
    answered(known, COMMITTED, COMMITTED)
    (report,) = known.claim_reports("d", clock.now, 60, 8)
    known.told(report.id, "somebody else", "never", None)
    known.told(report.id, "d", "unreachable", clock.now + 30)
    assert known.claim_reports("d", clock.now, 60, 8) == []
    clock.now += 30
    (report,) = known.claim_reports("d", clock.now, 60, 8)
    assert (report.tries, report.detail) == (1, "unreachable")
    known.told(report.id, "d", "it has no host", None)
    assert known.claim_reports("d", clock.now, 60, 8) == []
    assert known.claim_report("ct", "CT1", "r", 60) is not None


def test_a_lease_of_who_died_runs_out_or_is_released(
    ledger: Ledger, known: Commitments, clock: Clock
) -> None:
    asked(known)
    answered(known, COMMITTED, COMMITTED)
    assert known.claim_reports("host/deliver/7/", clock.now, 60, 8)
    assert "host/deliver/7/" in ledger.owners()
    ledger.release("host/deliver/7")
    assert known.claim_reports("host/deliver/8/", clock.now, 60, 8)
    clock.now += 20
    assert known.claim_reports("host/deliver/9/", clock.now, 60, 8) == [], "it lives"
    clock.now += 41
    assert known.claim_reports("host/deliver/9/", clock.now, 60, 8) == [], "and what it had is judged anew"
    assert len(known.to_judge(10)) == 1


def test_the_same_again_is_recorded_once_and_other_instances_are_refused(known: Commitments) -> None:
    assert asked(known)
    assert asked(known)
    assert asked(known, replace(REQUEST, references=REQUEST.references[::-1]))
    assert not asked(known, replace(REQUEST, references=REQUEST.references[:1]))
    assert asked(known, replace(REQUEST, references=REQUEST.references[:1]), peer="mr"), "another one's UID"
    assert len(known.to_judge(10)) == 2


def test_one_peer_is_told_one_thing_at_a_time(known: Commitments, clock: Clock) -> None:
    for number in range(3):
        asked(known, replace(REQUEST, transaction_uid=f"1.9.{number}"), peer=("ct", "ct", "mr")[number])
    for commitment in known.to_judge(10):
        known.judged(commitment.id, {number: COMMITTED for number, _, _ in commitment.references}, UNTIL)
    assert sorted(one.peer for one in known.claim_reports("d", clock.now, 60, 8)) == ["ct", "mr"]


def test_what_is_kept_of_an_instance_is_all_its_receipts_with_their_copies(
    ledger: Ledger, known: Commitments
) -> None:
    delivery = sent(ledger, instance(1, uid="1.9"), place="a/b.dcm", member="second")
    ledger.add([instance(2, uid="1.9")])
    first, second = known.kept(["1.9"])["1.9"]
    assert (first.instance, first.state, first.conflict, first.held) == (
        instance(1, uid="1.9"),
        "decided",
        True,
        "",
    )
    (copy,) = first.copies
    assert (copy.delivery, copy.destination, copy.member, copy.place) == (
        delivery,
        "pacs",
        "second",
        "a/b.dcm",
    )
    assert (copy.state, copy.outcome, copy.lossless) == ("delivered", ORIGINAL, True)
    assert (second.state, second.copies) == ("received", ())
    assert known.kept(["1.10"]) == {"1.10": []}


def test_a_lossy_copy_is_not_lossless_unless_the_original_was_sent(
    ledger: Ledger, known: Commitments
) -> None:
    sent(ledger, instance(1), outcome=COPY)
    sent(ledger, instance(2), outcome=COPY, sent_original=True)
    assert [one.copies[0].lossless for (one,) in known.kept(["1.2.3.1", "1.2.3.2"]).values()] == [False, True]


def test_rows_may_follow_an_acknowledgement_before_anything_is_judged(ledger: Ledger, clock: Clock) -> None:
    asked(ledger.commitments)
    assert ledger.commitments.to_judge(10) == []
    clock.now += commitments.SETTLE_S
    assert len(ledger.commitments.to_judge(10)) == 1


def test_what_was_certain_a_while_ago_is_judged_anew_before_it_is_told(
    known: Commitments, clock: Clock
) -> None:
    """Meanwhile a file may have gone, or other bytes come under a UID. What has failed stays so."""
    asked(known)
    answered(known, COMMITTED, 0x0112)
    clock.now += commitments.FRESH_S + 1
    assert known.claim_reports("d", clock.now, 60, 8) == []
    (commitment,) = known.to_judge(10)
    assert [reason for _, _, reason in commitment.references] == [None, 0x0112]
    known.judged(commitment.id, {commitment.references[0][0]: 0x0110}, UNTIL)
    (report,) = known.claim_reports("d", clock.now, 60, 8)
    assert [reason for _, reason in report.result.failed] == [0x0110, 0x0112]
    known.told(report.id, "d", "it has no host", None)
    clock.now += commitments.FRESH_S + 1
    assert known.claim_report("ct", "CT1", "r", 60) is None, "not before it is judged anew"
    assert known.judged(commitment.id, {}, UNTIL), "nothing was committed that could have changed"
    assert known.claim_report("ct", "CT1", "r", 60) is not None


def test_what_is_asked_again_before_it_was_told_is_judged_anew(ledger: Ledger, known: Commitments) -> None:
    asked(known)
    answered(known, COMMITTED, COMMITTED)
    ledger.add([instance(2, uid="1.2.3.1")])
    assert asked(known)
    assert known.claim_report("ct", "CT1", "r", 60) is None
    assert [reason for _, _, reason in known.to_judge(10)[0].references] == [None, None]


def test_the_second_that_was_certain_a_while_ago_is_not_told_as_it_was(
    known: Commitments, clock: Clock
) -> None:
    """A modality that was off over the weekend has asked twice."""
    for number in (1, 2):
        asked(known, replace(REQUEST, transaction_uid=f"1.9.{number}"))
    for commitment in known.to_judge(10):
        known.judged(commitment.id, {number: COMMITTED for number, _, _ in commitment.references}, UNTIL)
    clock.now += 2 * 86400
    assert known.claim_reports("d", clock.now, 60, 8) == []
    assert known.claim_reports("d", clock.now, 60, 8) == []
    assert len(known.to_judge(10)) == 2


def test_what_is_asked_again_while_it_is_told_is_told_again(known: Commitments, clock: Clock) -> None:
    """The peer has heard, sent what failed, and asked again, before it was recorded that it has heard."""
    asked(known)
    answered(known, COMMITTED, 0x0112)
    (report,) = known.claim_reports("d", clock.now, 60, 8)
    assert known.requested(REQUEST, "ct", "CT1", "VENTURI", UNTIL + 3600)
    known.told(report.id, "d")
    (commitment,) = known.to_judge(10)
    assert [reason for _, _, reason in commitment.references] == [None, None], "nor does what failed stay so"
    assert commitment.until == UNTIL, "but who asks again and again is answered"
    answered(known, COMMITTED, COMMITTED)
    (report,) = known.claim_reports("d", clock.now, 60, 8)
    assert not report.result.failed


def test_who_judged_before_it_was_asked_again_says_nothing(known: Commitments, clock: Clock) -> None:
    """The peer has sent what failed, while the others' files were read."""
    asked(known)
    (old,) = known.to_judge(10)
    clock.now += 20
    asked(known)
    first, second = (number for number, _, _ in old.references)
    assert not known.judged(old.id, {first: COMMITTED, second: 0x0112}, clock.now)
    (new,) = known.to_judge(10)
    assert [reason for _, _, reason in new.references] == [None, None]
    answered(known, COMMITTED, COMMITTED)
    (report,) = known.claim_reports("d", clock.now, 60, 8)
    assert report.result == CommitmentResult("1.9.1", REQUEST.references)


def test_what_was_put_off_with_another_is_told_when_its_peer_is_here(
    known: Commitments, clock: Clock
) -> None:
    asked(known)
    answered(known, COMMITTED, COMMITTED)
    asked(known, replace(REQUEST, transaction_uid="1.9.2"))
    (report,) = known.claim_reports("d", clock.now, 60, 8)
    answered(known, COMMITTED, COMMITTED)
    known.told(report.id, "d", "unreachable", clock.now + 900, off=True)
    assert known.claim_reports("d", clock.now, 60, 8) == []
    here = known.claim_report("ct", "CT1", "r", 60)
    assert here is not None
    assert here.transaction_uid == "1.9.2"
    assert known.claim_report("ct", "CT1", "r", 60) is None, "that was tried just now"


def test_who_is_off_is_called_for_one_request_and_has_one_judged_for_it(
    known: Commitments, clock: Clock
) -> None:
    for number in (1, 2, 3):
        asked(known, replace(REQUEST, transaction_uid=f"1.9.{number}"))
    asked(known, peer="mr")

    def judged() -> int:
        due = known.to_judge(10)
        for commitment in due:
            known.judged(commitment.id, {number: COMMITTED for number, _, _ in commitment.references}, UNTIL)
        return len(due)

    assert judged() == 4
    (report, other) = known.claim_reports("d", clock.now, 60, 8)
    assert known.claim_reports("d", clock.now, 60, 8) == [], "one after the other"
    known.told(other.id, "d")
    known.told(report.id, "d", "unreachable", clock.now + 900, off=True)
    clock.now += 899
    assert (known.claim_reports("d", clock.now, 60, 8), judged()) == ([], 0)
    clock.now += 1
    for _ in range(3):
        assert known.claim_reports("d", clock.now, 60, 8) == []
    assert judged() == 1
    (report,) = known.claim_reports("d", clock.now, 60, 8)
    assert report.transaction_uid == "1.9.1"
    known.told(report.id, "d")
    for number in (2, 3):
        while not (found := known.claim_reports("d", clock.now, 60, 8)):
            judged()
        assert [one.transaction_uid for one in found] == [f"1.9.{number}"]
        known.told(found[0].id, "d")


def test_who_judged_more_slowly_than_another_changes_nothing(known: Commitments, clock: Clock) -> None:
    asked(known)
    (slow,) = known.to_judge(10)
    answered(known, COMMITTED, 0x0110)
    assert not known.judged(slow.id, {number: COMMITTED for number, _, _ in slow.references}, UNTIL)
    (report,) = known.claim_reports("d", clock.now, 60, 8)
    assert [reason for _, reason in report.result.failed] == [0x0110]


def test_no_more_are_claimed_than_can_be_told(known: Commitments, clock: Clock) -> None:
    for peer in ("ct", "mr", "us"):
        asked(known, peer=peer)
    for commitment in known.to_judge(10):
        known.judged(commitment.id, {number: COMMITTED for number, _, _ in commitment.references}, UNTIL)
    assert [one.peer for one in known.claim_reports("d", clock.now, 60, 2)] == ["ct", "mr"]
    assert [one.peer for one in known.claim_reports("d", clock.now, 60, 2)] == ["us"]


@pytest.mark.parametrize("ahead", [3000.0, 20 * 86400.0])
def test_a_clock_that_was_ahead_makes_no_yes_fresh_and_puts_no_request_off(
    ledger: Ledger, known: Commitments, clock: Clock, ahead: float
) -> None:
    clock.now += ahead
    asked(known)
    asked(known, peer="mr")
    one, _ = known.to_judge(10)
    known.judged(one.id, {number: COMMITTED for number, _, _ in one.references}, UNTIL)
    clock.now -= ahead
    ledger.rewind()
    clock.now += min(ahead, 3600.0)
    assert known.claim_report("ct", "CT1", "r", 60) is None
    assert {commitment.peer for commitment in known.to_judge(10)} == {"ct", "mr"}


def test_a_clock_that_was_wrong_puts_nothing_off_for_years(
    ledger: Ledger, known: Commitments, clock: Clock
) -> None:
    clock.now += 10 * 365 * 86400
    delivery = sent(ledger, instance(1), commit_due_at=clock.now + 5)
    known.requested(REQUEST, "ct", "CT1", "VENTURI", clock.now + 86400)
    clock.now = DEFAULT_NOW
    ledger.rewind()
    assert known.next_uncommitted("pacs") == clock.now
    assert len(known.to_judge(10)) == 1
    clock.now += 1
    known.asked(REQUEST, "pacs", "peer", [delivery, delivery], UNTIL)
    known.reported(CommitmentResult("1.9.1", REQUEST.references), "peer", 0)
    assert state(ledger, delivery) is State.COMMITTED


# --- asked by us ---


def test_what_was_delivered_is_asked_about_when_it_is_due(
    ledger: Ledger, known: Commitments, clock: Clock
) -> None:
    delivery = sent(ledger, instance(1))
    sent(ledger, instance(2), "viewer", commit_due_at=None)
    assert known.uncommitted("pacs", 10) == []
    assert known.next_uncommitted("pacs") == DEFAULT_NOW + 5
    assert known.next_uncommitted("viewer") is None
    clock.now += 5
    (one,) = known.uncommitted("pacs", 10)
    assert (one.copy.delivery, one.reference) == (delivery, Reference(CT, "1.2.3.1"))

    known.asked(CommitmentRequest("1.9.1", (one.reference,)), "pacs", "peer", [delivery], UNTIL)
    assert known.uncommitted("pacs", 10) == [], "it is asked about"
    result = CommitmentResult("1.9.1", (one.reference,))
    assert known.reported(result, "somebody", 0) is None
    assert known.reported(replace(result, transaction_uid="1.9.2"), "peer", 0) is None
    assert state(ledger, delivery) is State.DELIVERED
    assert known.reported(result, "peer", 0) == 1
    assert state(ledger, delivery) is State.COMMITTED
    assert [attempt.state for attempt in ledger.attempts(delivery)] == [State.DELIVERED, State.COMMITTED]
    assert [one.state for one in known.recent(10)] == ["done"]
    clock.now = UNTIL + 1
    assert known.uncommitted("pacs", 10) == []


def test_a_lossy_rendition_is_asked_about_by_its_own_uid(
    ledger: Ledger, known: Commitments, clock: Clock
) -> None:
    sent(ledger, instance(1), outcome=COPY)
    sent(ledger, instance(2), outcome=COPY, sent_original=True)
    clock.now += 5
    assert [one.reference.sop_instance_uid for one in known.uncommitted("pacs", 10)] == ["2.25.7", "1.2.3.2"]


def test_what_a_peer_does_not_have_is_sent_again_and_held_the_third_time(
    ledger: Ledger, known: Commitments, clock: Clock
) -> None:
    delivery = sent(ledger, instance(1))
    reference = Reference(CT, "1.2.3.1")
    for times in (1, 2, 3):
        known.asked(CommitmentRequest(f"1.9.{times}", (reference,)), "pacs", "peer", [delivery], UNTIL)
        result = CommitmentResult(f"1.9.{times}", (), ((reference, 0x0112),))
        assert known.reported(result, "peer", clock.now + 30) == 1
        (row,) = ledger.deliveries(Filter(ids=(delivery,)))
        assert row.status == "commit-0112"
        if times < 3:
            assert (row.state, row.due_at) == (State.PENDING, clock.now + 30)
            clock.now += 30
            (job,) = ledger.claim_deliveries("pacs", "d", 10, 60)
            ledger.record([ended(job, State.DELIVERED, clock.now, commit_due_at=clock.now)], "d")
    assert row.state is State.HELD


def test_what_a_peer_does_not_mention_is_not_committed(ledger: Ledger, known: Commitments) -> None:
    first, second = sent(ledger, instance(1)), sent(ledger, instance(2))
    known.asked(REQUEST, "pacs", "peer", [first, second], UNTIL)
    known.reported(CommitmentResult("1.9.1", (REQUEST.references[0],)), "peer", 0)
    assert [state(ledger, each) for each in (first, second)] == [State.COMMITTED, State.PENDING]


def test_a_report_changes_nothing_of_what_is_on_its_way_or_held(ledger: Ledger, known: Commitments) -> None:
    delivery = sent(ledger, instance(1))
    reference = Reference(CT, "1.2.3.1")
    known.asked(CommitmentRequest("1.9.1", (reference,)), "pacs", "peer", [delivery], UNTIL)
    ledger.act(Verb.RESEND, Filter(ids=(delivery,)), "somebody")
    known.reported(CommitmentResult("1.9.1", (reference,)), "peer", 0)
    assert state(ledger, delivery) is State.PENDING, "what is sent now is not what was promised"


def test_a_report_counts_for_what_the_peer_had_got_when_it_was_asked(
    ledger: Ledger, known: Commitments, clock: Clock
) -> None:
    """An archive that has lost what it was asked about gets it again: what it said before says nothing of that."""
    delivery = sent(ledger, instance(1))
    request = CommitmentRequest("1.9.1", (Reference(CT, "1.2.3.1"),))
    known.asked(request, "pacs", "peer", [delivery], UNTIL)
    clock.now += 10
    ledger.act(Verb.RESEND, Filter(ids=(delivery,)), "somebody")
    (job,) = ledger.claim_deliveries("pacs", "d", 10, 60)
    ledger.record([ended(job, State.DELIVERED, clock.now, commit_due_at=clock.now)], "d")
    assert known.reported(CommitmentResult("1.9.1", request.references), "peer", 0) == 1
    assert state(ledger, delivery) is State.DELIVERED
    assert len(known.uncommitted("pacs", 10)) == 1, "it is asked again"


def test_a_peer_can_not_say_which_of_two_contents_it_has(
    ledger: Ledger, known: Commitments, clock: Clock
) -> None:
    delivery = sent(ledger, instance(1, uid="1.9"))
    ledger.add([instance(2, uid="1.9")])
    request = CommitmentRequest("1.9.1", (Reference(CT, "1.9"),))
    known.asked(request, "pacs", "peer", [delivery], UNTIL)
    known.reported(CommitmentResult("1.9.1", request.references), "peer", 0)
    assert state(ledger, delivery) is State.DELIVERED
    assert ledger.attempts(delivery)[-1].status == "unclear"
    clock.now = UNTIL + 100
    assert known.next_uncommitted("pacs") is None
    assert ledger.removable(clock.now, 10, committed=True) == []
    known.verified({delivery: ""}, LATER, 0)
    assert state(ledger, delivery) is State.COMMITTED, "a file is one content"


def test_another_sop_class_is_not_what_was_asked_about(ledger: Ledger, known: Commitments) -> None:
    delivery = sent(ledger, instance(1))
    known.asked(CommitmentRequest("1.9.1", (Reference(CT, "1.2.3.1"),)), "pacs", "peer", [delivery], UNTIL)
    known.reported(CommitmentResult("1.9.1", (Reference("1.2.840.1", "1.2.3.1"),)), "peer", 0)
    assert state(ledger, delivery) is State.PENDING


def test_nobody_asks_without_end(known: Commitments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commitments, "MOST_OPEN", 2)
    for number in range(2):
        assert asked(known, replace(REQUEST, transaction_uid=f"1.9.{number}"))
    with pytest.raises(Temporary):
        asked(known, replace(REQUEST, transaction_uid="1.9.7"))
    assert asked(known, replace(REQUEST, transaction_uid="1.9.7"), peer="mr")


def test_who_can_not_be_told_makes_room_for_what_it_asks_now(
    known: Commitments, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """A modality without a host that releases its association at once is never told: that is no reason to refuse."""
    monkeypatch.setattr(commitments, "MOST_OPEN", 2)
    for number in range(2):
        assert asked(known, replace(REQUEST, transaction_uid=f"1.9.{number}"))
        answered(known, COMMITTED, COMMITTED)
        (report,) = known.claim_reports("d", clock.now, 60, 8)
        known.told(report.id, "d", "it has no host", None)
    assert asked(known, replace(REQUEST, transaction_uid="1.9.7"))
    assert [one.transaction_uid for one in known.recent(10)] == ["1.9.7", "1.9.1"]
    assert known.claim_report("ct", "CT1", "r", 60) is not None, "it is told now"
    with pytest.raises(Temporary):
        asked(known, replace(REQUEST, transaction_uid="1.9.8"))


def test_what_was_certain_has_time_to_be_so_again(known: Commitments, clock: Clock) -> None:
    """On Monday the archive's mount may be away for a moment."""
    asked(known)
    answered(known, COMMITTED, COMMITTED)
    clock.now = UNTIL + 3 * 86400
    assert known.claim_report("ct", "CT1", "r", 60) is None
    (commitment,) = known.to_judge(10)
    assert commitment.until == clock.now + commitments.ANEW_S


def test_looking_for_work_reads_no_history(ledger: SqlLedger, known: Commitments) -> None:
    """What became of a hundred thousand requests must not be read every second."""
    asked(known)
    said: list[tuple[str, object]] = []
    engine = ledger._database._engine
    sa.event.listen(
        engine,
        "before_cursor_execute",
        lambda _c, _u, statement, parameters, *_: said.append((statement, parameters)),
    )
    known.to_judge(10)
    known.claim_report("ct", "CT1", "r", 60)
    known.claim_reports("d", DEFAULT_NOW, 60, 8)
    known.uncommitted("pacs", 10)
    known.next_uncommitted("pacs")
    asked(known, replace(REQUEST, transaction_uid="1.9.2"))
    looked = [each for each in said if each[0].startswith("SELECT")]
    assert len(looked) >= 6
    with engine.connect() as connection:
        for statement, parameters in looked:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)  # type: ignore[arg-type]  # as it was
            for step in plan:
                assert "USING" in step[-1] or not step[-1].startswith("SCAN"), (statement, step[-1])


def test_a_request_that_is_not_taken_is_made_again_and_only_the_last_is_kept(
    ledger: Ledger, known: Commitments, clock: Clock
) -> None:
    delivery = sent(ledger, instance(1))
    for times in (1, 2):
        request = CommitmentRequest(f"1.9.{times}", (Reference(CT, "1.2.3.1"),))
        number = known.asked(request, "pacs", "peer", [delivery], UNTIL)
        known.refused(number, "no-context: it does not commit", clock.now + 60)
    assert known.next_uncommitted("pacs") == clock.now + 60
    (one,) = known.recent(10)
    assert (one.state, one.transaction_uid, one.detail) == (
        "refused",
        "1.9.2",
        "no-context: it does not commit",
    )


def test_who_is_asked_is_what_the_configuration_says(
    ledger: Ledger, known: Commitments, clock: Clock
) -> None:
    """Of what was delivered before, too, if its bytes are here still."""
    sent(ledger, instance(1), "pacs", commit_due_at=None)
    sent(ledger, instance(2), "viewer")
    assert known.want(["pacs"]) == 1, "who is asked no more"
    assert (known.next_uncommitted("pacs"), known.next_uncommitted("viewer")) == (clock.now, None)
    known.want([])
    assert known.next_uncommitted("pacs") is None


def test_files_that_were_read_again_are_committed_or_written_again(
    ledger: Ledger, known: Commitments
) -> None:
    first, second = sent(ledger, instance(1), "archive"), sent(ledger, instance(2), "archive")
    known.verified({first: "", second: "the file is not there"}, LATER, DEFAULT_NOW)
    assert [state(ledger, each) for each in (first, second)] == [State.COMMITTED, State.PENDING]
    (row,) = ledger.deliveries(Filter(ids=(second,)))
    assert (row.status, row.detail) == ("commit-not-found", "the file is not there")
    known.put_off([second], None)


def test_what_a_file_was_is_nothing_of_what_was_written_since(ledger: Ledger, known: Commitments) -> None:
    delivery = sent(ledger, instance(1), "archive")
    known.verified({delivery: ""}, DEFAULT_NOW - 1, 0)
    assert state(ledger, delivery) is State.DELIVERED


# --- what was sent ---


LOST = replace(ORIGINAL, target=COPY.target, reason=Reason.TOO_LARGE)
"""The lossy encoding fails this time: the original stands for it."""


def lossy_twice(ledger: Ledger, *, commit: bool = True) -> int:
    """Deliver a lossy copy to one of two, then have the other decided anew; the first one's delivery."""
    decided(ledger, instance(1), "telerad", "other", outcome=COPY)
    (first,) = ledger.claim_deliveries("telerad", "d", 10, 60)
    ledger.record([ended(first, State.DELIVERED, commit_due_at=DEFAULT_NOW if commit else None)], "d")
    if commit:
        ledger.commitments.verified({first.id: ""}, LATER, 0)
    (second,) = ledger.claim_deliveries("other", "d", 10, 60)
    ledger.record([ended(second, State.HELD, status="A900")], "d")
    ledger.act(Verb.REDECIDE, Filter(ids=(second.id,)), "somebody")
    assert ledger.claim_instances("w", 10, 60)
    assert ledger.judge(judgement(instance(1), "telerad", "other", outcome=LOST), "w")
    return first.id


def test_what_was_delivered_stays_what_it_was_when_its_rendition_is_made_again(
    ledger: Ledger, known: Commitments, clock: Clock
) -> None:
    """A lossy copy would pass for the original otherwise, and the original go."""
    lossy_twice(ledger)
    copies = {copy.destination: copy for copy in known.kept(["1.2.3.1"])["1.2.3.1"][0].copies}
    assert (copies["telerad"].outcome, copies["telerad"].lossless) == (COPY, False)
    assert (copies["other"].outcome.sha256, copies["other"].lossless) == (LOST.sha256, True)
    (job,) = ledger.claim_deliveries("other", "d", 10, 60)
    assert (job.target, job.outcome) == (COPY.target, LOST)
    ledger.record([ended(job, State.DELIVERED)], "d")
    clock.now += 100
    assert ledger.removable(clock.now, 10, committed=True) == []


def test_what_is_sent_again_is_what_there_is_now(ledger: Ledger, known: Commitments) -> None:
    first = lossy_twice(ledger)
    ledger.act(Verb.RESEND, Filter(ids=(first,)), "somebody")
    (job,) = ledger.claim_deliveries("telerad", "d", 10, 60)
    assert (job.target, job.outcome) == (COPY.target, LOST), "the file of the lossy one is no more"


def test_so_is_what_the_peer_says_it_does_not_have(ledger: Ledger, known: Commitments, clock: Clock) -> None:
    first = lossy_twice(ledger, commit=False)
    known.verified({first: "the file is not there"}, LATER, clock.now)
    (job,) = ledger.claim_deliveries("telerad", "d", 10, 60)
    assert job.outcome == LOST


@pytest.mark.parametrize("arrives", [True, False])
def test_what_is_on_its_way_when_its_rendition_is_made_again_is_what_is_sent(
    ledger: Ledger, known: Commitments, clock: Clock, arrives: bool
) -> None:
    decided(ledger, instance(1), "telerad", "other", outcome=COPY)
    (first,) = ledger.claim_deliveries("telerad", "d", 10, 60)
    (second,) = ledger.claim_deliveries("other", "e", 10, 60)
    ledger.record([ended(second, State.HELD, status="A900")], "e")
    ledger.act(Verb.REDECIDE, Filter(ids=(second.id,)), "somebody")
    ledger.claim_instances("w", 10, 60)
    ledger.judge(judgement(instance(1), "telerad", "other", outcome=LOST), "w")
    ledger.record([ended(first, State.DELIVERED if arrives else State.PENDING, status="")], "d")
    if arrives:
        (copy,) = (
            one for one in known.kept(["1.2.3.1"])["1.2.3.1"][0].copies if one.destination == "telerad"
        )
        assert (copy.outcome, copy.lossless) == (COPY, False)
    else:
        (again,) = ledger.claim_deliveries("telerad", "d", 10, 60)
        assert again.outcome == LOST, "the file of the lossy one is no more"


def test_a_rendition_that_is_made_again_the_same_is_one_row(ledger: Ledger) -> None:
    decided(ledger, instance(1), "telerad", "other", outcome=COPY)
    (first,) = ledger.claim_deliveries("telerad", "d", 10, 60)
    ledger.record([ended(first, State.DELIVERED)], "d")
    ledger.act(Verb.REDECIDE, Filter(destination="other"), "somebody")
    ledger.claim_instances("w", 10, 60)
    ledger.judge(judgement(instance(1), "telerad", "other", outcome=COPY), "w")
    assert sum(ledger.totals().renditions.values()) == 1


def test_what_is_on_its_way_is_recorded_as_it_was_claimed(
    ledger: Ledger, known: Commitments, clock: Clock
) -> None:
    """A lossy copy that arrives after its rendition was made again, as the original, must not pass for that."""
    decided(ledger, instance(1), "telerad", "other", outcome=COPY)
    (first,) = ledger.claim_deliveries("telerad", "d", 10, 60)
    (second,) = ledger.claim_deliveries("other", "d", 10, 60)
    ledger.record([ended(second, State.HELD, status="A900")], "d")
    ledger.act(Verb.REDECIDE, Filter(ids=(second.id,)), "somebody")
    assert ledger.claim_instances("w", 10, 60)
    assert ledger.judge(judgement(instance(1), "telerad", "other", outcome=LOST), "w")
    ledger.record([ended(first, State.DELIVERED)], "d")
    known.verified({first.id: ""}, LATER, 0)
    copies = {copy.destination: copy for copy in known.kept(["1.2.3.1"])["1.2.3.1"][0].copies}
    assert (copies["telerad"].outcome, copies["telerad"].lossless) == (COPY, False)
    (job,) = ledger.claim_deliveries("other", "d", 10, 60)
    ledger.record([ended(job, State.DELIVERED)], "d")
    clock.now += 100
    assert ledger.removable(clock.now, 10, committed=True) == []


def test_what_did_not_arrive_is_sent_as_it_is_now(ledger: Ledger) -> None:
    decided(ledger, instance(1), "telerad", "other", outcome=COPY)
    (first,) = ledger.claim_deliveries("telerad", "d", 10, 60)
    ledger.act(Verb.REDECIDE, Filter(destination="other"), "somebody")
    ledger.claim_instances("w", 10, 60)
    assert ledger.judge(judgement(instance(1), "telerad", "other", outcome=LOST), "w")
    ledger.record([ended(first, State.PENDING, status="timeout")], "d")
    (job,) = ledger.claim_deliveries("telerad", "d", 10, 60)
    assert (job.id, job.outcome) == (first.id, LOST)


def test_what_a_person_holds_while_it_is_on_its_way_is_not_decided_anew(ledger: Ledger) -> None:
    """It would arrive as what the rules said before, and be recorded as what they say now."""
    decided(ledger, instance(1), "pacs", outcome=COPY)
    (first,) = ledger.claim_deliveries("pacs", "d", 10, 60)
    assert ledger.act(Verb.HOLD, Filter(destination="pacs"), "anna") == 1
    assert ledger.act(Verb.REDECIDE, Filter(ids=(first.id,)), "anna") == 0
    ledger.record([ended(first, State.PENDING, status="timeout")], "d")
    assert state(ledger, first.id) is State.HELD
    assert ledger.act(Verb.REDECIDE, Filter(ids=(first.id,)), "anna") == 1


def test_what_a_peer_does_not_have_is_sent_again_while_its_instance_is_decided_anew(
    ledger: Ledger, known: Commitments, clock: Clock
) -> None:
    first = sent(ledger, instance(1))
    second = sent(ledger, instance(2))
    ledger.hold_instance(instance(2).id, "no-route")
    with ledger._database.write() as connection:  # type: ignore[attr-defined]  # as redecide leaves it
        connection.execute(sa.text("UPDATE instances SET state = 'received'"))
    known.verified({first: "the file is not there", second: "the file is not there"}, LATER, clock.now)
    assert [state(ledger, each) for each in (first, second)] == [State.PENDING] * 2


def test_what_is_sent_again_is_found_without_reading_all_renditions(
    ledger: SqlLedger, known: Commitments, clock: Clock
) -> None:
    """A peer that lost hundreds would have everybody else wait for the ledger."""
    deliveries = [sent(ledger, instance(number)) for number in (1, 2)]
    said: list[tuple[str, object]] = []
    engine = ledger._database._engine
    sa.event.listen(
        engine,
        "before_cursor_execute",
        lambda _c, _u, statement, parameters, *_: said.append((statement, parameters)),
    )
    known.verified({deliveries[0]: "the file is not there"}, LATER, clock.now)
    ledger.act(Verb.RESEND, Filter(ids=(deliveries[1],)), "somebody")
    assert len(ledger.claim_deliveries("pacs", "d", 10, 60)) == 2
    looked = [each for each in said if each[0].startswith(("SELECT", "UPDATE"))]
    with engine.connect() as connection:
        for statement, parameters in looked:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)  # type: ignore[arg-type]  # as it was
            for step in plan:
                assert not step[-1].startswith("SCAN"), (statement, step[-1])


# --- what may go ---


def test_other_bytes_that_come_later_keep_the_first_ones(
    ledger: Ledger, known: Commitments, clock: Clock
) -> None:
    """Which of them the peer has now is not known. A file was read again, and is one content."""
    delivery, file = sent(ledger, instance(1)), sent(ledger, instance(2), "archive", place="a/b.dcm")
    known.asked(replace(REQUEST, references=REQUEST.references[:1]), "pacs", "peer", [delivery], UNTIL)
    known.reported(CommitmentResult("1.9.1", REQUEST.references[:1]), "peer", 0)
    known.verified({file: ""}, LATER, 0)
    assert [state(ledger, each) for each in (delivery, file)] == [State.COMMITTED] * 2
    ledger.add([instance(3, uid="1.2.3.1"), instance(4, uid="1.2.3.2")])
    clock.now += 100
    assert [found for found, _ in ledger.removable(clock.now, 10, committed=True)] == [instance(2)]


def test_a_lossy_copy_under_the_same_uid_keeps_the_original(
    ledger: Ledger, known: Commitments, clock: Clock
) -> None:
    """A peer that got both commits itself to one UID."""
    assert COPY.lossy is not None
    ledger.add([instance(1)])
    ledger.claim_instances("w", 10, 60)
    small = replace(COPY, lossy=replace(COPY.lossy, sop_instance_uid="1.2.3.1"))
    whole, other = judgement(instance(1), "pacs"), judgement(instance(1), "small", outcome=small)
    decisions, outcomes = whole.decisions + other.decisions, whole.outcomes + other.outcomes
    ledger.judge(replace(whole, decisions=decisions, outcomes=outcomes), "w")
    (job,) = ledger.claim_deliveries("pacs", "d", 10, 60)
    ledger.record([ended(job, State.DELIVERED, commit_due_at=DEFAULT_NOW)], "d")
    (lossy,) = ledger.claim_deliveries("small", "d", 10, 60)
    ledger.record([ended(lossy, State.DELIVERED)], "d")
    known.asked(CommitmentRequest("1.9.1", REQUEST.references[:1]), "pacs", "peer", [job.id], UNTIL)
    known.reported(CommitmentResult("1.9.1", REQUEST.references[:1]), "peer", 0)
    assert state(ledger, job.id) is State.COMMITTED
    clock.now += 100
    assert ledger.removable(clock.now, 10, committed=True) == []
    assert len(ledger.removable(clock.now, 10)) == 1


def test_a_file_that_was_replaced_after_it_was_read_again_keeps_the_original(
    ledger: Ledger, known: Commitments, clock: Clock
) -> None:
    first = sent(ledger, instance(1, uid="1.9"), "archive", place="a/b.dcm")
    known.verified({first: ""}, LATER, 0)
    aside = sent(ledger, instance(2, uid="1.9"), "archive", place="a/b.2.dcm")
    known.verified({aside: ""}, LATER, 0)
    later = sent(ledger, instance(3, uid="1.9"), "archive", place="a/b.dcm")
    known.verified({later: ""}, LATER, 0)
    clock.now += 100
    gone = [found for found, _ in ledger.removable(clock.now, 10, committed=True)]
    assert gone == [instance(2, uid="1.9"), instance(3, uid="1.9")]


def test_bytes_stay_while_an_answer_is_awaited(ledger: Ledger, known: Commitments, clock: Clock) -> None:
    delivery = sent(ledger, instance(1))
    clock.now += 100
    assert ledger.removable(clock.now, 10) == []
    known.verified({delivery: ""}, LATER, 0)
    assert [found for found, _ in ledger.removable(clock.now, 10)] == [instance(1)]


def test_a_peers_word_lets_nothing_go_where_a_lossy_copy_has_the_same_uid(
    ledger: Ledger, known: Commitments, clock: Clock
) -> None:
    """It may have kept the lossy one, and says that it has the UID."""
    assert COPY.lossy is not None
    keep = replace(COPY, lossy=replace(COPY.lossy, sop_instance_uid="1.2.3.1"))
    whole, small = judgement(instance(1), "pacs"), judgement(instance(1), "small", outcome=keep)
    ledger.add([instance(1)])
    ledger.claim_instances("w", 10, 60)
    both = replace(
        whole, decisions=whole.decisions + small.decisions, outcomes=whole.outcomes + small.outcomes
    )
    assert ledger.judge(both, "w")
    for name in ("pacs", "small"):
        (job,) = ledger.claim_deliveries(name, "d", 10, 60)
        ledger.record([ended(job, State.DELIVERED)], "d")
        request = CommitmentRequest(f"1.9.{job.id}", REQUEST.references[:1])
        known.asked(request, name, "peer", [job.id], UNTIL)
        known.reported(CommitmentResult(request.transaction_uid, request.references), "peer", 0)
        assert state(ledger, job.id) is State.COMMITTED
    clock.now += 100
    assert ledger.removable(clock.now, 10, committed=True) == []


def test_nor_where_that_is_of_another_receipt_of_the_same_bytes(
    ledger: Ledger, known: Commitments, clock: Clock
) -> None:
    assert COPY.lossy is not None
    keep = replace(COPY, lossy=replace(COPY.lossy, sop_instance_uid="1.2.3.1"))
    sent(ledger, instance(1, sha256="a" * 64), outcome=keep, commit_due_at=None)
    whole = sent(ledger, instance(2, uid="1.2.3.1", sha256="a" * 64))
    request = CommitmentRequest("1.9.1", REQUEST.references[:1])
    known.asked(request, "pacs", "peer", [whole], UNTIL)
    known.reported(CommitmentResult("1.9.1", request.references), "peer", 0)
    assert state(ledger, whole) is State.COMMITTED
    clock.now += 100
    assert ledger.removable(clock.now, 10, committed=True) == []


def test_until_committed_bytes_stay_until_a_lossless_copy_is(
    ledger: Ledger, known: Commitments, clock: Clock
) -> None:
    whole, lossy = sent(ledger, instance(1)), sent(ledger, instance(2), outcome=COPY)
    sent(ledger, instance(3), commit_due_at=None)
    clock.now += 100
    known.verified({whole: "", lossy: ""}, LATER, 0)
    assert [found for found, _ in ledger.removable(clock.now, 10, committed=True)] == [instance(1)]
    ledger.act(Verb.RESEND, Filter(ids=(whole,)), "somebody")
    decided(ledger, instance(4))
    clock.now += 100
    assert instance(4) in [found for found, _ in ledger.removable(clock.now, 10, committed=True)], "discarded"


def test_what_is_held_for_want_of_its_bytes_is_not_said_to_go_on(
    ledger: Ledger, known: Commitments, clock: Clock
) -> None:
    delivery = sent(ledger, instance(1), commit_due_at=None)
    clock.now += 100
    assert ledger.removable(clock.now, 10)
    ledger.gone([instance(1).id])
    known.verified({delivery: "the file is not there"}, LATER, clock.now)
    for verb in (Verb.RETRY, Verb.RELEASE, Verb.RESEND):
        assert ledger.act(verb, Filter(ids=(delivery,)), "anna") == 0
    assert state(ledger, delivery) is State.HELD
    assert ledger.act(Verb.DROP, Filter(ids=(delivery,)), "anna") == 1


def test_old_requests_are_forgotten_with_the_history(
    ledger: Ledger, known: Commitments, clock: Clock
) -> None:
    """But for those that somebody waits for, however short history is kept."""
    asked(known)
    ledger.prune(clock.now + 1, 10)
    assert len(known.recent(10)) == 1
    answered(known, COMMITTED, COMMITTED)
    ledger.prune(clock.now + 1, 10)
    (report,) = known.claim_reports("d", clock.now, 60, 8)
    known.told(report.id, "d")
    ledger.prune(clock.now - 1, 10)
    assert len(known.recent(10)) == 1
    ledger.prune(clock.now + 1, 10)
    assert known.recent(10) == []
    asked(known)
    ledger.prune(UNTIL + 1, 10)
    assert known.recent(10) == []


def test_totals_count_requests(ledger: Ledger, known: Commitments) -> None:
    asked(known)
    known.asked(REQUEST, "pacs", "peer", [sent(ledger, instance(1)), sent(ledger, instance(2))], UNTIL)
    assert ledger.totals().commitments == {("", "open"): 1, ("pacs", "asked"): 1}
