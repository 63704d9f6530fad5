"""Judging and looking: what one request, one file or one folder does to the others, and when a yes is said."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conformance.test_ledger import instance
from conformance.test_ledger_commitments import sent
from unit.test_promise import CT, FOLDER, LOSSLESS, copy, kept
from venturi.config.schema import Config
from venturi.deliver import commitment_scp, reread
from venturi.deliver.commitment_scp import Answering
from venturi.deliver.commitment_scu import Asking
from venturi.deliver.dicom_scu import NotAssociated
from venturi.deliver.promise import Keeping
from venturi.deliver.reread import Where
from venturi.deliver.wire import Lost
from venturi.deliver_role import Places
from venturi.ledger import commitments_of_peers as commitments
from venturi.ledger.port import Commitment, Copy, Filter, Kept, Uncommitted
from venturi.ledger.sql import SqlLedger, open_ledger
from venturi.model import CommitmentRequest, CommitmentResult, Outcome, Reference

FIRST, SECOND = Reference(CT, "1.1"), Reference(CT, "1.2")


def request(*references: tuple[Reference, int | None], number: int = 1, until: float = 1e12) -> Commitment:
    numbered = tuple((10 * number + at, *each) for at, each in enumerate(references))
    made = Commitment(number, "1.9", "", "ct", "CT1", "VENTURI", "open", time.time(), until, 0, "")
    return replace(made, references=numbered)


class Known:
    """A ledger with some requests."""

    def __init__(self, *requests: Commitment, kept: Callable[[str], Sequence[Kept]]) -> None:
        self.requests, self._kept = list(requests), kept
        self.said: list[tuple[int, dict[int, int]]] = []
        self.looked = 0

    def kept(self, uids: Sequence[str]) -> dict[str, list[Kept]]:
        return {uid: list(self._kept(uid)) for uid in uids}

    def to_judge(self, limit: int) -> list[Commitment]:
        judged = {number for number, _ in self.said}
        return [each for each in self.requests if each.id not in judged][:limit]

    def judged(self, commitment: int, reasons: Mapping[int, int], due_at: float) -> bool:
        self.said.append((commitment, dict(reasons)))
        return True

    def claim_reports(self, *_: object) -> list[Commitment]:
        self.looked += 1
        return []


def answering(known: Any, where: Callable[[str, str], Where]) -> Answering:
    return Answering(SimpleNamespace(commitments=known), where, None, "here/")  # type: ignore[arg-type]  # as much as it uses


class Looked(Where):
    """A folder that is looked into without files."""

    files: dict[str, str | None] = {}  # noqa: RUF012  # each test has its own
    read: list[str] = []  # noqa: RUF012

    def absent(self) -> bool:
        return False

    def look(self, place: str, outcome: Outcome) -> str | None:
        self.read.append(place)
        return self.files.get(place, "")


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> type[Looked]:
    monkeypatch.setattr(Looked, "files", {})
    monkeypatch.setattr(Looked, "read", [])
    return Looked


def test_a_yes_is_found_out_in_one_pass_when_nothing_waits(looked: type[Looked]) -> None:
    """What is safe now may not be when the others are; and no file is read before that."""
    states = {"1.1": "delivered", "1.2": "pending"}
    known = Known(kept=lambda uid: [kept(copy(FOLDER, states[uid]))])
    judging = answering(known, lambda *_: looked(Keeping.AS_FILE))
    both = request((FIRST, None), (SECOND, None))
    judging._judge(both)
    assert (known.said, looked.read) == ([(1, {})], [])
    states["1.2"] = "delivered"
    judging._judge(both)
    assert known.said[-1] == (1, {10: 0, 11: 0})
    assert len(looked.read) == 2


def test_a_failure_stands_at_once_and_the_others_go_on(looked: type[Looked]) -> None:
    states = {"1.1": "dropped", "1.2": "pending"}
    known = Known(kept=lambda uid: [kept(copy(FOLDER, states[uid]))])
    judging = answering(known, lambda *_: looked(Keeping.AS_FILE))
    judging._judge(request((FIRST, None), (SECOND, None)))
    assert known.said == [(1, {10: 0x0110})]
    judging._judge(request((FIRST, 0x0110), (SECOND, None), until=0.0))
    assert known.said[-1] == (1, {11: 0x0110}), "not safe in time"


def test_what_was_committed_is_looked_at_again_with_the_rest(looked: type[Looked]) -> None:
    looked.files["a/b.dcm"] = "the file is not there"
    known = Known(kept=lambda _: [kept(copy(FOLDER, "delivered"))])
    answering(known, lambda *_: looked(Keeping.AS_FILE))._judge(request((FIRST, 0), (SECOND, 0)))
    assert known.said == [(1, {10: 0x0110, 11: 0x0110})]


def test_what_can_not_be_read_now_is_not_said(looked: type[Looked]) -> None:
    looked.files["a/b.dcm"] = None
    known = Known(kept=lambda _: [kept(copy(FOLDER, "delivered"))])
    answering(known, lambda *_: looked(Keeping.AS_FILE))._judge(request((FIRST, None)))
    assert known.said == [(1, {})]


def test_one_request_that_can_not_be_judged_keeps_no_other_from_being_judged_or_told() -> None:
    def of(uid: str) -> list[Kept]:
        if uid == "1.1":
            raise ValueError("whatever raises each time")
        return []

    known = Known(request((FIRST, None)), request((SECOND, None), number=2), kept=of)
    judging = answering(known, lambda *_: Where(Keeping.NOT))
    judging.start()
    until = time.monotonic() + 10
    while len(known.said) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    judging.stop()
    judging.join()
    assert known.said == [(1, {}), (2, {20: 0x0112})]
    assert known.looked


# --- groups ---


@pytest.fixture
def places(tmp_path: Path) -> Places:
    peers = {name: {"ae_title": [name.upper()], "host": "127.0.0.1"} for name in ("one", "two")}
    destinations = {
        "one": {"dicom": "one", "commit": "true"},
        "two": {"dicom": "two"},
        "both": {"first_of": ["one", "two"]},
        "neither": {"first_of": ["two", "viewer"]},
        "viewer": {"dicom": "two"},
        FOLDER: {"folder": str(tmp_path)},
    }
    return Places(Config.model_validate({"peers": peers, "destinations": destinations}))


def test_what_waits_for_a_group_waits_if_any_of_it_keeps(places: Places) -> None:
    assert places.where("both", "").keeping is Keeping.OPEN
    assert places.where("both", "one").keeping is Keeping.BY_PEER
    assert places.where("both", "two").keeping is Keeping.NOT
    assert places.where("neither", "").keeping is Keeping.NOT
    assert places.where("no longer there", "").keeping is Keeping.NOT
    known = Known(kept=lambda _: [kept(copy("one", "committed"), replace(copy("both", "pending"), place=""))])
    answering(known, places.where)._judge(request((FIRST, None)))
    assert known.said == [(1, {})]


@pytest.mark.parametrize("others", [(), (copy("one", "committed"),)])
def test_who_of_a_group_did_not_take_it_does_not_keep_it(places: Places, others: tuple[Copy, ...]) -> None:
    """After a try its delivery names a member, and still waits for any of them."""
    waits = replace(copy("both", "pending"), place="", member="two")
    known = Known(kept=lambda _: [kept(*others, waits)])
    answering(known, places.where)._judge(request((FIRST, None)))
    assert known.said == [(1, {})]


# --- who is told ---


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqlLedger]:
    """With two files that peers have asked about; and a second is a minute."""
    monkeypatch.setattr(commitments, "SETTLE_S", 0.0)
    monkeypatch.setattr(commitments, "FRESH_S", 0.5)
    monkeypatch.setattr(commitment_scp, "SAME_S", 0.025)
    monkeypatch.setattr(commitment_scp, "QUICK_S", 0.01)
    ledger = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}", migrate=True)
    for number, peer in ((1, "off"), (2, "ct")):
        sent(ledger, instance(number), FOLDER, place="a/b.dcm", commit_due_at=None)
        asked = CommitmentRequest("1.9", (Reference(CT, f"1.2.3.{number}"),))
        ledger.commitments.requested(asked, peer, "CT1", "VENTURI", time.time() + 3600)
    yield ledger
    ledger.close()


def telling(
    ledger: SqlLedger, where: Where, tell: Callable[[Commitment], int], until: Callable[[], bool]
) -> None:
    """Judge and tell for a while."""
    talk = SimpleNamespace(tell=tell)
    judging = Answering(ledger, lambda *_: where, talk, "here/")  # type: ignore[arg-type]  # as much as it uses
    judging.start()
    end = time.monotonic() + 20
    while not until() and time.monotonic() < end:
        time.sleep(0.02)
    judging.stop()
    judging.join()


def test_what_takes_longer_to_judge_than_a_yes_is_fresh_is_told(
    ledger: SqlLedger, looked: type[Looked]
) -> None:
    class Slow(looked):  # type: ignore[misc, valid-type]  # that of this test
        def look(self, place: str, outcome: Outcome) -> str | None:
            time.sleep(0.6)
            return ""

    told: list[str] = []

    def tell(commitment: Commitment) -> int:
        told.append(commitment.peer)
        return 0

    telling(ledger, Slow(Keeping.AS_FILE), tell, lambda: len(told) == 2)
    assert sorted(told) == ["ct", "off"]


def test_no_yes_grows_old_while_who_is_off_is_called(
    ledger: SqlLedger, looked: type[Looked], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commitment_scp, "TELLERS", 1)
    monkeypatch.setattr(commitment_scp, "LEASE_S", 2.0)
    told: list[CommitmentResult] = []

    def tell(commitment: Commitment) -> int:
        if commitment.peer == "off":
            time.sleep(1.0)
            looked.files["a/b.dcm"] = "the file is not there"
            time.sleep(2.0)
            raise NotAssociated("unreachable", "nobody is there")
        told.append(commitment.result)
        return 0

    until = time.monotonic() + 6
    telling(ledger, looked(Keeping.AS_FILE), tell, lambda: time.monotonic() > until)
    assert [len(result.failed) for result in told] == [1], "once, and as it is now"


def test_who_told_the_first_answer_ends_nothing_of_the_second(
    ledger: SqlLedger, looked: type[Looked]
) -> None:
    """A peer that hears slowly has asked again meanwhile, and does not hear the second."""
    again, began = CommitmentRequest("1.9", (Reference(CT, "1.2.3.2"),)), threading.Event()
    calls: list[str] = []

    def tell(commitment: Commitment) -> int:
        if commitment.peer == "off":
            return 0
        calls.append(commitment.peer)
        if len(calls) == 1:
            ledger.commitments.requested(again, "ct", "CT1", "VENTURI", time.time() + 3600)
            assert began.wait(10)
        elif len(calls) == 2:
            began.set()
            time.sleep(1.0)
            raise Lost("aborted", "the peer aborted")
        return 0

    telling(ledger, looked(Keeping.AS_FILE), tell, lambda: len(calls) == 3)
    assert len(calls) == 3


# --- asking ---


@pytest.mark.parametrize("aborts", [False, True])
def test_one_instance_that_a_peer_can_not_bear_keeps_no_other_waiting(
    ledger: SqlLedger, *, aborts: bool
) -> None:
    numbers = [sent(ledger, instance(number), commit_due_at=1.0) for number in range(3, 13)]

    def ask(_destination: str, _member: str, request: CommitmentRequest, take: Callable[..., int]) -> int:
        if any(reference.sop_instance_uid == "1.2.3.7" for reference in request.references):
            if aborts:
                raise Lost("aborted", "the peer aborted")
            return 0x0110
        return take(CommitmentResult(request.transaction_uid, request.references))

    talk: Any = SimpleNamespace(ask=ask)
    asking = Asking("pacs", ledger, lambda *_: Where(Keeping.BY_PEER, peer="pacs"), talk, 3600)
    for _ in range(20):
        asking._until.clear()  # time passes
        asking._once()
    rows = ledger.deliveries(Filter(ids=tuple(numbers)))
    assert [row.id for row in rows if row.state == "delivered"] == [numbers[4]]


def test_a_member_that_is_off_keeps_no_other_waiting(ledger: SqlLedger) -> None:
    for number in range(3, 13):
        sent(ledger, instance(number), "both", commit_due_at=1.0, member="off" if number < 12 else "there")
    asked: list[str] = []

    def ask(_destination: str, member: str, request: CommitmentRequest, take: Callable[..., int]) -> int:
        asked.append(member)
        if member == "off":
            raise NotAssociated("unreachable", "nobody is there")
        return take(CommitmentResult(request.transaction_uid, request.references))

    talk: Any = SimpleNamespace(ask=ask)
    asking = Asking("both", ledger, lambda _, member: Where(Keeping.BY_PEER, peer=member), talk, 3600)
    asking._at_once = 3
    waits = [asking._once() for _ in range(3)]
    assert asked == ["off", "there"]
    assert waits[:2] == [0, 0]
    assert waits[2] > 0, "until it is called again"


# --- files ---


class Due:
    """Deliveries whose files are to be read."""

    def __init__(self, count: int, *, conflict: bool = False) -> None:
        one = kept(copy(FOLDER, "delivered"))
        self.left = {
            number: Uncommitted(
                replace(copy(FOLDER, "delivered"), delivery=number, place=f"{number}.dcm"),
                one.instance,
                FIRST,
                conflict,
            )
            for number in range(count)
        }
        self.off: dict[int, float | None] = {}
        self.ended: dict[int, str] = {}

    def uncommitted(self, destination: str, limit: int, off: Sequence[str]) -> list[Uncommitted]:
        return list(self.left.values())[:limit]

    def verified(self, ended: Mapping[int, str], looked_at: float, retry_at: float) -> None:
        self.ended |= ended
        self._take(ended)

    def put_off(self, numbers: Sequence[int], due_at: float | None) -> None:
        self.off |= dict.fromkeys(numbers, due_at)
        self._take(numbers)

    def _take(self, numbers: Any) -> None:
        for number in numbers:
            del self.left[number]


def asking(known: Due, where: Where) -> Asking:
    return Asking(FOLDER, SimpleNamespace(commitments=known), lambda *_: where, None, 60)  # type: ignore[arg-type]  # as much as it uses


def test_a_file_that_can_not_be_read_keeps_no_other_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def holds(path: Path, outcome: Outcome, *, from_disk: bool) -> bool:
        if path.name == "0.dcm":
            raise OSError(errno.EIO, "Input/output error")
        return outcome == LOSSLESS

    monkeypatch.setattr(reread, "holds", holds)
    known = Due(5)
    asking(known, Where(Keeping.AS_FILE, tmp_path))._once()
    assert known.ended == {1: "", 2: "", 3: "", 4: ""}
    assert list(known.off) == [0]
    assert known.off[0] is not None


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.dcm")
    assert Where(Keeping.AS_FILE, tmp_path).look("a.dcm", LOSSLESS) is None


def test_what_was_replaced_by_other_bytes_of_its_uid_stays_and_is_asked_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reread, "holds", lambda *_, **__: False)
    known = Due(1, conflict=True)
    asking(known, Where(Keeping.AS_FILE, tmp_path))._once()
    assert (known.ended, known.off) == ({}, {0: None})
    known = Due(1)
    asking(known, Where(Keeping.AS_FILE, tmp_path))._once()
    assert known.ended == {0: reread.OTHER}


def test_a_folder_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    for where in (Where(Keeping.AS_FILE, tmp_path / "gone"), Where(Keeping.AS_FILE, tmp_path, tmp_path)):
        known = Due(2)
        asking(known, where)._once()
        assert known.ended == {}
        assert None not in known.off.values()
        assert where.look("a.dcm", LOSSLESS) is None
    assert Where(Keeping.AS_FILE, tmp_path).look("a.dcm", LOSSLESS) == "the file is not there"


def test_a_folder_that_hangs_is_waited_for_once() -> None:
    answers, asked_for = threading.Event(), list[str]()

    class Hangs(Where):
        def look(self, place: str, outcome: Outcome) -> str | None:
            asked_for.append(place)
            answers.wait(30)
            return ""

    reader = reread.Reader(patience_s=0.05)
    hangs, other = Hangs(Keeping.AS_FILE, Path("/mnt/nas")), Looked(Keeping.AS_FILE, Path("/archive"))
    assert [reader.look(hangs, place, LOSSLESS) for place in ("a", "b")] == [None, None]
    assert asked_for == ["a"], "who hangs is not joined by others"
    assert reader.look(other, "c", LOSSLESS) == ""
    answers.set()
    end = time.monotonic() + 10
    while reader.look(hangs, "d", LOSSLESS) is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert asked_for == ["a", "d"]
