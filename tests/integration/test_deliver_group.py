"""Groups of destinations: the first that works, or spread by study; a study stays together."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread

from integration.nodes import Node as RunningNode
from integration.nodes import config_text, running, venturi
from integration.peers import free_port, run, sample, storescp
from venturi.deliver.breaker import Breaker
from venturi.deliver.group import Group
from venturi.deliver.port import Ending, Parcel, Receipt
from venturi.deliver.retry import Backoff
from venturi.ledger.sql import SqlLedger, open_ledger
from venturi.model import AS_RECEIVED, Envelope, Instance, Outcome

ENVELOPE = Envelope("1.2", "1.2.3", "1.2.840.10008.1.2.1", "CT1", "VENTURI", "ct", "127.0.0.1", 1.0)


class Member:
    """A destination that answers as it is told."""

    def __init__(self) -> None:
        self.answer = Receipt(0, Ending.DELIVERED, "0000")
        self.got: list[str] = []

    def deliver(self, parcels: Sequence[Parcel]) -> Iterator[Receipt]:
        for parcel in parcels:
            self.got.append(parcel.study)
            yield replace(self.answer, delivery=parcel.delivery)

    def probe(self) -> str:
        return "" if self.answer.ending is Ending.DELIVERED else "not there"

    def rest(self) -> None:
        pass

    def close(self) -> None:
        pass


class Made:
    """A group of three."""

    def __init__(self, ledger: SqlLedger, *, spread: bool) -> None:
        self.members = {name: Member() for name in "abc"}
        never_again = Backoff(first_s=1000, ceiling_s=1000)
        self.breakers = {name: Breaker(name, never_again) for name in self.members}
        self.group = Group("group", self.members, self.breakers, ledger, spread=spread)

    def deliver(self, *studies: str) -> list[Receipt]:
        instance = Instance("0" * 32, "a" * 64, 100, ENVELOPE)
        outcome = Outcome(AS_RECEIVED, ENVELOPE.transfer_syntax, 100, "a" * 64)
        parcels = [
            Parcel(number, instance, outcome, Path("x"), Path("x"), study)
            for number, study in enumerate(studies)
        ]
        receipts = list(self.group.deliver(parcels))
        assert sorted(receipt.delivery for receipt in receipts) == list(range(len(studies)))
        return receipts

    def got(self) -> dict[str, list[str]]:
        return {name: member.got for name, member in self.members.items()}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    made = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}", migrate=True)
    yield made
    made.close()


DOWN = Receipt(0, Ending.LATER, "unreachable", there=False)


def test_the_first_that_works_gets_all(ledger: SqlLedger) -> None:
    made = Made(ledger, spread=False)
    assert all(one.ending is Ending.DELIVERED and one.detail == "a" for one in made.deliver("1", "2"))
    assert made.got() == {"a": ["1", "2"], "b": [], "c": []}


def test_when_one_is_down_the_next_gets_it_and_the_one_is_left_alone(ledger: SqlLedger) -> None:
    made = Made(ledger, spread=False)
    made.members["a"].answer = DOWN
    assert {one.detail for one in made.deliver("1", "2")} == {"b"}
    made.deliver("3")
    assert made.got() == {"a": ["1", "2"], "b": ["1", "2", "3"], "c": []}


def test_one_that_is_back_is_so_though_its_batch_is_given_back(ledger: SqlLedger) -> None:
    """As that of a slow one is, and its generator closed."""
    made = Made(ledger, spread=False)
    for breaker in made.breakers.values():
        breaker.failed("unreachable")
    instance = Instance("0" * 32, "a" * 64, 100, ENVELOPE)
    outcome = Outcome(AS_RECEIVED, ENVELOPE.transfer_syntax, 100, "a" * 64)
    parcels = [Parcel(number, instance, outcome, Path("x"), Path("x"), "1") for number in (1, 2)]
    with contextlib.closing(made.group.deliver(parcels)) as receipts:  # type: ignore[type-var]  # it is a generator
        assert next(receipts).ending is Ending.DELIVERED
    assert made.breakers["a"].closed


def test_a_study_stays_with_the_member_that_has_it_beyond_a_restart(ledger: SqlLedger) -> None:
    made = Made(ledger, spread=False)
    made.members["a"].answer = DOWN
    made.deliver("1")
    again = Made(ledger, spread=False)
    again.deliver("1", "2")
    assert again.got() == {"a": ["2"], "b": ["1"], "c": []}


def test_spreading_is_even_and_by_study(ledger: SqlLedger) -> None:
    made = Made(ledger, spread=True)
    studies = [f"1.2.{number}" for number in range(60)]
    made.deliver(*studies, *studies)
    for got in made.got().values():
        assert 10 <= len(set(got)) <= 30
        assert all(got.count(study) == 2 for study in got)


def test_when_all_are_down_it_is_later_and_said_why(ledger: SqlLedger) -> None:
    made = Made(ledger, spread=True)
    for member in made.members.values():
        member.answer = DOWN
    (receipt,) = made.deliver("1")
    assert (receipt.ending, receipt.status) == (Ending.LATER, "unreachable")
    assert made.group.probe() == "a: not there; b: not there; c: not there"
    made.members["b"].answer = Receipt(0, Ending.DELIVERED)
    assert made.group.probe() == ""


def test_what_a_member_answers_about_an_object_is_the_answer(ledger: SqlLedger) -> None:
    made = Made(ledger, spread=False)
    made.members["a"].answer = Receipt(0, Ending.REFUSED, "A900")
    (receipt,) = made.deliver("1")
    assert (receipt.ending, receipt.status, receipt.detail) == (Ending.REFUSED, "A900", "a")
    assert made.got() == {"a": ["1"], "b": [], "c": []}


def test_a_member_that_takes_nothing_has_its_turn_later(ledger: SqlLedger) -> None:
    made = Made(ledger, spread=False)
    made.members["a"].answer = Receipt(0, Ending.LATER, "A700")
    (receipt,) = made.deliver("1")
    assert (receipt.ending, receipt.status) == (Ending.LATER, "A700")
    assert made.got()["b"] == [], "not yet: it may have been only this object"
    (receipt,) = made.deliver("1")
    assert (receipt.ending, receipt.detail) == (Ending.DELIVERED, "b")


def test_outside_its_hours_a_member_gets_nothing(ledger: SqlLedger) -> None:
    made = Made(ledger, spread=False)
    made.group = Group("group", made.members, made.breakers, ledger, lambda name: name == "c", spread=False)
    (receipt,) = made.deliver("1")
    assert (receipt.ending, receipt.detail) == (Ending.DELIVERED, "c")
    made.members["c"].answer = DOWN
    (receipt,) = made.deliver("2")
    assert (receipt.ending, receipt.there) == (Ending.LATER, False)
    assert made.got() == {"a": [], "b": [], "c": ["1", "2"]}
    assert made.group.probe() == "a: not at this hour; b: not at this hour; c: not there"


def counts(node: RunningNode) -> dict[tuple[str, str], int]:
    return {(one["destination"], one["state"]): one["count"] for one in node.status()["deliveries"]}


def test_a_node_fails_over_to_a_real_peer_and_says_which(tmp_path: Path, corpus: Path) -> None:
    paths = [sample(corpus, name) for name in ("CT_small.dcm", "MR_small.dcm")]
    down = free_port()
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(storescp(tmp_path / "peer", "+B", "+xa"))
        text = config_text(
            peers=f"""\
  one: {{ae_title: ANY-SCP, host: 127.0.0.1, port: {down}}}
  two: {{ae_title: ANY-SCP, host: 127.0.0.1, port: {port}}}""",
            destinations="  a: {dicom: one}\n  b: {dicom: two}\n  pair: {first_of: [a, b]}",
            to=", pair",
        )
        node = stack.enter_context(running(tmp_path, text))
        run("storescu", "-aec", "VENTURI", "127.0.0.1", str(node.port), *paths)
        node.until(lambda: counts(node).get(("pair", "delivered")) == 2, 60)
        assert "b" in node.command("queue ls", "--state", "delivered", "--json").stdout
        assert {row["detail"] for row in node.deliveries() if row["destination"] == "pair"} == {"b"}
        assert "the first of a, b that works" in node.command("check").stdout
    assert {str(dcmread(path).SOPInstanceUID) for path in (tmp_path / "peer").iterdir()} == {
        str(dcmread(path).SOPInstanceUID) for path in paths
    }


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ("{first_of: [archive]}", "name two destinations or more"),
        ("{first_of: [archive, a], spread: [archive, a]}", "either in first_of or in spread"),
        ("{spread: [archive, nowhere]}", "there is no destination 'nowhere'"),
        ("{spread: [archive, other]}", "'other' is a group itself"),
        ("{spread: [archive, a], rate: 5/s}", "'rate' is not a key here"),
    ],
)
def test_a_group_is_of_destinations(tmp_path: Path, group: str, words: str) -> None:
    text = config_text(
        destinations=f"  a: {{folder: ./a}}\n  other: {{first_of: [archive, a]}}\n  group: {group}",
        to=", other, group",
    )
    (tmp_path / "venturi.yaml").write_text(text)
    checked = venturi("check", "-c", tmp_path / "venturi.yaml")
    assert checked.returncode == 2
    assert words in checked.stderr
