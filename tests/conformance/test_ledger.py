"""What every ledger must do, through the port's own methods; then what the SQL engine promises of its file."""

import multiprocessing
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from venturi.errors import LedgerNewer, Permanent, Temporary
from venturi.ledger import lists, schema, work
from venturi.ledger.database import open_database
from venturi.ledger.port import Attempt, Filter, Job, Ledger, State, Verb
from venturi.ledger.rebuild import rebuild
from venturi.ledger.rows import instance_values, target_text, to_target
from venturi.ledger.sql import SqlLedger, open_ledger
from venturi.ledger.tables import REVISIONS, deliveries, instances, metadata, renditions
from venturi.model import (
    AS_RECEIVED,
    Acceptance,
    Decision,
    Envelope,
    HeaderSummary,
    Instance,
    Judgement,
    Lossy,
    OnFailure,
    Outcome,
    Proof,
    Reason,
    Target,
)
from venturi.spool import naming
from venturi.spool.memory import MemorySpool

EXPLICIT = "1.2.840.10008.1.2.1"
JPEG_LS = Target("1.2.840.10008.1.2.4.80", min_saving=0.1)
LOSSY = Target(
    "1.2.840.10008.1.2.4.91",
    parameters=(("from", ("lossless", "uncompressed")), ("j2k_cr", (10.0, 5.5)), ("lossy_max_error", 12.0)),
)
MADE = Outcome(
    target=JPEG_LS,
    transfer_syntax="1.2.840.10008.1.2.4.80",
    size_bytes=180_000,
    sha256="c" * 64,
    proof=Proof.PIXELS,
    codec="imagecodecs/charls, pyjpegls",
    frames=1,
    pixel_bytes_before=524_288,
    pixel_bytes_after=170_000,
)
COUNTED = {("1.2.840.10008.1.2.4.80", "", "pixels"): 1, (EXPLICIT, "as-received", "original"): 1}
COPY = Outcome(
    target=LOSSY,
    transfer_syntax="1.2.840.10008.1.2.4.91",
    size_bytes=52_000,
    sha256="e" * 64,
    proof=Proof.BOUND,
    codec="pylibjpeg-openjpeg, imagecodecs/openjpeg",
    frames=1,
    pixel_bytes_before=524_288,
    pixel_bytes_after=51_000,
    lossy=Lossy("2.25.7", 10.28, 9, 61.5),
)
ORIGINAL = Outcome(AS_RECEIVED, EXPLICIT, 525_000, "a" * 64, Reason.ASKED)
SUMMARY = HeaderSummary("1.2.3.1", "1.2.3.1.1", "CT")
DEFAULT_NOW = 1_700_000_000.0


class Clock:
    """A clock that stands until it is told to go on."""

    now = DEFAULT_NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def ledger(url: str, clock: Clock) -> Iterator[Ledger]:
    ledger = SqlLedger(open_database(url, migrate=True), clock)
    yield ledger
    ledger.close()


def instance(number: int, uid: str = "", sha256: str = "") -> Instance:
    envelope = Envelope(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid=uid or f"1.2.3.{number}",
        transfer_syntax=EXPLICIT,
        calling_ae="CT1",
        called_ae="VENTURI",
        peer="ct",
        address="10.1.0.7",
        received_at=DEFAULT_NOW - 1000 + number,
    )
    return Instance(f"{number:032x}", sha256 or f"{number:064x}", 525_000, envelope)


def judgement(
    of: Instance, *destinations: str, outcome: Outcome = ORIGINAL, on_failure: OnFailure = OnFailure.KEEP
) -> Judgement:
    decisions = tuple(Decision(name, "grey images", outcome.target, on_failure) for name in destinations)
    return Judgement(of, decisions, (outcome,), summary=SUMMARY, config_digest="0123456789abcdef")


def decided(ledger: Ledger, of: Instance, *destinations: str, outcome: Outcome = ORIGINAL) -> None:
    ledger.add([of])
    assert [claim.instance for claim in ledger.claim_instances("w", 100, 60)] == [of]
    assert ledger.judge(judgement(of, *destinations, outcome=outcome), "w")


def ended(job: Job, state: State, at: float = DEFAULT_NOW, **more: object) -> Attempt:
    return Attempt(job.id, state, at, 0.25, **more)  # type: ignore[arg-type]  # a test names fields by keyword


def delivered(ledger: Ledger, destination: str, owner: str = "d", at: float = DEFAULT_NOW) -> list[Job]:
    jobs = ledger.claim_deliveries(destination, owner, 100, 60)
    ledger.record([ended(job, State.DELIVERED, at, status="0000") for job in jobs], owner)
    return jobs


def states(ledger: Ledger) -> dict[str, State]:
    return {row.destination: row.state for row in ledger.deliveries(Filter())}


# --- add ---


def test_add_counts_what_is_new_and_ignores_what_is_known(ledger: Ledger) -> None:
    assert ledger.add([instance(1), instance(2)]) == 2
    assert ledger.add([instance(2), instance(3)]) == 1
    assert ledger.add([]) == 0
    assert [row.instance for row in ledger.instances(Filter())] == [instance(3), instance(2), instance(1)]


def test_a_known_id_changes_nothing_of_its_row(ledger: Ledger) -> None:
    decided(ledger, instance(1), "archive")
    ledger.add([instance(1)])
    assert [row.state for row in ledger.instances(Filter())] == ["decided"]


def test_the_same_uid_with_other_bytes_flags_both(ledger: Ledger) -> None:
    ledger.add([instance(1, uid="1.9"), instance(2)])
    ledger.add([instance(3, uid="1.9")])
    assert {row.instance.id[-1]: row.conflict for row in ledger.instances(Filter())} == {
        "1": True,
        "2": False,
        "3": True,
    }


def test_a_conflict_within_one_batch_is_seen(ledger: Ledger) -> None:
    ledger.add([instance(1, uid="1.9"), instance(2, uid="1.9")])
    assert all(row.conflict for row in ledger.instances(Filter()))


def test_a_resend_of_the_same_bytes_is_a_new_instance_without_conflict(ledger: Ledger) -> None:
    ledger.add([instance(1, uid="1.9", sha256="f" * 64), instance(2, uid="1.9", sha256="f" * 64)])
    assert [row.conflict for row in ledger.instances(Filter())] == [False, False]


words = st.binary(max_size=40).map(lambda b: b.decode("utf-8", "surrogateescape")) | st.text(max_size=20)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.builds(Envelope, words, words, words, words, words, words, words, received_at=st.floats(0, 4e9)),
)
def test_whatever_the_network_sent_can_be_recorded_and_found(ledger: Ledger, envelope: Envelope) -> None:
    of = Instance(naming.new_id(), "f" * 64, 4, envelope)
    ledger.add([of])
    found = ledger.instances(Filter(sop_instance_uid=envelope.sop_instance_uid, limit=1))
    assert [row.instance for row in found] == [of]


# --- claiming instances ---


def test_undecided_instances_are_claimed_oldest_first(ledger: Ledger) -> None:
    ledger.add([instance(number) for number in (3, 1, 2)])
    assert [claim.instance for claim in ledger.claim_instances("w", 2, 60)] == [instance(1), instance(2)]


def test_what_is_claimed_is_nobody_elses_until_the_lease_ends(ledger: Ledger, clock: Clock) -> None:
    ledger.add([instance(1)])
    assert [claim.tries for claim in ledger.claim_instances("w1", 5, 60)] == [1]
    clock.now += 59
    assert ledger.claim_instances("w2", 5, 60) == []
    clock.now += 2
    assert [claim.tries for claim in ledger.claim_instances("w2", 5, 60)] == [2]


def test_a_claim_that_is_put_back_does_not_count_and_waits(ledger: Ledger, clock: Clock) -> None:
    ledger.add([instance(1)])
    ledger.claim_instances("w1", 5, 60)
    ledger.put_back(instance(1).id, "w2", 30)
    assert ledger.claim_instances("w2", 5, 60) == []
    ledger.put_back(instance(1).id, "w1", 30)
    assert ledger.claim_instances("w2", 5, 60) == []
    clock.now += 31
    assert [claim.tries for claim in ledger.claim_instances("w2", 5, 60)] == [1]


def test_known_are_those_that_were_recorded(ledger: Ledger) -> None:
    ledger.add([instance(1), instance(2)])
    ids = [instance(number).id for number in range(1, 1200)]
    assert ledger.known(ids) == {instance(1).id, instance(2).id}
    assert ledger.known([]) == set()


def test_owners_are_those_who_hold_a_lease(ledger: Ledger) -> None:
    decided(ledger, instance(1), "archive")
    ledger.add([instance(2)])
    assert ledger.owners() == []
    ledger.claim_instances("w1", 5, 60)
    ledger.claim_deliveries("archive", "w2", 5, 60)
    assert ledger.owners() == ["w1", "w2"]
    ledger.release("w1")
    assert ledger.owners() == ["w2"]


def test_a_renewed_lease_goes_on(ledger: Ledger, clock: Clock) -> None:
    decided(ledger, instance(1), "archive")
    ledger.add([instance(2)])
    ledger.claim_instances("w", 5, 60)
    ledger.claim_deliveries("archive", "w", 5, 60)
    clock.now += 50
    ledger.renew("w", 60)
    clock.now += 50
    assert ledger.claim_instances("v", 5, 60) == []
    assert ledger.claim_deliveries("archive", "v", 5, 60) == []


def test_released_leases_are_free_at_once(ledger: Ledger) -> None:
    decided(ledger, instance(1), "archive")
    ledger.add([instance(2), instance(3)])
    ledger.claim_instances("transcode-7/0", 1, 60)
    ledger.claim_instances("transcode-71", 1, 60)
    ledger.claim_deliveries("archive", "transcode-7/1", 1, 60)
    assert ledger.release("transcode-7/") == 2
    assert ledger.release("TRANSCODE") == 0
    assert [claim.instance for claim in ledger.claim_instances("w", 5, 60)] == [instance(2)]
    assert len(ledger.claim_deliveries("archive", "w", 5, 60)) == 1


# --- judging ---


def test_a_judgement_makes_a_rendition_a_target_and_a_delivery_a_decision(ledger: Ledger) -> None:
    of = instance(1)
    ledger.add([of])
    ledger.claim_instances("w", 1, 60)
    decisions = (
        Decision("archive", "grey images", JPEG_LS),
        Decision("pacs", "grey images", JPEG_LS),
        Decision("old", "the rest", AS_RECEIVED),
    )
    assert ledger.judge(Judgement(of, decisions, (MADE, ORIGINAL), summary=SUMMARY), "w")
    rows = {row.destination: row for row in ledger.deliveries(Filter())}
    assert (
        rows["pacs"].transfer_syntax,
        rows["pacs"].size_after,
        rows["pacs"].reason,
        rows["pacs"].proof,
    ) == (
        *("1.2.840.10008.1.2.4.80", 180_000, ""),
        "pixels",
    )
    assert (rows["old"].transfer_syntax, rows["old"].reason, rows["old"].source_syntax) == (
        *(EXPLICIT, "as-received"),
        EXPLICIT,
    )
    assert (rows["archive"].study_instance_uid, rows["archive"].modality) == ("1.2.3.1", "CT")
    assert ledger.totals().renditions == COUNTED


def test_a_job_carries_everything_that_was_judged(ledger: Ledger) -> None:
    outcome = replace(MADE, target=LOSSY, detail="b\0\udcff\\u0000", reason=Reason.NO_SAVING)
    check_job(ledger, outcome)


@pytest.mark.parametrize(
    "lossy",
    [
        None,
        Lossy("2.25.7", 10.28, 9, 61.5),
        Lossy("1.2.3.1", 2.0, 0, None),
        Lossy("a\0b\udcff", 1.5, 2**32 - 1, 3.25),
    ],
)
def test_what_was_lost_comes_back_as_it_was_measured(ledger: Ledger, lossy: Lossy | None) -> None:
    check_job(ledger, replace(COPY, lossy=lossy))
    (row,) = ledger.deliveries(Filter())
    assert (row.lossy, row.proof, row.sop_instance_uid) == (lossy, "bound", "1.2.3.1")


def check_job(ledger: Ledger, outcome: Outcome) -> None:
    """An outcome that is judged comes back equal with the job."""
    decided(ledger, instance(1), "archive", outcome=outcome)
    (job,) = ledger.claim_deliveries("archive", "d", 5, 60)
    assert job == Job(
        job.id, instance(1), "archive", "grey images", LOSSY, outcome, 0, SUMMARY.study_instance_uid
    )
    assert job.target.digest == LOSSY.digest


def test_whoever_lost_the_lease_records_nothing(ledger: Ledger, clock: Clock) -> None:
    ledger.add([instance(1)])
    ledger.claim_instances("slow", 1, 60)
    clock.now += 61
    ledger.claim_instances("quick", 1, 60)
    assert not ledger.judge(judgement(instance(1), "archive"), "slow")
    assert ledger.deliveries(Filter()) == []
    assert ledger.judge(judgement(instance(1), "archive"), "quick")


def test_a_lease_that_ended_but_was_not_taken_still_counts(ledger: Ledger, clock: Clock) -> None:
    ledger.add([instance(1)])
    ledger.claim_instances("slow", 1, 60)
    clock.now += 1000
    assert ledger.judge(judgement(instance(1), "archive"), "slow")


def test_nothing_is_judged_twice_or_unclaimed(ledger: Ledger) -> None:
    ledger.add([instance(1)])
    assert not ledger.judge(judgement(instance(1), "archive"), "w")
    ledger.claim_instances("w", 1, 60)
    assert ledger.judge(judgement(instance(1), "archive"), "w")
    assert not ledger.judge(judgement(instance(1), "archive"), "w")
    assert len(ledger.deliveries(Filter())) == 1
    assert not ledger.judge(judgement(instance(9), "archive"), "w")


def test_several_are_judged_at_once_and_what_another_has_is_left_to_it(ledger: Ledger) -> None:
    ledger.add([instance(number) for number in range(1, 6)])
    ledger.claim_instances("w", 3, 60)
    ledger.claim_instances("other", 1, 60)
    one, two, *rest = (
        judgement(instance(number), "archive", "pacs", outcome=MADE) for number in (1, 2, 3, 4, 5, 9)
    )
    assert ledger.judge_all([one, two, one, *rest], "w") == {instance(number).id for number in (1, 2, 3)}
    rows = ledger.deliveries(Filter())
    assert sorted((row.instance_id, row.destination) for row in rows) == [
        (instance(number).id, where) for number in (1, 2, 3) for where in ("archive", "pacs")
    ]
    assert sum(ledger.totals().renditions.values()) == 3
    jobs = ledger.claim_deliveries("pacs", "d", 9, 60)
    assert [job.instance.id for job in jobs] == [instance(number).id for number in (1, 2, 3)]
    assert ledger.judge_all([one, two], "w") == set()
    assert ledger.judge_all([], "w") == set()


def test_of_several_judgements_all_or_none_are_recorded(ledger: Ledger) -> None:
    ledger.add([instance(1), instance(2)])
    ledger.claim_instances("w", 2, 60)
    wrong = Judgement(instance(2), (Decision("archive", "r", JPEG_LS),), (ORIGINAL,))
    with pytest.raises(ValueError, match="archive"):
        ledger.judge_all([judgement(instance(1), "archive"), wrong], "w")
    assert [row.state for row in ledger.instances(Filter())] == ["received", "received"]


def test_a_judgement_that_fails_half_way_leaves_nothing(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.add([instance(1)])
    ledger.claim_instances("w", 1, 60)

    def fail(*_: object) -> None:
        raise OSError("power")

    with monkeypatch.context() as patch:
        patch.setattr(work, "_delivery", fail)
        with pytest.raises(OSError, match="power"):
            ledger.judge(judgement(instance(1), "archive"), "w")
    assert ledger.totals().renditions == {}
    assert [row.state for row in ledger.instances(Filter())] == ["received"]
    assert ledger.judge(judgement(instance(1), "archive"), "w")


def test_a_decision_without_its_outcome_is_refused(ledger: Ledger) -> None:
    ledger.add([instance(1)])
    ledger.claim_instances("w", 1, 60)
    with pytest.raises(ValueError, match="archive"):
        ledger.judge(Judgement(instance(1), (Decision("archive", "r", JPEG_LS),), (ORIGINAL,)), "w")
    assert [row.state for row in ledger.instances(Filter())] == ["received"]


def test_what_no_route_matches_waits_for_a_person(ledger: Ledger) -> None:
    ledger.add([instance(1)])
    ledger.claim_instances("w", 1, 60)
    assert ledger.judge(Judgement(instance(1), held="no-route", summary=SUMMARY), "w")
    assert ledger.claim_instances("w", 1, 60) == []
    assert [(row.held, row.state, row.modality) for row in ledger.held_instances()] == [
        ("no-route", "received", "CT")
    ]
    assert ledger.removable(DEFAULT_NOW + 1e9, 10) == []


def test_what_is_discarded_on_purpose_is_decided_without_deliveries(ledger: Ledger, clock: Clock) -> None:
    ledger.add([instance(1)])
    ledger.claim_instances("w", 1, 60)
    assert ledger.judge(Judgement(instance(1)), "w")
    assert ledger.held_instances() == []
    assert ledger.removable(DEFAULT_NOW, 10) == []
    assert ledger.removable(DEFAULT_NOW + 1, 10) == [(instance(1), [])]


FULFILLED = {Reason.ASKED, Reason.SAME_SYNTAX, Reason.NO_PIXEL_DATA, Reason.NO_SAVING}


@pytest.mark.parametrize("reason", list(Reason))
def test_a_rule_that_says_hold_holds_what_could_not_be_made(ledger: Ledger, reason: Reason) -> None:
    ledger.add([instance(1)])
    ledger.claim_instances("w", 1, 60)
    outcome = replace(ORIGINAL, target=JPEG_LS, reason=reason, detail="2 of 3 frames")
    decisions = (
        Decision("strict", "r", JPEG_LS, OnFailure.HOLD),
        Decision("lenient", "r", JPEG_LS, OnFailure.KEEP),
    )
    ledger.judge(Judgement(instance(1), decisions, (outcome,)), "w")
    expected = State.PENDING if reason in FULFILLED else State.HELD
    assert states(ledger) == {"strict": expected, "lenient": State.PENDING}
    if expected is State.HELD:
        (row,) = ledger.deliveries(Filter(state="held"))
        assert (row.status, "2 of 3 frames" in row.detail) == (reason.value, True)


MAY_NOT_LOSE = [Reason.ERROR_BOUND, Reason.NEVER_LOSSY]


@pytest.mark.parametrize("reason", MAY_NOT_LOSE)
def test_beyond_the_bound_a_rule_that_says_hold_holds(ledger: Ledger, reason: Reason) -> None:
    target = replace(LOSSY, parameters=(*LOSSY.parameters, ("lossy_beyond", "hold")))
    outcome = replace(ORIGINAL, target=target, reason=reason, detail="15 in frame 3", hold=True)
    decided(ledger, instance(1), "telerad", outcome=outcome)
    (row,) = ledger.deliveries(Filter())
    assert (row.state, row.status, row.reason) == (State.HELD, reason.value, reason.value)
    assert "15 in frame 3" in row.detail
    assert ledger.act(Verb.RETRY, Filter(), "op") == ledger.act(Verb.RESEND, Filter(), "op") == 0
    assert ledger.act(Verb.RETRY, Filter(ids=(row.id,)), "op") == 1
    (job,) = ledger.claim_deliveries("telerad", "d", 1, 60)
    assert job.outcome == outcome


@pytest.mark.parametrize("reason", MAY_NOT_LOSE)
def test_beyond_the_bound_a_rule_that_wants_the_original_gets_it(ledger: Ledger, reason: Reason) -> None:
    target = replace(LOSSY, parameters=(*LOSSY.parameters, ("lossy_beyond", "as-received")))
    ledger.add([instance(1)])
    ledger.claim_instances("w", 1, 60)
    outcome = replace(ORIGINAL, target=target, reason=reason)
    ledger.judge(judgement(instance(1), "telerad", outcome=outcome, on_failure=OnFailure.HOLD), "w")
    assert states(ledger) == {"telerad": State.PENDING}


# --- deliveries ---


def test_deliveries_are_claimed_by_destination_oldest_first(ledger: Ledger) -> None:
    for number in (1, 2, 3):
        decided(ledger, instance(number), "archive", "pacs")
    assert [job.instance for job in ledger.claim_deliveries("archive", "d", 2, 60)] == [
        instance(1),
        instance(2),
    ]
    assert [job.instance for job in ledger.claim_deliveries("archive", "e", 2, 60)] == [instance(3)]
    assert len(ledger.claim_deliveries("pacs", "d", 10, 60)) == 3
    assert ledger.claim_deliveries("nowhere", "d", 10, 60) == []


def test_a_delivery_is_claimed_again_when_its_lease_ended(ledger: Ledger, clock: Clock) -> None:
    decided(ledger, instance(1), "archive")
    first = ledger.claim_deliveries("archive", "d", 1, 60)
    assert ledger.claim_deliveries("archive", "e", 1, 60) == []
    clock.now += 61
    assert ledger.claim_deliveries("archive", "e", 1, 60) == first


def test_what_is_delivered_is_not_claimed_again(ledger: Ledger) -> None:
    decided(ledger, instance(1), "archive")
    delivered(ledger, "archive")
    assert ledger.claim_deliveries("archive", "d", 1, 60) == []
    assert states(ledger) == {"archive": State.DELIVERED}


def test_later_means_not_before_it_is_due(ledger: Ledger, clock: Clock) -> None:
    decided(ledger, instance(1), "archive")
    (job,) = ledger.claim_deliveries("archive", "d", 1, 60)
    ledger.record([ended(job, State.PENDING, status="A700", detail="full", due_at=clock.now + 30)], "d")
    assert ledger.next_due("archive") == clock.now + 30
    assert ledger.claim_deliveries("archive", "d", 1, 60) == []
    clock.now += 30
    (again,) = ledger.claim_deliveries("archive", "d", 1, 60)
    assert (again.id, again.tries) == (job.id, 1)
    (row,) = ledger.deliveries(Filter())
    assert (row.status, row.detail, row.tries) == ("A700", "full", 1)


def test_next_due_knows_leases_and_silence(ledger: Ledger, clock: Clock) -> None:
    assert ledger.next_due("archive") is None
    decided(ledger, instance(1), "archive")
    assert ledger.next_due("archive") == clock.now
    ledger.claim_deliveries("archive", "d", 1, 60)
    assert ledger.next_due("archive") == clock.now + 60
    ledger.release("d")
    delivered(ledger, "archive")
    assert ledger.next_due("archive") is None


def test_every_attempt_stays_in_the_history(ledger: Ledger, clock: Clock) -> None:
    decided(ledger, instance(1), "archive")
    (job,) = ledger.claim_deliveries("archive", "d", 1, 60)
    first = ended(job, State.PENDING, at=clock.now, status="timeout", due_at=clock.now)
    ledger.record([first], "d")
    ledger.claim_deliveries("archive", "d", 1, 60)
    second = ended(
        job, State.DELIVERED, at=clock.now + 1, status="B000", detail="coerced", sent_original=True
    )
    ledger.record([second], "d")
    assert ledger.attempts(job.id) == [first, second]
    assert ledger.attempts(job.id + 1) == []


def test_a_failure_told_by_a_lost_owner_leaves_the_delivery_to_the_new_one(
    ledger: Ledger, clock: Clock
) -> None:
    decided(ledger, instance(1), "archive")
    (job,) = ledger.claim_deliveries("archive", "slow", 1, 60)
    clock.now += 61
    ledger.claim_deliveries("archive", "quick", 1, 60)
    ledger.record([ended(job, State.HELD, status="A900")], "slow")
    assert states(ledger) == {"archive": State.PENDING}
    assert ledger.claim_deliveries("archive", "third", 1, 60) == []
    assert [attempt.status for attempt in ledger.attempts(job.id)] == ["A900"]


def test_a_success_told_by_a_lost_owner_counts(ledger: Ledger, clock: Clock) -> None:
    decided(ledger, instance(1), "archive")
    (job,) = ledger.claim_deliveries("archive", "slow", 1, 60)
    clock.now += 61
    ledger.claim_deliveries("archive", "quick", 1, 60)
    ledger.record([ended(job, State.DELIVERED)], "slow")
    ledger.record([ended(job, State.PENDING, due_at=clock.now)], "quick")
    assert states(ledger) == {"archive": State.DELIVERED}


# --- what a person does ---


def test_retry_makes_held_and_waiting_deliveries_due_now(ledger: Ledger, clock: Clock) -> None:
    decided(ledger, instance(1), "held", "waiting", "done")
    for name, state in (("held", State.HELD), ("waiting", State.PENDING), ("done", State.DELIVERED)):
        (job,) = ledger.claim_deliveries(name, "d", 1, 60)
        ledger.record([ended(job, state, due_at=clock.now + 1e6)], "d")
    assert ledger.act(Verb.RETRY, Filter(), "anna") == 2
    assert states(ledger) == {"held": State.PENDING, "waiting": State.PENDING, "done": State.DELIVERED}
    assert [
        job.tries for name in ("held", "waiting") for job in ledger.claim_deliveries(name, "d", 1, 60)
    ] == [0, 0]


def test_retry_touches_only_what_is_meant(ledger: Ledger) -> None:
    decided(ledger, instance(1), "a", "b")
    for name in ("a", "b"):
        (job,) = ledger.claim_deliveries(name, "d", 1, 60)
        ledger.record([ended(job, State.HELD)], "d")
    ledger.hold_instance(instance(1).id, "looked at")
    assert ledger.act(Verb.RETRY, Filter(destination="b", state="held"), "anna") == 1
    assert states(ledger) == {"a": State.HELD, "b": State.PENDING}
    assert len(ledger.held_instances()) == 1


def test_a_retried_delivery_that_is_being_made_stays_with_its_owner(ledger: Ledger) -> None:
    decided(ledger, instance(1), "archive")
    ledger.claim_deliveries("archive", "d", 1, 60)
    ledger.act(Verb.RETRY, Filter(), "anna")
    assert ledger.claim_deliveries("archive", "e", 1, 60) == []


def test_what_a_rule_holds_is_sent_as_received_only_by_its_number(ledger: Ledger) -> None:
    ledger.add([instance(1)])
    ledger.claim_instances("w", 1, 60)
    refused = replace(ORIGINAL, target=JPEG_LS, reason=Reason.PROOF_FAILED)
    assert ledger.judge(judgement(instance(1), "pacs", outcome=refused, on_failure=OnFailure.HOLD), "w")
    (held,) = ledger.deliveries(Filter())
    for which in (Filter(), Filter(destination="pacs"), Filter(study_instance_uid="1.2.3.1")):
        assert ledger.act(Verb.RETRY, which, "op") == ledger.act(Verb.RESEND, which, "op") == 0
    assert ledger.claim_deliveries("pacs", "d", 1, 60) == []
    assert ledger.act(Verb.RETRY, Filter(ids=(held.id,)), "op") == 1
    (job,) = ledger.claim_deliveries("pacs", "d", 1, 60)
    ledger.record([ended(job, State.HELD, status="A900")], "d")
    assert ledger.act(Verb.RETRY, Filter(), "op") == 1  # now it is the peer that does not want it


def test_a_damaged_rendition_is_made_again_on_retry(ledger: Ledger, clock: Clock) -> None:
    decided(ledger, instance(1), "archive", "pacs", outcome=MADE)
    delivered(ledger, "archive")
    (job,) = ledger.claim_deliveries("pacs", "d", 1, 60)
    ledger.record([ended(job, State.HELD, status="damaged")], "d")
    assert ledger.act(Verb.RETRY, Filter(), "op") == 1
    assert ledger.claim_deliveries("pacs", "d", 1, 60) == []
    assert ledger.removable(clock.now + 1e6, 9) == []
    (claim,) = ledger.claim_instances("w", 1, 60)
    again = replace(MADE, sha256="d" * 64)
    assert ledger.judge(judgement(claim.instance, "archive", "pacs", outcome=again), "w")
    (job,) = ledger.claim_deliveries("pacs", "d", 9, 60)
    assert job.outcome == again
    assert ledger.claim_deliveries("archive", "d", 9, 60) == []  # it was delivered, and stays so
    assert len(ledger.attempts(job.id)) == 1


def test_a_damaged_original_is_not_decided_anew_by_its_deliveries(ledger: Ledger) -> None:
    decided(ledger, instance(1), "pacs")
    (job,) = ledger.claim_deliveries("pacs", "d", 1, 60)
    ledger.record([ended(job, State.HELD, status="damaged")], "d")
    assert ledger.act(Verb.RETRY, Filter(), "op") == 1
    assert ledger.claim_instances("w", 1, 60) == []


def test_what_a_person_holds_waits_until_it_is_released(ledger: Ledger, clock: Clock) -> None:
    decided(ledger, instance(1), "archive", "pacs")
    assert ledger.act(Verb.HOLD, Filter(destination="pacs"), "anna") == 1
    assert states(ledger) == {"archive": State.PENDING, "pacs": State.HELD}
    assert ledger.act(Verb.RETRY, Filter(), "anna") == 1, "what waits, and not what a person holds"
    assert ledger.claim_deliveries("pacs", "d", 9, 60) == []
    assert ledger.removable(clock.now + 1e6, 9) == []
    assert ledger.act(Verb.RELEASE, Filter(destination="pacs"), "anna") == 1
    assert len(ledger.claim_deliveries("pacs", "d", 9, 60)) == 1


def test_release_sends_what_a_rule_holds_as_received(ledger: Ledger) -> None:
    ledger.add([instance(1)])
    ledger.claim_instances("w", 1, 60)
    refused = replace(ORIGINAL, target=JPEG_LS, reason=Reason.PROOF_FAILED)
    assert ledger.judge(judgement(instance(1), "pacs", outcome=refused, on_failure=OnFailure.HOLD), "w")
    assert ledger.act(Verb.RELEASE, Filter(destination="pacs"), "op") == 1
    (job,) = ledger.claim_deliveries("pacs", "d", 1, 60)
    assert not job.outcome.transcoded


def test_what_is_held_while_it_is_on_its_way_arrives(ledger: Ledger) -> None:
    decided(ledger, instance(1), "pacs")
    (job,) = ledger.claim_deliveries("pacs", "d", 1, 60)
    assert ledger.act(Verb.HOLD, Filter(), "anna") == 1
    ledger.record([ended(job, State.DELIVERED, status="0000")], "d")
    assert states(ledger) == {"pacs": State.DELIVERED}


def test_what_is_dropped_is_done_and_its_bytes_may_go(ledger: Ledger, clock: Clock) -> None:
    decided(ledger, instance(1), "archive", "pacs")
    delivered(ledger, "archive")
    assert ledger.act(Verb.DROP, Filter(destination="pacs"), "anna") == 1
    assert states(ledger) == {"archive": State.DELIVERED, "pacs": State.DROPPED}
    assert ledger.claim_deliveries("pacs", "d", 9, 60) == []
    assert [one for one, _ in ledger.removable(clock.now + 60, 9)] == [instance(1)]
    ledger.add([instance(2)])
    ledger.hold_instance(instance(2).id, "no-route")
    assert ledger.act(Verb.DROP, Filter(state="held"), "anna") == 1
    assert ledger.held_instances() == []
    assert [one for one, _ in ledger.removable(clock.now + 60, 9)] == [instance(1), instance(2)]


def test_what_is_on_its_way_is_not_dropped(ledger: Ledger) -> None:
    decided(ledger, instance(1), "pacs")
    ledger.claim_deliveries("pacs", "d", 1, 60)
    assert ledger.act(Verb.DROP, Filter(), "anna") == 0


def test_what_is_decided_anew_goes_as_the_rules_say_now(ledger: Ledger) -> None:
    decided(ledger, instance(1), "archive", "pacs", "telerad")
    delivered(ledger, "archive")
    assert ledger.act(Verb.REDECIDE, Filter(destination="pacs"), "anna") == 1
    assert ledger.claim_deliveries("pacs", "d", 9, 60) == ledger.claim_deliveries("telerad", "d", 9, 60) == []
    (claim,) = ledger.claim_instances("w", 9, 60)
    assert ledger.judge(judgement(claim.instance, "archive", "pacs", outcome=MADE), "w")
    assert states(ledger) == {
        "archive": State.DELIVERED,
        "pacs": State.PENDING,
        "telerad": State.HELD,
    }
    (job,) = ledger.claim_deliveries("pacs", "d", 9, 60)
    assert job.outcome == MADE
    (row,) = ledger.deliveries(Filter(destination="telerad"))
    assert row.status == "no-longer-routed"


@pytest.mark.parametrize("verb", Verb)
def test_a_dry_run_counts_and_changes_nothing(ledger: Ledger, verb: Verb) -> None:
    decided(ledger, instance(1), "archive", "pacs")
    (job,) = ledger.claim_deliveries("pacs", "d", 1, 60)
    ledger.record([ended(job, State.HELD)], "d")
    before = ledger.deliveries(Filter()), ledger.instances(Filter())
    count = ledger.act(verb, Filter(), "anna", dry=True)
    assert count > 0
    assert (ledger.deliveries(Filter()), ledger.instances(Filter())) == before
    assert ledger.journal() == []
    assert ledger.act(verb, Filter(), "anna") == count


@pytest.mark.parametrize("verb", [Verb.RETRY, Verb.REDECIDE, Verb.DROP])
def test_whatever_a_filter_says_counts_for_instances_without_a_delivery(ledger: Ledger, verb: Verb) -> None:
    ledger.add([instance(1)])
    ledger.hold_instance(instance(1).id, "no-route")
    nothing = {
        "ids": (77,), "destination": "pacs", "state": "pending", "study_instance_uid": "1.9", "conflict": True,
        "sop_instance_uid": "1.9", "received_before": 1.0, "received_after": DEFAULT_NOW, "limit": 0,
    }  # fmt: skip
    assert set(nothing) == {field.name for field in fields(Filter)}
    for name, value in nothing.items():
        assert ledger.act(verb, replace(Filter(), **{name: value}), "anna") == 0, name  # type: ignore[arg-type]
        if name not in {"ids", "destination"}:
            assert ledger.instances(replace(Filter(), **{name: value})) == [], name  # type: ignore[arg-type]
    assert ledger.act(verb, Filter(), "anna") == 1


def test_what_a_person_holds_is_let_go_by_nothing_that_means_another(ledger: Ledger) -> None:
    decided(ledger, instance(1), "a", "b", outcome=MADE)
    assert ledger.act(Verb.HOLD, Filter(destination="b"), "anna") == 1
    assert ledger.act(Verb.REDECIDE, Filter(destination="a"), "anna") == 1
    (claim,) = ledger.claim_instances("w", 9, 60)
    assert ledger.judge(judgement(claim.instance, "a", "b", outcome=MADE), "w")
    assert states(ledger) == {"a": State.PENDING, "b": State.HELD}
    (job,) = ledger.claim_deliveries("a", "d", 1, 60)
    ledger.record([ended(job, State.HELD, status="damaged")], "d")
    assert ledger.act(Verb.RETRY, Filter(), "anna") == 1
    (claim,) = ledger.claim_instances("w", 9, 60)
    assert ledger.judge(judgement(claim.instance, "a", "b", outcome=MADE), "w")
    assert states(ledger) == {"a": State.PENDING, "b": State.HELD}
    assert ledger.act(Verb.RESEND, Filter(study_instance_uid="1.2.3.1"), "anna") == 1
    assert states(ledger)["b"] is State.HELD
    (row,) = ledger.deliveries(Filter(destination="b"))
    assert ledger.act(Verb.REDECIDE, Filter(ids=(row.id,)), "anna") == 1
    (claim,) = ledger.claim_instances("w", 9, 60)
    assert ledger.judge(judgement(claim.instance, "a", "b", outcome=MADE), "w")
    assert states(ledger)["b"] is State.PENDING


def test_a_lease_on_what_a_person_holds_meanwhile_ends_with_its_record(ledger: Ledger) -> None:
    decided(ledger, instance(1), "pacs")
    (job,) = ledger.claim_deliveries("pacs", "d", 1, 60)
    ledger.act(Verb.HOLD, Filter(), "anna")
    assert ledger.next_due("pacs") is None
    ledger.record([ended(job, State.PENDING, status="A700")], "d")
    assert ledger.owners() == []
    assert states(ledger) == {"pacs": State.HELD}


def test_one_instance_received_again_and_again_costs_no_more_each_time(ledger: Ledger) -> None:
    """As a monitor does that sends one image every minute: 20,000 in a fortnight."""
    for first in range(0, 20_000, 1000):
        batch = [instance(number, uid="1.2.3", sha256="a" * 64) for number in range(first, first + 1000)]
        assert ledger.add(batch) == 1000
    assert ledger.totals().conflicts == 0
    ledger.add([instance(30_000, uid="1.2.3", sha256="b" * 64)])
    assert ledger.totals().conflicts == 20_001


def test_a_filter_by_age_means_when_it_was_received(ledger: Ledger) -> None:
    decided(ledger, instance(1), "pacs")
    decided(ledger, instance(500), "pacs")
    older = Filter(received_before=DEFAULT_NOW - 600)
    assert [row.instance_id for row in ledger.deliveries(older)] == [instance(1).id]
    newer = Filter(received_after=DEFAULT_NOW - 600)
    assert [row.instance_id for row in ledger.deliveries(newer)] == [instance(500).id]
    assert ledger.act(Verb.HOLD, older, "anna") == 1
    (entry,) = ledger.journal()
    assert (entry.who, entry.verb, entry.which, entry.changed) == ("anna", "hold", older, 1)
    assert [job.instance for job in ledger.jobs(newer)] == [instance(500)]


def test_every_receipt_of_a_study_is_accounted_for(ledger: Ledger, clock: Clock) -> None:
    other = replace(MADE, target=Target("1.2.840.10008.1.2.4.90"))
    ledger.add([instance(1)])
    ledger.claim_instances("w", 100, 60)
    wanted = (Decision("archive", "grey", MADE.target), Decision("pacs", "grey", other.target))
    assert ledger.judge(Judgement(instance(1), wanted, (MADE, other), summary=SUMMARY), "w")
    decided(ledger, instance(2))  # discarded
    delivered(ledger, "archive")
    ledger.add([instance(3), instance(4, uid="1.2.3.1")])
    ledger.hold_instance(instance(3).id, "no-route")
    study, unknown = (
        ledger.studies("1.2.3.1"),
        [row for row in ledger.studies() if not row.study_instance_uid],
    )
    (row,) = study
    assert (row.received, row.transcoded, row.discarded, row.waiting, row.held) == (2, 1, 1, 0, 0)
    assert row.deliveries == {("archive", "delivered"): 1, ("pacs", "pending"): 1}
    assert (row.conflicts, row.gone) == (1, 0)
    assert (row.first_at, row.last_at) == (DEFAULT_NOW - 999, DEFAULT_NOW - 998)
    (row,) = unknown
    assert (row.received, row.waiting, row.held, row.conflicts) == (2, 1, 1, 1)
    found = ledger.here("", 3)
    assert [one.id for one in found + ledger.here(found[-1].id, 3)] == [instance(n).id for n in (1, 2, 3, 4)]
    assert [one.id for one in ledger.here("", 9, "1.2.3.1")] == [instance(1).id, instance(2).id]


def test_a_delivery_to_no_destination_is_held_until_there_is_one(ledger: Ledger) -> None:
    decided(ledger, instance(1), "archive", "pacs", "telerad")
    ledger.claim_deliveries("telerad", "d", 1, 60)
    assert ledger.strand(("archive",)) == 1  # what is being delivered at this moment is left alone
    held = {row.destination: row.status for row in ledger.deliveries(Filter(state="held"))}
    assert held == {"pacs": "no-destination"}
    assert ledger.strand(("archive", "pacs", "telerad")) == 0
    assert len(ledger.claim_deliveries("pacs", "d", 1, 60)) == 1


def test_what_a_clock_years_ahead_has_put_off_is_due_when_the_clock_is_right(
    ledger: Ledger, clock: Clock
) -> None:
    clock.now += 10 * 365 * 86400
    decided(ledger, instance(1), "archive")
    decided(ledger, instance(2), "pacs")
    ledger.claim_deliveries("pacs", "dead", 1, 60)
    ledger.add([instance(3)])
    ledger.claim_instances("w", 1, 60)
    ledger.put_back(instance(3).id, "w", 30)
    clock.now = DEFAULT_NOW
    assert ledger.rewind() == 4
    assert ledger.rewind() == 0
    assert [job.instance for job in ledger.claim_deliveries("archive", "d", 9, 60)] == [instance(1)]
    assert [job.instance for job in ledger.claim_deliveries("pacs", "d", 9, 60)] == [instance(2)]
    assert [claim.instance for claim in ledger.claim_instances("w", 9, 60)] == [instance(3)]


def test_what_waits_for_its_next_try_is_not_rewound(ledger: Ledger, clock: Clock) -> None:
    decided(ledger, instance(1), "archive")
    (job,) = ledger.claim_deliveries("archive", "d", 1, 60)
    ledger.record([ended(job, State.PENDING, due_at=clock.now + 3600)], "d")
    assert ledger.rewind() == 0


def test_retry_asks_the_rules_again_about_held_instances(ledger: Ledger) -> None:
    ledger.add([instance(1)])
    ledger.claim_instances("w", 1, 60)
    ledger.judge(Judgement(instance(1), held="no-route"), "w")
    assert ledger.act(Verb.RETRY, Filter(sop_instance_uid="1.2.3.1"), "anna") == 1
    assert [claim.tries for claim in ledger.claim_instances("w", 1, 60)] == [1]
    assert ledger.judge(judgement(instance(1), "archive"), "w")


def test_resend_sends_again_what_was_delivered(ledger: Ledger) -> None:
    decided(ledger, instance(1), "archive")
    decided(ledger, instance(2), "archive")
    delivered(ledger, "archive")
    assert ledger.act(Verb.RESEND, Filter(sop_instance_uid="1.2.3.1", destination="archive"), "anna") == 1
    assert [job.instance for job in ledger.claim_deliveries("archive", "d", 5, 60)] == [instance(1)]


def test_resend_is_refused_where_the_bytes_are_going_or_gone(ledger: Ledger, clock: Clock) -> None:
    decided(ledger, instance(1), "archive")
    delivered(ledger, "archive")
    ledger.removable(clock.now + 1, 10)
    assert ledger.act(Verb.RESEND, Filter(), "anna") == 0
    ledger.gone([instance(1).id])
    assert ledger.act(Verb.RESEND, Filter(), "anna") == 0
    assert ledger.claim_deliveries("archive", "d", 5, 60) == []


def test_a_held_instance_is_not_claimed(ledger: Ledger) -> None:
    ledger.add([instance(1)])
    ledger.claim_instances("w", 1, 60)
    ledger.hold_instance(instance(1).id, "damaged")
    assert not ledger.judge(judgement(instance(1), "archive"), "w")
    assert ledger.claim_instances("w", 1, 60) == []
    assert [row.held for row in ledger.held_instances()] == ["damaged"]


def test_lists_are_filtered_and_limited_newest_first(ledger: Ledger) -> None:
    for number in (1, 2, 3):
        decided(ledger, instance(number), "archive", "pacs")
    rows = ledger.deliveries(Filter(destination="pacs", limit=2))
    assert [(row.instance_id[-1], row.destination) for row in rows] == [("3", "pacs"), ("2", "pacs")]
    assert [row.id for row in ledger.deliveries(Filter(ids=(rows[0].id,)))] == [rows[0].id]
    assert len(ledger.deliveries(Filter(study_instance_uid="1.2.3.1"))) == 6
    assert ledger.deliveries(Filter(study_instance_uid="1.2.3")) == []
    assert ledger.deliveries(Filter(state="held")) == []
    assert ledger.deliveries(Filter(state="nonsense")) == []
    assert [row.instance.id[-1] for row in ledger.instances(Filter(state="decided", limit=1))] == ["3"]


def test_a_lossy_copy_is_found_by_its_uid_and_by_the_originals(ledger: Ledger) -> None:
    of = instance(1)
    ledger.add([of])
    ledger.claim_instances("w", 1, 60)
    decisions = (Decision("archive", "r", JPEG_LS), Decision("telerad", "r", LOSSY))
    ledger.judge(Judgement(of, decisions, (MADE, COPY), summary=SUMMARY), "w")
    decided(ledger, instance(2), "archive")

    def found(uid: str, **more: str) -> set[str]:
        return {row.destination for row in ledger.deliveries(Filter(sop_instance_uid=uid, **more))}

    assert found("1.2.3.1") == {"archive", "telerad"}
    assert found("2.25.7") == {"telerad"}
    assert found("2.25.7", destination="archive") == found("2.25.8") == set()
    for uid in ("1.2.3.1", "2.25.7"):
        assert [row.instance for row in ledger.instances(Filter(sop_instance_uid=uid))] == [of]
    assert ledger.instances(Filter(sop_instance_uid="2.25.8")) == []
    delivered(ledger, "archive")
    delivered(ledger, "telerad")
    assert ledger.act(Verb.RESEND, Filter(sop_instance_uid="2.25.7"), "anna") == 1
    assert [job.outcome for job in ledger.claim_deliveries("telerad", "d", 5, 60)] == [COPY]
    assert ledger.claim_deliveries("archive", "d", 5, 60) == []


def test_a_uid_is_found_through_indices(ledger: SqlLedger) -> None:
    query = sa.select(deliveries.c.id).select_from(
        deliveries.join(instances).join(renditions, renditions.c.id == deliveries.c.rendition_id)
    )
    statement = query.where(*lists.matching(Filter(sop_instance_uid="2.25.7")))
    with ledger._database.read() as connection:
        text = statement.compile(connection, compile_kwargs={"literal_binds": True})
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]
    assert any("renditions_by_sop_instance" in step for step in plan), plan
    assert any("instances_by_sop_instance" in step for step in plan), plan
    assert not [step for step in plan if step.startswith("SCAN ") and "SUBQUERY" not in step], plan


def test_what_went_as_the_original_is_shown_so(ledger: Ledger) -> None:
    decided(ledger, instance(1), "telerad", outcome=replace(COPY, detail="in words"))
    (job,) = ledger.claim_deliveries("telerad", "d", 1, 60)
    ledger.record([ended(job, State.DELIVERED, sent_original=True)], "d")
    (row,) = ledger.deliveries(Filter())
    assert (row.sent_original, row.reason_detail) == (True, "in words")


# --- retention ---


def test_bytes_may_go_when_every_delivery_was_done_long_enough_ago(ledger: Ledger, clock: Clock) -> None:
    of = instance(1)
    ledger.add([of])
    ledger.claim_instances("w", 1, 60)
    decisions = (Decision("a", "r", JPEG_LS), Decision("b", "r", AS_RECEIVED))
    ledger.judge(Judgement(of, decisions, (MADE, ORIGINAL)), "w")
    clock.now += 10
    delivered(ledger, "a", at=clock.now)
    assert ledger.removable(clock.now + 1e6, 10) == []
    delivered(ledger, "b", at=clock.now + 5)
    assert ledger.removable(clock.now + 5, 10) == []
    assert ledger.removable(clock.now + 6, 10) == [(of, [JPEG_LS])]
    assert [row.state for row in ledger.instances(Filter())] == ["removable"]


def test_what_is_held_never_goes(ledger: Ledger, clock: Clock) -> None:
    decided(ledger, instance(1), "archive")
    (job,) = ledger.claim_deliveries("archive", "d", 1, 60)
    ledger.record([ended(job, State.HELD)], "d")
    decided(ledger, instance(2), "archive")
    delivered(ledger, "archive")
    ledger.hold_instance(instance(2).id, "damaged")
    ledger.add([instance(3)])
    assert ledger.removable(clock.now + 1e9, 10) == []


def test_what_was_marked_and_is_not_gone_is_returned_again(ledger: Ledger, clock: Clock) -> None:
    for number in (1, 2, 3):
        decided(ledger, instance(number), "archive")
    delivered(ledger, "archive")
    assert len(ledger.removable(clock.now + 1, 2)) == 2
    assert [of for of, _ in ledger.removable(clock.now + 1, 3)] == [instance(1), instance(2), instance(3)]
    ledger.gone([instance(1).id, instance(2).id, instance(3).id])
    assert ledger.removable(clock.now + 1, 3) == []


def test_gone_needs_to_be_marked_first(ledger: Ledger) -> None:
    decided(ledger, instance(1), "archive")
    ledger.gone([instance(1).id])
    assert [row.state for row in ledger.instances(Filter())] == ["decided"]


def test_history_goes_after_its_time_and_takes_everything_with_it(ledger: Ledger, clock: Clock) -> None:
    for number in (1, 2):
        decided(ledger, instance(number), "archive")
    (first, _) = delivered(ledger, "archive")
    ledger.removable(clock.now + 1, 10)
    ledger.gone([instance(1).id])
    clock.now += 100
    ledger.gone([instance(2).id])
    assert ledger.prune(clock.now, 10) == 1
    assert [row.instance for row in ledger.instances(Filter())] == [instance(2)]
    assert len(ledger.deliveries(Filter())) == 1
    assert ledger.attempts(first.id) == []
    assert ledger.prune(clock.now, 10) == 0


def test_totals_count_everything_once(ledger: Ledger, clock: Clock) -> None:
    assert ledger.totals().instances == {}
    assert ledger.totals().bytes_received == 0
    decided(ledger, instance(1), "archive", outcome=MADE)
    clock.now += 5
    decided(ledger, instance(2), "archive", "pacs")
    ledger.add([instance(3), instance(4)])
    ledger.hold_instance(instance(3).id, "damaged")
    (job,) = ledger.claim_deliveries("archive", "d", 1, 60)
    ledger.record([ended(job, State.DELIVERED)], "d")
    totals = ledger.totals()
    assert totals.instances == {"decided": 2, "held": 1, "received": 1}
    assert totals.deliveries == {
        ("archive", "delivered"): 1,
        ("archive", "pending"): 1,
        ("pacs", "pending"): 1,
    }
    assert totals.renditions == COUNTED
    assert (totals.bytes_received, totals.bytes_before, totals.bytes_after) == (4 * 525_000, 524_288, 170_000)
    assert (totals.oldest_pending_at, totals.oldest_kept_at) == (clock.now, DEFAULT_NOW)


# --- several at once ---


def _claim_everything(
    url: str, owner: str, barrier: Callable[[], object], found: "multiprocessing.Queue[object]"
) -> None:
    ledger = open_ledger(url, migrate=False)
    barrier()
    while jobs := ledger.claim_deliveries("archive", owner, 7, 600):
        found.put([job.id for job in jobs])
    claims = ledger.claim_instances(owner, 1000, 600)
    found.put([claim.instance.id for claim in claims])
    found.put(None)
    ledger.close()


def test_two_processes_never_claim_the_same(ledger: Ledger, url: str) -> None:
    many = [instance(number) for number in range(200)]
    ledger.add(many)
    for claim in ledger.claim_instances("w", 200, 60):
        ledger.judge(judgement(claim.instance, "archive"), "w")
    ledger.add([instance(number) for number in range(200, 230)])
    context = multiprocessing.get_context("spawn")
    found, barrier = context.Queue(), context.Barrier(2)
    processes = [
        context.Process(target=_claim_everything, args=(url, f"p{n}", barrier.wait, found)) for n in range(2)
    ]
    for process in processes:
        process.start()
    got: list[object] = []
    alive = 2
    while alive:
        answer = found.get(timeout=60)
        alive -= answer is None
        got += answer or []
    for process in processes:
        process.join(60)
    assert len(got) == len(set(got)) == 230


def test_threads_share_one_ledger(ledger: Ledger) -> None:
    claimed: list[str] = []

    def work_off(name: str) -> None:
        ledger.add([instance(int(name) * 100 + n) for n in range(20)])
        while claims := ledger.claim_instances(name, 3, 60):
            claimed.extend(claim.instance.id for claim in claims)

    threads = [threading.Thread(target=work_off, args=(str(n),)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    claimed += [claim.instance.id for claim in ledger.claim_instances("last", 100, 60)]
    assert sorted(claimed) == sorted(row.instance.id for row in ledger.instances(Filter(limit=1000)))


# --- rebuild ---


def test_a_lost_ledger_is_made_anew_from_the_spool(ledger: Ledger) -> None:
    spool = MemorySpool()
    intake = spool.intake()
    kept = []
    for number in range(3):
        draft = intake.create(instance(number).envelope)
        draft.write(b"\x08\0\x18\0%d" % number)
        kept.append(draft.commit())
    ledger.add(kept[:1])
    assert rebuild(ledger, spool) == 2
    assert rebuild(ledger, spool) == 0
    assert [claim.instance for claim in ledger.claim_instances("w", 10, 60)] == kept


# --- the file ---


@settings(deadline=None)
@given(
    st.builds(
        Target,
        st.none() | st.just("1.2.3"),
        st.lists(
            st.tuples(
                st.text(max_size=9),
                st.text(max_size=9)
                | st.integers(-(2**40), 2**40)
                | st.booleans()
                | st.floats(allow_nan=False)
                | st.lists(st.floats(allow_nan=False), max_size=3).map(tuple)
                | st.lists(st.text(max_size=9), max_size=3).map(tuple),
            ),
            max_size=3,
        ).map(tuple),
        st.floats(0, 1),
    )
)
def test_targets_come_back_equal_and_of_the_same_digest(target: Target) -> None:
    assert to_target(target_text(target)) == target
    assert to_target(target_text(target)).digest == target.digest


def test_the_file_is_for_its_owner_alone(ledger: Ledger, tmp_path: Path) -> None:
    ledger.add([instance(1)])
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("ledger.db*")} == {0o600}


def test_every_connection_is_durable_and_checked(ledger: SqlLedger) -> None:
    with ledger._database.write() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


# --- what peers accept ---


CT = "1.2.840.10008.5.1.4.1.1.2"


def acceptance(syntax: str, accepted: bool, at: float = DEFAULT_NOW, destination: str = "pacs") -> Acceptance:
    return Acceptance(destination, CT, syntax, accepted, at)


def test_the_last_answer_to_each_syntax_is_remembered(ledger: Ledger) -> None:
    ledger.learn([acceptance(EXPLICIT, True), acceptance("1.2.840.10008.1.2.5", False)])
    ledger.learn([acceptance(EXPLICIT, False, DEFAULT_NOW + 5), acceptance(EXPLICIT, True, destination="x")])
    assert ledger.learnt(0.0) == [
        acceptance(EXPLICIT, False, DEFAULT_NOW + 5),
        acceptance("1.2.840.10008.1.2.5", False),
        acceptance(EXPLICIT, True, destination="x"),
    ]


def test_what_was_learnt_too_long_ago_does_not_count(ledger: Ledger) -> None:
    ledger.learn([acceptance(EXPLICIT, False, DEFAULT_NOW - 10), acceptance("1.2.840.10008.1.2", True)])
    assert ledger.learnt(DEFAULT_NOW - 5) == [acceptance("1.2.840.10008.1.2", True)]
    ledger.prune(DEFAULT_NOW - 5, 10)
    assert ledger.learnt(0.0) == [acceptance("1.2.840.10008.1.2", True)]


def refused(ledger: Ledger, destination: str) -> Job:
    """A delivery to it has just found out that another rendition would be taken."""
    (job,) = ledger.claim_deliveries(destination, "d", 100, 60)
    attempt = ended(job, State.HELD, status="no-context", detail="proposed: that; accepted: this", anew=True)
    ledger.record([attempt], "d")
    return job


def only(of: Judgement, *destinations: str) -> Judgement:
    decisions = tuple(replace(each, instead="it takes no other") for each in of.decisions)
    return replace(of, decisions=decisions, only=destinations)


def test_what_takes_another_rendition_is_decided_anew_alone(ledger: Ledger) -> None:
    decided(ledger, instance(1), "archive", "pacs", "later", "refusing", "held")
    delivered(ledger, "archive")
    (job,) = ledger.claim_deliveries("refusing", "d", 5, 60)
    ledger.record([ended(job, State.HELD, status="A900")], "d")
    ledger.act(Verb.HOLD, Filter(destination="held"), "somebody")
    before = {row.destination: row for row in ledger.deliveries(Filter())}
    refused(ledger, "pacs")
    (claim,) = ledger.claim_instances("w", 5, 60)
    assert (claim.instance, claim.only) == (instance(1), ("pacs",))
    assert ledger.judge(only(judgement(instance(1), "pacs", outcome=MADE), "pacs"), "w")
    after = {row.destination: row for row in ledger.deliveries(Filter())}
    changed = after.pop("pacs")
    assert (changed.state, changed.transfer_syntax, changed.instead) == (
        State.PENDING,
        MADE.transfer_syntax,
        "it takes no other",
    )
    assert all(after[name] == before[name] for name in after)
    assert [row.state for row in ledger.instances(Filter())] == ["decided"]
    assert ledger.claim_instances("w", 5, 60) == []


def test_tries_go_on_counting_after_it(ledger: Ledger) -> None:
    decided(ledger, instance(1), "pacs")
    refused(ledger, "pacs")
    ledger.claim_instances("w", 5, 60)
    ledger.judge(only(judgement(instance(1), "pacs", outcome=MADE), "pacs"), "w")
    (job,) = ledger.claim_deliveries("pacs", "d", 5, 60)
    assert (job.tries, job.outcome) == (1, MADE)
    assert [attempt.status for attempt in ledger.attempts(job.id)] == ["no-context"]
    ledger.record([ended(job, State.HELD, status="no-context")], "d")
    assert ledger.claim_instances("w", 5, 60) == [], "once is enough"
    ledger.act(Verb.REDECIDE, Filter(ids=(job.id,)), "somebody")
    (claim,) = ledger.claim_instances("w", 5, 60)
    assert claim.only == ()
    ledger.judge(judgement(instance(1), "pacs"), "w")
    (job,) = ledger.claim_deliveries("pacs", "d", 5, 60)
    assert job.tries == 0, "a person begins anew"


def test_two_that_ask_one_after_the_other_are_both_decided(ledger: Ledger) -> None:
    decided(ledger, instance(1), "pacs", "other")
    refused(ledger, "pacs")
    (claim,) = ledger.claim_instances("w", 5, 60)
    assert claim.only == ("pacs",)
    refused(ledger, "other")  # while the first is decided
    ledger.judge(only(judgement(instance(1), "pacs", outcome=MADE), "pacs"), "w")
    assert states(ledger) == {"pacs": State.PENDING, "other": State.HELD}
    (claim,) = ledger.claim_instances("w", 5, 60)
    assert claim.only == ("other",)
    ledger.judge(only(judgement(instance(1), "other", outcome=MADE), "other"), "w")
    assert states(ledger) == {"pacs": State.PENDING, "other": State.PENDING}
    assert ledger.claim_instances("w", 5, 60) == []


def test_what_the_rules_no_longer_send_there_stays_held_and_says_so(ledger: Ledger) -> None:
    decided(ledger, instance(1), "pacs")
    refused(ledger, "pacs")
    ledger.claim_instances("w", 5, 60)
    ledger.judge(Judgement(instance(1), only=("pacs",)), "w")
    (row,) = ledger.deliveries(Filter())
    assert (row.state, row.status) == (State.HELD, "no-longer-routed")
    assert "accepted: this" in row.detail
    assert "no longer send it there" in row.detail
    assert ledger.claim_instances("w", 5, 60) == []


def test_who_lost_the_lease_has_nothing_decided_anew(ledger: Ledger, clock: Clock) -> None:
    decided(ledger, instance(1), "pacs")
    (job,) = ledger.claim_deliveries("pacs", "d", 5, 60)
    clock.now += 100
    ledger.claim_deliveries("pacs", "another", 5, 60)
    ledger.record([ended(job, State.HELD, status="no-context", anew=True)], "d")
    assert states(ledger) == {"pacs": State.PENDING}
    assert ledger.claim_instances("w", 5, 60) == []


def test_where_a_person_wants_it_decided_anew_too_it_is_for_all(ledger: Ledger) -> None:
    decided(ledger, instance(1), "pacs", "other")
    (job,) = ledger.claim_deliveries("pacs", "d", 5, 60)
    ledger.act(Verb.REDECIDE, Filter(destination="other"), "somebody")
    ledger.record([ended(job, State.HELD, status="no-context", anew=True)], "d")
    (claim,) = ledger.claim_instances("w", 5, 60)
    assert claim.only == ()
    ledger.judge(judgement(instance(1), "pacs", "other", outcome=MADE), "w")
    assert states(ledger) == {"pacs": State.PENDING, "other": State.PENDING}


def test_a_ledger_of_the_schema_before_keeps_its_deliveries(url: str, clock: Clock) -> None:
    ledger = SqlLedger(open_database(url, migrate=True), clock)
    decided(ledger, instance(1), "pacs")
    ledger.close()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for table in ("acceptances", "commitment_items", "commitments"):
            connection.execute(sa.text(f"DROP TABLE {table}"))
        connection.execute(sa.text("DROP INDEX deliveries_uncommitted"))
        for column in ("instead", "member", "place", "commit_due_at"):
            connection.execute(sa.text(f"ALTER TABLE deliveries DROP COLUMN {column}"))
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0003'"))
    engine.dispose()
    ledger = SqlLedger(open_database(url, migrate=True), clock)
    assert [row.instead for row in ledger.deliveries(Filter())] == [""]
    assert ledger.learnt(0.0) == []
    ledger.learn([acceptance(EXPLICIT, True)])
    ledger.close()


def test_migrations_make_exactly_the_tables_that_are_used(ledger: SqlLedger) -> None:
    made = sa.create_engine("sqlite://")
    metadata.create_all(made)

    def schema(connection: sa.Connection) -> list[object]:
        query = "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name"
        inspector = sa.inspect(connection)
        tables = sorted(set(inspector.get_table_names()) - {"alembic_version"})
        return [
            *(" ".join(sql.split()) for sql in connection.exec_driver_sql(query).scalars()),
            *((name, str(inspector.get_columns(name))) for name in tables),
            *((name, inspector.get_foreign_keys(name)) for name in tables),
            *((name, inspector.get_unique_constraints(name)) for name in tables),
        ]

    with made.connect() as expected, ledger._database.read() as found:
        assert schema(found) == schema(expected)


def test_a_ledger_of_the_first_schema_keeps_its_rows(url: str, tmp_path: Path, clock: Clock) -> None:
    first = sa.create_engine(url)
    with first.begin() as connection:
        schema.upgrade(connection, "0001")
        made = {"target_text": target_text(JPEG_LS), "digest": JPEG_LS.digest}
        values = {**instance_values(instance(1)), "state": "decided", "decided_at": DEFAULT_NOW}
        names = ", ".join(values)
        connection.execute(
            sa.text(f"INSERT INTO instances ({names}) VALUES ({', '.join(f':{n}' for n in values)})"), values
        )
        connection.execute(
            sa.text(
                "INSERT INTO renditions VALUES (7, :id, :digest, :target_text, 'ready', :syntax, 180000, :sha, '', "
                "'', 'pixels', :codec, 1, 524288, 170000, 1.0)"
            ),
            {
                **made,
                "id": instance(1).id,
                "codec": MADE.codec,
                "syntax": MADE.transfer_syntax,
                "sha": "c" * 64,
            },
        )
        connection.execute(
            sa.text(
                "INSERT INTO deliveries VALUES (5, :id, 7, 'archive', 'r', 'pending', '', '', 0, 0, 1.0, 1.0, NULL, "
                "NULL, 0.0)"
            ),
            {"id": instance(1).id},
        )
    first.dispose()
    with pytest.raises(Permanent, match="older"):
        open_ledger(url, migrate=False)
    ledger = SqlLedger(open_database(url, migrate=True), clock)
    assert [row.instance for row in ledger.instances(Filter())] == [instance(1)]
    (job,) = ledger.claim_deliveries("archive", "d", 5, 60)
    assert (job.id, job.outcome) == (5, MADE)
    (row,) = ledger.deliveries(Filter())
    assert (row.lossy, row.sent_original) == (None, False)
    assert ledger.totals().renditions == {("1.2.840.10008.1.2.4.80", "", "pixels"): 1}
    decided(ledger, instance(2), "telerad", outcome=COPY)
    ledger.close()
    open_ledger(url, migrate=False).close()


def test_the_migrations_speak_postgresql_too() -> None:
    """Nothing here reaches a server: what would be sent is written down, and nothing of it is SQLite's alone."""
    import io

    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    from venturi.ledger.migrations.versions import v0001_first, v0002_lossy, v0003_groups, v0004_acceptances

    text = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": text}
    )
    with Operations.context(context):
        v0001_first.upgrade()
        v0002_lossy.upgrade()
        v0003_groups.upgrade()
        v0004_acceptances.upgrade()
    said = text.getvalue()
    assert "ALTER TABLE renditions ADD COLUMN hold BOOLEAN DEFAULT false NOT NULL" in said
    assert "ALTER TABLE renditions ADD COLUMN lossy_psnr_db DOUBLE PRECISION" in said
    assert "WHERE lossy_sop_instance_uid IS NOT NULL" in said
    assert "ALTER TABLE deliveries ADD COLUMN instead TEXT DEFAULT '' NOT NULL" in said


def test_the_last_migration_is_the_one_this_version_works_with() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    import venturi.ledger

    config = Config()
    config.set_main_option("script_location", str(Path(venturi.ledger.__file__).parent / "migrations"))
    script = ScriptDirectory.from_config(config)
    assert [step.revision for step in script.walk_revisions()][::-1] == list(REVISIONS)


def test_a_newer_ledger_is_refused_and_not_touched(url: str, tmp_path: Path) -> None:
    open_ledger(url, migrate=True).close()
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = (tmp_path / "ledger.db").read_bytes()
    for migrate in (True, False):
        with pytest.raises(LedgerNewer, match="9999"):
            open_ledger(url, migrate=migrate)
    assert (tmp_path / "ledger.db").read_bytes() == before


def test_a_missing_or_empty_ledger_is_made_only_when_asked(url: str, tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="venturi run"):
        open_ledger(url, migrate=False)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "ledger.db").touch()
    with pytest.raises(Permanent, match="venturi run"):
        open_ledger(url, migrate=False)
    open_ledger(url, migrate=True).close()
    open_ledger(url, migrate=False).close()


def test_a_strangers_database_is_refused(url: str, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("CREATE TABLE patients (name)")
    connection.close()
    with pytest.raises(Permanent, match="not a ledger"):
        open_ledger(url, migrate=True)


def test_a_file_that_is_no_database_is_permanent(url: str, tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(Permanent, match="refuses"):
        open_ledger(url, migrate=True)


@pytest.mark.parametrize("url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "mysql://host/db"])
def test_only_files_are_ledgers(url: str) -> None:
    with pytest.raises(Permanent, match="sqlite:////path"):
        open_ledger(url, migrate=True)


def test_a_locked_ledger_is_temporary(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("venturi.ledger.database._BUSY_S", 0.05)
    ledger = open_ledger(url, migrate=True)
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Temporary, match="locked"):
        ledger.add([instance(1)])
    other.execute("COMMIT")
    assert ledger.add([instance(1)]) == 1
    other.close()


def test_readers_wait_for_no_writer(ledger: Ledger, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert ledger.totals().instances == {}
    assert ledger.claim_instances("w", 1, 60) == []
    other.execute("COMMIT")
    other.close()


def test_what_people_did_is_in_the_journal(ledger: Ledger, tmp_path: Path) -> None:
    ledger.act(Verb.RETRY, Filter(destination="archive"), "anna")
    ledger.act(Verb.RESEND, Filter(), "ben")
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        rows = connection.execute("SELECT at, who, verb, what FROM journal ORDER BY id").fetchall()
    connection.close()
    assert [row[:3] for row in rows] == [(DEFAULT_NOW, "anna", "retry"), (DEFAULT_NOW, "ben", "resend")]
    assert '"destination": "archive"' in rows[0][3]
